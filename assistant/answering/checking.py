"""The check of what a model wrote, before anybody sees it: links and secrets, each sentence's support, each citation.

Everything here works without guards, too (tests of other parts, measurements): then citations alone are checked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from assistant.answering import citations as citing
from assistant.answering.messages import Citation, storable
from assistant.answering.work import Work
from assistant.database.session import Sessions
from assistant.guardrails import leaves
from assistant.guardrails.formats import Format
from assistant.guardrails.guards import Guards
from assistant.guardrails.leaves import Leaf
from assistant.guardrails.support import Support
from assistant.knowledge.audience import Audience
from assistant.knowledge.search import Hit

_ADDRESS = re.compile(r"https?://[^\s<>`|]+")
NO_QUOTES: Mapping[int, str] = {}


class Settling(Protocol):
    """Makes a stream fit to be shown."""

    def feed(self, piece: str) -> str: ...

    def finish(self) -> str: ...


class _AsItIs:
    """Where there are no guards."""

    def feed(self, piece: str) -> str:
        return piece

    def finish(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Checked:
    """``dropped`` counts the sentences that their passages do not support."""

    text: str
    citations: tuple[Citation, ...]
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Checker:
    """``sessions`` are those that see only what their audience may read.

    ``support`` is there where a model writes words of its own, which may be wrong, or obeys what it reads: then
    passages are screened, too.
    """

    sessions: Sessions
    guards: Guards | None = None
    support: Support | None = None

    async def readable(self, work: Work, hits: Sequence[Hit]) -> list[Hit]:
        """The hits that a model may read; what holds orders for it is kept away from it, and written to the log."""
        if self.guards is None or self.support is None or not hits:
            return list(hits)
        with work.watch.stage("screen"):
            verdicts = await self.guards.untrusted([hit.text for hit in hits], [hit.judged for hit in hits])
        for verdict in verdicts:
            work.watch.guarded("document", verdict.verdict)
        work.suspicious |= {hit.chunk_id for hit, verdict in zip(hits, verdicts, strict=True) if verdict.found}
        return [hit for hit, verdict in zip(hits, verdicts, strict=True) if verdict.verdict != "block"]

    def settling(self, work: Work, hits: Sequence[Hit]) -> Settling:
        """For an answer while it is written; ``hits`` may grow meanwhile."""
        if self.guards is None:
            return _AsItIs()
        return self.guards.settling(*_known(work, hits))

    async def check(
        self, work: Work, text: str, hits: Sequence[Hit], audience: Audience, *,
        quotes: Mapping[int, str] = NO_QUOTES,
    ) -> Checked:  # fmt: skip
        """``text`` with the numbers of ``hits``, as it may be shown to ``audience``."""
        shown, order = citing.renumber(storable(text), len(hits))
        if not order:
            shown, order = citing.renumber(citing.attribute(shown, hits), len(hits))
        if self.guards is not None:
            safe = self.guards.answer(shown, *_known(work, hits))
            work.watch.guarded("answer", "flag" if safe.removed else "allow")
            shown = safe.text
        dropped = 0
        if self.support is not None and order:
            passages = {n: _ground(hits[i - 1]) for n, i in enumerate(order, start=1)}
            supported = await self.support.check(citing.drawn_in(shown), passages)
            shown, again = citing.renumber(supported.text, len(order))  # a number may have gone with its sentence
            order, dropped = [order[n - 1] for n in again], len(supported.dropped)
        cited = citing.cite(shown, order, hits, quotes)
        shown, cited = await self.alive(shown, cited, audience)
        return Checked(shown, cited, dropped)

    def cleaned(self, work: Work, value: Any, form: Format, hits: Sequence[Hit]) -> Any:
        """A JSON value as it may be shown, each of its texts as an answer is."""
        if self.guards is None:
            return leaves.cleaned(value, form, storable)
        guards, known, removed = self.guards, _known(work, hits), 0

        def clean(text: str) -> str:
            nonlocal removed
            if _ADDRESS.fullmatch(text) and text in known[1]:
                return text  # a document's own, for a program: as code it would be another text
            safe = guards.answer(storable(text), *known)
            removed += len(safe.removed)
            return safe.text

        result = leaves.cleaned(value, form, clean)
        work.watch.guarded("answer", "flag" if removed else "allow")
        return result

    async def unsupported(self, value: Any, form: Format, hits: Sequence[Hit]) -> Leaf | None:
        """The first leaf of a JSON value that these hits do not say."""
        if self.support is None:
            return None
        passages = {n: _ground(hit) for n, hit in enumerate(hits, start=1)}
        return await leaves.unsupported(value, form, passages, self.support)

    async def alive(
        self, text: str, cited: tuple[Citation, ...], audience: Audience
    ) -> tuple[str, tuple[Citation, ...]]:
        """Less the citations whose passages are gone, or not for this audience."""
        async with self.sessions() as session:
            living = await citing.living(session, cited, audience)
        return citing.without_dead(text, cited, living)


def _ground(hit: Hit) -> str:
    """What a sentence may rest on that cites the passage."""
    return "\n".join(filter(None, (" > ".join((hit.title, *hit.heading_path)), hit.text, hit.url, hit.link)))


def _known(work: Work, hits: Sequence[Hit]) -> tuple[list[str], str]:
    """Where an answer may link to, and what its readers have read: documents, the question, the talk before it."""
    plain = [hit for hit in hits if hit.chunk_id not in work.suspicious]
    urls = [url for hit in plain for url in (hit.url, hit.link) if url]
    said = [text for turn in work.turns for text in (turn.question, turn.answer)]
    return urls, "\n".join([*(f"{hit.title}\n{hit.text}" for hit in plain), work.question.text, *said])
