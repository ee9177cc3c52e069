"""``almanac migrate``: the database brought up to this version, before what uses it is started."""

from __future__ import annotations

import asyncio

from sqlalchemy.exc import SQLAlchemyError

from assistant.database import migrate as migrations
from assistant.database.session import create_engine
from assistant.errors import DatabaseUnavailable, SettingsError
from assistant.settings import Settings
from bot import console as show
from bot.backend import command_settings
from bot.flags import JsonFlag


def migrate(json: JsonFlag = False) -> None:
    """Bring the database that ALMANAC_DATABASE_URL names up to this version. Doing it twice changes nothing."""
    before, after = asyncio.run(brought_up(command_settings()))
    if json:
        show.print_json({"before": before, "after": after, "changed": before != after})
    else:
        was = "is now" if before != after else "was already"
        show.error_console().print(f"The database {was} at migration {after}.")


async def brought_up(settings: Settings) -> tuple[str | None, str]:
    """The migrations that the database was at, and is at. Several at once wait for one another."""
    if settings.database_url is None:
        raise SettingsError("ALMANAC_DATABASE_URL is not set; `almanac up` migrates the database that it starts.")
    engine = create_engine(settings.database_url.get_secret_value(), pool_size=1)
    try:
        try:
            before = await migrations.current(engine)
        except (SQLAlchemyError, OSError) as error:
            where = engine.url.render_as_string()
            raise DatabaseUnavailable(f"Postgres cannot be reached at {where}.") from error
        await migrations.upgrade(engine)
        return before, migrations.head()
    finally:
        await engine.dispose()
