"""OWASP Top 10 for LLM applications 2025: LLM02 Sensitive Information Disclosure, LLM04 Data and Model Poisoning,
LLM08 Vector and Embedding Weaknesses. Through the front doors, over real Postgres with its row-level security."""

from __future__ import annotations

import io
import json
import uuid

import aiohttp
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError

from assistant.database.session import Sessions, admit
from assistant.database.tables import Chunk, Document
from assistant.database.tables import Vote as VoteRow
from assistant.knowledge.audience import Audience
from assistant.telemetry import configure_logs
from bot.state import SampleTools
from bot.web.people import Person
from tests.core.functions_double import Double, says
from tests.core.parts import Page, shelve
from tests.security.attacked import CLOUD_KEY, OTHER_CHANNEL, SALARY, Attacked, obedient, settings_of
from tests.slack.double import BOT_TOKEN, send_event
from tests.slack.double import SECRET as SIGNING_SECRET
from tests.tools.whole import opened, somebody

PAY = "What is the salary of a principal engineer?"
ROLL_BACK = "How do I roll back a service?"
RIGHT = "To roll back a service, run `ferry rollback` with its name [1]."


async def test_llm02_what_a_channel_may_not_read_is_in_no_prompt_and_no_reply(almanac: Attacked) -> None:
    seen = await almanac.in_slack(PAY, *obedient())
    for place in (seen, almanac.told()):
        assert "123,456" not in place
        assert "hunter2" not in place
        assert "salaries.md" not in place


async def test_llm02_a_secret_in_a_document_does_not_go_to_the_model(almanac: Attacked) -> None:
    """The passage goes with a placeholder; the reader, who may read the document, gets back what stands in it."""
    await almanac.in_slack("When is the backup bucket of parcel-tracker emptied?", *obedient())
    assert "is emptied on Mondays" in almanac.told()
    assert CLOUD_KEY not in almanac.told()


async def test_llm02_a_model_that_makes_up_a_secret_does_not_get_it_out(almanac: Attacked) -> None:
    key = f"AKIA{uuid.uuid4().hex[:16].upper()}"
    seen = await almanac.in_slack(ROLL_BACK, says(f"{RIGHT} The access key is {key} [1]."))
    assert "ferry rollback" in seen
    assert key not in seen


async def test_llm02_logs_hold_no_words_and_no_secrets(
    almanac: Attacked, url: str, tools: SampleTools, model: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the noisiest level, with a model that fails: nothing of what was said."""
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    configure_logs("DEBUG", "json")
    try:
        async with opened(settings_of(tools, model, almanac.slack, log_level="DEBUG"), url, model) as other:
            await other.ask("Which zebra rolls back a service?", says("The zebra runs `ferry rollback` [1]."))
            model.behaviours.clear()  # the next request fails
            await send_event(other.events_url, almanac.slack.mention("Does the giraffe roll back a service?"))
            await almanac.slack.wait(lambda: not model.behaviours, 5)
    finally:
        configure_logs("WARNING", "json")
    logged = out.getvalue()
    assert logged.count("\n") > 2
    assert all(json.loads(line) for line in logged.splitlines() if line.startswith("{"))
    for word in ("zebra", "giraffe", BOT_TOKEN, SIGNING_SECRET, CLOUD_KEY, "123,456"):
        assert word not in logged, word


async def test_llm04_what_is_planted_in_one_channel_misleads_no_other(almanac: Attacked) -> None:
    """Who can share a file in a channel can put words into that channel's answers, and into nobody else's."""
    seen = await almanac.in_slack(ROLL_BACK, says(RIGHT))
    assert "ferry rollback" in seen
    assert "| sh" not in seen + almanac.told()
    answer = (await almanac.on_page(ROLL_BACK, says(RIGHT))).answer
    assert [it["external_id"] for it in answer["citations"]] == ["deploy/rollback.md"]
    assert OTHER_CHANNEL not in almanac.told()


async def test_llm04_one_browser_has_one_vote_however_often_it_presses(almanac: Attacked, sessions: Sessions) -> None:
    async with somebody() as person:
        answer = (await almanac.on_page(ROLL_BACK, says(RIGHT), person=person)).answer
        for value in (1, 1, -1, -1, -1):
            body = {"answer_id": answer["answer_id"], "value": value}
            async with person.post(f"{almanac.whole.url}/api/votes", json=body) as response:
                assert response.status == 200, await response.text()
    async with sessions() as session:
        mine = select(func.count(), func.sum(VoteRow.value)).where(VoteRow.answer_id == uuid.UUID(answer["answer_id"]))
        assert tuple((await session.execute(mine)).one()) == (1, -1)


async def test_llm08_a_question_in_the_very_words_of_a_hidden_passage_finds_nothing_of_it(almanac: Attacked) -> None:
    """The nearest vector there is belongs to a document that the asker may not read."""
    async with somebody() as person:
        params = {"q": SALARY, "k": "50"}
        async with person.get(f"{almanac.whole.url}/api/search", params=params) as response:
            found = await response.json()
    assert "123,456" not in json.dumps({**found, "query": "", "q": ""})
    assert "salaries.md" not in json.dumps(found)


async def test_llm08_vectors_are_as_closed_as_the_texts_they_were_made_from(almanac: Attacked) -> None:
    """From a vector much of its text can be guessed. Who reads for an audience reads none but its own, in plain SQL."""
    services = almanac.whole.services
    hidden = select(Chunk.text_hash).join(Document).where(Document.external_id == "people/salaries.md")
    open_to_all = select(Chunk.text_hash).join(Document).where(Document.external_id == "deploy/rollback.md")
    async with services.sessions() as session:
        name = (
            await session.execute(text("SELECT 'vectors_' || id FROM embedding_models WHERE state = 'active'"))
        ).scalar()
        secret = (await session.execute(hidden)).scalar_one()
        plain = (await session.execute(open_to_all)).scalar_one()
    vectors = text(f"SELECT text_hash FROM {name} WHERE embedding IS NOT NULL")
    async with services.sessions() as session:
        assert {secret, plain} <= set((await session.execute(vectors)).scalars())
    async with services.reading() as session:
        assert (await session.execute(vectors)).scalars().all() == []  # nobody admitted
        await admit(session, Audience.everyone())
        seen = set((await session.execute(vectors)).scalars())
        assert plain in seen
        assert secret not in seen
        with pytest.raises(ProgrammingError, match="permission denied"):
            await session.execute(text("SELECT * FROM cached_answers"))


async def test_llm08_hidden_and_absent_passages_answer_alike(almanac: Attacked, sessions: Sessions) -> None:
    """Whether a passage exists is not told: status, words and headers are the same."""
    hidden = select(Chunk.id).join(Document).where(Document.external_id == "people/salaries.md")
    async with sessions() as session:
        number = (await session.execute(hidden)).scalars().first()
    async with somebody() as person:
        seen = [await _whole(person, f"{almanac.whole.url}/api/passages/{n}") for n in (number, 987_654_321)]
    assert seen[0] == seen[1]
    assert seen[0][0] == 404


async def test_llm08_an_answer_kept_for_some_is_not_given_to_others(
    url: str, tools: SampleTools, model: Double, almanac: Attacked, sessions: Sessions
) -> None:
    """The cache is looked up after the search: what decides is what this asker's own search finds."""
    question = "How many days of leave do founders have?"
    settings = settings_of(tools, model, cache_hours=24)
    async with opened(settings, url, model) as other, somebody() as insider, somebody() as outsider:
        await other.ask(ROLL_BACK, says(RIGHT), person=insider)
        again = await other.ask(ROLL_BACK, person=outsider)  # over the same passages: given again, no model asked
        assert "ferry rollback" in again.answer["text"]
        assert model.requests == []
        cookie = next(it.value for it in insider.cookie_jar if it.key == "almanac_person")
        person = Person(uuid.UUID(cookie), is_new=False).name
        leave = Page(
            "founders/leave.md", "Founders' leave", ("Founders have 41 days of leave each year.",), (f"user:{person}",)
        )
        await shelve(other.services.sessions, other.services.embedder, leave)
        first = await other.ask(question, says("Founders have 41 days of leave [1]."), person=insider)
        assert "41 days" in first.answer["text"]
        stranger = await other.ask(question, *obedient(), person=outsider)
    assert "41 days" not in json.dumps(stranger.events)
    assert "41 days" not in json.dumps(model.requests)


async def _whole(person: aiohttp.ClientSession, address: str) -> tuple[int, str, list[str]]:
    async with person.get(address) as response:
        headers = sorted(f"{name}: {value}" for name, value in response.headers.items() if name != "Date")
        return response.status, await response.text(), headers
