"""SharePoint and OneDrive as a source: delta links and what they leave out, sharing, and links that expire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from assistant.database import groups
from assistant.database.session import Sessions
from tests.ingestion.double_graph import SECRET, TOKEN, Graph, Item, group, link, user
from tests.ingestion.source_station import Station, serving, station
from workers.ingestion.http import Client

SITE = "https://acme.sharepoint.com/sites/Eng"
MIA, TOM = "user:email:mia@acme.example", "user:email:tom@acme.example"


@pytest.fixture
def graph() -> Graph:
    graph = Graph()
    graph.put(Item("root", "root", None, grants=[group("team")]))
    graph.put(Item("f1", "Runbooks", "root"))
    graph.put(Item("f2", "Deep", "f1"))
    graph.put(Item("a", "rollback.md", "root", b"Roll back with barge."))
    graph.put(Item("b", "deploy.md", "f1", b"Deploy with ferry."))
    graph.put(Item("c", "secret.md", "f2", b"The secret harbour.", grants=[user("Mia@acme.example")]))
    graph.put(Item("d", "picture.bin", "f2", b"\0"))
    graph.put(Item("e", "tide.md", "f2", b"Mind the tide."))
    return graph


@pytest.fixture
async def desk(database_url: str, sessions: Sessions, tmp_path: Path, graph: Graph) -> AsyncIterator[Station]:
    async with serving(graph) as base:
        graph.base = base
        settings = {
            "graph_url": f"{base}/v1.0", "graph_login_url": base, "graph_tenant_id": "acme-tenant",
            "graph_client_id": "app", "graph_client_secret": SecretStr(SECRET),
            "fetch_allowed_hosts": ("127.0.0.1", "localhost"),
        }  # fmt: skip
        async with station(database_url, sessions, tmp_path, **settings) as desk:
            yield desk


async def test_a_library_is_read_and_then_only_its_changes(desk: Station, graph: Graph) -> None:
    source = await desk.add("sharepoint", SITE)
    assert await desk.sync(source) == {"added": 4}
    assert set(await desk.held(source)) == {"d1/a", "d1/b", "d1/c", "d1/e"}
    assert (await desk.urls(source))["d1/b"] == "https://acme.sharepoint.com/root/Runbooks/deploy.md"
    known = {"author": "Mia Marsh", "last_edited_by": "Tom", "updated": "2026-05-04"}
    assert (await desk.details(source))["d1/b"] == known
    graph.loaded.clear()
    calls, embedded = graph.permission_calls, len(desk.embedder.texts)
    assert await desk.sync(source) == {}
    assert (graph.loaded, graph.permission_calls, len(desk.embedder.texts)) == ([], calls, embedded)
    item = graph.put(graph.items["a"])
    item.version, item.content = 2, b"Roll back with a tug."
    graph.put(graph.items["b"]).parent = "root"  # moved: the same item
    graph.delete("c")
    graph.put(Item("g", "new.md", "f1", b"Brand new."))
    ids = await desk.ids(source)
    assert await desk.sync(source) == {"added": 1, "updated": 2, "removed": 1}
    assert sorted(graph.loaded) == ["a", "g"]
    assert (await desk.ids(source))["d1/b"] == ids["d1/b"]
    assert (await desk.urls(source))["d1/b"] == "https://acme.sharepoint.com/root/deploy.md"
    assert graph.tokens == 3  # one a run


async def test_sharing_becomes_readers_and_a_folders_change_reaches_what_is_in_it(desk: Station, graph: Graph) -> None:
    source = await desk.add("sharepoint", "drive:d1")
    await desk.sync(source)
    readers = await desk.readers(source)
    assert readers["d1/e"] == ("group:entra:team",)
    assert readers["d1/c"] == (MIA,)
    async with desk.sessions() as session:
        assert await groups.groups_of(session, [MIA]) == {"group:entra:team"}
    embedded = len(desk.embedder.texts)
    graph.share("f1", user("tom@acme.example"), link("users", "sue@acme.example"))
    assert await desk.sync(source) == {"updated": 2, "unchanged": 1}
    readers = await desk.readers(source)
    assert readers["d1/e"] == readers["d1/b"] == ("user:email:sue@acme.example", TOM)
    assert readers["d1/c"] == (MIA,)  # has its own
    assert await desk.finds("Mind the tide", "group:entra:team") == ["d1/a"]
    graph.share("a", link("anonymous"))
    graph.share("c", link("organization"))
    await desk.sync(source)
    readers = await desk.readers(source)
    assert (readers["d1/a"], readers["d1/c"]) == (("everyone",), ("group:tenant:acme-tenant",))
    assert len(desk.embedder.texts) == embedded


async def test_links_for_everybody_can_be_left_out(desk: Station, graph: Graph) -> None:
    graph.share("a", link("anonymous"), user("mia@acme.example"))
    source = await desk.add("sharepoint", "drive:d1", links="ignore")
    await desk.sync(source)
    assert (await desk.readers(source))["d1/a"] == (MIA,)


async def test_site_groups_that_hold_the_team_and_grants_that_are_over(desk: Station, graph: Graph) -> None:
    members = {"roles": ["write"], "grantedToV2": {"siteGroup": {"id": "5", "displayName": "Eng Members"}}}
    owners = {"roles": ["owner"], "grantedToV2": {"siteGroup": {"id": "3", "displayName": "Eng Owners"}}}
    over = user("tom@acme.example") | {"expirationDateTime": "2020-01-01T00:00:00Z"}
    graph.share("a", members, owners, over)
    source = await desk.add("sharepoint", "drive:d1")
    await desk.sync(source)
    assert (await desk.readers(source))["d1/a"] == (
        "group:entra:team", "group:sharepoint:d1:3", "group:sharepoint:d1:5",
    )  # fmt: skip


async def test_a_link_that_expired_lists_everything_anew(desk: Station, graph: Graph) -> None:
    source = await desk.add("sharepoint", SITE)
    await desk.sync(source)
    graph.loaded.clear()
    graph.delete("a")
    graph.expired = graph.history
    assert await desk.sync(source) == {"unchanged": 3, "removed": 1}
    assert graph.loaded == []


async def test_a_deleted_folder_takes_along_what_graph_does_not_tell(desk: Station, graph: Graph) -> None:
    source = await desk.add("sharepoint", SITE)
    await desk.sync(source)
    graph.delete("f2", report_children=False)
    assert await desk.sync(source) == {"unchanged": 2, "removed": 2}
    assert set(await desk.held(source)) == {"d1/a", "d1/b"}


async def test_limits_refused_tokens_and_failures_are_survived(desk: Station, graph: Graph) -> None:
    graph.busy_batches, graph.reject_tokens = 1, 1
    graph.faults.add("/root/delta", 429, Retry_After="0")
    graph.faults.add("skip=2", 503)
    source = await desk.add("sharepoint", SITE)
    assert await desk.sync(source) == {"added": 4}


async def test_a_file_that_fails_is_tried_again_alone(
    desk: Station, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ingestion.runs.Client", partial(Client, retries=0))
    graph.faults.add("/items/b/content", 500)
    source = await desk.add("sharepoint", SITE)
    assert await desk.sync(source) == {"added": 3, "failed": 1}
    assert await desk.sync(source) == {}  # the delta does not name it again
    async with desk.sessions.begin() as session:
        await session.execute(text("UPDATE document_failures SET next_at = now()"))
    run = await desk.run(source=source, failures="due")
    assert run.result is not None
    assert (run.result["added"], await desk.failures(source)) == (1, {})


async def test_secrets_are_written_nowhere(desk: Station, graph: Graph, capfd: pytest.CaptureFixture[str]) -> None:
    source = await desk.add("sharepoint", SITE)
    await desk.sync(source)
    row = await desk.row(source)
    captured = capfd.readouterr()
    for secret in (SECRET, TOKEN):
        assert secret not in f"{row}"
        assert secret not in captured.out + captured.err
