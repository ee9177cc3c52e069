"""A GitHub repository as a source: files and wiki by git, issues by REST, discussions by GraphQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr

from assistant.database import groups
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from tests.ingestion.double_github import TOKEN, GitHub
from tests.ingestion.source_station import Station, serving, station
from tests.ingestion.test_source_git import Remote
from workers.ingestion.sources.git import Repository
from workers.ingestion.sources.git_command import _failure
from workers.ingestion.sources.github import Wiki
from workers.ingestion.sources.port import Changes, Cursor


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    remote = Remote(tmp_path / "ferry")
    remote.write("README.md", "# Ferry\n\nDeploys things.")
    remote.write("src/main.py", "print('no documentation')")
    remote.commit()
    return remote


@pytest.fixture
def hub(remote: Remote) -> GitHub:
    hub = GitHub(str(remote.folder))
    for number in range(1, 6):
        hub.issue(number, f"issue {number}", f"2024-01-0{number}T00:00:00Z")
    hub.issue(6, "a pull request", "2024-01-06T00:00:00Z", pull_request={"url": "x"})
    for number in range(11, 14):
        hub.discussion(number, f"discussion {number}", f"2024-01-{number}T00:00:00Z", "One.", "Two.", "Three.")
    return hub


@pytest.fixture
async def desk(database_url: str, sessions: Sessions, tmp_path: Path, hub: GitHub) -> AsyncIterator[Station]:
    async with (
        serving(hub) as base,
        station(database_url, sessions, tmp_path / "home", github_api_url=base, github_token=SecretStr(TOKEN)) as desk,
    ):
        yield desk


ISSUES = {f"issues/{number}" for number in range(1, 6)}
DISCUSSIONS = {f"discussions/{number}" for number in range(11, 14)}


async def test_all_that_a_repository_holds_is_read_and_then_only_what_changes(
    desk: Station, hub: GitHub, remote: Remote, tmp_path: Path
) -> None:
    wiki = Remote(tmp_path / "ferry.wiki.git")
    wiki.write("Home.md", "# Home\n\nWelcome aboard.")
    wiki.commit()
    hub.comments[2] = [{"user": {"login": "tom"}, "body": f"Comment {n}.", "created_at": "2024"} for n in range(3)]
    hub.issue(2, "issue 2", "2024-01-02T00:00:00Z")
    source = await desk.add("github", "acme/ferry")
    assert await desk.sync(source) == {"added": 10}
    held = await desk.held(source)
    assert set(held) == ISSUES | DISCUSSIONS | {"docs/README.md", "wiki/Home.md"}
    assert all(f"Comment {n}." in held["issues/2"] for n in range(3))
    assert all(word in held["discussions/11"] for word in ("One.", "Reply to Two.", "Three."))
    details = await desk.details(source)
    assert details["issues/2"] == {"author": "mia", "updated": "2024-01-02"}
    urls = await desk.urls(source)
    assert urls["docs/README.md"] == "https://github.com/acme/ferry/blob/main/README.md"
    assert urls["wiki/Home.md"] == "https://github.com/acme/ferry/wiki/Home"
    assert set((await desk.readers(source)).values()) == {("everyone",)}

    hub.loaded.clear()
    embedded = len(desk.embedder.texts)
    assert set(await desk.sync(source)) <= {"unchanged"}
    assert (hub.loaded, len(desk.embedder.texts)) == ([], embedded)
    hub.issue(3, "issue 3, renamed", "2024-02-01T00:00:00Z")
    hub.issue(7, "issue 7", "2024-02-02T00:00:00Z")
    hub.discussion(12, "discussion 12", "2024-02-03T00:00:00Z", "A new answer.")
    remote.git("mv", "README.md", "READ.md")
    remote.commit()
    wiki.write("Home.md", "# Home\n\nAll aboard.")
    wiki.commit()
    result = await desk.sync(source)
    assert (result["added"], result["updated"]) == (1, 4)
    assert set(hub.loaded) == {"discussions/12"}
    held = await desk.held(source)
    assert "A new answer." in held["discussions/12"]
    assert "All aboard." in held["wiki/Home.md"]
    assert "docs/READ.md" in held


async def test_what_is_deleted_shows_in_the_nightly_listing(desk: Station, hub: GitHub) -> None:
    source = await desk.add("github", "acme/ferry", parts="issues,discussions")
    assert await desk.sync(source) == {"added": 8}
    del hub.issues[1], hub.discussions[13]
    await desk.sync(source)
    assert set(await desk.held(source)) == ISSUES | DISCUSSIONS
    await desk.sync(source, "reconcile")
    assert set(await desk.held(source)) == (ISSUES | DISCUSSIONS) - {"issues/1", "discussions/13"}
    assert (await desk.row(source)).drift == {"missing": 0, "changed": 0, "access": 0, "gone": 2}


async def test_a_private_repository_is_its_collaborators(desk: Station, hub: GitHub) -> None:
    hub.about["private"] = True
    source = await desk.add("github", "acme/ferry", parts="issues")
    await desk.sync(source)
    assert set((await desk.readers(source)).values()) == {("group:github:acme/ferry",)}
    async with desk.sessions() as session:
        assert await groups.groups_of(session, ["user:email:tom@acme.example"]) == {"group:github:acme/ferry"}
        assert await groups.groups_of(session, ["user:github:mia"]) == {"group:github:acme/ferry"}
    assert await desk.finds("issue 3") == []
    hub.about["private"] = False
    embedded = len(desk.embedder.texts)
    assert await desk.sync(source) == {"updated": 5}
    assert await desk.finds("issue 3") != []
    hub.about["private"] = True
    assert await desk.sync(source) == {"updated": 5}
    assert await desk.finds("issue 3") == []
    assert len(desk.embedder.texts) == embedded


async def test_readers_can_be_set_by_hand(desk: Station, hub: GitHub) -> None:
    hub.about["private"] = True
    source = await desk.add("github", "acme/ferry", parts="issues", readers=["group:payments"])
    await desk.sync(source)
    assert set((await desk.readers(source)).values()) == {("group:payments",)}


async def test_limits_failures_and_lost_places_are_survived(desk: Station, hub: GitHub) -> None:
    hub.used_up = 1
    hub.faults.add("/issues", 502)
    hub.faults.add("/graphql", 503)
    source = await desk.add("github", "acme/ferry")
    assert await desk.sync(source) == {"added": 9}  # there is no wiki yet
    hub.pages_expire = True
    for number in range(1, 6):
        hub.issue(number, f"issue {number}, seen again", f"2024-03-0{number}T00:00:00Z")
    await desk.sync(source)
    held = await desk.held(source)
    assert all("seen again" in held[f"issues/{number}"] for number in range(1, 6))


async def test_an_issue_that_changes_while_they_are_listed_hides_no_other(desk: Station, hub: GitHub) -> None:
    source = await desk.add("github", "acme/ferry", parts="issues")
    await desk.sync(source)
    hub.changes_while_listed = lambda: hub.issue(1, "issue 1, again", "2024-05-01T00:00:00Z")
    await desk.sync(source, "reconcile")
    assert set(await desk.held(source)) == ISSUES
    assert (await desk.row(source)).drift == {"missing": 0, "changed": 1, "access": 0, "gone": 0}


async def test_a_discussion_that_changes_while_they_are_listed_is_not_passed_over(desk: Station, hub: GitHub) -> None:
    source = await desk.add("github", "acme/ferry", parts="discussions")

    def later() -> None:
        hub.discussion(11, "discussion 11", "2024-05-01T00:00:00Z", "A new answer.")

    hub.changes_while_listed = later
    await desk.sync(source)
    assert set(await desk.held(source)) == DISCUSSIONS


async def test_issues_of_one_second_are_all_read(desk: Station, hub: GitHub) -> None:
    for number in range(1, 6):
        hub.issue(number, f"issue {number}", "2024-05-01T00:00:00Z")
    source = await desk.add("github", "acme/ferry", parts="issues")
    assert await desk.sync(source) == {"added": 5}


async def test_a_wiki_that_is_not_there_costs_no_listing_of_everything(desk: Station, hub: GitHub) -> None:
    source = await desk.add("github", "acme/ferry", parts="wiki,issues")
    assert await desk.sync(source) == {"added": 5}
    assert await desk.sync(source) == {}


async def test_a_wiki_that_is_not_there_is_none_for_whoever_has_no_token_either() -> None:
    """GitHub then asks for a name, as git says it."""

    class Asking:
        async def list_changes(self, _cursor: Cursor | None) -> Changes:
            raise _failure("fatal: could not read Username for 'https://github.com': terminal prompts disabled")

    files = cast(Repository, Asking())
    assert (await Wiki(files, known=False).list_changes(None)).upserts == ()
    with pytest.raises(AlmanacError, match="not let us in"):
        await Wiki(files, known=True).list_changes(None)


async def test_an_issue_that_moved_to_another_repository_is_gone(desk: Station, hub: GitHub) -> None:
    source = await desk.add("github", "acme/ferry", parts="issues")
    hub.comments[2] = [{"body": "A comment."}]
    hub.issue(2, "issue 2", "2024-01-02T00:00:00Z")
    hub.faults.add("/issues/2/comments", 401)
    assert await desk.sync(source) == {"added": 4, "failed": 1}
    assert (await desk.failures(source))["issues/2"].transient  # the right may come
    hub.issues[2] = hub.issues[3] | {"title": "of another repository"}
    run = await desk.run(source=source, failures="all")
    assert run.state == "succeeded"
    assert "another" not in str(await desk.held(source))
    assert await desk.failures(source) == {}


async def test_a_repository_that_nobody_shows_is_one_sentence(desk: Station, hub: GitHub) -> None:
    run = await desk.run(source=await desk.add("github", "acme/other"))
    assert run.error == "GitHub shows no repository acme/other to this token."


async def test_an_answer_that_nobody_understands_shows_at_the_source(desk: Station, hub: GitHub) -> None:
    del hub.about["html_url"]
    source = await desk.add("github", "acme/ferry")
    with pytest.raises(KeyError):
        await desk.run(source=source)
    row = await desk.row(source)
    assert (row.error, row.failed_syncs) == ("It ended with KeyError; the worker's log says more.", 1)
