"""Encoders as they were traced, kept in the user's cache folder.

A process that finds its own there needs torch and the tokenizer alone, and is ready four seconds of CPU sooner than
one that imports sentence-transformers and traces the model again. A file is used only where it was made from the same
files by the same versions of the libraries, nobody else could have written it, and it still gives what it gave.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import stat
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from assistant.knowledge.loading import torchscript

log = structlog.get_logger()

LIBRARIES = ("torch", "transformers", "sentence-transformers")  # that had a hand in a file
FORMAT = 1  # of what is kept beside the call
ABOUT = "about.json"  # in the file
PROBE = [[1, 2, 3], [4, 5, 6]]  # token ids that every model has
TOLERANCE = 1e-3  # of the probe's vectors, of length 1


@dataclass(frozen=True, slots=True)
class About:
    """``width``: of the vectors of tokens, 0 where there are none; ``dimensions``: of the texts'. ``padding``: the id
    of the padding token; ``special``: of all special ones but that for the unknown; ``max_tokens``: 0: not said."""

    width: int
    dimensions: int
    padding: int
    max_tokens: int
    special: tuple[int, ...]


def folder() -> Path | None:
    """Where encoders are kept; None where there is no place."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "almanac" / "encoders"
    except RuntimeError:  # a user without a home
        return None


def named(model: str, fingerprint: str) -> str:
    """The file of a model's encoder on this kind of machine, as these libraries make it."""
    parts = [str(FORMAT), fingerprint, platform.machine(), *(f"{name} {version(name)}" for name in LIBRARIES)]
    return f"{_plain(model)}.{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}.pt"


def find(name: str) -> tuple[Callable[[Any, Any], tuple[Any, ...]], About] | None:
    """The call (see ``Encoder``) and what is known of it; None where there is none, or none that is trusted."""
    place = folder()
    if place is None:
        return None
    try:
        with (place / name).open("rb") as file:
            if not _only_ours(os.fstat(file.fileno())):
                log.warning("embedding.kept_not_trusted", path=file.name)
                return None
            return _read(file)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        log.warning("embedding.kept_unreadable", name=name, error=type(error).__name__)
        return None


def keep(name: str, call: Any, about: About) -> None:
    """Write it for the next process, in place of those of the same model that other versions made; where that cannot
    be, the next process traces the model itself."""
    import torch

    place = folder()
    if place is None:
        return
    known = {**asdict(about), "probe": _probe(call).tolist()}
    partial = None
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix="partial-", dir=place)  # readable and writable by us alone
        with os.fdopen(handle, "wb") as file, torchscript():
            torch.jit.save(call, file, _extra_files={ABOUT: json.dumps(known).encode()})
        Path(partial).replace(place / name)
        for other in place.glob(f"{name.rsplit('.', 2)[0]}.*.pt"):
            if other.name != name:
                other.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        log.info("embedding.not_kept", error=type(error).__name__)
        if partial is not None:
            with contextlib.suppress(OSError):
                Path(partial).unlink(missing_ok=True)


def _plain(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", model)


def _only_ours(found: os.stat_result) -> bool:
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _read(file: Any) -> tuple[Callable[[Any, Any], tuple[Any, ...]], About]:
    """Raises ``ValueError`` where it gives something else than it gave when it was kept."""
    import torch

    extra = {ABOUT: ""}
    with torchscript():
        call = torch.jit.load(file, map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]
    known = json.loads(extra[ABOUT])
    wanted = torch.tensor(known.pop("probe"))
    known["special"] = tuple(known["special"])
    if not torch.allclose(_probe(call), wanted, atol=TOLERANCE):
        raise ValueError("it gives other vectors")
    return call, About(**known)


def _probe(call: Callable[[Any, Any], tuple[Any, ...]]) -> Any:
    """Vectors of the probe, of length 1."""
    import torch

    ids = torch.tensor(PROBE)
    with torch.inference_mode():
        return torch.nn.functional.normalize(call(ids, torch.ones_like(ids))[0].float(), dim=1)
