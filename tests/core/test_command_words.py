"""Commands as keyboards and chats write them: over several lines, with odd blanks and digits, with numbers past all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from assistant.database.session import Sessions
from assistant.strings import say
from tests.core.test_commands import Desk


@pytest.fixture
async def desk(database_url: str, sessions: Sessions) -> AsyncIterator[Desk]:
    desk = Desk(database_url, sessions)
    yield desk
    await desk.services.engine.dispose()


@pytest.mark.parametrize(
    ("typed", "question"),
    [
        ("ask\nHow do I roll back?\nAnd who may?", "How do I roll back?\nAnd who may?"),
        ("/ask\n\nHow?", "How?"),
        ("ask\u00a0How?", "How?"),
        (" Ask \t How? ", "How?"),
    ],
)
async def test_a_question_may_begin_on_the_next_line(desk: Desk, typed: str, question: str) -> None:
    assert desk.services.commands.is_command("/" + typed.strip().removeprefix("/"))
    assert (await desk.say(typed)).ask == question


@pytest.mark.parametrize("typed", ["", "/", " \n"])
async def test_no_words_ask_for_help(desk: Desk, typed: str) -> None:
    assert (await desk.say(typed)).text == (await desk.say("help")).text


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("forget #99999999999999999999999999", say("commands.no_document", words="#99999999999999999999999999")),
        ("forget #²", say("commands.no_document", words="#²")),
        ("sources sync ²", say("commands.no_source", number="²")),
        ("sources remove 99999999999999999999999999", say("commands.no_source", number="99999999999999999999999999")),
        ("sources add website https://x.example/ every=²", say("commands.bad_every", every="²")),
        ("sources add website https://x.example/ every=" + "9" * 5_000, say("commands.bad_every", every="9" * 20)),
        ("finetune minutes=²", say("finetuning.usage", word="minutes=²")),
    ],
)
async def test_numbers_that_are_none_or_too_large_are_told_by_their_name(desk: Desk, typed: str, said: str) -> None:
    reply = await desk.say(typed)
    assert reply.failed
    assert reply.text == said
