"""What of an answer stands in a thread already, told by the metadata that each of its messages carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from bot.inbox import Inbox
from bot.slack.api import METADATA, Api
from bot.slack.errors import UNREADABLE, Refused
from bot.slack.events import Message

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Posted:
    """A message of ours. ``text`` is what it shows, ``answer_id`` empty while the answer is being written."""

    ts: str
    part: int
    answer_id: str
    draft: bool
    text: str
    edited: str = ""  # which edit of the question it answers


Match = Callable[[Mapping[str, Any]], bool]


async def parts_of(api: Api, message: Message, match: Match) -> dict[int, Posted]:
    """The messages whose metadata match, by their place in the answer. An app that may not read finds none."""
    found: dict[int, Posted] = {}
    try:
        async for posted in api.replies(message.channel, message.thread, _oldest(message)):
            payload = _payload(posted)
            if payload is not None and match(payload):
                part = int(payload.get("part", 0))
                found.setdefault(part, _posted(posted, payload))
    except Refused as error:
        _tell(message, error)
    return found


async def nameless(
    api: Api, message: Message, parts: Sequence[str], taken: set[tuple[str, str]], inbox: Inbox
) -> Posted | None:
    """A stream of ours that carries no metadata yet and that no other answer holds: begun, its id never learned.

    It is newer than the question, and than the ``parts`` of its answer that are known; and no other question in the
    thread, as the inbox remembers it, is what it answers.
    """
    after = max(float(ts) for ts in (message.ts, *parts))
    candidates: list[Posted] = []
    asked: list[str] = []
    try:
        async for posted in api.replies(message.channel, message.thread, message.thread):
            ts = str(posted["ts"])
            ours = posted.get("user") == message.bot if message.bot else bool(posted.get("bot_id"))
            if not ours:
                asked.append(ts)
            elif _payload(posted) is None and float(ts) > after and (message.channel, ts) not in taken:
                candidates.append(_posted(posted, {}))
    except Refused as error:
        _tell(message, error)
    for ts in asked if candidates else ():
        held = await inbox.reply_of(f"{message.team}:{message.channel}:{ts}") if ts != message.ts else None
        theirs = (held.sent or {}).get("parts") or () if held else ()
        candidates = [posted for posted in candidates if posted.ts not in theirs]
    # Asked once more: another question of the thread may have taken one while the inbox was asked.
    return next((posted for posted in candidates if (message.channel, posted.ts) not in taken), None)


def _oldest(message: Message) -> str:
    """Answers come after their question; those to an edited or repeated one may be older than the event."""
    return message.thread if message.kind == "regenerate" else message.ts


def _payload(posted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    metadata = posted.get("metadata") or {}
    payload = metadata.get("event_payload")
    return payload if metadata.get("event_type") == METADATA and isinstance(payload, dict) else None


def _posted(posted: Mapping[str, Any], payload: Mapping[str, Any]) -> Posted:
    return Posted(
        ts=str(posted["ts"]),
        part=int(payload.get("part", 0)),
        answer_id=str(payload.get("answer_id") or ""),
        draft=bool(payload.get("draft")),
        text=str(posted.get("text") or ""),
        edited=str(payload.get("edited") or ""),
    )


def _tell(message: Message, error: Refused) -> None:
    if error.code not in UNREADABLE and error.code not in ("thread_not_found", "message_not_found"):
        raise error
    log.warning("slack.cannot_look_up", channel=message.channel, code=error.code)
