"""How a run stands; published while it goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COUNTS = ("total", "done", "added", "updated", "unchanged", "removed", "chunks", "access")


@dataclass(slots=True)
class Report:
    """``access`` counts, among the updated, those of which only the readers changed. ``about``: what a run has
    come to that reads no documents; ``now``: what else there is to say of how it goes."""

    total: int = 0
    done: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    access: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    before: float = 0.0  # seconds of earlier attempts
    about: dict[str, Any] = field(default_factory=dict)
    now: dict[str, Any] = field(default_factory=dict)

    def progress(self) -> dict[str, Any]:
        return {
            "total": max(self.total, self.done),
            "done": self.done,
            "chunks": self.chunks,
            "failed": len(self.failed),
            "seconds": self._seconds(),
        } | self.now

    def result(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("added", "updated", "unchanged", "removed")}
        return {
            "documents": counts, **counts, "failed": self.failed, "chunks": self.chunks, "seconds": self._seconds(),
        } | self.about  # fmt: skip

    def counts(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in COUNTS} | {"seconds": self._seconds()}

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on counting where an earlier attempt stopped."""
        counts = checkpoint.get("counts", {})
        for name in COUNTS:
            setattr(self, name, counts.get(name, 0))
        self.before = counts.get("seconds", 0.0)
        self.failed = list(checkpoint.get("failed", ()))

    def fail(self, external_id: str, reason: str) -> None:
        self.done += 1
        self.failed.append({"path": external_id, "reason": reason})

    def fail_within(self, parts: Mapping[str, str]) -> None:
        """Parts of a document (part -> reason) could not be read; the document itself counts elsewhere."""
        self.failed += [{"path": part, "reason": reason} for part, reason in parts.items()]

    def _seconds(self) -> float:
        return round(self.before + time.monotonic() - self.started, 2)
