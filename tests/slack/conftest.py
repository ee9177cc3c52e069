from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from assistant.database.session import Sessions
from tests.slack.double import SlackDouble
from tests.slack.world import ROLLBACK, Bot, FakeEmbedder, FakeModel, hurry, index, live, running_bot, settings

StartBot = Callable[..., AbstractAsyncContextManager[Bot]]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK honours a proxy; the double is on this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries and budgets as in production, sooner; answers arrive whole, however slow the machine."""
    hurry(monkeypatch.setattr)
    live(monkeypatch.setattr, shown=False)


@pytest.fixture
async def slack() -> AsyncIterator[SlackDouble]:
    async with SlackDouble().running() as double:
        yield double


@pytest.fixture
async def library(sessions: Sessions) -> None:
    """One page in the index."""
    await index(sessions, FakeEmbedder(), ROLLBACK)


@pytest.fixture
def start_bot(database_url: str, slack: SlackDouble, library: None) -> StartBot:
    """Starts a bot over the library; ``text`` is what its model writes."""

    def start(model: FakeModel | None = None, **options: object) -> AbstractAsyncContextManager[Bot]:
        configured = settings(slack.base_url, **options)  # type: ignore[arg-type]
        return running_bot(database_url, configured, model or FakeModel(), FakeEmbedder())

    return start


@pytest.fixture
async def bot(start_bot: StartBot) -> AsyncIterator[Bot]:
    async with start_bot() as running:
        yield running
