"""A private answer of several messages: one that Slack does not take is sent again, and those before it are not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assistant.database.session import Sessions
from bot.inbox import TryLater
from bot.slack.errors import Unreachable
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, SlackDouble, send_click, send_event, send_form, shown
from tests.slack.test_delivery import LONG
from tests.slack.test_permissions import ASKED, restricted
from tests.slack.world import QUESTION, FakeModel, settled

REPEATS = 700


class LongReview(FakeModel):
    """Answers from the review alone, in several messages."""

    async def write(self, brief):  # type: ignore[no-untyped-def,override]
        number = next((n for n, hit in enumerate(brief.passages, 1) if hit.title == "Bonus review"), None)
        lines = [f"Bonus {n} is paid in March [{number}]." for n in range(REPEATS)]
        self.text = "\n\n".join(lines) if number else "NOT_IN_DOCUMENTS"
        async for piece in super().write(brief):
            yield piece


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


async def test_what_is_shared_is_shared_whole_though_a_part_of_it_was_not_taken_at_first(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await restricted(sessions)
    async with start_bot(LongReview()) as bot:
        await send_event(bot.url, slack.mention(ASKED))
        await settled(sessions)
        whisper = slack.ephemerals[-1]
        calls, post = 0, bot.place.api.post

        async def flaky(*arguments: Any, **more: Any) -> str:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise Unreachable("HTTP 503")
            return await post(*arguments, **more)

        monkeypatch.setattr(bot.place.api, "post", flaky)
        assert await send_click(bot.url, slack.press(whisper, "answer_share", ANNA)) == 200
        await settled(sessions)
    assert "shares" in json.dumps(slack.visible[0])
    whole = "\n".join(map(shown, slack.visible[1:]))
    for number in range(REPEATS):
        assert whole.count(f"Bonus {number} is paid in March") == 1, number
