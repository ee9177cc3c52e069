"""What an answer may cite: passages of documents, and what tools said. Numbers are given once, and never change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from assistant.knowledge.search import Hit

NO_DOCUMENT = 0  # chunk and document of what a tool said: Postgres counts from 1


class Evidence:
    """``hits[n - 1]`` is cited as ``[n]``. A passage that is found again keeps its number."""

    def __init__(self, hits: Sequence[Hit] = ()) -> None:
        self.hits: list[Hit] = []
        self._numbers: dict[int, int] = {}
        for hit in hits:
            self.passage(hit)

    def __len__(self) -> int:
        return len(self.hits)

    @property
    def documents(self) -> int:
        """How many documents there are passages of."""
        return len({hit.document_id for hit in self.hits if hit.chunk_id != NO_DOCUMENT})

    def passage(self, hit: Hit) -> tuple[int, bool]:
        """The passage's number, and whether it is new."""
        known = self._numbers.get(hit.chunk_id)
        if known is not None:
            return known, False
        self.hits.append(hit)
        self._numbers[hit.chunk_id] = len(self.hits)
        return len(self.hits), True

    def result(self, tool: str, title: str, text: str, at: datetime | None = None) -> int:
        """The number of what a tool said."""
        number = len(self.hits) + 1
        said = Hit(
            NO_DOCUMENT, NO_DOCUMENT, f"tool:{tool}:{number}", title, None, text, (), None, None, 0, 0.0, 0.0, None,
            None, 0.0, {"tool": tool}, at or datetime.now(UTC),
        )  # fmt: skip
        self.hits.append(said)
        return number


def tool_of(hit: Hit) -> str | None:
    """The tool that said it. A document's own details say nothing here: they can say anything."""
    return str(hit.details["tool"]) if hit.chunk_id == NO_DOCUMENT else None
