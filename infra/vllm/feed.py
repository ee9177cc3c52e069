"""Keeps a vLLM server's adapters those of Almanac's registry: same names, from nowhere else, each checked first.

    python infra/vllm/feed.py --vllm http://vllm:8000 --into /adapters [--base NAME] [--once]

It runs beside vLLM (a sidecar, or a service of compose) and shares the folder ``--into`` with it. Every few seconds it
reads the registry (ALMANAC_DATABASE_URL, ALMANAC_ADAPTERS), downloads what is promoted or a canary, holds each file
against its checksum in the database, and has vLLM load it under the version's name; what is retired is unloaded. A vLLM
that was started anew gets all of them again. ``docs/serving.md`` shows how vLLM itself is started.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.database.session import create_engine, create_sessions
from assistant.errors import AlmanacError, SettingsError
from assistant.models.registry import Registry, StorageUnavailable, Tampered, Version
from assistant.process import stop_requested
from assistant.settings import load_settings
from assistant.telemetry import configure_logs

log = structlog.get_logger()

LOOK_SECONDS = 10.0
ALIVE = Path("/tmp/alive")  # noqa: S108 - touched after each look: how old it is says whether this still looks
LOAD_SECONDS = 120.0


class VllmError(AlmanacError):
    """vLLM does not answer, or did not do what it was asked for."""


class Vllm:
    """The part of vLLM's API that changes its adapters (VLLM_ALLOW_RUNTIME_LORA_UPDATING has to be set there)."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        timeout = aiohttp.ClientTimeout(total=LOAD_SECONDS, connect=5)
        self._client = aiohttp.ClientSession(url.rstrip("/") + "/", headers=headers, timeout=timeout)

    async def served(self) -> tuple[set[str], set[str]]:
        """The names of its base models, and of its adapters."""
        models = (await self._json("v1/models"))["data"]
        adapters = {model["id"] for model in models if model.get("parent")}
        return {model["id"] for model in models} - adapters, adapters

    async def load(self, name: str, folder: Path) -> None:
        await self._post("v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    async def unload(self, name: str) -> None:
        await self._post("v1/unload_lora_adapter", {"lora_name": name})

    async def close(self) -> None:
        await self._client.close()

    async def _json(self, path: str) -> Any:
        try:
            async with self._client.get(path) as response:
                if response.status != 200:
                    raise VllmError(f"vLLM answered /{path} with status {response.status}.")
                return await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise VllmError(f"vLLM does not answer ({type(error).__name__}).") from error

    async def _post(self, path: str, body: dict[str, str]) -> None:
        try:
            async with self._client.post(path, json=body) as response:
                if response.status == 404 and "unload" in path:
                    return  # it is gone already
                if response.status != 200:
                    said = (await response.text())[:300]
                    raise VllmError(f"vLLM answered /{path} for {body['lora_name']} with {response.status}: {said}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise VllmError(f"vLLM does not answer ({type(error).__name__}).") from error


class Feed:
    """``base``: the base model's name in the registry; by default the one that vLLM serves."""

    def __init__(self, registry: Registry, vllm: Vllm, into: Path, base: str | None = None) -> None:
        self._registry = registry
        self._vllm = vllm
        self._into = into
        self._base = base
        self._said: dict[str, str] = {}  # what was said of a version, so that it is said once

    async def look(self) -> bool:
        """Once: afterwards vLLM has what the registry says. False where something of it could not be done."""
        bases, loaded = await self._vllm.served()
        base = self._base or next(iter(sorted(bases)), "")
        if base not in bases:
            raise VllmError(f"vLLM does not serve {base}; start it with --served-model-name {base}.")
        wanted = {version.name: version for version in await self._registry.served(base)}
        done = [await self._load(version) for name, version in wanted.items() if name not in loaded]
        for name in sorted(loaded - set(wanted)):  # also what others had loaded by hand: adapters come from here alone
            await self._vllm.unload(name)
            log.info("vllm.unloaded", adapter=name)
        self._tidy(set(wanted))
        return all(done)

    async def _load(self, version: Version) -> bool:
        try:
            folder = await self._registry.fetch(version, self._into)
            await self._vllm.load(version.name, folder)
        except (Tampered, StorageUnavailable, VllmError, TimeoutError) as error:
            if self._said.get(version.name) != str(error):
                log.error("vllm.not_loaded", adapter=version.name, reason=str(error))  # noqa: TRY400 - it says it all
            self._said[version.name] = str(error)
            return False
        self._said.pop(version.name, None)
        log.info("vllm.loaded", adapter=version.name, state=version.state)
        return True

    def _tidy(self, wanted: set[str]) -> None:
        """Remove the files of versions that are served no more."""
        if not self._into.is_dir():
            return
        for folder in self._into.iterdir():
            if folder.is_dir() and folder.name not in wanted and (folder / "adapter_config.json").is_file():
                shutil.rmtree(folder, ignore_errors=True)


def _looked() -> None:
    with contextlib.suppress(OSError):
        ALIVE.touch()


async def follow(feed: Feed) -> None:
    while True:
        try:
            await feed.look()
        except (AlmanacError, SQLAlchemyError, OSError) as error:
            log.warning("vllm.away", reason=str(error) if isinstance(error, AlmanacError) else type(error).__name__)
        _looked()
        await asyncio.sleep(LOOK_SECONDS)


async def run(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    configure_logs(settings.log_level, settings.log_format)
    if settings.database_url is None:
        raise SettingsError("ALMANAC_DATABASE_URL is not set; the registry is in the database.")
    engine = create_engine(settings.database_url.get_secret_value(), pool_size=1)
    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else None
    vllm = Vllm(arguments.vllm, key)
    feed = Feed(Registry(create_sessions(engine), settings.adapters_url), vllm, arguments.into, arguments.base)
    try:
        if arguments.once:
            return 0 if await feed.look() else 1
        following = asyncio.create_task(follow(feed), name="feed")
        await stop_requested()
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    finally:
        await vllm.close()
        await engine.dispose()
    return 0


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Keeps vLLM's adapters those of Almanac's registry.")
    parser.add_argument("--vllm", default=os.environ.get("VLLM_URL", "http://127.0.0.1:8000"), help="vLLM's address")
    parser.add_argument("--into", type=Path, required=True, help="a folder that vLLM sees under the same path")
    parser.add_argument("--base", help="the base model's name in the registry; default: the one that vLLM serves")
    parser.add_argument("--once", action="store_true", help="look once; not zero where something could not be loaded")
    try:
        return asyncio.run(run(parser.parse_args(given)))
    except AlmanacError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
