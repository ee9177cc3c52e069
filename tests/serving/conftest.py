from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assistant.knowledge.embedding import TransformerEmbedder
from tests.finetuning.tiny import save_tiny_model
from tests.serving.served import Served, served, wide
from workers.language_model import LanguageModel, load


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture
def tiny(tiny_folder: Path) -> LanguageModel:
    """A fresh copy for each test: an engine takes over what it serves."""
    return load(tiny_folder)


@pytest.fixture(scope="session")
def wide_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the server's tests: the same model with a context that holds prompts of some length."""
    return wide(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="module")
async def server(wide_folder: Path, embedder: TransformerEmbedder) -> AsyncIterator[Served]:
    """One for all tests of a module that leave it as it was."""
    async with served(wide_folder, embedder) as running:
        yield running
