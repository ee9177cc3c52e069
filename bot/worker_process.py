"""A worker process beside a command of the terminal: it works off one run, and is followed until it has ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import Callable

from assistant.database import runs
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from assistant.process import PARENT_PIPE

STDERR = 2  # standard output is for one JSON document

Watch = Callable[[runs.RunRow], None]


async def work_off(url: str, sessions: Sessions, run_id: uuid.UUID, watch: Watch) -> runs.RunRow:
    """The run, finished. ``watch`` sees it while it goes on. Stopping us stops the worker; the run goes on later."""
    worker = await _start(url, run_id)
    try:
        return await _follow(sessions, run_id, worker, watch)
    finally:
        if worker.returncode is None:
            worker.terminate()
            await worker.wait()


async def _start(url: str, run_id: uuid.UUID) -> asyncio.subprocess.Process:
    environment = os.environ | {"ALMANAC_DATABASE_URL": url, PARENT_PIPE: "1"}
    environment.setdefault("ALMANAC_LOG_LEVEL", "WARNING")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workers", "run", str(run_id),
        env=environment, stdin=asyncio.subprocess.PIPE, stdout=STDERR, start_new_session=True,
    )  # fmt: skip


async def _follow(
    sessions: Sessions, run_id: uuid.UUID, worker: asyncio.subprocess.Process, watch: Watch
) -> runs.RunRow:
    while True:
        gone = worker.returncode is not None
        async with sessions() as session:
            run = await runs.find(session, run_id)
        assert run is not None
        watch(run)
        if run.finished:
            return run
        if gone and run.state == "queued":
            raise AlmanacError("The worker process died; `almanac status` shows the run.")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(worker.wait() if not gone else asyncio.sleep(0.5), 0.2)
