"""The registry's versions in the server: loaded while it serves, retired, refused when tampered with; none is lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from assistant.database.session import Sessions
from assistant.errors import ModelError
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.models.choice import Choice
from assistant.models.client import OpenAIModel
from assistant.models.port import Brief, Written
from assistant.models.registry import Registry
from assistant.settings import load_settings
from tests.serving.served import BASE, KEY, Served, adapter, served
from workers.serving.published import Published

MESSAGES: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def trained(wide_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [adapter(wide_folder, tmp_path_factory.mktemp("lora"), seed) for seed in (1, 2)]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "adapters"


@pytest.fixture
def registry(sessions: Sessions, storage: Path) -> Registry:
    return Registry(sessions, str(storage))


async def kept(registry: Registry, folder: Path) -> str:
    version = await registry.add(folder, base=BASE, kind="lora", run_id=None, report={}, card="# {name}\n")
    return version.name


async def said(server: Served, model: str, tokens: int = 16, temperature: float = 0) -> str:
    done = await server.client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=tokens, temperature=temperature, seed=5
    )
    assert done.model == model
    return done.choices[0].message.content or ""


async def look(server: Served) -> Published:
    published = server.serving.published
    assert published is not None
    await published.look()
    return published


async def ready(server: Served) -> dict[str, Any]:
    async with openai.DefaultAsyncHttpxClient() as http:
        answer: dict[str, Any] = (await http.get(f"{server.url}/readyz")).json()
        return answer


async def test_what_is_promoted_is_served_and_what_is_retired_is_not(
    wide_folder: Path, embedder: TransformerEmbedder, registry: Registry, trained: list[Path], tmp_path: Path
) -> None:
    first, second = [await kept(registry, folder) for folder in trained]
    await registry.promote(first)
    async with served(wide_folder, embedder, registry=registry, into=tmp_path / "serving") as server:
        assert (await ready(server))["adapters"] == [first]  # with the first request already
        with pytest.raises(openai.NotFoundError):
            await said(server, second)
        await registry.promote(second, share=0.5)
        await look(server)
        texts = {await said(server, name, temperature=1.5) for name in (BASE, first, second)}
        assert len(texts) == 3
        listed = {model.id: getattr(model, "parent", None) async for model in server.client.models.list()}
        assert listed == {BASE: None, first: BASE, second: BASE, embedder.name: None}
        await registry.promote(second)
        await look(server)
        assert (await ready(server))["adapters"] == [second]
        with pytest.raises(openai.NotFoundError):
            await said(server, first)


async def test_a_tampered_version_is_refused_and_the_rest_serves_on(
    wide_folder: Path, embedder: TransformerEmbedder, registry: Registry, trained: list[Path], storage: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    first, second = [await kept(registry, folder) for folder in trained]
    await registry.promote(first)
    await registry.promote(second, share=0.5)
    weights = storage / second / "adapter_model.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-4] + b"\0\1\0\1")
    async with served(wide_folder, embedder, registry=registry, into=tmp_path / "serving") as server:
        state = await ready(server)
        assert state["adapters"] == [first]
        assert list(state["refused"]) == [second]
        assert "is not the file that was registered" in state["refused"][second]
        with pytest.raises(openai.NotFoundError):
            await said(server, second)
        assert await said(server, first)
        weights.write_bytes(sound)  # put right; it is looked at again a while later
        published = await look(server)
        assert second in published.refused
        published._tried[second] -= 120
        await look(server)
        assert (await ready(server))["adapters"] == [first, second]
        assert (await ready(server))["refused"] == {}


async def test_a_registry_that_is_away_changes_nothing(
    wide_folder: Path, embedder: TransformerEmbedder, registry: Registry, trained: list[Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    name = await kept(registry, trained[0])
    await registry.promote(name)
    async with served(wide_folder, embedder, registry=registry, into=tmp_path / "serving") as server:

        async def away(_base: str) -> Any:
            raise ConnectionRefusedError

        monkeypatch.setattr(registry, "served", away)
        await look(server)
        state = await ready(server)
        assert (state["adapters"], state["status"]) == ([name], "ready")
        assert "cannot be read" in state["registry"]
        monkeypatch.undo()
        await look(server)
        assert (await ready(server))["registry"] == "ok"


async def test_a_swap_under_load_drops_no_request(
    wide_folder: Path, embedder: TransformerEmbedder, registry: Registry, trained: list[Path], tmp_path: Path
) -> None:
    first, second = [await kept(registry, folder) for folder in trained]
    await registry.promote(first)
    async with served(wide_folder, embedder, registry=registry, into=tmp_path / "serving", waiting=64) as server:
        alone = {first: await said(server, first, 120), BASE: await said(server, BASE, 120)}
        under_way = [asyncio.create_task(said(server, name, 120)) for name in [first, BASE] * 6]
        async with asyncio.timeout(20):
            while server.engine.stats().running < 4:
                await asyncio.sleep(0.005)
        await registry.promote(second)
        await look(server)  # the first goes, the second comes, while twelve run or wait
        new = asyncio.create_task(said(server, second, 20))
        texts = await asyncio.gather(*under_way)
        assert texts == [alone[first], alone[BASE]] * 6
        assert await new == await said(server, second, 20)
        assert server.engine.adapters == (second,)


async def test_a_conversation_is_answered_by_its_version_and_by_the_base_when_that_is_gone(
    wide_folder: Path, embedder: TransformerEmbedder, registry: Registry, trained: list[Path], tmp_path: Path
) -> None:
    first, second = [await kept(registry, folder) for folder in trained]
    await registry.promote(first)
    await registry.promote(second, share=0.5)
    async with served(wide_folder, embedder, registry=registry, into=tmp_path / "serving") as server:
        settings = load_settings(
            llm_base_url=f"{server.url}/v1", llm_api_key=KEY, llm_model=BASE, llm_adapters=True, llm_max_tokens=16
        )
        model = OpenAIModel(settings, Choice(registry.served, BASE))
        try:
            names = [await answered(model, f"conversation {number}") for number in range(12)]
            assert set(names) == {first, second}
            assert names == [await answered(model, f"conversation {number}") for number in range(12)]
            await server.engine.unload_adapter(second)  # and the client does not know yet
            gone = [await answered(model, f"conversation {number}") for number in range(12)]
            assert gone == [BASE if name == second else name for name in names]
        finally:
            await model.close()


async def answered(model: OpenAIModel, conversation: str) -> str:
    """The name of the model that did; a random one may answer with nothing but spaces."""
    spoken = await model.speaking(conversation)
    try:
        pieces = [piece async for piece in spoken.write(Brief("What?", "What?", []))]
    except ModelError as error:
        assert "with nothing" in str(error)  # noqa: PT017 - it need not be raised
    else:
        assert isinstance(pieces[-1], Written)
    return spoken.name
