"""Almanac as a whole for the tests of this folder: every front end on a socket, real Postgres, search and guards.

What is a double stands outside: the language model's endpoint, Slack, and nothing else. The sample company's API runs
as a process of its own, as `almanac up` starts it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from assistant.database.session import Sessions
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.settings import Settings
from bot import sample_tools
from bot.state import SampleTools
from tests.conftest import fresh_database
from tests.core.functions_double import Double, served
from tests.core.parts import shelve
from tests.security.attacked import PAGES, Attacked, settings_of
from tests.slack.double import SlackDouble
from tests.tools.whole import Company, in_a_hurry, opened


@pytest.fixture(scope="package", autouse=True)
def quick() -> Iterator[None]:
    with in_a_hurry():
        yield


@pytest.fixture(scope="package")
def url(postgres_url: str, template: str) -> Iterator[str]:
    with fresh_database(postgres_url, template) as url:
        yield url


@pytest.fixture(scope="package")
async def tools(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SampleTools]:
    async with AsyncExitStack() as stack:
        yield await sample_tools.start(Settings(_env_file=None), tmp_path_factory.mktemp("logs"), stack)


@pytest.fixture(scope="package")
async def model() -> AsyncIterator[Double]:
    async with served() as double:
        yield double


@pytest.fixture(scope="package")
async def slack() -> AsyncIterator[SlackDouble]:
    async with SlackDouble().running() as double:
        yield double


@pytest.fixture(scope="package")
async def almanac(
    url: str, tools: SampleTools, model: Double, slack: SlackDouble, embedder: TransformerEmbedder
) -> AsyncIterator[Attacked]:
    async with opened(settings_of(tools, model, slack), url, model) as whole:
        await shelve(whole.services.sessions, embedder, *PAGES)
        yield Attacked(whole, slack, Company(tools))


@pytest.fixture
def sessions(almanac: Attacked) -> Sessions:
    return almanac.whole.services.sessions
