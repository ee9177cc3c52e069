"""One process of ours, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import structlog

log = structlog.get_logger()

STOP_SECONDS = 15.0
BACKOFF = (0.5, 1, 2, 5, 10, 30)


class Child:
    """One process of ours, started again when it dies. It lives no longer than we do: see ``assistant.process``."""

    def __init__(self, module: str, environment: dict[str, str], log: Path, sockets: tuple[int, ...] = ()) -> None:
        self.name = module
        self._environment = environment
        self._log = log
        self._sockets = sockets
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._failures = 0

    async def start(self) -> None:
        await self._launch()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep-{self.name}")

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    @property
    def failures(self) -> int:
        """How often in a row it died soon after its start."""
        return self._failures

    def last_words(self) -> str:
        """The last line that is not a log record: a start that failed says why in one sentence."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        plain = [line for line in lines[-50:] if line.strip() and not line.startswith("{")]
        return plain[-1] if plain else f"see {self._log}"

    async def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.name,
                env=self._environment, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log,
                start_new_session=True, pass_fds=self._sockets,
            )  # fmt: skip

    async def _keep(self) -> None:
        while True:
            assert self._process is not None
            began = asyncio.get_running_loop().time()
            await self._process.wait()
            lived = asyncio.get_running_loop().time() - began
            self._failures = self._failures + 1 if lived < 30 else 1
            await self._pause()
            while not await self._launched_again():
                self._failures += 1
                await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(BACKOFF[min(self._failures, len(BACKOFF)) - 1])

    async def _launched_again(self) -> bool:
        """False where the machine has no room for it just now: no memory, no process, no file."""
        try:
            await self._launch()
        except OSError as error:
            log.warning("child.not_started", module=self.name, error=error.strerror or type(error).__name__)
            return False
        return True
