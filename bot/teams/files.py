"""Files that people send in a personal chat: fetched from Microsoft's hosts only, read into the index on request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import structlog
from yarl import URL

from assistant.bodies import read_up_to
from assistant.commands.replies import UploadedFile
from assistant.services import Services
from assistant.strings import say
from bot.inbox import Claim
from bot.teams import cards, render
from bot.teams.commands import CommandDesk, caller
from bot.teams.events import File, Incoming
from bot.teams.outbox import Outbox
from bot.teams.port import Message

log = structlog.get_logger()

HOSTS = (".sharepoint.com", ".sharepoint.us", ".sharepoint.cn", ".svc.ms", ".1drv.com")
TIMEOUT = aiohttp.ClientTimeout(total=120.0, sock_connect=10.0)
REQUEST = re.compile(
    r"^/?(?:ingest|add|read|learn|index|import|aufnehmen|hinzufügen|lies|lesen|ajoute[rz]?|lis|lire|agrega[r]?|lee[r]?)\b"
    r"[^?]{0,80}$",
    re.IGNORECASE,
)


class NotFetched(Exception):
    """Why a file was not fetched: a key of the texts, with its values."""

    def __init__(self, key: str, **values: str) -> None:
        super().__init__(key)
        self.key = key
        self.values = values


class FileDesk:
    """``may_call`` is the door's rule for hosts that the settings name."""

    def __init__(
        self, services: Services, session: aiohttp.ClientSession, may_call: Callable[[str], bool], desk: CommandDesk
    ) -> None:
        self._services = services
        self._session = session
        self._may_call = may_call
        self._desk = desk
        self._limit = int(services.settings.file_max_mb * 1024 * 1024)

    @staticmethod
    def wanted(text: str) -> bool:
        """Whether the words beside a file ask for it to be read in, and ask nothing else."""
        return bool(REQUEST.match(text.strip()))

    async def receive(self, incoming: Incoming, box: Outbox, claim: Claim) -> None:
        """A message of files: read in at once where that was asked for, offered otherwise."""
        language = box.language
        if not incoming.personal:
            await box.say(Message(say("teams.files_group", language)))
        elif incoming.text:
            await self.take(incoming, box, claim)
        else:
            await box.say(offer(incoming.files, language))

    async def take(self, incoming: Incoming, box: Outbox, claim: Claim) -> None:
        """Fetch each file and hand it to the worker; then say how that stands, and how it ended."""
        language = box.language
        files = incoming.files or _listed(incoming.data.get("files", ""))
        if not files:
            await box.say(Message(say("teams.expired", language)))
            return
        kept: dict[str, Any] = box.ledger.section("files")
        lines: list[str] = []
        for file in files:
            await claim.check()
            if file.id not in kept:
                kept[file.id] = await self._add(file, incoming, language)
                await box.ledger.save()
            lines.append(str(kept[file.id]["text"]))
        await self._say(box, lines)
        for at, file in enumerate(files):
            if run_id := kept[file.id].get("run"):

                async def show(line: str, at: int = at) -> None:
                    lines[at] = line
                    await self._say(box, lines)

                with claim.rest():
                    await self._desk.follow(run_id, box, show)

    @staticmethod
    async def _say(box: Outbox, lines: Sequence[str]) -> None:
        box.reopen()
        await box.all([render.plain_message("\n\n".join(lines))])

    async def _add(self, file: File, incoming: Incoming, language: str) -> dict[str, str]:
        try:
            content = await self._fetch(file)
        except NotFetched as error:
            log.info("teams.file_not_fetched", reason=error.key)
            return {"text": say(error.key, language, name=render.plain(file.name), **error.values)}
        uploaded = UploadedFile(file.name, content, file.id, file.link or None)
        reply = await self._services.commands.upload(uploaded, caller(incoming, self._services, language))
        text = reply.text or say("teams.files_taken", language, names=render.plain(file.name))
        return {"text": text, **({"run": str(reply.run_id)} if reply.run_id else {})}

    def _may_fetch(self, url: str) -> bool:
        try:
            target = URL(url)
        except ValueError:
            return False
        host = (target.host or "").lower()
        known = target.scheme == "https" and host.endswith(HOSTS) and not self._services.settings.teams_anonymous
        return known or self._may_call(url)

    async def _fetch(self, file: File) -> bytes:
        """The bytes; no token goes with the request (the address carries its own), and no redirect leads elsewhere."""
        if not self._may_fetch(file.url):
            raise NotFetched("teams.files_host", host=_host(file.url))
        try:
            async with self._session.get(file.url, timeout=TIMEOUT, allow_redirects=False) as response:
                if response.status != 200:
                    raise NotFetched("teams.files_unreachable")
                found = await read_up_to(response.content, self._limit + 1)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotFetched("teams.files_unreachable") from error
        if len(found) > self._limit:
            raise NotFetched("teams.files_too_large", limit=f"{self._services.settings.file_max_mb:g}")
        return found


def offer(files: Sequence[File], language: str) -> Message:
    """A card that asks whether the files are to be read in. Their addresses live a few minutes, and travel with it."""
    names = ", ".join(render.plain(file.name) for file in files)
    listed = json.dumps([[file.name, file.url, file.id, file.link] for file in files])
    yes = cards.Button(say("teams.files_add", language), "files", (("files", listed),), "positive")
    no = cards.Button(say("teams.files_no", language), "cancel")
    question = say("teams.files_offer", language, names=names)
    return Message(question, card=cards.note(question, (yes, no)))


def _listed(said: str) -> tuple[File, ...]:
    try:
        return tuple(File(*map(str, entry)) for entry in json.loads(said))
    except (ValueError, TypeError):
        return ()


def _host(url: str) -> str:
    try:
        return render.plain(URL(url).host or "?")
    except ValueError:
        return "?"
