"""Who reads what in Teams: shared channels, which other companies may read, and sources as they are now."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.database import documents
from assistant.database.session import Sessions
from assistant.database.tables import Document, Source
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.strings import say
from bot.teams import events
from tests.teams.double import TENANT, TeamsDouble
from tests.teams.parts import (
    QUESTION,
    Bot,
    ScriptedModel,
    add,
    buttons,
    changed,
    fill,
    make_services,
    make_settings,
    mention,
    message,
    press,
    running_bot,
)

PARTNERS = "19:with-partners@thread.tacv2"
SHARED = {"tenant": {"id": TENANT}, "channel": {"id": PARTNERS, "type": "shared"}}
ROLLED_BACK = "may be rolled back by the on-call engineer"
SALARY = "What is the salary band of a staff engineer, which is reviewed in March?"


@pytest.fixture
async def own(
    double: TeamsDouble, engine: AsyncEngine, sessions: Sessions, embedder: TransformerEmbedder
) -> AsyncIterator[Bot]:
    """A bot over an index of its own, which the test may change."""
    await fill(sessions, embedder)
    services = make_services(make_settings(double), engine, embedder, ScriptedModel())
    async with running_bot(services, double) as bot:
        yield bot


def in_shared(double: TeamsDouble, text: str) -> dict[str, Any]:
    return {**mention(double, text, PARTNERS), "channelData": SHARED}


async def forget(sessions: Sessions, title: str) -> None:
    async with sessions.begin() as session:
        found = (await session.execute(select(Document.id).where(Document.title == title))).scalars()
        await documents.remove(session, list(found))


async def test_in_a_shared_channel_nothing_is_said_that_is_for_our_own_people(bot: Bot, double: TeamsDouble) -> None:
    await bot.deliver(in_shared(double, QUESTION))
    await bot.settled()
    await bot.deliver(in_shared(double, SALARY))
    await bot.settled(2)
    first, _ = await bot.answers()
    assert first.outcome == "not_in_documents"
    assert first.audience == [f"channel:teams:{PARTNERS}"]
    assert ROLLED_BACK not in json.dumps(double.messages(PARTNERS))
    assert any(text.endswith(say("outsiders.channel")) for text in double.texts(PARTNERS))


async def test_neither_a_button_nor_an_edit_forgets_who_reads_the_channel(bot: Bot, double: TeamsDouble) -> None:
    """Presses and changes need not say what kind of channel they come from."""
    asked = in_shared(double, QUESTION)
    await bot.deliver(asked)
    await bot.settled()
    again = buttons(*double.cards(PARTNERS))["regenerate"]["data"]
    await bot.deliver(press(double, "regenerate", PARTNERS, **again))
    await bot.settled(2)
    edited = changed({**asked, "channelData": {"tenant": {"id": TENANT}}}, f"{QUESTION} Quickly!")
    await bot.deliver(edited)
    await bot.settled(3)
    answers = await bot.answers()
    assert len(answers) == 3
    assert {answer.outcome for answer in answers} == {"not_in_documents"}
    assert not any("everyone" in answer.audience for answer in answers)


async def test_what_was_shared_with_a_shared_channel_is_answered_there(
    own: Bot, double: TeamsDouble, sessions: Sessions, embedder: TransformerEmbedder
) -> None:
    given = ("Joint runbook", "https://wiki.example.com/joint", f"channel:teams:{PARTNERS}",
             "A deployment of the joint ledger service may be rolled back by the partner on duty.")  # fmt: skip
    await add(sessions, embedder, [given])
    await own.deliver(in_shared(double, "Who may roll back a deployment of the joint ledger service?"))
    await own.settled()
    [answer] = await own.answers()
    assert answer.outcome == "answered"
    assert [item["title"] for item in answer.citations] == ["Joint runbook"]


async def test_the_button_for_sources_shows_none_that_were_removed_since(
    own: Bot, double: TeamsDouble, sessions: Sessions
) -> None:
    await own.deliver(message(double))
    await own.settled()
    data = buttons(*double.cards(message(double)["conversation"]["id"]))["sources"]["data"]
    _, before = await own.deliver(press(double, "sources", **data))
    assert ROLLED_BACK in before
    await forget(sessions, "Ledger runbook")
    status, after = await own.deliver(press(double, "sources", **data))
    assert status == 200
    assert ROLLED_BACK not in after
    assert say("slack.sources_gone") in after


async def test_the_settings_of_a_channel_name_the_sources_that_it_may_read_from_and_no_others(
    own: Bot, double: TeamsDouble, sessions: Sessions
) -> None:
    async with sessions.begin() as session:
        session.add(Source(kind="page", location="https://hr.example.com/layoffs", name="hr.example.com/layoffs"))
    await own.deliver(message(double, "/settings"))
    await own.settled()
    [card] = double.cards(message(double)["conversation"]["id"])
    assert "handbook" in json.dumps(card)
    assert "layoffs" not in json.dumps(card)


async def test_ten_files_with_long_addresses_are_all_read_after_a_press(double: TeamsDouble) -> None:
    """An address at SharePoint carries its own key, of a thousand characters and more."""
    listed = json.dumps(
        [[f"{n}.md", f"https://x.sharepoint.com/{n}?tempauth={'k' * 1_800}", str(n), ""] for n in range(10)]
    )
    pressed = events.action(press(double, "files", files=listed))
    assert pressed is not None
    assert json.loads(pressed.data["files"]) == json.loads(listed)


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("<at>Almanac</at> how?", "how?"),
        ('<at id="0">Mia <b>Lee</b></at> and <AT>Ben</AT>: why?', "Mia <b>Lee</b> and Ben: why?"),
        ("<at>" * 200_000, "<at>" * 200_000),
        ("<at " * 200_000, ("<at " * 200_000).strip()),
    ],
    ids=["bot", "people", "open", "half"],
)
def test_mentions_are_read_in_a_time_that_grows_with_the_text_alone(
    double: TeamsDouble, text: str, question: str
) -> None:
    body = mention(double, "", PARTNERS) | {"text": text}
    found = events.message(body)
    assert found is not None
    assert found.text == question
