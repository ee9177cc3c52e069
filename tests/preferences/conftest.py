"""Databases of the town: made once, and copied for each test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import pytest

from assistant.database.session import Sessions, create_engine, create_sessions
from tests.conftest import fresh_database
from tests.preferences.town import Town


@pytest.fixture(scope="session")
async def shelved_template(postgres_url: str, template: str) -> AsyncIterator[str]:
    """The name of a database with the town's pages."""
    with fresh_database(postgres_url, template) as url:
        await _settled(url, votes=False)
        yield _name(url)


@pytest.fixture(scope="session")
async def voted_template(postgres_url: str, shelved_template: str) -> AsyncIterator[str]:
    """And one with three people's votes on everything."""
    with fresh_database(postgres_url, shelved_template) as url:
        await _settled(url, votes=True)
        yield _name(url)


async def _settled(url: str, votes: bool) -> None:
    engine = create_engine(url)
    town = Town(create_sessions(engine), url)
    await (town.votes() if votes else town.open())
    await town.close()
    await engine.dispose()


def _name(url: str) -> str:
    found = re.search(r"/(test_\w+)", url)
    assert found is not None
    return found[1]


@pytest.fixture
def database_url(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[str]:
    """With the votes, where a module says ``TEMPLATE = "voted_template"``."""
    name = request.getfixturevalue(getattr(request.module, "TEMPLATE", "template"))
    with fresh_database(postgres_url, name) as url:
        yield url


@pytest.fixture
async def town(sessions: Sessions, database_url: str) -> AsyncIterator[Town]:
    town = Town(sessions, database_url)
    yield town
    await town.close()
