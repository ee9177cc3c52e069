"""Approvals as front ends keep them: whom to tell; time runs out, questions are taken back, messages show it all."""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.database import approvals as rows
from assistant.database.approvals import Approval
from assistant.errors import AlmanacError
from assistant.services import Services
from assistant.strings import say
from assistant.tools.rights import ADMINISTRATORS
from assistant.tools.showing import status

log = structlog.get_logger()

EVERY_SECONDS = 3.0
LONGEST_SECONDS = 60.0  # between two looks, while the platform is away
MOST_TOLD = 5  # approvers who get the card in a chat of their own

Update = Callable[[Approval], Awaitable[None]]
UpdateCard = Callable[[Approval, Mapping[str, Any]], Awaitable[None]]

_turns: weakref.WeakValueDictionary[uuid.UUID, asyncio.Lock] = weakref.WeakValueDictionary()


def deciders(services: Services, approval: Approval, prefix: str, asker: str) -> list[str]:
    """The people who are named, one by one, as those who may decide, without ``prefix``: ``slack:T1:``.

    People of elsewhere and the ``asker`` are left out.
    """
    named = list(approval.approvers) or [ADMINISTRATORS]
    if ADMINISTRATORS in named:
        named += services.settings.admins
    people = [name.removeprefix("user:") for name in named]
    users = [name.removeprefix(prefix) for name in people if name.startswith(prefix)]
    return [user for user in dict.fromkeys(users) if user != asker][:MOST_TOLD]


def closed(ended: Approval, person: str, approve: bool, language: str) -> str:
    """What to tell somebody whose decision it was not that closed the call; "" where it was."""
    meant = ("done", "failed", "unknown", "running") if approve else ("denied",)
    if ended.decided_by == person and ended.state in meant:
        return ""
    return say("approvals.closed", language, status=status(ended, language))


async def refresh(services: Services, platform: str, approval: Approval, update: UpdateCard) -> None:
    """Let every card of the approval on the platform show how it stands now."""
    async with _turns.setdefault(approval.id, asyncio.Lock()):
        now = await services.approvals.get(approval.id)
        if now is None:
            return
        for kept in now.cards:
            if kept.get("platform") == platform and kept.get("state") != now.state:
                await update(now, kept)


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
