"""A process that ``almanac up`` keeps: started again, also where that fails for a time."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from bot.child import Child


async def test_it_is_started_again_once_the_machine_lets_it(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = Child("asyncio", os.environ | {"PYTHONUNBUFFERED": "1"}, log)
    await child.start()
    try:
        first = child._process
        assert first is not None
        log.unlink(missing_ok=True)
        log.mkdir()  # no process can be started with such a log
        first.send_signal(signal.SIGKILL)
        await first.wait()
        async with asyncio.timeout(60):
            while child.failures < 2:
                await asyncio.sleep(0.05)
            log.rmdir()
            while child._process is first:
                await asyncio.sleep(0.05)
        assert child._process is not None
        assert child._process.returncode is None
    finally:
        await child.stop()
