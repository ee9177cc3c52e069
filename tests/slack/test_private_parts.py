"""A private answer of several messages: one that Slack does not take is sent again, and those before it are not."""

from __future__ import annotations

from typing import Any

import pytest

from assistant.database.session import Sessions
from bot.inbox import TryLater
from bot.slack.errors import Unreachable
from tests.slack.conftest import StartBot
from tests.slack.double import SlackDouble, send_form, shown
from tests.slack.test_delivery import LONG
from tests.slack.world import QUESTION, FakeModel, settled


@pytest.mark.parametrize(
    "error", [Unreachable("HTTP 503"), TryLater(0.1, "Slack limits the rate")], ids=["down", "limit"]
)
async def test_what_one_person_was_shown_is_not_shown_again(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async with start_bot(FakeModel(LONG)) as bot:
        calls, respond = 0, bot.place.api.respond

        async def flaky(url: str, body: dict[str, Any]) -> bool:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise error
            return await respond(url, body)

        monkeypatch.setattr(bot.place.api, "respond", flaky)
        await send_form(bot.url, slack.types(f"ask {QUESTION}"))
        await settled(sessions)
    texts = [shown(message) for message in slack.ephemerals]
    assert len(texts) >= 4
    assert len(texts) == len(set(texts))
    whole = "\n".join(texts)
    for line in [*(f"step_{n} = " for n in range(250)), *(f"| row-{n} |" for n in range(300)), "Paragraph 70 "]:
        assert whole.count(line) == LONG.count(line), line
