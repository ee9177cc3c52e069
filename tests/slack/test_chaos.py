"""Everything at once, by seed: events delivered again, late and out of order, calls that fail, processes killed.

Whatever happens, each question ends in exactly one visible answer, whole, and each deleted one in none.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest
from sqlalchemy import select

from assistant.database.session import Sessions
from assistant.database.tables import Answer
from bot.slack.clean import harmless
from bot.slack.pages import pages
from tests.slack.child import STEPS, STREAM_STEPS
from tests.slack.double import BEN, BOT, CHANNEL, Fault, SlackDouble, send_event, shown
from tests.slack.test_crashes import Start, forks, start
from tests.slack.world import QUESTION, settled

__all__ = ["forks", "start"]

FAULTS = [
    Fault(drop=True), Fault(drop=True, effect_first=True), Fault(status=503, body="<html>"),
    Fault(status=502, effect_first=True), Fault(status=429, retry_after="0.1"), Fault(error="internal_error"),
]  # fmt: skip
METHODS = ["chat.postMessage", "chat.startStream", "chat.appendStream", "chat.stopStream", "chat.update",
           "conversations.replies", "users.info"]  # fmt: skip
LIVES = 4  # processes, one after the other; all but the last are killed


class Storm:
    """A seeded run. ``open``: events that Slack has not had acknowledged, with how often each was delivered."""

    def __init__(self, slack: SlackDouble, seed: int) -> None:
        self.slack = slack
        self.chance = random.Random(seed)
        self.open: list[tuple[dict[str, object], int]] = []
        self.questions: dict[str, str] = {}  # the ts of each question -> what is asked
        self.gone: set[str] = set()
        self._events: dict[str, dict[str, object]] = {}

    def write(self) -> None:
        """People ask, in new threads and in old ones, edit and delete."""
        kind = self.chance.choice(["ask", "ask", "direct", "thread", "edit", "delete"])
        text = f"{QUESTION} ({self.chance.randrange(10**6)})"
        if kind == "direct":
            event = self.slack.direct(text)
        elif kind == "thread" and (roots := self._roots()):
            event = self.slack.mention(text, BEN, thread_ts=self.chance.choice(roots))
        elif kind in ("edit", "delete") and self._alive():
            self._take_back(kind, text)
            return
        else:
            event = self.slack.mention(text)
        self.questions[event["event"]["ts"]] = text
        self._events[event["event"]["ts"]] = event
        self._send(event)
        if self.chance.random() < 0.3:  # a mention comes as a message, too
            twin = {**event, "event_id": f"{event['event_id']}T", "event": {**event["event"], "type": "message"}}
            self._send(twin)

    def _roots(self) -> list[str]:
        """Questions that began a thread in the channel."""
        asked = {ts: self._events[ts]["event"] for ts in self.questions if ts not in self.gone}
        return [ts for ts, event in asked.items() if event["channel"] == CHANNEL and "thread_ts" not in event]

    def _alive(self) -> list[str]:
        """Questions to take back: none below which somebody else asks."""
        everything = [message for channel in self.slack.channels.values() for message in channel.messages]
        asked_below = {message.get("thread_ts") for message in everything if "bot_id" not in message}
        return [ts for ts in self.questions if ts not in self.gone and ts not in asked_below]

    def _take_back(self, kind: str, text: str) -> None:
        ts = self.chance.choice(self._alive())
        if kind == "edit":
            event = self.slack.edits(self._events[ts], f"<@{BOT}> {text}")
            self.questions[ts] = text
        else:
            event = self.slack.deletes(self._events[ts])
            self.gone.add(ts)
        self._send(event)

    def _send(self, event: dict[str, object]) -> None:
        self.open.append((event, 0))

    def fail_some_calls(self) -> None:
        for _ in range(self.chance.randint(0, 3)):
            fault = self.chance.choice(FAULTS)
            self.slack.faults[self.chance.choice(METHODS)].append(Fault(**vars(fault)))

    async def deliver(self, url: str, last: bool) -> None:
        """Deliver what is open, out of order; what was acknowledged comes again now and then."""
        waiting, self.open = self.open, []
        if not last:
            self.chance.shuffle(waiting)
        for event, times in waiting:
            acknowledged = await send_event(url, event, times) == 200
            if not acknowledged or (times < 2 and self.chance.random() < 0.4):
                self.open.append((event, times + 1))
            await asyncio.sleep(self.chance.random() * 0.05)


@pytest.mark.parametrize("seed", range(4))
async def test_each_question_has_exactly_one_whole_answer_at_the_end(
    sessions: Sessions, slack: SlackDouble, start: Start, seed: int
) -> None:
    storm = Storm(slack, seed)
    steps = [*STEPS, *STREAM_STEPS, None]
    for life in range(LIVES):
        last = life == LIVES - 1
        die = None if last else storm.chance.choice(steps)
        async with start(die=die, streams=storm.chance.random() < 0.7) as process:
            for _ in range(3):
                storm.write()
            if not last:
                storm.fail_some_calls()
            await storm.deliver(process.url, last)
            if last:
                while storm.open:
                    await storm.deliver(process.url, last)
                await settled(sessions, 60)
            else:
                await asyncio.sleep(storm.chance.random())
    await assert_each_answered_once(slack, sessions, storm)


def trace(slack: SlackDouble, ts: str) -> str:
    """What was done with a message, for the one who has to find out why it is left."""
    message = next(m for channel in slack.channels.values() for m in channel.messages if m["ts"] == ts)
    thread = message["thread_ts"]
    lines = [f"{ts} in {thread}"]
    for name, call in slack.calls:
        if thread in (call.get("thread_ts"), call.get("ts")) or ts == call.get("ts"):
            keys = ("ts", "thread_ts", "oldest", "metadata")
            lines.append(f"{name} { {key: call[key] for key in keys if call.get(key)} }")
    return "\n".join(lines)


async def assert_each_answered_once(slack: SlackDouble, sessions: Sessions, storm: Storm) -> None:
    assert slack.open_streams() == [], trace(slack, slack.open_streams()[0][1])
    by_question: dict[str, list[dict[str, object]]] = {}
    for message in slack.visible:
        by_question.setdefault(message["metadata"]["event_payload"]["asked"], []).append(message)
    alive = set(storm.questions) - storm.gone
    assert set(by_question) == alive
    async with sessions() as session:
        rows = {str(row.id): row for row in (await session.execute(select(Answer))).scalars()}
    for ts, messages in by_question.items():
        ids = {message["metadata"]["event_payload"]["answer_id"] for message in messages}  # type: ignore[index]
        assert len(ids) == 1, "parts of two answers"
        answer = rows[ids.pop()]
        assert answer.withdrawn_at is None
        assert answer.question == storm.questions[ts]
        made, whole = [shown(message) for message in messages], pages(harmless(answer.text))
        assert made == whole, "\n".join(trace(slack, str(message["ts"])) for message in messages)
        kinds = Counter(block["type"] for message in messages for block in message["blocks"])  # type: ignore[union-attr]
        assert kinds["context_actions"] == 1
