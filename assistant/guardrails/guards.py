"""The guards behind one door: questions and untrusted text in, text for a model outside, answers out."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import cast

import structlog

from assistant.guardrails import output, redacting
from assistant.guardrails.judged import Judged
from assistant.guardrails.judging import Judge
from assistant.guardrails.links import Places
from assistant.guardrails.output import Policy, Settling
from assistant.guardrails.verdicts import ALLOWED, Checked, Redaction, Verdict
from assistant.knowledge.embedding import Embedder
from assistant.settings import Settings

log = structlog.get_logger()

KEPT = 4_096  # verdicts on documents, which come back with many questions


class Guards:
    """Everything that checks text. Built once; weights and libraries are read with the first text."""

    def __init__(self, embedder: Embedder, settings: Settings) -> None:
        self.judge = Judge(embedder, settings.model_threads)
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
        return [self._by_setting(verdict) for verdict in await self.judge.questions(texts)]

    def _by_setting(self, verdict: Verdict) -> Verdict:
        lowered = self._settings.guard == "flag" and verdict.verdict == "block"
        return replace(verdict, verdict="flag") if lowered else verdict

    async def untrusted(self, texts: Sequence[str], stored: Sequence[Judged | None] = ()) -> list[Verdict]:
        """Whether documents or tool results hold orders for their reader; verdicts are kept for the next time.

        ``stored``: what the index knows of each text. What holds no longer, or never did, is judged now.
        """
        if self._settings.guard == "off":
            return [ALLOWED for _ in texts]
        known = await self._holding(texts, stored)
        known |= {text: self._documents[text] for text in texts if text not in known and text in self._documents}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(missing, await self.judge.documents(missing), strict=True))
        for text, verdict in known.items():
            self._documents[text] = verdict
            self._documents.move_to_end(text)
        while len(self._documents) > KEPT:
            self._documents.popitem(last=False)
        return [known[text] for text in texts]

    async def _holding(self, texts: Sequence[str], stored: Sequence[Judged | None]) -> dict[str, Verdict]:
        if not any(stored):
            return {}
        judge = await self.judge.fingerprint()
        pairs = zip(texts, stored, strict=True)
        return {text: one.verdict for text, one in pairs if one is not None and one.holds(judge, text)}

    @property
    def reads_ahead(self) -> bool:
        """Whether passages are worth judging before anybody asks: a guard is on, and a model will read them."""
        settings = self._settings
        return settings.guard != "off" and (settings.has_model or settings.llm == "local")

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
        await self.judge.fingerprint()
        await self.question("warm up")
        await self.untrusted(["warm up"])
        await asyncio.to_thread(self.answer, "Warm up, user@example.com.")

    async def close(self) -> None:
        await self.judge.close()
