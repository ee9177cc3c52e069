"""What of a document could not be read, though the rest was: the members of an archive, each with its reason."""

from __future__ import annotations

import json
from collections.abc import Mapping

KEY = "unread"  # in the metadata, as JSON: member -> reason


def within(container: str, member: str) -> str:
    """How people are told of a file within another: ``manuals.zip!/old/setup.pdf``."""
    return f"{container}!/{member}"


def unread_note(failed: Mapping[str, str]) -> dict[str, str]:
    """For the metadata; empty where nothing failed."""
    return {KEY: json.dumps(failed, ensure_ascii=False)} if failed else {}


def unread_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """Member -> why it could not be read."""
    found: dict[str, str] = json.loads(metadata[KEY]) if KEY in metadata else {}
    return found
