"""Questions on real pages, asked of the extractive model through the product's own answering: right and refused."""

from __future__ import annotations

import asyncio
import re
import uuid
from dataclasses import dataclass
from typing import Any

from assistant.answering.answer import Answering
from assistant.answering.confidence import Evidence
from assistant.answering.messages import Answer, Done, Question
from assistant.answering.outcomes import Outcome
from assistant.answering.writing import PASSAGES
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.search import Searcher
from assistant.models.extractive import ExtractiveModel, evidence
from assistant.models.port import Brief
from assistant.telemetry import Metrics
from bench.world import ROOT, Corpus, corpus, jsonl, server

SETS = ("govuk", "handbook")
# Answers that must be right and cited, and questions that must be refused: of the test split of govuk, which nothing
# was fitted on, and of the whole handbook. They lie under what is measured by what a change in rounding may cost.
BOUNDS = {"govuk": (25, 9), "handbook": (28, 12)}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what came of it. ``right``: the answer holds the words and cites the page."""

    row: dict[str, Any]
    answer: Answer
    right: bool
    evidence: Evidence | None = None


async def ask_all(
    filled: Corpus, embedder: TransformerEmbedder, rows: list[dict[str, Any]], weigh: bool = False
) -> list[Asked]:
    """``weigh``: with the evidence for each answer, for which it is searched once more."""
    model = ExtractiveModel(embedder)
    searcher = Searcher(filled.sessions, embedder)
    answering = Answering(filled.sessions, searcher, model, Metrics(), max_chars=4_000, timeout=60)
    asked = []
    for row in rows:
        text = row["question"]
        question = Question(text, "bench", Audience.everyone(), "terminal", str(uuid.uuid4()))
        (answer,) = [event.answer async for event in answering.ask(question) if isinstance(event, Done)]
        seen = None
        if weigh:
            result = await searcher.search(text, audience=Audience.everyone(), limit=PASSAGES)
            brief = Brief(text, text, result.hits, (), result.term_weights)
            seen = evidence(brief, await model.candidates(brief))
        asked.append(Asked(row, answer, is_right(row, answer), seen))
    return asked


def right(asked: list[Asked], *, answerable: bool) -> int:
    return sum(one.right for one in asked if one.row["answerable"] is answerable)


def is_right(row: dict[str, Any], answer: Answer) -> bool:
    """For an unanswerable question: it was refused."""
    if not row["answerable"]:
        return answer.outcome is Outcome.NOT_IN_DOCUMENTS
    pages = {row["page"], *row["also"]}
    cited = any(citation.external_id in pages for citation in answer.citations)
    return cited and all(_stands(words, answer.text) for words in row["words"])


def _stands(words: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(words.lower())}(?!\w)", text.lower()) is not None


async def measure(weigh: bool = False) -> dict[str, list[Asked]]:
    results = {}
    with server() as url:
        embedder = TransformerEmbedder(None, threads=2)
        for name in SETS:
            async with corpus(url, name, embedder) as filled:
                rows = jsonl(ROOT / "tests" / "data" / f"{name}_questions.jsonl")
                results[name] = await ask_all(filled, embedder, rows, weigh)
        await embedder.close()
    return results


def report(results: dict[str, list[Asked]]) -> None:
    for name, asked in results.items():
        for split in ("dev", "test"):
            for answerable, verb in ((True, "right and cited"), (False, "refused")):
                part = [one for one in asked if one.row["split"] == split and one.row["answerable"] is answerable]
                print(
                    f"answers, {name:8s} {split:4s} {verb:15s} {right(part, answerable=answerable):3d} of {len(part)}"
                )
        lengths = [len(one.answer.text) for one in asked if one.answer.outcome is Outcome.ANSWERED]
        print(f"answers, {name:8s} characters in an answer: {sum(lengths) / len(lengths):.0f}")


def short(results: dict[str, list[Asked]]) -> list[str]:
    """What lies under its bound, a sentence each."""
    found = []
    for name, bounds in BOUNDS.items():
        held = [one for one in results[name] if name == "handbook" or one.row["split"] == "test"]
        for answerable, least, verb in zip((True, False), bounds, ("right and cited", "refused"), strict=True):
            if (count := right(held, answerable=answerable)) < least:
                found.append(f"Of the questions on {name}, {count} were {verb}; {least} must be.")
    return found


def main() -> None:
    results = asyncio.run(measure())
    report(results)
    if found := short(results):
        raise SystemExit("\n".join(found))


if __name__ == "__main__":
    main()
