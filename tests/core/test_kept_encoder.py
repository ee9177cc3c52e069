"""Encoders that are kept on disk: the same vectors from torch alone, and never from a file that cannot be trusted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from assistant.knowledge import encoder, kept_encoder
from assistant.knowledge.embedding import TransformerEmbedder, Vectors, default_model_path
from assistant.knowledge.loading import torchscript
from tests.core.small_model import save_small_model

TEXTS = ["How do I roll back a deployment?", "Die Datenbank antwortet nicht mehr.", "🚢"]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "almanac" / "encoders"


async def embedded(path: Path | None = None) -> tuple[Vectors, list[bytes]]:
    embedder = TransformerEmbedder(str(path) if path else None, threads=1)
    try:
        await embedder.load()
        return await embedder.embed_with_tokens(TEXTS)
    finally:
        await embedder.close()


def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a model that is read from its folder fails the test."""

    def never(path: Path) -> None:
        raise AssertionError("the model was read again")

    monkeypatch.setattr(encoder, "_read", never)


async def test_the_next_process_has_the_same_vectors_from_torch_alone(cache: Path, tmp_path: Path) -> None:
    vectors, tokens = await embedded()
    np.save(tmp_path / "vectors.npy", vectors)
    script = f"""
import asyncio, sys
import numpy as np
from assistant.knowledge.embedding import TransformerEmbedder
embedder = TransformerEmbedder(None, threads=1)
vectors, tokens = asyncio.run(embedder.embed_with_tokens({TEXTS!r}))
assert (vectors == np.load({str(tmp_path / "vectors.npy")!r})).all()
print(sorted({{"sentence_transformers", "transformers", "sklearn"}} & set(sys.modules)), b"".join(tokens).hex())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == f"[] {b''.join(tokens).hex()}"
    [kept] = cache.iterdir()
    assert kept.stat().st_mode & 0o077 == 0


async def test_everything_that_is_known_of_a_model_is_kept(cache: Path, tmp_path: Path) -> None:
    small = save_small_model(tmp_path / "small model", 64)
    fresh, again = (encoder.loaded(small, "small model", "f") for _ in range(2))
    assert again.about == fresh.about
    assert fresh.about.dimensions == 64
    assert fresh.about.max_tokens == 256
    assert len(fresh.about.special) == 4  # [PAD], [CLS], [SEP], [MASK]
    assert [path.name.split(".")[0] for path in cache.iterdir()] == ["small-model"]


async def test_a_model_that_has_changed_is_read_again_and_takes_the_place_of_the_old(
    cache: Path, tmp_path: Path
) -> None:
    place = tmp_path / "ours"
    save_small_model(place, 64, seed=1)
    first, _ = await embedded(place)
    [old] = cache.iterdir()
    shutil.rmtree(place)
    save_small_model(place, 64, seed=2)
    second, _ = await embedded(place)
    [new] = cache.iterdir()
    assert new != old
    assert not np.allclose(first, second, atol=0.05)


async def test_another_version_of_a_library_reads_the_model_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = TransformerEmbedder(None, threads=1)
    name = kept_encoder.named(embedder.name, embedder.fingerprint())
    monkeypatch.setattr(kept_encoder, "version", lambda library: "99")
    assert kept_encoder.named(embedder.name, embedder.fingerprint()) != name


@pytest.mark.parametrize("harm", ["cut", "garbage", "another model's", "writable by others", "a folder"])
async def test_a_file_that_cannot_be_trusted_is_not_used(
    harm: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_small_model(tmp_path / "small", 64)
    wanted, _ = await embedded(model)
    [kept] = cache.iterdir()
    if harm == "cut":
        kept.write_bytes(kept.read_bytes()[:-70_000])
    elif harm == "garbage":
        kept.write_bytes(b"no archive")
    elif harm == "another model's":
        _forge(kept, tmp_path)
    elif harm == "writable by others":
        kept.chmod(0o666)
    else:
        kept.unlink()
        kept.mkdir()
    with capture_logs() as logs:
        found, _ = await embedded(model)
    assert (found == wanted).all()
    assert {entry["event"] for entry in logs} & {"embedding.kept_unreadable", "embedding.kept_not_trusted"}


def _forge(kept: Path, tmp_path: Path) -> None:
    """Put the weights of another model under what is known of this one."""
    import torch

    about = {kept_encoder.ABOUT: ""}
    with torchscript():
        torch.jit.load(kept, _extra_files=about)
    other = encoder.loaded(save_small_model(tmp_path / "other", 64, seed=9), "other", "f")
    with torchscript():
        torch.jit.save(other.call, kept, _extra_files={kept_encoder.ABOUT: about[kept_encoder.ABOUT]})


@pytest.mark.parametrize("place", ["a file", "no home"])
async def test_where_nothing_can_be_kept_the_model_is_read(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked) if place == "a file" else "")
    if place == "no home":
        monkeypatch.setattr(Path, "home", _nobody)
    vectors, _ = await embedded(default_model_path())
    assert vectors.shape == (3, 384)
    assert blocked.read_text() == "not a folder"


def _nobody() -> Path:
    raise RuntimeError("Could not determine home directory.")


async def test_what_is_kept_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, _ = await embedded()
    stopped(monkeypatch)
    found, _ = await embedded()
    assert (found == wanted).all()
