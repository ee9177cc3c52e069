"""What a tool gave back, as much of it as an approval and the audit keep."""

from __future__ import annotations

import json
from typing import Any

from assistant.tools.model import ToolResult

MAX_TEXT = 2_000  # characters
MAX_DATA = 4_000  # of JSON


def kept(result: ToolResult) -> dict[str, Any]:
    """``status``, ``text`` and, where it is small, ``data``; ``truncated`` where something is missing."""
    text = result.text.replace("\0", " ")
    found: dict[str, Any] = {"status": result.status, "text": text[:MAX_TEXT]}
    encoded = _json(result.data)
    if result.data is not None and encoded is not None and len(encoded) <= MAX_DATA:
        found["data"] = json.loads(encoded)
    if result.truncated or len(text) > MAX_TEXT:
        found["truncated"] = True
    return found


def _json(value: Any) -> str | None:
    """None for what is no JSON, and for what Postgres cannot hold."""
    try:
        encoded = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return None if "\\u0000" in encoded else encoded
