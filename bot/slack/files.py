"""Files that people share: fetched from Slack alone, and read into the index for whoever can read the conversation."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog

from assistant.bodies import read_up_to
from assistant.commands import Caller, Reply, UploadedFile
from assistant.database.inbox import Event
from assistant.strings import catalogue, say
from bot.inbox import Claim
from bot.slack.api import Api
from bot.slack.commands import caller_of
from bot.slack.errors import Refused, Unreachable
from bot.slack.events import Message
from bot.slack.lookup import parts_of
from bot.slack.render import plain_part
from bot.slack.workplace import Workplace

log = structlog.get_logger()

DOWNLOAD_SECONDS = 120.0
UPDATE_SECONDS = 3.0
_HOSTS = ("slack.com", "slack-files.com", "slack-edge.com", "slack-gov.com")


class NotFetched(Exception):
    """The sentence says why, in the reader's language."""


def wants_adding(text: str) -> bool:
    """Whether a message that carries files asks for them to be added, in any of our languages."""
    words = text.casefold().strip(" .!").replace("’", "'")
    return any(words.startswith(phrase) for texts in catalogue("slack").values() for phrase in _phrases(texts))


def _phrases(texts: Mapping[str, str]) -> Sequence[str]:
    return [phrase.strip() for phrase in texts["add_phrases"].split("|")]


async def add_files(place: Workplace, event: Event, claim: Claim) -> dict[str, Any]:
    """A job: fetch what was shared, hand it to the workers, and tell the conversation how it goes and ends."""
    message = Message.from_payload(event.payload)
    caller = await caller_of(place, message, event.payload.get("place_name", ""))
    remembered = dict(event.reply or {})
    lines: list[str] = list(remembered.get("lines") or ())
    runs: list[str] = list(remembered.get("runs") or ())
    teller = _Teller(place, message, event, claim, remembered.get("ts"))
    await teller.find()
    if not remembered.get("fetched"):
        await teller.tell(say("slack.file_adding", caller.language, names=", ".join(name for _, name in message.files)))
        for file_id, name in message.files:
            reply = await _add(place, file_id, name, caller)
            lines.append(reply.text)
            runs.append(str(reply.run_id) if reply.run_id else "")
        await claim.remember({"ts": teller.ts, "lines": lines, "runs": runs, "fetched": True})
    with claim.rest():
        await _follow_all(place, teller, lines, runs, caller.language)
    return {"channel": message.channel, "parts": [teller.ts]}


async def _add(place: Workplace, file_id: str, name: str, caller: Caller) -> Reply:
    try:
        file = await _fetched(place, file_id, name, caller.language)
    except NotFetched as error:
        return Reply(str(error), failed=True)
    return await place.services.commands.upload(file, caller)


async def _fetched(place: Workplace, file_id: str, name: str, language: str) -> UploadedFile:
    try:
        known = await place.api.file(file_id)
    except Refused as error:
        if error.code == "missing_scope":
            raise NotFetched(say("slack.missing_scope", language, scope=error.needed or "files:read")) from None
        raise NotFetched(say("slack.file_not_fetched", language, name=name, code=error.code)) from None
    name = str(known.get("name") or name)
    limit = place.services.settings.file_max_mb
    if int(known.get("size") or 0) > limit * 2**20:
        size = f"{int(known['size']) / 2**20:.1f}"
        raise NotFetched(say("slack.file_too_large", language, name=name, size=size, limit=f"{limit:g}"))
    url = str(known.get("url_private_download") or known.get("url_private") or "")
    if not at_slack(url, place.services.settings.slack_api_base_url):
        raise NotFetched(say("slack.file_elsewhere", language, name=name))
    token = place.services.settings.slack_bot_token
    content = await download(place.api, url, token.get_secret_value() if token else "", int(limit * 2**20))
    if content is None:
        raise NotFetched(say("slack.missing_scope", language, scope="files:read"))
    if len(content) > limit * 2**20:
        size = f"{len(content) / 2**20:.1f}"
        raise NotFetched(say("slack.file_too_large", language, name=name, size=size, limit=f"{limit:g}"))
    link = str(known.get("permalink") or "") or None
    return UploadedFile(name, content, file_id, link if link and at_slack(link, "") else None)


def at_slack(url: str, api_base_url: str) -> bool:
    """Whether the bot's token may be sent to this address: Slack's own hosts, or the one that stands in for Slack."""
    parts, base = urlsplit(url), urlsplit(api_base_url)
    host = parts.hostname or ""
    if parts.scheme == "https" and any(host == name or host.endswith("." + name) for name in _HOSTS):
        return parts.port in (None, 443) and parts.username is None
    stand_in = (base.hostname or "") not in ("", "slack.com")
    return stand_in and (parts.scheme, parts.netloc) == (base.scheme, base.netloc)


async def download(api: Api, url: str, token: str, limit: int) -> bytes | None:
    """The file, cut just after ``limit``; None where Slack shows its sign-in page instead, for lack of a scope."""
    headers = {"Authorization": f"Bearer {token}"}
    timeout = aiohttp.ClientTimeout(total=DOWNLOAD_SECONDS)
    try:
        async with api.http.get(url, headers=headers, allow_redirects=False, timeout=timeout) as response:
            if response.status in (301, 302, 303, 307, 308, 401, 403):
                return None
            if response.status != 200:
                raise Unreachable(f"HTTP {response.status}")
            return await read_up_to(response.content, limit + 1)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unreachable(type(error).__name__) from None


class _Teller:
    """One message in the thread that says how it stands, and at last how it ended."""

    def __init__(self, place: Workplace, message: Message, event: Event, claim: Claim, ts: str | None) -> None:
        self.ts = ts or ""
        self._place = place
        self._message = message
        self._event = event
        self._claim = claim

    async def find(self) -> None:
        if self._event.attempts > 1 and not self.ts:
            match = await parts_of(
                self._place.api, self._message, lambda it: it.get("event_id") == self._event.event_id
            )
            self.ts = match[0].ts if 0 in match else ""

    async def tell(self, text: str) -> None:
        message = self._message
        meta = {"event_id": self._event.event_id, "part": 0, "asked": message.ts}
        if self.ts:
            await self._place.api.update(message.channel, self.ts, plain_part(text), meta, self._claim.check)
            return
        thread = message.thread or None
        self.ts = await self._place.api.post(message.channel, thread, plain_part(text), meta, self._claim.check)
        await self._claim.remember({"ts": self.ts})


async def _follow_all(place: Workplace, teller: _Teller, lines: list[str], runs: list[str], language: str) -> None:
    """Update the message while the workers read, and say the end of each file."""
    shown = list(lines)

    async def follow(number: int, run_id: uuid.UUID) -> None:
        async for state in place.services.commands.follow(run_id, language):
            shown[number] = f"{lines[number]} {state.text}"

    tasks = [
        asyncio.create_task(follow(number, uuid.UUID(run)), name="slack-follow")
        for number, run in enumerate(runs)
        if run
    ]
    try:
        told = ""
        pending = set(tasks)
        while True:
            text = "\n".join(f"- {line}" for line in shown) if len(shown) > 1 else "".join(shown)
            if text != told:
                await teller.tell(text)
                told = text
            if not pending:
                return
            _, pending = await asyncio.wait(pending, timeout=UPDATE_SECONDS)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
