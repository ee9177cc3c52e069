"""What keeps approvals as they should be: time runs out, questions are taken back, messages show how things stand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.database import approvals as rows
from assistant.database.approvals import Approval
from assistant.errors import AlmanacError
from assistant.services import Services

log = structlog.get_logger()

EVERY_SECONDS = 3.0
LONGEST_SECONDS = 60.0  # between two looks, while the platform is away

Update = Callable[[Approval], Awaitable[None]]


class Upkeep:
    """One for each front end. ``update`` brings the messages of its ``platform`` that show an approval up to date."""

    def __init__(self, services: Services, platform: str, update: Update | None = None) -> None:
        self._services = services
        self._platform = platform
        self._update = update
        self._task: asyncio.Task[None] | None = None
        self._failed = 0  # looks in a row that left a message as it was

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"approvals-{self._platform}")

    async def stop(self) -> None:
        """A call that is under way is cut off; its approval is settled by whoever looks next."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self.once()
            except (SQLAlchemyError, OSError) as error:
                log.warning("approvals.database_away", error=type(error).__name__)
            except AlmanacError as error:
                log.warning("approvals.not_kept", reason=str(error))
            except Exception:  # a loop that ends silently would leave cards that lie
                log.exception("approvals.upkeep_failed", platform=self._platform)
            await asyncio.sleep(min(LONGEST_SECONDS, EVERY_SECONDS * 2 ** min(self._failed, 10)))

    async def once(self) -> None:
        await self._services.approvals.expire()
        if self._update is None:
            return
        async with self._services.sessions() as session:
            found = await rows.out_of_date(session, self._platform)
        left = [approval for approval in found if not await self._updated(self._update, approval)]
        self._failed = self._failed + 1 if left else 0

    async def _updated(self, update: Update, approval: Approval) -> bool:
        """One that cannot be shown now keeps the others waiting no longer than its own call."""
        try:
            await update(approval)
        except (SQLAlchemyError, OSError):
            raise
        except Exception as error:  # the platform is away, or asks for patience; the next look tries again
            log.warning("approvals.card_waits", platform=self._platform, id=approval.number, error=type(error).__name__)
            return False
        return True
