"""The registry keeps only what is safe, hands out only what is whole, and says at any time what answers."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sqlalchemy import insert

from assistant.database.session import Sessions
from assistant.database.tables import Run
from assistant.errors import AlmanacError, NotFound
from assistant.models import registry as registry_module
from assistant.models.registry import NotSafe, Registry, StorageUnavailable, Tampered, Version
from assistant.settings import load_settings

BASE = "tiny"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An adapter as training leaves it."""
    made = tmp_path / "trained"
    made.mkdir()
    weights = np.arange(12, dtype=np.float32).reshape(3, 4)
    save_file({"base_model.model.q_proj.lora_A.weight": weights}, made / "adapter_model.safetensors")
    (made / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (made / "loss.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return made


@pytest.fixture(params=["path", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "path":
        yield str(tmp_path / "adapters")
    else:
        yield f"memory://adapters-{uuid.uuid4().hex}"


async def added(registry: Registry, folder: Path, kind: str = "lora", **more: object) -> Version:
    values = {"run_id": None, "report": {"gate": {"verdict": "gain"}}, "card": "# {name}\n", **more}
    return await registry.add(folder, base=BASE, kind=kind, **values)  # type: ignore[arg-type]


async def test_a_version_comes_back_as_it_was_kept(
    sessions: Sessions, storage: str, folder: Path, tmp_path: Path
) -> None:
    registry = Registry(sessions, storage)
    version = await added(registry, folder)
    assert version.name == "tiny-lora-0001"
    assert (version.state, version.share, version.report) == ("candidate", 0.0, {"gate": {"verdict": "gain"}})
    assert set(version.files) == {"adapter_model.safetensors", "adapter_config.json", "loss.png", "README.md"}
    assert version.location == f"{storage}/tiny-lora-0001"
    there = await registry.fetch(version, tmp_path / "here")
    assert there == tmp_path / "here" / "tiny-lora-0001"
    assert (there / "README.md").read_text() == "# tiny-lora-0001\n"
    assert version.bytes == sum(path.stat().st_size for path in there.iterdir())
    found, before = (load_file(place / "adapter_model.safetensors") for place in (there, folder))
    np.testing.assert_array_equal(*(tensors["base_model.model.q_proj.lora_A.weight"] for tensors in (found, before)))
    assert (await added(registry, folder, kind="dpo")).name == "tiny-dpo-0002"
    assert [one.name for one in await registry.versions()] == ["tiny-dpo-0002", "tiny-lora-0001"]


@pytest.mark.parametrize("path", ["adapter_model.safetensors", "adapter_config.json", "README.md"])
async def test_one_changed_byte_is_named_and_refused(
    sessions: Sessions, folder: Path, tmp_path: Path, path: str
) -> None:
    registry = Registry(sessions, str(tmp_path / "adapters"))
    version = await added(registry, folder)
    stored = tmp_path / "adapters" / version.name / path
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    with pytest.raises(Tampered, match=rf"{path} is not the file that was registered"):
        await registry.fetch(version, tmp_path / "here")
    with pytest.raises(Tampered, match=path):
        await registry.promote(version.name)
    assert not list((tmp_path / "here").iterdir())


async def test_truncated_missing_and_extra_files_are_refused(sessions: Sessions, folder: Path, tmp_path: Path) -> None:
    registry = Registry(sessions, str(tmp_path / "adapters"))
    version = await added(registry, folder)
    place = tmp_path / "adapters" / version.name
    weights = place / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4])
    with pytest.raises(Tampered, match=r"adapter_model\.safetensors"):
        await registry.fetch(version, tmp_path / "here")
    weights.unlink()
    with pytest.raises(Tampered, match=r"adapter_model\.safetensors is missing"):
        await registry.fetch(version, tmp_path / "here")
    weights.write_bytes(whole)
    (place / "modeling.py").write_text("print('hello')")
    with pytest.raises(Tampered, match=r"modeling\.py is no file of tiny-lora-0001"):
        await registry.fetch(version, tmp_path / "here")
    (place / "modeling.py").unlink()
    assert (await registry.fetch(version, tmp_path / "here")).is_dir()


async def test_a_manifest_that_fits_changed_files_does_not_help(
    sessions: Sessions, folder: Path, tmp_path: Path
) -> None:
    """Who can write to the storage can make file and manifest agree, but not the database."""
    registry = Registry(sessions, str(tmp_path / "adapters"))
    version = await added(registry, folder)
    place = tmp_path / "adapters" / version.name
    (place / "adapter_config.json").write_text('{"r": 8}')
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["files"] == version.files
    manifest["files"]["adapter_config.json"] = registry_module.checksum(place / "adapter_config.json")
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Tampered, match=r"manifest\.json names other checksums"):
        await registry.fetch(version, tmp_path / "here")


async def test_what_was_fetched_and_then_changed_is_fetched_again(
    sessions: Sessions, storage: str, folder: Path, tmp_path: Path
) -> None:
    registry = Registry(sessions, storage)
    version = await added(registry, folder)
    there = await registry.fetch(version, tmp_path / "here")
    (there / "adapter_config.json").write_text("{}")
    again = await registry.fetch(version, tmp_path / "here")
    assert json.loads((again / "adapter_config.json").read_text())["r"] == 4
    if storage.startswith("memory:"):
        return  # its files share one place in them, which threads would fight for
    several = await asyncio.gather(*(registry.fetch(version, tmp_path / "together") for _ in range(4)))
    assert set(several) == {tmp_path / "together" / version.name}
    assert [path.name for path in (tmp_path / "together").iterdir()] == [version.name]


async def test_pickles_are_refused_under_any_name(sessions: Sessions, folder: Path, tmp_path: Path) -> None:
    registry = Registry(sessions, str(tmp_path / "adapters"))
    (folder / "adapter_model.bin").write_bytes(pickle.dumps([1]))
    with pytest.raises(NotSafe, match=r"adapter_model\.bin may not be in an adapter"):
        await added(registry, folder)
    (folder / "adapter_model.bin").unlink()
    (folder / "adapter_model.safetensors").write_bytes(pickle.dumps({"weight": [1.0] * 50}))
    with pytest.raises(NotSafe, match="not in the safetensors format"):
        await added(registry, folder)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(NotSafe, match=r"adapter_model\.safetensors is missing"):
        await added(registry, folder)
    outside = tmp_path / "secret.json"
    outside.write_text("{}")
    (folder / "linked.json").symlink_to(outside)
    with pytest.raises(NotSafe, match=r"linked\.json"):
        await added(registry, folder)
    assert await registry.versions() == []


async def test_an_upload_that_breaks_off_is_never_listed_and_goes_on_under_its_name(
    sessions: Sessions, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(sessions, str(tmp_path / "adapters"))
    async with sessions.begin() as session:
        run_id = (
            await session.execute(insert(Run).values(kind="finetune", arguments={}).returning(Run.id))
        ).scalar_one()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fsspec.implementations.local.LocalFileSystem.pipe_file", full)
        with pytest.raises(StorageUnavailable, match="No space left on device"):
            await added(registry, folder, run_id=run_id)
    assert await registry.versions() == []
    with pytest.raises(NotFound):
        await registry.get("tiny-lora-0001")
    (tmp_path / "adapters" / "tiny-lora-0001" / "left.json").write_text("{}")  # by the attempt that died
    version = await added(registry, folder, run_id=run_id)
    assert (version.name, version.run_id) == ("tiny-lora-0001", run_id)
    await registry.fetch(version, tmp_path / "here")
    assert await added(registry, folder, run_id=run_id) == version  # a run has one version


async def test_promotion_canary_and_rollback(sessions: Sessions, folder: Path, tmp_path: Path) -> None:
    registry = Registry(sessions, str(tmp_path / "adapters"))
    one, two, three = [(await added(registry, folder)).name for _ in range(3)]

    async def states() -> dict[str, tuple[str, float]]:
        return {version.name: (version.state, version.share) for version in await registry.versions()}

    async def served() -> set[str]:
        return {version.name for version in await registry.served(BASE)}

    with pytest.raises(NotFound, match="nothing to take back"):
        await registry.rollback()
    await registry.promote(one)
    await registry.promote(two, share=0.1)
    assert await states() == {one: ("promoted", 1.0), two: ("canary", 0.1), three: ("candidate", 0.0)}
    with pytest.raises(AlmanacError, match="only what answers nothing"):
        await registry.remove(two)
    back = await registry.rollback()
    assert (back.withdrawn.name, back.in_force and back.in_force.name) == (two, one)
    await registry.promote(two, share=0.5)
    await registry.promote(two)
    assert await states() == {one: ("retired", 0.0), two: ("promoted", 1.0), three: ("candidate", 0.0)}
    back = await registry.rollback(BASE)
    assert (back.withdrawn.name, back.in_force and back.in_force.name) == (two, one)
    await registry.promote(three)
    back = await registry.rollback()  # not to the second, which was taken back itself
    assert back.in_force is not None
    assert back.in_force.name == one
    back = await registry.rollback()
    assert back.in_force is None
    assert await served() == set()
    for share in (0.0, 1.0):
        with pytest.raises(AlmanacError, match="above 0 and below 1"):
            await registry.promote(one, share=share)


async def test_promotions_at_once_leave_one_in_force(sessions: Sessions, folder: Path, tmp_path: Path) -> None:
    registry = Registry(sessions, str(tmp_path / "adapters"))
    names = [(await added(registry, folder)).name for _ in range(4)]
    await asyncio.gather(*(registry.promote(name) for name in names))
    states = sorted(version.state for version in await registry.versions())
    assert states == ["promoted", "retired", "retired", "retired"]


async def test_a_removed_version_is_gone_with_its_files(
    sessions: Sessions, storage: str, folder: Path, tmp_path: Path
) -> None:
    registry = Registry(sessions, storage)
    version = await added(registry, folder)
    await registry.remove(version.name)
    assert await registry.versions() == []
    with pytest.raises(Tampered, match="is missing"):
        await registry.fetch(version, tmp_path / "here")
    assert (await added(registry, folder)).name == "tiny-lora-0002"


async def test_a_place_that_cannot_be_reached_is_one_sentence(
    sessions: Sessions, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageUnavailable, match=r"nowhere://x, and no package for nowhere:// is installed"):
        await added(Registry(sessions, "nowhere://x"), folder)
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(StorageUnavailable, match=r"s3://bucket/almanac, which needs the package s3fs"):
        await added(Registry(sessions, "s3://bucket/almanac"), folder)


def test_the_default_place_is_in_the_home_folder(tmp_path: Path) -> None:
    assert load_settings(home=tmp_path).adapters_url == str(tmp_path / "adapters")
    assert load_settings(home=tmp_path, adapters="s3://bucket/a").adapters_url == "s3://bucket/a"


async def test_a_version_of_another_name_finds_no_files(sessions: Sessions, folder: Path, tmp_path: Path) -> None:
    registry = Registry(sessions, str(tmp_path / "adapters"))
    version = replace(await added(registry, folder), name="tiny-lora-0009")
    with pytest.raises(Tampered):
        await registry.fetch(version, tmp_path / "here")
