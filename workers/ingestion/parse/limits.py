"""How large a file may be; read before any reader is chosen."""

from __future__ import annotations

from assistant.errors import DocumentUnreadable

DEFAULT_LIMIT = 50 * 1024 * 1024


def check_size(content: bytes, max_bytes: int) -> None:
    if len(content) > max_bytes:
        size, limit = len(content) / 2**20, max_bytes / 2**20
        raise DocumentUnreadable(f"the file is too large: {size:.1f} MiB, the limit is {limit:.1f} MiB")
