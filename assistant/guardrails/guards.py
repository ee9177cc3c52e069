"""The guards behind one door: questions and untrusted text in, text for a model outside, answers out."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import structlog

from assistant.guardrails import injection, output, redacting
from assistant.guardrails.links import Places
from assistant.guardrails.output import Policy, Settling
from assistant.guardrails.verdicts import ALLOWED, Checked, Redaction, Verdict
from assistant.knowledge.embedding import DEFAULT_MODEL, Embedder, TransformerEmbedder, Vectors
from assistant.settings import Settings

log = structlog.get_logger()

KEPT = 4_096  # verdicts on documents, which come back with many questions
DOUBT = 0.2  # probability by words alone from which a document's worst window is embedded
AT_ONCE = 16  # documents that are judged before other tasks have a turn


class Guards:
    """Everything that checks text. Built once; weights and libraries are read with the first text."""

    def __init__(self, embedder: Embedder, settings: Settings) -> None:
        self._embedder = embedder
        self._own: TransformerEmbedder | None = None
        self._settings = settings
        self._redacts = cast("frozenset[redacting.What]", settings.redacts)
        self._documents: OrderedDict[str, Verdict] = OrderedDict()

    @classmethod
    def open(cls, embedder: Embedder, settings: Settings) -> Guards:
        """``embedder``: that of the search. What it has embedded of a question is not embedded again."""
        return cls(embedder, settings)

    async def question(self, text: str) -> Verdict:
        """Whether a question is an attack on the assistant, by ALMANAC_GUARD."""
        return (await self.questions([text]))[0]

    async def questions(self, texts: Sequence[str]) -> list[Verdict]:
        """A verdict for each text; the windows of all of them are embedded together where there are several."""
        if self._settings.guard == "off":
            return [ALLOWED for _ in texts]
        return [self._by_setting(verdict) for verdict in await self._judged(texts)]

    async def _judged(self, texts: Sequence[str]) -> list[Verdict]:
        found = [injection.prepared(text) for text in texts]
        vectors = await self._vectors([window.text for prepared in found for window in prepared])
        verdicts, start = [], 0
        for prepared in found:
            verdicts.append(injection.judged(prepared, vectors[start : start + len(prepared)]))
            start += len(prepared)
        return verdicts

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
            self._own = TransformerEmbedder(None, self._settings.model_threads)
        return self._own

    def _by_setting(self, verdict: Verdict) -> Verdict:
        lowered = self._settings.guard == "flag" and verdict.verdict == "block"
        return replace(verdict, verdict="flag") if lowered else verdict

    async def untrusted(self, texts: Sequence[str]) -> list[Verdict]:
        """Whether documents or tool results hold orders for their reader; verdicts are kept for the next time."""
        if self._settings.guard == "off":
            return [ALLOWED for _ in texts]
        known = {text: self._documents[text] for text in texts if text in self._documents}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            judged = await self._second_look(await asyncio.to_thread(_documents, some))
            known.update(zip(some, judged, strict=True))
        for text, verdict in known.items():
            self._documents[text] = verdict
            self._documents.move_to_end(text)
        while len(self._documents) > KEPT:
            self._documents.popitem(last=False)
        return [known[text] for text in texts]

    async def _second_look(self, judged: Sequence[tuple[Verdict, str]]) -> list[Verdict]:
        """Where the words alone leave a doubt, the worst window is read as a question would be, with its embedding."""
        verdicts = [verdict for verdict, _ in judged]
        doubtful = [
            place for place, verdict in enumerate(verdicts) if verdict.verdict == "allow" and verdict.score >= DOUBT
        ]
        for place, again in zip(doubtful, await self._judged([judged[place][1] for place in doubtful]), strict=True):
            if again.found:
                verdicts[place] = replace(again, verdict="flag")
        return verdicts

    def outside(self, texts: str | Sequence[str]) -> Redaction:
        """The texts as a model may see them, by ALMANAC_REDACT; the same values have the same placeholders."""
        given = (texts,) if isinstance(texts, str) else tuple(texts)
        return redacting.redact(given, self._redacts) if self._redacts else Redaction(given)

    @property
    def redacts(self) -> bool:
        """Whether ``outside`` changes anything at all."""
        return bool(self._redacts)

    def answer(self, text: str, allowed_urls: Iterable[str] = (), readable: str = "") -> Checked:
        """An answer without links to foreign places, secrets, personal data and mentions.

        ``allowed_urls``: of the documents that it cites. ``readable``: what the asker could read (the passages that
        were not flagged, the question), whose data may be repeated and whose addresses may be shown, as code.
        """
        checked = output.check(text, self._policy(allowed_urls, readable))
        if checked.removed:
            log.info("guard.answer", removed=[f"{item.kind}:{item.text}" for item in checked.removed][:10])
        return checked

    def settling(self, allowed_urls: Iterable[str] = (), readable: str = "") -> Settling:
        """The same for an answer that is being written: ``feed`` and ``finish`` give what can be shown."""
        return Settling(self._policy(allowed_urls, readable))

    def _policy(self, allowed_urls: Iterable[str], readable: str) -> Policy:
        return Policy(Places.of(allowed_urls, self._settings.link_hosts), readable)

    async def warm(self) -> None:
        """Read the weights and the libraries before somebody waits for them."""
        await self.question("warm up")
        await self.untrusted(["warm up"])
        await asyncio.to_thread(self.answer, "Warm up, user@example.com.")

    async def close(self) -> None:
        """Let go of the model of our own, if there is one."""
        if self._own is not None:
            await self._own.close()
            self._own = None


def _documents(texts: Sequence[str]) -> list[tuple[Verdict, str]]:
    return [injection.document(text) for text in texts]
