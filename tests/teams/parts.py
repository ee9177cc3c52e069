"""What the tests of this folder build from: a small index, models that behave, a bot on a real socket, activities."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.answering.answer import Answering
from assistant.database import documents
from assistant.database.documents import PreparedDocument
from assistant.database.folders import folder_source
from assistant.database.session import Sessions, create_sessions
from assistant.database.tables import Answer, Inbox
from assistant.knowledge.documents import Chunk, ParsedDocument, SourceItem
from assistant.knowledge.embedding import Embedder, Vectors
from assistant.knowledge.lexical import frequencies
from assistant.knowledge.search import Searcher
from assistant.models.port import Brief, Model, Written
from assistant.services import Services
from assistant.settings import Settings
from assistant.telemetry import Metrics
from bot.teams import add_teams, paced
from bot.teams.live import Tempo
from tests.teams.double import APP_ID, BOT, SECRET, TENANT, TeamsDouble

SECOND = 0.1  # how long a second of Teams lasts in tests
TEMPO = Tempo(**{name: value * SECOND for name, value in asdict(Tempo()).items()})
BUDGETS = {name: tuple((n, s * SECOND) for n, s in windows) for name, windows in paced.BUDGETS.items()}
NPM_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "almanac-playground"
USER = "29:user-1"
AAD = "aad-of-user-1"
CHAT = "a:personal-chat-1"
QUESTION = "Who may roll back a deployment of the ledger service?"
DOCUMENTS = (
    ("Ledger runbook", "https://wiki.example.com/ledger?a=(1)", "everyone",
     "A deployment of the ledger service may be rolled back by the on-call engineer. Write to #ledger afterwards."),
    ("Lunch", "file:///srv/handbook/office%20life/lunch.md", "everyone",
     "Lunch in the canteen is served from noon until two o'clock. <at>Everyone</at> ![x](https://evil.example/p.png)"),
    ("Salaries", "https://wiki.example.com/pay", f"user:teams:{AAD}",
     "The salary band of a staff engineer is secret and is reviewed in March."),
)  # fmt: skip


def npm_install(package: str, version: str) -> None:
    """Install a tool of Microsoft once a machine, outside the project; skips the test where that cannot be."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip(f"{package} needs npm and node, which are not here")
    if (NPM_CACHE / "node_modules" / package / "package.json").exists():
        return
    NPM_CACHE.mkdir(parents=True, exist_ok=True)
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"{package}@{version}"]
    with contextlib.suppress(subprocess.SubprocessError):
        subprocess.run(
            install, cwd=NPM_CACHE, timeout=120, check=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    if not (NPM_CACHE / "node_modules" / package / "package.json").exists():
        pytest.skip(f"npm could not install {package}")


class WordEmbedder:
    """Vectors of hashed words: similar where words are shared. For processes that must start quickly."""

    name = "words"
    dimensions = 384

    async def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for term, count in frequencies(text, "").items():
                row[int(hashlib.sha256(str(term).encode()).hexdigest(), 16) % self.dimensions] += count
            row /= np.linalg.norm(row) or 1.0
        return vectors

    async def embed_query(self, text: str) -> Vectors:
        vector: Vectors = (await self.embed([text]))[0]
        return vector

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def close(self) -> None:
        """Nothing to close."""


class ScriptedModel:
    """Writes what it was given, word by word; ``{first}`` stands for the first passage."""

    name = "scripted"

    def __init__(self, text: str = "{first} [1]") -> None:
        self.text = text
        self.asked = 0

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        self.asked += 1
        text = self.text.replace("{first}", brief.passages[0].text)
        yield text
        yield Written(text)

    async def close(self) -> None:
        """Nothing to close."""


class SlowModel(ScriptedModel):
    """Writes a word at a time, and takes ``pause`` seconds for each."""

    def __init__(self, text: str = "{first} [1]", pause: float = 0.02) -> None:
        super().__init__(text)
        self.pause = pause
        self.finished = 0

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        self.asked += 1
        text = self.text.replace("{first}", brief.passages[0].text)
        for word in re.split(r"(?<=\s)", text):
            await asyncio.sleep(self.pause)
            yield word
        self.finished += 1
        yield Written(text)


class HangingModel(ScriptedModel):
    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        yield "It "
        await asyncio.Event().wait()


async def fill(sessions: Sessions, embedder: Embedder) -> None:
    """Index ``DOCUMENTS``, one chunk each."""
    await add(sessions, embedder, DOCUMENTS)


async def add(sessions: Sessions, embedder: Embedder, found: Sequence[tuple[str, str, str, str]]) -> None:
    """Index documents: title, address, reader and text."""
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, embedder.name)
        source_id, _ = await folder_source(session, "/srv/handbook")
        for title, url, reader, text in found:
            chunk = Chunk(0, text)
            vectors = await embedder.embed([chunk.context(title) + "\n" + text])
            item = SourceItem(title, f"{title}.md", text.encode(), url, (reader,))
            await documents.replace(
                session, source_id, PreparedDocument(item, ParsedDocument(title, ()), [chunk], vectors)
            )


def make_services(settings: Settings, engine: AsyncEngine, embedder: Embedder, model: Model) -> Services:
    sessions = create_sessions(engine)
    metrics = Metrics()
    searcher = Searcher(sessions, embedder)
    answering = Answering(
        sessions, searcher, model, metrics, max_chars=settings.question_max_chars, timeout=settings.question_timeout
    )
    return Services(settings, engine, sessions, embedder, searcher, model, answering, metrics)


def make_settings(double: TeamsDouble, **overrides: Any) -> Settings:
    values: dict[str, Any] = {
        "teams_app_id": APP_ID,
        "teams_app_password": SECRET,
        "teams_app_type": "SingleTenant",
        "teams_app_tenant_id": TENANT,
        "teams_allowed_hosts": ("127.0.0.1",),
        "teams_openid_metadata_url": double.metadata_url,
        "teams_login_url": double.login_url,
        "lease_seconds": 30.0,
        **overrides,
    }
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


@dataclass
class Bot:
    """A running bot and the way Teams reaches it."""

    url: str
    services: Services
    double: TeamsDouble
    http: aiohttp.ClientSession

    async def deliver(self, activity: dict[str, Any], token: str | None = None, **headers: str) -> tuple[int, str]:
        """POST an activity as Teams does; ``token`` "" sends none."""
        signed = self.double.token() if token is None else token
        if signed:
            headers.setdefault("Authorization", f"Bearer {signed}")
        async with self.http.post(f"{self.url}/api/messages", json=activity, headers=headers) as response:
            return response.status, await response.text()

    def metric(self, name: str, **labels: str) -> float:
        return self.services.metrics.registry.get_sample_value(name, labels) or 0.0

    async def answers(self) -> list[Answer]:
        async with self.services.sessions() as session:
            return list((await session.execute(select(Answer).order_by(Answer.created_at))).scalars())

    async def events(self) -> list[Inbox]:
        async with self.services.sessions() as session:
            return list((await session.execute(select(Inbox).order_by(Inbox.received_at))).scalars())

    async def settled(self, count: int = 1, timeout: float = 60.0) -> list[Inbox]:
        """The events, once ``count`` of them are closed."""
        async with asyncio.timeout(timeout):
            while True:
                events = await self.events()
                if sum(event.state in {"done", "failed", "cancelled"} for event in events) >= count:
                    return events
                await asyncio.sleep(0.03)


@asynccontextmanager
async def running_bot(services: Services, double: TeamsDouble, port: int = 0) -> AsyncIterator[Bot]:
    application = web.Application(client_max_size=1024 * 1024)
    add_teams(application, services)
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    bound = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    try:
        async with aiohttp.ClientSession() as http:
            yield Bot(f"http://127.0.0.1:{bound}", services, double, http)
    finally:
        await runner.cleanup()


def message(double: TeamsDouble, text: str = QUESTION, **overrides: Any) -> dict[str, Any]:
    """A message activity in a personal chat, in the shape Teams sends."""
    return {
        "type": "message",
        "id": uuid.uuid4().hex,
        "timestamp": "2026-11-02T09:00:00.123Z",
        "channelId": "msteams",
        "serviceUrl": double.service_url,
        "from": {"id": USER, "name": "Mia", "aadObjectId": AAD},
        "recipient": {"id": BOT, "name": "Almanac"},
        "conversation": {"id": CHAT, "conversationType": "personal", "tenantId": TENANT},
        "channelData": {"tenant": {"id": TENANT}},
        "text": text,
        "textFormat": "plain",
        "locale": "en-GB",
        "entities": [{"type": "clientInfo", "locale": "en-GB", "platform": "Windows"}],
        **overrides,
    }


def mention(double: TeamsDouble, text: str, conversation: str, kind: str = "channel") -> dict[str, Any]:
    """The bot is mentioned in a group chat or a channel."""
    entity = {"type": "mention", "mentioned": {"id": BOT, "name": "Almanac"}, "text": "<at>Almanac</at>"}
    place = {"id": conversation, "conversationType": kind, "isGroup": True, "tenantId": TENANT}
    return message(double, f"<at>Almanac</at>&nbsp;{text}", conversation=place, entities=[entity])


def group(double: TeamsDouble, text: str, conversation: str, **overrides: Any) -> dict[str, Any]:
    """A message among people that does not mention the bot."""
    place = {"id": conversation, "conversationType": "channel", "isGroup": True, "tenantId": TENANT}
    return message(double, text, **{"conversation": place, **overrides})


def press(double: TeamsDouble, verb: str, conversation: str = CHAT, **data: str) -> dict[str, Any]:
    """A button of a card (Action.Execute)."""
    kind = "personal" if conversation.startswith("a:") else "channel"
    action = {"type": "Action.Execute", "verb": verb, "data": {"almanac": verb, **data}}
    return message(
        double, "", type="invoke", name="adaptiveCard/action", value={"action": action, "trigger": "manual"},
        conversation={"id": conversation, "conversationType": kind, "tenantId": TENANT},
    )  # fmt: skip


def changed(original: dict[str, Any], text: str | None) -> dict[str, Any]:
    """The message edited, or deleted where ``text`` is None; as Teams tells of it."""
    kind, event = ("messageUpdate", "editMessage") if text is not None else ("messageDelete", "softDeleteMessage")
    data = {**original["channelData"], "eventType": event}
    if text is not None and original["entities"][0]["type"] == "mention":
        text = f"<at>Almanac</at>&nbsp;{text}"
    return {
        **original,
        "type": kind,
        "text": text or "",
        "channelData": data,
        "timestamp": datetime.now(UTC).isoformat(),
    }


def buttons(*activities: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The buttons of messages\' cards, by their verbs: what each sends."""
    found: dict[str, dict[str, Any]] = {}

    def look(part: Any) -> None:
        if isinstance(part, list):
            for inner in part:
                look(inner)
        elif isinstance(part, dict):
            if part.get("type") == "Action.Execute":
                found[part["verb"]] = part
            for inner in part.values():
                look(inner)

    look([found["content"] for activity in activities for found in activity.get("attachments") or []])
    return found


def thumb(double: TeamsDouble, reaction: str, feedback: str, **overrides: Any) -> dict[str, Any]:
    value = {"actionName": "feedback", "actionValue": {"reaction": reaction, "feedback": feedback}}
    return message(double, "", **{"type": "invoke", "name": "message/submitAction", "value": value, **overrides})
