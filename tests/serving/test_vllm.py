"""``infra/vllm/feed.py`` against a server that loads and unloads adapters as vLLM's API does."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from aiohttp import web
from safetensors.numpy import save_file

from assistant.database.session import Sessions
from assistant.models.registry import Registry

ROOT = Path(__file__).parents[2]
BASE = "tiny"
KEY = "vllm's key"

_spec = importlib.util.spec_from_file_location("feed", ROOT / "infra" / "vllm" / "feed.py")
assert _spec is not None
assert _spec.loader is not None
feed: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(feed)


class Double:
    """vLLM's answers as its source gives them; an adapter's folder has to be whole when it is loaded."""

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.refuses = ""
        self.calls: list[str] = []

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._key])
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        return app

    @web.middleware
    async def _key(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _models(self, _request: web.Request) -> web.Response:
        data = [{"id": BASE, "object": "model", "owned_by": "vllm", "root": "/model", "parent": None}]
        data += [
            {"id": name, "object": "model", "owned_by": "vllm", "root": path, "parent": BASE}
            for name, path in self.adapters.items()
        ]
        return web.json_response({"object": "list", "data": data})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, folder = body["lora_name"], Path(body["lora_path"])
        self.calls.append(f"load {name}")
        if name in self.adapters:
            return _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (folder / "adapter_config.json").is_file() or not (folder / "adapter_model.safetensors").is_file():
            return _error(404, f"No adapter found for {folder}")
        if self.refuses:
            return _error(400, self.refuses)
        self.adapters[name] = str(folder)
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        self.calls.append(f"unload {name}")
        if self.adapters.pop(name, None) is None:
            return _error(404, f"The lora adapter '{name}' cannot be found.")
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "InvalidUserInput", "code": status}}, status=status)


@pytest.fixture
async def double() -> AsyncIterator[tuple[Double, str]]:
    vllm = Double()
    runner = web.AppRunner(vllm.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield vllm, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def kept(registry: Registry, tmp_path: Path, value: float) -> str:
    folder = tmp_path / f"trained-{value}"
    folder.mkdir()
    save_file({"q.lora_A.weight": np.full((2, 3), value, np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    return (await registry.add(folder, base=BASE, kind="lora", run_id=None, report={}, card="# {name}\n")).name


async def test_vllm_has_what_the_registry_says_under_the_same_names(
    sessions: Sessions, double: tuple[Double, str], tmp_path: Path
) -> None:
    vllm, url = double
    registry = Registry(sessions, str(tmp_path / "adapters"))
    first, second = [await kept(registry, tmp_path, value) for value in (1.0, 2.0)]
    await registry.promote(first)
    into = tmp_path / "shared"
    client = feed.Vllm(url, KEY)
    following = feed.Feed(registry, client, into)
    vllm.adapters["by-hand"] = "/somewhere"  # adapters come from the registry alone
    try:
        assert await following.look()
        assert vllm.adapters == {first: str(into / first)}
        assert await following.look()
        assert vllm.calls == [f"load {first}", "unload by-hand"]  # nothing is loaded twice
        await registry.promote(second, share=0.3)
        assert await following.look()
        assert set(vllm.adapters) == {first, second}
        await registry.promote(second)
        assert await following.look()
        assert set(vllm.adapters) == {second}
        assert [folder.name for folder in into.iterdir()] == [second]
        vllm.adapters.clear()  # it was started anew
        assert await following.look()
        assert set(vllm.adapters) == {second}
    finally:
        await client.close()


async def test_what_was_tampered_with_never_reaches_vllm(
    sessions: Sessions, double: tuple[Double, str], tmp_path: Path
) -> None:
    vllm, url = double
    registry = Registry(sessions, str(tmp_path / "adapters"))
    first, second = [await kept(registry, tmp_path, value) for value in (1.0, 2.0)]
    await registry.promote(first)
    await registry.promote(second, share=0.3)
    (tmp_path / "adapters" / second / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    client = feed.Vllm(url, KEY)
    try:
        following = feed.Feed(registry, client, tmp_path / "shared")
        assert not await following.look()
        assert set(vllm.adapters) == {first}
        assert vllm.calls == [f"load {first}"]
    finally:
        await client.close()


async def test_what_vllm_cannot_load_is_said_and_tried_again(
    sessions: Sessions, double: tuple[Double, str], tmp_path: Path
) -> None:
    vllm, url = double
    registry = Registry(sessions, str(tmp_path / "adapters"))
    name = await kept(registry, tmp_path, 1.0)
    await registry.promote(name)
    client = feed.Vllm(url, KEY)
    try:
        following = feed.Feed(registry, client, tmp_path / "shared")
        vllm.refuses = "LoRA rank 128 is greater than max_lora_rank 64"
        assert not await following.look()
        vllm.refuses = ""
        assert await following.look()
        assert set(vllm.adapters) == {name}
        with pytest.raises(feed.VllmError, match="--served-model-name other"):
            await feed.Feed(registry, client, tmp_path / "shared", "other").look()
    finally:
        await client.close()


async def test_the_command_looks_once(
    sessions: Sessions, database_url: str, double: tuple[Double, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vllm, url = double
    registry = Registry(sessions, str(tmp_path / "adapters"))
    name = await kept(registry, tmp_path, 1.0)
    await registry.promote(name)
    for variable, value in (
        ("ALMANAC_DATABASE_URL", database_url), ("ALMANAC_ADAPTERS", str(tmp_path / "adapters")),
        ("ALMANAC_LLM_API_KEY", KEY),
    ):  # fmt: skip
        monkeypatch.setenv(variable, value)
    arguments = feed.argparse.Namespace(vllm=url, into=tmp_path / "shared", base=None, once=True)
    assert await feed.run(arguments) == 0
    assert set(vllm.adapters) == {name}
    monkeypatch.setenv("ALMANAC_LLM_API_KEY", "wrong")
    with pytest.raises(feed.VllmError, match="status 401"):
        await feed.run(arguments)


def test_the_compose_file_keeps_the_loading_endpoint_inside() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert "ports" not in services["vllm"]
    assert services["vllm"]["environment"]["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    into = services["feed"]["command"][services["feed"]["command"].index("--into") + 1]
    [volume] = {name for name, at in mounts(services["vllm"]) & mounts(services["feed"]) if into.startswith(f"{at}/")}
    assert volume == "models"


def mounts(service: dict[str, Any]) -> set[tuple[str, str]]:
    """Volume and place of each."""
    return {(name, at) for name, at in (mount.split(":")[:2] for mount in service["volumes"])}
