"""The guards behind one door: questions and untrusted text in, text for a model outside, answers out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from assistant.guardrails.verdicts import ALLOWED, Checked, Redaction, Verdict
from assistant.knowledge.embedding import Embedder
from assistant.settings import Settings


class Guards:
    """Everything that checks text. Built once; opening reads nothing that is large."""

    def __init__(self, embedder: Embedder, settings: Settings) -> None:
        self._embedder = embedder
        self._settings = settings

    @classmethod
    def open(cls, embedder: Embedder, settings: Settings) -> Guards:
        return cls(embedder, settings)

    async def question(self, text: str) -> Verdict:
        """Whether a question is an attack on the assistant."""
        return ALLOWED

    async def untrusted(self, texts: Sequence[str]) -> list[Verdict]:
        """Whether documents or tool results hold instructions for the assistant; one verdict a text."""
        return [ALLOWED for _ in texts]

    def outside(self, texts: str | Sequence[str]) -> Redaction:
        """The texts as a model outside may see them, by ALMANAC_REDACT."""
        return Redaction((texts,) if isinstance(texts, str) else tuple(texts))

    def answer(self, text: str, allowed_urls: Iterable[str] = ()) -> Checked:
        """An answer without links to foreign places, secrets, personal data and mentions."""
        return Checked(text)

    async def close(self) -> None:
        """Nothing is held yet."""
