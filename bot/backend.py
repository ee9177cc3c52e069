"""Where the terminal's questions go: to the Almanac that runs, or, where none does, to one opened for the moment.

What opens one is imported where it is opened: to ask one that runs takes a third of the time without it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import orjson

from assistant.answering.messages import Question
from assistant.embedded import embedded_postgres
from assistant.errors import AlmanacError, QuestionRejected
from assistant.guardrails.formats import Format
from assistant.knowledge.audience import Audience
from assistant.knowledge.filters import NO_FILTERS, Filters
from assistant.settings import Settings, load_settings
from assistant.telemetry import configure_logs
from bot import state
from bot.local_model import local_model

if TYPE_CHECKING:
    from assistant.database.session import Sessions
    from assistant.services import Services

Named = tuple[str, dict[str, Any]]


class Backend(Protocol):
    """Events are (name, data) pairs as ``assistant.answering.serial.event_json`` makes them."""

    def ask(
        self, question: str, conversation: str, filters: Filters = NO_FILTERS, form: Format | None = None
    ) -> AsyncGenerator[Named, None]: ...

    async def search(self, query: str, limit: int, filters: Filters = NO_FILTERS) -> dict[str, Any]:
        """As ``assistant.answering.serial.found_json`` makes it."""
        ...


class LocalBackend:
    """Answers in this process."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def ask(
        self, question: str, conversation: str, filters: Filters = NO_FILTERS, form: Format | None = None
    ) -> AsyncGenerator[Named, None]:
        from assistant.answering.serial import event_json

        asked = Question(
            question, "terminal", Audience.everyone(), "terminal", conversation, filters=filters, format=form
        )  # fmt: skip
        async for event in self._services.answering.ask(asked):
            yield event_json(event)

    async def search(self, query: str, limit: int, filters: Filters = NO_FILTERS) -> dict[str, Any]:
        from assistant.answering import filtering
        from assistant.answering.serial import found_json

        if not query.strip():
            raise QuestionRejected("The query is empty.")
        searcher = self._services.searcher
        return found_json(
            await filtering.search(searcher, query, audience=Audience.everyone(), limit=limit, given=filters)
        )


class RemoteBackend:
    """Asks the running Almanac, whose model is loaded already."""

    def __init__(self, client: aiohttp.ClientSession) -> None:
        self._client = client

    async def ask(
        self, question: str, conversation: str, filters: Filters = NO_FILTERS, form: Format | None = None
    ) -> AsyncGenerator[Named, None]:
        body: dict[str, Any] = {"question": question, "conversation": conversation, **filters.arguments()}
        if form is not None:
            body["format"] = form.schema
        async with self._client.post("/api/ask", json=body) as response:
            await _check(response)
            name = ""
            async for raw in response.content:
                line = raw.decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, orjson.loads(line.removeprefix("data: "))

    async def search(self, query: str, limit: int, filters: Filters = NO_FILTERS) -> dict[str, Any]:
        given = [(name, value) for name, values in filters.arguments().items() for value in values]
        async with self._client.get("/api/search", params=[("q", query), ("k", str(limit)), *given]) as response:
            await _check(response)
            found: dict[str, Any] = await response.json()
            return found


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status != 200:
        try:
            reason = str((await response.json())["error"])
        except (aiohttp.ClientError, ValueError, KeyError, TypeError):
            reason = f"The running Almanac answered with status {response.status}."
        raise AlmanacError(reason)


@asynccontextmanager
async def open_backend(settings: Settings) -> AsyncIterator[Backend]:
    running = state.find(settings.home)
    if running is None:
        async with open_local(settings) as services:
            yield LocalBackend(services)
        return
    headers = {}
    if settings.web_token is not None:
        headers["Authorization"] = f"Bearer {settings.web_token.get_secret_value()}"
    timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=settings.question_timeout + 30)
    # A passage of a large answer may be longer than aiohttp's usual limit for a line.
    async with aiohttp.ClientSession(running.web, headers=headers, timeout=timeout, read_bufsize=2**22) as client:
        try:
            yield RemoteBackend(client)
        except aiohttp.ClientConnectionError as error:
            raise AlmanacError(f"The running Almanac at {running.web} does not answer.") from error


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[str]:
    """The URL of the database: the configured one, the running Almanac's, or the embedded one for the moment."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    running = state.find(settings.home)
    if running is not None:
        yield running.database_url
        return
    from assistant.database import migrate
    from assistant.database.session import create_engine

    async with AsyncExitStack() as stack:
        url = stack.enter_context(embedded_postgres(settings.home.resolve()))
        engine = create_engine(url, pool_size=1)
        await migrate.upgrade(engine)
        await engine.dispose()
        yield url


@asynccontextmanager
async def open_local(settings: Settings) -> AsyncIterator[Services]:
    from assistant.services import open_services

    async with (
        open_database(settings) as url,
        local_model(settings, url, state.find(settings.home)) as answering,
        open_services(answering, url) as services,
    ):
        yield services


def command_settings(**overrides: object) -> Settings:
    """The settings of a command of the terminal, whose log goes to a person: warnings, unless more is asked for."""
    settings = load_settings(**overrides)
    configure_logs("WARNING" if settings.log_level == "INFO" else settings.log_level, "console")
    return settings


@asynccontextmanager
async def open_sessions(settings: Settings) -> AsyncIterator[tuple[Sessions, str]]:
    """Sessions of a database that is known to be in order, and its URL."""
    from assistant.database.session import create_engine, create_sessions
    from assistant.services import check_database

    async with open_database(settings) as url:
        engine = create_engine(url, pool_size=2)
        try:
            await check_database(engine)
            yield create_sessions(engine), url
        finally:
            await engine.dispose()
