"""Votes, conversations, passages and search."""

from __future__ import annotations

import uuid
from typing import Any

import aiohttp
from sqlalchemy import text

from assistant.database.session import Sessions
from assistant.knowledge.embedding import TransformerEmbedder
from tests.web.client import ROLL_BACK, answer, conversation_id, refusal
from tests.web.conftest import Serve
from tests.web.library import ROLLBACK, FakeModel, Page, shelve
from tests.web.site import Site


async def votes(sessions: Sessions) -> list[tuple[int, str | None]]:
    async with sessions() as session:
        return [(row.value, row.reason) for row in await session.execute(text("SELECT value, reason FROM votes"))]


async def test_a_vote_is_kept_and_a_second_one_replaces_it(
    site: Site, browser_like: aiohttp.ClientSession, sessions: Sessions
) -> None:
    done = await answer(browser_like, site.url)
    vote = {"answer_id": done["answer_id"], "value": 1}
    async with browser_like.post(f"{site.url}/api/votes", json=vote) as response:
        assert response.status == 200
        assert await response.json() == vote
    assert await votes(sessions) == [(1, None)]
    down = {**vote, "value": -1, "reason": "It names the wrong command."}
    async with browser_like.post(f"{site.url}/api/votes", json=down) as response:
        assert response.status == 200
    assert await votes(sessions) == [(-1, "It names the wrong command.")]


async def test_the_votes_of_two_people_are_two(
    site: Site, browser_like: aiohttp.ClientSession, sessions: Sessions
) -> None:
    vote = {"answer_id": (await answer(browser_like, site.url))["answer_id"], "value": 1}
    async with aiohttp.ClientSession() as other:
        for client in (browser_like, other):
            async with client.post(f"{site.url}/api/votes", json=vote) as response:
                assert response.status == 200
    assert len(await votes(sessions)) == 2


async def test_a_vote_that_is_not_one_is_refused(
    site: Site, browser_like: aiohttp.ClientSession, sessions: Sessions
) -> None:
    changes: tuple[dict[str, object], ...] = (
        {"value": 0}, {"value": 2}, {"value": True}, {"value": "1"}, {"value": None}, {"value": [1]}, {"value": 1.5},
        {"answer_id": "none"}, {"answer_id": None}, {"reason": 5}, {"reason": "x" * 2_001},
    )  # fmt: skip
    for change in changes:
        body = {"answer_id": str(uuid.uuid4()), "value": 1, **change}
        async with browser_like.post(f"{site.url}/api/votes", json=body) as response:
            await refusal(response, 400)
    assert await votes(sessions) == []


async def test_a_vote_on_no_answer_is_not_found(site: Site, browser_like: aiohttp.ClientSession) -> None:
    body = {"answer_id": str(uuid.uuid4()), "value": 1}
    async with browser_like.post(f"{site.url}/api/votes", json=body) as response:
        await refusal(response, 404)


async def test_a_conversation_can_be_read_again(site: Site, browser_like: aiohttp.ClientSession) -> None:
    conversation = conversation_id()
    first = await answer(browser_like, site.url, conversation=conversation)
    second = await answer(browser_like, site.url, "And the second on call?", conversation=conversation)
    vote = {"answer_id": second["answer_id"], "value": -1}
    await browser_like.post(f"{site.url}/api/votes", json=vote)
    async with browser_like.get(f"{site.url}/api/conversations/{conversation}") as response:
        assert response.status == 200
        turns = await response.json()
    assert [turn["question"] for turn in turns] == [ROLL_BACK, "And the second on call?"]
    assert [turn["answer"] for turn in turns] == [first, second]
    assert [turn["vote"] for turn in turns] == [None, -1]


async def test_a_conversation_of_another_person_is_not_found(site: Site, browser_like: aiohttp.ClientSession) -> None:
    conversation = conversation_id()
    await answer(browser_like, site.url, conversation=conversation)
    async with aiohttp.ClientSession() as stranger:
        path = f"{site.url}/api/conversations/{conversation}"
        async with stranger.get(path) as response:
            await refusal(response, 404)
        async with stranger.get(path, cookies={"almanac_person": str(uuid.uuid4())}) as response:
            await refusal(response, 404)


async def test_a_conversation_is_named_by_a_uuid(site: Site, browser_like: aiohttp.ClientSession) -> None:
    for name in ("1", "x' OR 1=1", "7b0d1a52-57b0-4f2b-9f3c", "%00"):
        async with browser_like.get(f"{site.url}/api/conversations/{name}") as response:
            await refusal(response, 400)


async def test_the_person_is_a_cookie_that_scripts_cannot_read(site: Site, browser_like: aiohttp.ClientSession) -> None:
    async with browser_like.post(f"{site.url}/api/ask", json={"question": ROLL_BACK}) as response:
        cookie = response.cookies["almanac_person"]
        await response.read()
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert uuid.UUID(cookie.value).version == 4
    async with browser_like.post(f"{site.url}/api/ask", json={"question": ROLL_BACK}) as response:
        assert "almanac_person" not in response.cookies
        await response.read()
    async with browser_like.get(site.url) as response:
        assert "almanac_person" not in response.cookies  # a link elsewhere must not make a new person


async def test_a_passage_is_shown_in_its_document(site: Site, browser_like: aiohttp.ClientSession) -> None:
    (citation,) = (await answer(browser_like, site.url))["citations"]
    async with browser_like.get(f"{site.url}/api/passages/{citation['chunk_id']}") as response:
        assert response.status == 200
        view = await response.json()
    assert view["document"] == {
        "title": "Rolling back",
        "url": "https://handbook.example/deploy/rollback",
        "external_id": "deploy/rollback.md",
        "details": {"owner": "Platform", "updated": "2026-05-06"},
    }
    assert [chunk["text"] for chunk in view["chunks"]] == [text for _, text in ROLLBACK.passages]
    (current,) = [chunk for chunk in view["chunks"] if chunk["current"]]
    assert current["chunk_id"] == citation["chunk_id"]
    assert citation["quote"] in current["text"]


async def test_a_long_document_is_shown_around_the_passage(
    serve: Serve, sessions: Sessions, embedder: TransformerEmbedder, browser_like: aiohttp.ClientSession
) -> None:
    long = Page("long.md", "Long", [((), f"Sentence number {n}.") for n in range(340)])
    await shelve(sessions, embedder, long)
    site = await serve()
    async with sessions() as session:
        chunk = (await session.execute(text("SELECT id FROM chunks WHERE ordinal = 170"))).scalar_one()
    async with browser_like.get(f"{site.url}/api/passages/{chunk}") as response:
        chunks = (await response.json())["chunks"]
    assert [chunk["text"] for chunk in chunks] == [f"Sentence number {n}." for n in range(20, 321)]
    assert [chunk["current"] for chunk in chunks].index(True) == 150


async def test_a_passage_that_is_gone_is_said_to_be(
    site: Site, browser_like: aiohttp.ClientSession, sessions: Sessions, embedder: TransformerEmbedder
) -> None:
    (citation,) = (await answer(browser_like, site.url))["citations"]
    await shelve(sessions, embedder, Page(ROLLBACK.external_id, "Rolling back", [((), "All new.")]))
    async with browser_like.get(f"{site.url}/api/passages/{citation['chunk_id']}") as response:
        assert "no longer" in await refusal(response, 404)


async def test_a_passage_that_never_was_is_not_found(site: Site, browser_like: aiohttp.ClientSession) -> None:
    for name in ("0", "999999999", "-1", "x", "1.5", "9" * 40):
        async with browser_like.get(f"{site.url}/api/passages/{name}") as response:
            await refusal(response, 404)


async def test_what_a_person_may_not_read_is_neither_found_nor_shown(
    site: Site, browser_like: aiohttp.ClientSession, sessions: Sessions
) -> None:
    async with sessions() as session:
        secret = (await session.execute(text("SELECT id FROM chunks WHERE text LIKE '%123,456%'"))).scalar_one()
    async with browser_like.get(f"{site.url}/api/passages/{secret}") as response:
        await refusal(response, 404)
    async with browser_like.get(f"{site.url}/api/search", params={"q": "salary of a principal engineer"}) as response:
        assert "123,456" not in await response.text()


async def test_search_gives_the_best_passages_first(site: Site, browser_like: aiohttp.ClientSession) -> None:
    async with browser_like.get(f"{site.url}/api/search", params={"q": "acknowledge a SEV1 page", "k": 2}) as response:
        hits = (await response.json())["hits"]
    assert len(hits) == 2
    assert hits[0]["external_id"] == "oncall/escalation.md"
    assert hits[0]["score"] >= hits[1]["score"]


async def test_a_search_takes_filters_in_its_words_and_as_arguments(
    site: Site, browser_like: aiohttp.ClientSession
) -> None:
    async def search(**query: str | list[str]) -> dict[str, Any]:
        params = [
            (name, each) for name, value in query.items() for each in ([value] if isinstance(value, str) else value)
        ]
        async with browser_like.get(f"{site.url}/api/search", params=params) as response:
            assert response.status == 200, await response.text()
            found: dict[str, Any] = await response.json()
            return found

    everything = await search(q="roll back a page")
    assert (everything["filters"], everything["note"]) == ("", "")
    assert len({hit["title"] for hit in everything["hits"]}) > 1
    title = ROLLBACK.title
    written = await search(q=f'roll back a page title:"{title}"')
    assert {hit["title"] for hit in written["hits"]} == {title}
    given = await search(q="roll back a page", title=title)
    assert given == written
    assert given["note"] == f"Filtered: title {title}"
    either = await search(q="roll back a page", title=[title, "no such title"], after="2000-01")
    assert [hit["chunk_id"] for hit in either["hits"]] == [hit["chunk_id"] for hit in given["hits"]]
    nothing = await search(q="roll back a page", before="2000")
    assert nothing["hits"] == []
    assert nothing["note"] == "Nothing was found with the filters: before 2000-01-01."


async def test_filters_that_are_wrong_are_refused_in_one_sentence(
    site: Site, browser_like: aiohttp.ClientSession
) -> None:
    for query, said in (
        ("q=x&after=soon", "`after:soon` is no date"), ("q=x&source=", "has no value"), ("q=source:x", "only filters"),
        ("q=a&source=nowhere", "names no source that can be searched here"), ("q=x before:2026-13", "2026-13"),
    ):  # fmt: skip
        async with browser_like.get(f"{site.url}/api/search?{query}") as response:
            assert said in await refusal(response, 400)
    for body in ({"after": "soon"}, {"title": 5}, {"author": ["ann", None]}, {"source": {"name": "x"}}):
        async with browser_like.post(f"{site.url}/api/ask", json={"question": ROLL_BACK, **body}) as response:
            await refusal(response, 400)


async def test_a_question_takes_filters_as_arguments(site: Site, browser_like: aiohttp.ClientSession) -> None:
    done = await answer(browser_like, site.url, title=[ROLLBACK.title])
    assert done["text"].endswith(f"*Filtered: title {ROLLBACK.title}*")
    done = await answer(browser_like, site.url, before="2000")
    assert done["outcome"] == "not_in_documents"
    assert "before 2000-01-01" in done["text"]


async def test_a_search_that_is_not_one_is_refused(site: Site, browser_like: aiohttp.ClientSession) -> None:
    for query in ("", "q=", "q=%00", "q=a&k=0", "q=a&k=51", "q=a&k=ten", "q=" + "a" * 4_001):
        async with browser_like.get(f"{site.url}/api/search?{query}") as response:
            await refusal(response, 400)


async def test_a_database_that_is_away_is_one_sentence(
    serve: Serve, browser_like: aiohttp.ClientSession, sessions: Sessions
) -> None:
    site = await serve(FakeModel())
    async with sessions.begin() as session:
        await session.execute(text("ALTER TABLE chunks RENAME TO lost_chunks"))
    async with browser_like.get(f"{site.url}/api/passages/1") as response:
        assert "chunks" not in await refusal(response, 503)
