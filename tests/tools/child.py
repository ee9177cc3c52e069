"""A process that decides about an approval and dies on the way: ``python -m tests.tools.child URL ID HASH STEP FILE``.

What the API did is written to FILE, a line for each restart, so that it outlives the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from pathlib import Path
from typing import Any

from assistant.database.session import create_engine, create_sessions
from assistant.tools import running
from assistant.tools.approval import Approvals
from assistant.tools.rights import ADMINISTRATORS
from tests.tools.board import BEN, Board


async def die() -> None:
    os._exit(9)


async def main(url: str, approval_id: str, seen: str, step: str, file: str) -> None:
    board = Board(file=Path(file))
    board.change("restart_service", idempotent=bool(os.environ.get("TEST_IDEMPOTENT")))
    if step == "before":
        board.on_read = die
    elif step == "call":
        board.on_call = die
    elif step == "sent":
        board.after_call = die
    elif step == "kept":
        finish = running.record

        async def kept(session: Any, *arguments: Any, **more: Any) -> None:
            await finish(session, *arguments, **more)
            os._exit(9)  # the transaction is not committed

        running.record = kept  # type: ignore[assignment]
    engine = create_engine(url)
    approvals = Approvals(create_sessions(engine), board, minutes=15)
    await approvals.decide(uuid.UUID(approval_id), BEN, {ADMINISTRATORS}, True, seen, name="Ben")
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
