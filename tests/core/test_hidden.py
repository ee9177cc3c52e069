"""What is said of documents that somebody may not read: how many, and when nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from assistant.answering.aids import Aids
from assistant.answering.answer import Answering
from assistant.answering.cache import AnswerCache
from assistant.answering.messages import Answer, Done, Question
from assistant.answering.outcomes import Outcome
from assistant.answering.writing import PASSAGES
from assistant.database.hidden import SEVERAL
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Searcher
from assistant.models.port import Brief, Written
from assistant.settings import load_settings
from assistant.strings import say
from assistant.telemetry import Metrics
from tests.core.parts import FakeModel, Page, WordEmbedder, shelve

ASKED = "When is the salary of quokkas paid?"
OPEN = Page("open.md", "Ferry guide", ("The ferry leaves at nine from pier three.",))


def secret(number: int) -> Page:
    text = f"The salary of quokkas is paid in March, says paper {number}."
    return Page(f"zebrafish-{number}.md", f"Zebrafish {number}", (text,), readers=("user:email:anna@example.com",))


async def asked(sessions: Sessions, text: str = ASKED, **about: object) -> Answer:
    embedder = WordEmbedder()
    model = FakeModel("", supported=False)
    answering = Answering(sessions, Searcher(sessions, embedder), model, Metrics(), max_chars=200, timeout=20)
    question = replace(Question(text, "mia", Audience.everyone(), "test", "c"), **about)  # type: ignore[arg-type]
    async for event in answering.ask(question):
        if isinstance(event, Done):
            return event.answer
    raise AssertionError("no answer")


@pytest.mark.parametrize("count", [1, 2, SEVERAL, SEVERAL + 3])
@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
async def test_only_how_many_is_said_and_of_many_not_even_that(sessions: Sessions, count: int, language: str) -> None:
    await shelve(sessions, WordEmbedder(), OPEN, *map(secret, range(count)))
    answer = await asked(sessions, language=language)
    key = "hidden_one" if count == 1 else "hidden_several" if count >= SEVERAL else "hidden_many"
    assert answer.outcome is Outcome.HIDDEN_BY_PERMISSIONS
    assert answer.text == f"{say('common.not_found', language)} {say(f'common.{key}', language, count=count)}"
    assert "zebrafish" not in json.dumps([item.external_id for item in answer.nearest]).casefold()


async def test_what_has_nothing_to_do_with_the_question_is_not_counted(sessions: Sessions) -> None:
    await shelve(sessions, WordEmbedder(), OPEN, secret(1))
    answer = await asked(sessions, "Who waters the bonsai upstairs?")
    assert answer.outcome is Outcome.NOT_IN_DOCUMENTS


@pytest.mark.parametrize(
    "about",
    [
        {"audience": Audience(frozenset({"channel:slack:T:C"}))},  # people from outside
        {"unprompted": True},
        {"text": f"{ASKED} title:zebrafish"},
        {"text": f"{ASKED} source:handbook"},
    ],
    ids=["outsiders", "unprompted", "title", "source"],
)
async def test_when_nothing_is_said(sessions: Sessions, about: dict[str, object]) -> None:
    await shelve(sessions, WordEmbedder(), OPEN, secret(1))
    answer = await asked(sessions, **about)  # type: ignore[arg-type]
    assert answer.outcome is Outcome.NOT_IN_DOCUMENTS
    assert "hidden" not in answer.text


async def test_what_the_asker_alone_may_read_is_not_hidden_from_them(sessions: Sessions) -> None:
    await shelve(sessions, WordEmbedder(), OPEN, secret(1))
    own = Audience(frozenset({"everyone", "user:email:anna@example.com"}))
    answer = await asked(sessions, asker_audience=own)
    assert answer.outcome is Outcome.NOT_IN_DOCUMENTS  # the model had both, and found no answer in either


class Unsure(FakeModel):
    """Answers from the first passage, and is not sure of it."""

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        yield Written(f"{brief.passages[0].text} [1]", confidence=0.3)


async def test_how_many_is_said_to_those_alone_from_whom_they_are_hidden(sessions: Sessions) -> None:
    """The answer is reused, and the number is not a part of it."""
    embedder = WordEmbedder()
    inside, outside = Audience.everyone(), Audience(frozenset({"guest:acme"}))
    of_anna = Audience(frozenset({"everyone", "user:email:anna@example.com"}))
    text = "The salary of quokkas is a matter of talks in spring and is paid later."
    shared = Page("shared.md", "Quokkas", (text,), readers=("everyone", "guest:acme"))
    await shelve(sessions, embedder, shared, secret(1))
    metrics = Metrics()
    cache = AnswerCache(sessions, embedder, load_settings(_env_file=None), metrics, model="fake-1", passages=PASSAGES)
    answering = Answering(
        sessions, Searcher(sessions, embedder), Unsure(), metrics, max_chars=200, timeout=20, aids=Aids(cache=cache)
    )  # fmt: skip
    said = say("common.hidden_one", "en", count=1)

    async def told(audience: Audience) -> bool:
        question = Question(ASKED, "mia", audience, "test", str(uuid.uuid4()), language="en")
        done = [event.answer async for event in answering.ask(question) if isinstance(event, Done)]
        assert done[0].outcome is Outcome.ANSWERED, done
        return said in done[0].text

    for audiences in ((inside, outside, inside), (of_anna, outside, inside)):
        assert [await told(audience) for audience in audiences] == [audience is inside for audience in audiences]
