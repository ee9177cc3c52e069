"""POST /api/ask: a stream of events that ends in exactly one answer."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from sqlalchemy import text

from assistant.database.session import Sessions
from assistant.errors import ModelError
from assistant.models.client import OpenAIModel
from assistant.strings import say
from bot.web import stream
from tests.core.functions_double import says, served
from tests.web.client import ROLL_BACK, answer, ask, conversation_id, events, refusal
from tests.web.conftest import Serve
from tests.web.library import FakeModel
from tests.web.site import Site


async def stored(sessions: Sessions) -> list[tuple[str, str]]:
    async with sessions() as session:
        rows = await session.execute(text("SELECT question, outcome FROM answers ORDER BY created_at"))
        return [(row.question, row.outcome) for row in rows]


async def test_progress_then_text_then_one_answer(
    site: Site, browser_like: aiohttp.ClientSession, sessions: Sessions
) -> None:
    found = await ask(browser_like, site.url, conversation=conversation_id())
    names = [name for name, _ in found]
    assert names[:2] == ["progress", "progress"]
    assert [data["stage"] for _, data in found[:2]] == ["searching", "writing"]
    assert set(names[2:-1]) == {"delta"}
    assert names[-1] == "done"
    done = found[-1][1]
    assert "".join(data["text"] for name, data in found if name == "delta") == done["text"]
    assert await stored(sessions) == [(ROLL_BACK, "answered")]


async def test_the_answer_has_the_keys_of_the_terminal(site: Site, browser_like: aiohttp.ClientSession) -> None:
    done = await answer(browser_like, site.url)
    assert {"answer_id", "outcome", "text", "citations", "timings_ms", "usage", "model"} <= set(done)
    assert done["outcome"] == "answered"
    assert done["model"] == "fake-1"
    assert done["usage"] == {"prompt_tokens": 120, "completion_tokens": 30, "cost_usd": 0.0021}
    assert done["timings_ms"]["total"] > 0
    (citation,) = done["citations"]
    assert {"n", "title", "url", "chunk_id", "quote"} <= set(citation)
    assert citation["n"] == 1
    assert citation["title"] == "Rolling back"
    assert "[1]" in done["text"]


async def test_text_leaves_as_it_is_written(serve: Serve, shelved: None, browser_like: aiohttp.ClientSession) -> None:
    site = await serve(FakeModel("One two three four five six [1].", size=4, pause=0.05))
    moments = []
    async with browser_like.post(f"{site.url}/api/ask", json={"question": ROLL_BACK}) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        async for name, _ in events(response):
            moments.append((name, asyncio.get_running_loop().time()))
    deltas = [moment for name, moment in moments if name == "delta"]
    assert len(deltas) >= 6
    assert deltas[-1] - deltas[0] > 0.2


async def test_an_asker_who_leaves_stops_the_work(
    serve: Serve, shelved: None, browser_like: aiohttp.ClientSession, sessions: Sessions
) -> None:
    site = await serve(FakeModel("word " * 1000 + "[1]", pause=0.02))
    response = await browser_like.post(f"{site.url}/api/ask", json={"question": ROLL_BACK})
    async for name, _ in events(response):
        if name == "delta":
            break
    response.close()
    await asyncio.wait_for(site.model.stopped.wait(), 3)
    assert await stored(sessions) == []


async def test_an_asker_who_leaves_a_silent_model_stops_it_too(
    serve: Serve, shelved: None, browser_like: aiohttp.ClientSession
) -> None:
    site = await serve(FakeModel("never", pause=60))
    response = await browser_like.post(f"{site.url}/api/ask", json={"question": ROLL_BACK})
    async for _, data in events(response):
        if data.get("stage") == "writing":
            break
    response.close()
    await asyncio.wait_for(site.model.stopped.wait(), 3)


async def test_a_slow_model_is_bridged_by_comments(
    serve: Serve, shelved: None, browser_like: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(stream, "LOOK_SECONDS", 0.05)
    site = await serve(FakeModel("Late [1].", size=100, pause=0.8))
    async with browser_like.post(f"{site.url}/api/ask", json={"question": ROLL_BACK}) as response:
        lines = [line.decode().rstrip() async for line in response.content]
    assert lines.count(": still working") >= 2
    assert "event: done" in lines


async def test_what_the_documents_do_not_say(serve: Serve, shelved: None, browser_like: aiohttp.ClientSession) -> None:
    site = await serve(FakeModel("Nothing.", supported=False))
    done = await answer(browser_like, site.url, "How do I roll back a marriage?")
    assert done["outcome"] == "not_in_documents"
    assert done["citations"] == []
    assert done["nearest"]


async def test_a_model_that_fails_leaves_a_reference(site: Site, browser_like: aiohttp.ClientSession) -> None:
    site.model.error = ModelError("The language model did not answer.")
    done = await answer(browser_like, site.url)
    assert done["outcome"] == "failed"
    assert done["reference"] in done["text"]
    assert done["nearest"]


async def test_a_question_that_is_too_long_is_over_the_limit(site: Site, browser_like: aiohttp.ClientSession) -> None:
    done = await answer(browser_like, site.url, "why " * 1_001)
    assert done["outcome"] == "over_limit"
    assert "4,000" in done["text"]


async def test_a_body_that_is_too_large_is_refused(site: Site, browser_like: aiohttp.ClientSession) -> None:
    body = json.dumps({"question": "x" * 400_000})
    headers = {"Content-Type": "application/json"}
    async with browser_like.post(f"{site.url}/api/ask", data=body, headers=headers) as response:
        await refusal(response, 413)


async def test_a_body_of_unknown_length_is_held_to_the_same_limit(
    site: Site, browser_like: aiohttp.ClientSession
) -> None:
    async def endless() -> object:
        for _ in range(100):
            yield b" " * 10_000

    headers = {"Content-Type": "application/json"}
    async with browser_like.post(f"{site.url}/api/ask", data=endless(), headers=headers) as response:
        await refusal(response, 413)


async def test_an_empty_question_is_refused_before_anything_streams(
    site: Site, browser_like: aiohttp.ClientSession
) -> None:
    for question in ("", "   \n", "\0"):
        async with browser_like.post(f"{site.url}/api/ask", json={"question": question}) as response:
            assert "empty" in await refusal(response, 400)


async def test_a_body_that_is_not_as_agreed_is_refused(site: Site, browser_like: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (
        b"", b"{", b"[]", b'"why"', b"\xff", b'{"question": 3}', b'{"question": null}', b"{}", b"[" * 10_000,
        b'{"question": "why", "conversation": "mine"}', b'{"question": "why", "conversation": 7}',
        b'{"question": "why", "conversation": "{7b0d1a52-57b0-4f2b-9f3c-0d3b8a8ef001}"}',
    ):  # fmt: skip
        async with browser_like.post(f"{site.url}/api/ask", data=body, headers=headers) as response:
            await refusal(response, 400)
    assert site.model.asked == []


async def test_only_json_is_read(site: Site, browser_like: aiohttp.ClientSession) -> None:
    async with browser_like.post(f"{site.url}/api/ask", data={"question": "why"}) as response:
        await refusal(response, 415)


async def test_a_question_with_a_nul_is_answered(site: Site, browser_like: aiohttp.ClientSession) -> None:
    assert (await answer(browser_like, site.url, "How do I roll\0back?"))["outcome"] == "answered"


async def test_the_thread_goes_on_only_for_its_own_person(site: Site, browser_like: aiohttp.ClientSession) -> None:
    conversation = conversation_id()
    await answer(browser_like, site.url, conversation=conversation)
    await answer(browser_like, site.url, "And after that?", conversation=conversation)
    async with aiohttp.ClientSession() as stranger:
        await answer(stranger, site.url, "And after that, for a rollback?", conversation=conversation)
    assert [len(brief.turns) for brief in site.model.asked] == [0, 1, 0]


async def test_an_answer_that_cannot_be_kept_is_said_to_have_failed(
    serve: Serve, shelved: None, browser_like: aiohttp.ClientSession, sessions: Sessions
) -> None:
    site = await serve()
    async with sessions.begin() as session:
        await session.execute(text("ALTER TABLE answers ADD CONSTRAINT full_disk CHECK (false) NOT VALID"))
    found = await ask(browser_like, site.url)
    name, data = found[-1]
    assert name == "error"
    assert "full_disk" not in json.dumps(found)
    assert data["error"].endswith(".")


async def test_many_askers_at_once_get_their_own_answers(serve: Serve, shelved: None, sessions: Sessions) -> None:
    site = await serve(FakeModel(pause=0.005))
    clients = [aiohttp.ClientSession() for _ in range(12)]
    try:
        done = await asyncio.gather(
            *(answer(client, site.url, f"How do I roll back, {n}?") for n, client in enumerate(clients))
        )
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    assert {item["outcome"] for item in done} == {"answered"}
    assert len({item["answer_id"] for item in done}) == 12
    assert sorted(question for question, _ in await stored(sessions)) == sorted(
        f"How do I roll back, {n}?" for n in range(12)
    )


SCHEMA = {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}


async def test_a_format_gives_a_value_beside_the_text(
    serve: Serve, shelved: None, browser_like: aiohttp.ClientSession
) -> None:
    """The real client: what the page's own model writes has no format."""
    reply = {"sources": [1], "value": {"minutes": 45}}
    async with served() as double:
        model = OpenAIModel(double.settings())
        double.behaviours.append(says(json.dumps(reply)))
        site = await serve(model)
        found = await ask(browser_like, site.url, format=SCHEMA)
        await model.close()
    assert [name for name, _ in found] == ["progress", "progress", "done"]
    done = found[-1][1]
    assert (done["outcome"], done["value"]) == ("answered", {"minutes": 45})
    assert done["text"] == '```json\n{\n  "minutes": 45\n}\n```\n[1]'
    assert [citation["n"] for citation in done["citations"]] == [1]


async def test_an_answer_without_a_format_has_no_value(site: Site, browser_like: aiohttp.ClientSession) -> None:
    assert (await answer(browser_like, site.url))["value"] is None
    done = await answer(browser_like, site.url, format=SCHEMA)
    assert (done["outcome"], done["text"]) == ("failed", say("formats.no_model"))


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ("object", "The format must be a JSON schema: an object."),
        ({"type": "array"}, 'The format must be a JSON schema with "type": "object" at its root.'),
        ({"type": "object", "title": "a" * 16_000}, "The format is longer than 16,000 characters."),
        ({"type": "object", "minProperties": "one"}, "The format is no JSON schema: 'one' is not of type 'integer'."),
    ],
)
async def test_a_format_that_is_none_is_refused_before_anything_is_asked(
    site: Site, browser_like: aiohttp.ClientSession, sessions: Sessions, schema: object, sentence: str
) -> None:
    async with browser_like.post(f"{site.url}/api/ask", json={"question": ROLL_BACK, "format": schema}) as response:
        assert await refusal(response, 400) == sentence
    assert await stored(sessions) == []
