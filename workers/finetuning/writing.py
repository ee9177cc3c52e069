"""Files that are whole or not there: written beside their place, and renamed."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes, *, sync: bool = False) -> None:
    """``sync``: also after the machine stops. Raises OSError, and leaves what was there before."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
