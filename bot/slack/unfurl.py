"""Links to known documents unfold into a summary, where everybody who sees the link may read the document."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from assistant.database import passages
from assistant.database.inbox import Event
from assistant.database.passages import Summary
from assistant.strings import say
from bot.inbox import Claim
from bot.slack import blocks
from bot.slack.clean import escape, harmless
from bot.slack.errors import Refused
from bot.slack.events import Message, channel_audience
from bot.slack.render import plain_part
from bot.slack.sources import age, day_of, mrkdwn_link, shortened
from bot.slack.workplace import Workplace

log = structlog.get_logger()

LINKS = 5
SUMMARY_CHARS = 400


def unfurl_payload(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """A ``link_shared`` event as stored in the inbox; None where it names no link or no message.

    One for the composer does not say where the message will go, and a preview given there stays with the message,
    also in a channel with other companies. Slack sends another when the message is posted.
    """
    event = body.get("event") or {}
    if event.get("source") == "composer":
        return None
    links = [str(link["url"]) for link in event.get("links") or () if isinstance(link, dict) and link.get("url")]
    by_id = bool(event.get("unfurl_id") and event.get("source"))
    if not links or not (by_id or (event.get("channel") and event.get("message_ts"))):
        return None
    keys = ("unfurl_id", "source") if by_id else ()
    where = {key: str(event[key]) for key in keys} or {
        "channel": str(event["channel"]), "ts": str(event["message_ts"]),
    }  # fmt: skip
    return {
        "kind": "unfurl",
        "team": str(body.get("team_id") or ""),
        "channel": str(event.get("channel") or ""),
        "user": str(event.get("user") or ""),
        "outsiders": bool(body.get("is_ext_shared_channel")),
        "links": links[:LINKS],
        "where": where,
    }


async def unfurl(place: Workplace, event: Event, claim: Claim) -> dict[str, Any]:
    """A job: a summary for each link to a document that the channel may read."""
    payload = event.payload
    audience = channel_audience(payload["team"], payload["channel"], payload["outsiders"])
    language = await place.language(_of(payload))
    found: dict[str, Any] = {}
    for url in payload["links"]:
        async with place.services.reading() as session:
            summary = await passages.summary_of(session, url.replace("&amp;", "&"), audience)
        if summary is not None:
            found[url] = {"blocks": summary_blocks(summary, language)}
    if found:
        await claim.check()
        try:
            await place.api.unfurl(payload["where"], found)
        except Refused as error:  # a preview that cannot be shown leaves the link as it is
            log.warning("slack.not_unfurled", code=error.code, scope=error.needed)
            if error.code == "missing_scope" and payload["user"]:
                await _tell(place, payload, say("slack.missing_scope", language, scope=error.needed or "links:write"))
    return {"unfurled": len(found)}


async def _tell(place: Workplace, payload: Mapping[str, Any], text: str) -> None:
    try:
        await place.api.whisper(payload["channel"], payload["user"], None, plain_part(text))
    except Refused as error:
        log.info("slack.not_whispered", code=error.code)


def summary_blocks(summary: Summary, language: str) -> list[dict[str, Any]]:
    title = mrkdwn_link(shortened(summary.title, 200), summary.url)
    text = escape(harmless(shortened(summary.text, SUMMARY_CHARS)))
    details = [escape(harmless(summary.owner or ""))]
    if day := day_of(summary.updated):
        details.append(say("slack.updated", language, age=age(day, language, datetime.now(UTC).date())))
    shown = [blocks.section(f"*{title}*\n{text}")]
    line = " · ".join(detail for detail in details if detail)
    return [*shown, blocks.context(line)] if line else shown


def _of(payload: Mapping[str, Any]) -> Message:
    return Message(payload["team"], payload["channel"], payload["user"], "", "", "", False, payload["outsiders"])
