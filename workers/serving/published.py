"""The registry's versions in the engine: what is promoted, or a canary, is fetched, checked and loaded while it serves;
what is retired goes, and requests in flight finish with it. One that was tampered with is refused, and said to be.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.errors import AlmanacError
from assistant.models.registry import Registry, StorageUnavailable, Tampered, Version
from workers.serving.engine import Engine
from workers.serving.metrics import ServingMetrics
from workers.serving.requests import AdapterUnusable

log = structlog.get_logger()

LOOK_SECONDS = 3.0
AGAIN_SECONDS = 60.0  # until one that was refused is looked at again: somebody may have put it right


class Published:
    """``refused`` has the sentence for each version that is not served although it should be; ``trouble`` says why
    the registry could not be read, if it could not: what is loaded stays, then."""

    def __init__(
        self, engine: Engine, registry: Registry, base: str, folder: Path, metrics: ServingMetrics,
        seconds: float = LOOK_SECONDS,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._registry = registry
        self._base = base
        self._folder = folder
        self._metrics = metrics
        self._seconds = seconds
        self._tried: dict[str, float] = {}
        self._looking = asyncio.Lock()
        self.refused: dict[str, str] = {}
        self.trouble = ""

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._seconds)

    async def look(self) -> None:
        """Once: afterwards the engine has what the registry says, as far as that is sound."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        try:
            wanted = await self._registry.served(self._base)
        except (SQLAlchemyError, OSError, AlmanacError) as error:
            self._note(f"The registry cannot be read ({type(error).__name__}).")
            return
        trouble = ""
        await self._drop({version.name for version in wanted})
        for version in self._missing(wanted):
            try:
                await self._load(version)
            except (StorageUnavailable, OSError, TimeoutError) as error:
                trouble = str(error) if isinstance(error, AlmanacError) else f"{version.name} cannot be fetched."
        self._note(trouble)

    def _missing(self, wanted: Sequence[Version]) -> list[Version]:
        loaded, now = set(self._engine.adapters), time.monotonic()
        return [
            version for version in wanted
            if version.name not in loaded and now - self._tried.get(version.name, -AGAIN_SECONDS) >= AGAIN_SECONDS
        ]  # fmt: skip

    async def _load(self, version: Version) -> None:
        try:
            folder = await self._registry.fetch(version, self._folder)
            await self._engine.load_adapter(version.name, folder)
        except (Tampered, AdapterUnusable) as error:
            if version.name not in self.refused:
                log.error("serving.adapter_refused", adapter=version.name, reason=str(error))  # noqa: TRY400 - the sentence says it all
                self._metrics.adapters.labels("refused").inc()
            self.refused[version.name] = str(error)
            self._tried[version.name] = time.monotonic()
            return
        self._forget(version.name)
        self._metrics.adapters.labels("loaded").inc()

    async def _drop(self, wanted: set[str]) -> None:
        for name in set(self.refused) - wanted:
            self._forget(name)
        for name in set(self._engine.adapters) - wanted:
            await self._engine.unload_adapter(name)
            self._metrics.adapters.labels("unloaded").inc()

    def _forget(self, name: str) -> None:
        self.refused.pop(name, None)
        self._tried.pop(name, None)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.warning("serving.registry", trouble=trouble)
        self.trouble = trouble
