"""The judge: verdicts on questions and on untrusted text, and the fingerprint of all that they depend on.

A passage is judged when it is read in, and its verdict stored under this fingerprint: whatever changes a verdict
changes that, and what was stored before then counts for nothing.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from uuid import UUID

from assistant.guardrails import injection
from assistant.guardrails.judged import Judged
from assistant.guardrails.verdicts import Verdict
from assistant.knowledge.embedders import pinned
from assistant.knowledge.embedding import DEFAULT_MODEL, Embedder, TransformerEmbedder, Vectors

DOUBT = 0.2  # probability by words alone from which a document's worst window is embedded
AT_ONCE = 16  # documents that are judged before other tasks have a turn
# What a verdict depends on: the weights, and each file that turns a text into what they weigh.
MADE_OF = (
    "model/guard.npz", "cues.py", "features.py", "injection.py", "judging.py", "normalising.py", "verdicts.py",
)  # fmt: skip


class Judge:
    """``embedder``: that of the search. What it has embedded of a question is not embedded again."""

    def __init__(self, embedder: Embedder, threads: int) -> None:
        self._embedder = embedder
        self._threads = threads
        self._own: TransformerEmbedder | None = None
        self._fingerprint: tuple[Embedder, UUID] | None = None

    async def fingerprint(self) -> UUID:
        """Of the weights, the code around them, and the embedding model that has the last word."""
        embedder = pinned(self._model())
        if self._fingerprint is None or self._fingerprint[0] is not embedder:
            self._fingerprint = embedder, await asyncio.to_thread(_fingerprint, embedder)
        return self._fingerprint[1]

    async def questions(self, texts: Sequence[str]) -> list[Verdict]:
        """Whether questions are attacks; the windows of all of them are embedded together where there are several."""
        found = [injection.prepared(text) for text in texts]
        vectors = await self._vectors([window.text for prepared in found for window in prepared])
        verdicts, start = [], 0
        for prepared in found:
            verdicts.append(injection.judged(prepared, vectors[start : start + len(prepared)]))
            start += len(prepared)
        return verdicts

    async def documents(self, texts: Sequence[str]) -> list[Verdict]:
        """Whether documents or tool results hold orders for their reader."""
        verdicts = []
        for start in range(0, len(texts), AT_ONCE):
            some = texts[start : start + AT_ONCE]
            verdicts += await self._second_look(await asyncio.to_thread(_documents, some))
        return verdicts

    async def judged(self, texts: Sequence[str]) -> list[Judged]:
        """The same, to be stored."""
        judge = await self.fingerprint()
        distinct = list(dict.fromkeys(texts))
        known = dict(zip(distinct, await self.documents(distinct), strict=True))
        return [Judged.of(judge, text, known[text]) for text in texts]

    async def _vectors(self, windows: Sequence[str]) -> Vectors:
        """Of one window as the search embeds a question, so that it is embedded once; of several as passages are."""
        embedder = self._model()
        if len(windows) == 1:
            return (await embedder.embed_query(windows[0]))[None, :]
        return await embedder.embed(windows)

    def _model(self) -> Embedder:
        """The model that the weights were made with: mostly that of the index, else one of our own."""
        if self._embedder.name == DEFAULT_MODEL:
            return self._embedder
        if self._own is None:
            self._own = TransformerEmbedder(None, self._threads)
        return self._own

    async def _second_look(self, judged: Sequence[tuple[Verdict, str]]) -> list[Verdict]:
        """Where the words alone leave a doubt, the worst window is read as a question would be, with its embedding."""
        verdicts = [verdict for verdict, _ in judged]
        doubtful = [
            place for place, verdict in enumerate(verdicts) if verdict.verdict == "allow" and verdict.score >= DOUBT
        ]
        if not doubtful:
            return verdicts
        for place, again in zip(doubtful, await self.questions([judged[place][1] for place in doubtful]), strict=True):
            if again.found:
                verdicts[place] = replace(again, verdict="flag")
        return verdicts

    async def close(self) -> None:
        """Let go of the model of our own, if there is one."""
        if self._own is not None:
            await self._own.close()
            self._own = None


def _documents(texts: Sequence[str]) -> list[tuple[Verdict, str]]:
    return [injection.document(text) for text in texts]


def _fingerprint(embedder: Embedder) -> UUID:
    model = embedder.fingerprint() if isinstance(embedder, TransformerEmbedder) else embedder.name
    return UUID(bytes=hashlib.sha256(f"{_made_of()} {model}".encode()).digest()[:16])


@functools.cache
def _made_of() -> str:
    """Of our own files, as they were when this process first asked; and of Python's tables of letters."""
    digest = hashlib.sha256(unicodedata.unidata_version.encode())
    for name in MADE_OF:
        content = files("assistant.guardrails").joinpath(name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
