"""Questions asked through the product's own answering, and what each answer is worth, by arithmetic alone.

What is asked here is not kept: the answers of a case are deleted once they are measured.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from assistant.answering.answer import Answering
from assistant.answering.messages import Answer, Done, Question
from assistant.answering.outcomes import Outcome
from assistant.answering.writing import PASSAGES
from assistant.database import evaluations
from assistant.database.session import Sessions
from assistant.evaluation.cases import AnswerCase
from assistant.evaluation.claims import Supports, Verdict, claims, judge
from assistant.evaluation.results import CaseResult, Counts, Metric, yes_no
from assistant.evaluation.telling import Tell, each, silently
from assistant.evaluation.texts import rouge_l, token_f1, without_markers
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import Embedder

ASKER = "evaluation"
REFUSALS = (Outcome.NOT_IN_DOCUMENTS, Outcome.HIDDEN_BY_PERMISSIONS, Outcome.REFUSED)
SHOWN = 1_500  # characters of an answer that a report shows

METRICS = (
    Metric("citation_precision", "Citation precision"),
    Metric("citation_recall", "Citation recall"),
    Metric("groundedness", "Groundedness"),
    Metric("answered", "Answerable questions answered"),
    Metric("refusal_precision", "Refusal precision"),
    Metric("refusal_recall", "Refusal recall"),
    Metric("refusal_f1", "Refusal F1"),
    Metric("source_hit", "An expected source is cited"),
    Metric("words_held", "The expected words are there"),
    Metric("answer_relevance", "Answer relevance (cosine with the question)"),
    Metric("reference_f1", "Token F1 with the reference"),
    Metric("rouge_l", "ROUGE-L with the reference"),
    Metric("failed", "Questions that failed", better="lower"),
    Metric("seconds", "Seconds of a question", better="lower", gate=False, unit="seconds"),
    Metric("cost", "Cost of a question", better="lower", gate=False, unit="usd"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """``cited``: number -> the words of its passage; ``context``: those of what was found, best first."""

    case: AnswerCase
    answer: Answer
    seconds: float
    cited: Mapping[int, str]
    context: Sequence[str] = ()
    verdicts: Sequence[Verdict] = ()
    relevance: float | None = None
    judged: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)


async def ask_all(
    answering: Answering,
    sessions: Sessions,
    cases: Sequence[AnswerCase],
    *,
    at_once: int = 1,
    tell: Tell = silently,
) -> list[Asked]:
    """Ask every case, ``at_once`` of them at a time; latency means something only with one."""
    return await each(cases, lambda case: _ask(answering, sessions, case), at_once, "Asking", tell)


async def _ask(answering: Answering, sessions: Sessions, case: AnswerCase) -> Asked:
    conversation = str(uuid.uuid4())
    audience = Audience.everyone()
    question = Question(case.question, ASKER, audience, evaluations.PLATFORM, conversation)
    try:
        async with sessions.begin() as session:
            await evaluations.begin_conversation(session, conversation, ASKER, case.turns)
        start = time.perf_counter()
        (answer,) = [event.answer async for event in answering.ask(question) if isinstance(event, Done)]
        seconds = time.perf_counter() - start
        async with sessions() as session:
            found = (await evaluations.retrieved(session, answer.id))[:PASSAGES]
            texts = await evaluations.chunk_texts(session, [*found, *(item.chunk_id for item in answer.citations)])
    finally:
        async with sessions.begin() as session:
            await evaluations.forget_conversation(session, conversation)
    cited = {item.n: texts[item.chunk_id] for item in answer.citations if item.chunk_id in texts}
    return Asked(case, answer, seconds, cited, [texts[chunk] for chunk in found if chunk in texts])


async def check(
    asked: Sequence[Asked],
    supports: Supports,
    embedder: Embedder,
    tell: Tell = silently,
) -> list[Asked]:
    """The same with the verdicts on every claim, and how near each answer is to its question."""
    checked = []
    for place, one in enumerate(asked, start=1):
        if one.answer.outcome is Outcome.ANSWERED:
            verdicts = await judge(claims(one.answer.text), one.cited, supports)
            relevance = await _relevance(one, embedder)
            checked.append(replace(one, verdicts=verdicts, relevance=relevance))
        else:
            checked.append(one)
        tell("Checking", place, len(asked))
    return checked


async def _relevance(asked: Asked, embedder: Embedder) -> float:
    question, answer = await embedder.embed([asked.case.question, without_markers(asked.answer.text)])
    return max(0.0, float(np.dot(question, answer)))


def result(asked: Asked) -> CaseResult:
    """What a case gives to each metric, and what a reader wants to see of it."""
    counts = {
        **_outcome_counts(asked), **_claim_counts(asked), **_expected_counts(asked),
        "seconds": (asked.seconds, 1.0),
        "cost": (asked.answer.usage.cost_usd, 1.0),
    }  # fmt: skip
    counts.update({name: (score, 1.0) for name, score in asked.judged.items()})
    return CaseResult(asked.case.id, asked.case.question, counts, _detail(asked))


def _outcome_counts(asked: Asked) -> dict[str, tuple[float, float]]:
    outcome, unanswerable = asked.answer.outcome, asked.case.unanswerable
    refused = outcome in REFUSALS
    counts = {"failed": yes_no(outcome is Outcome.FAILED)}
    if unanswerable:
        counts["refusal_recall"] = yes_no(refused)
    else:
        counts["answered"] = yes_no(outcome is Outcome.ANSWERED)
    if refused:
        counts["refusal_precision"] = yes_no(unanswerable)
    if refused or unanswerable:
        counts["refusal_f1"] = (2.0 * (refused and unanswerable), float(refused) + float(unanswerable))
    return counts


def _claim_counts(asked: Asked) -> Counts:
    verdicts = asked.verdicts
    if not verdicts:
        return {}
    cited = sum(len(verdict.claim.cited) for verdict in verdicts)
    counts = {
        "citation_recall": (float(sum(verdict.supported for verdict in verdicts)), float(len(verdicts))),
        "groundedness": (float(sum(verdict.grounded for verdict in verdicts)), float(len(verdicts))),
    }
    if cited:
        counts["citation_precision"] = (float(sum(verdict.precise for verdict in verdicts)), float(cited))
    return counts


def _expected_counts(asked: Asked) -> dict[str, tuple[float, float]]:
    case, answer = asked.case, asked.answer
    if case.unanswerable:
        return {}
    counts = {}
    if case.sources:
        counts["source_hit"] = yes_no(any(item.external_id in case.sources for item in answer.citations))
    if case.words:
        counts["words_held"] = yes_no(all(stands(words, answer.text) for words in case.words))
    if answer.outcome is Outcome.ANSWERED:
        if asked.relevance is not None:
            counts["answer_relevance"] = (asked.relevance, 1.0)
        if case.reference:
            said = without_markers(answer.text)
            counts["reference_f1"] = (token_f1(said, case.reference), 1.0)
            counts["rouge_l"] = (rouge_l(said, case.reference), 1.0)
    return counts


def stands(words: str, text: str) -> bool:
    """Whether ``words`` stand in the text as whole words, whatever their case and spacing."""
    pattern = r"\s+".join(re.escape(word) for word in words.lower().split())
    return re.search(rf"(?<!\w){pattern}(?!\w)", without_markers(text).lower()) is not None


def _detail(asked: Asked) -> dict[str, Any]:
    case, answer = asked.case, asked.answer
    return {
        "outcome": answer.outcome.value,
        "unanswerable": case.unanswerable,
        "said": answer.text[:SHOWN],
        "reference": case.reference[:SHOWN],
        "expected_sources": list(case.sources[:10]),
        "expected_words": list(case.words),
        "cited": [item.external_id for item in answer.citations],
        "unsupported": [verdict.claim.text[:300] for verdict in asked.verdicts if not verdict.supported],
        "confidence": answer.confidence,
        "model": answer.model,
        "tokens": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
        "timings_ms": {name: round(value, 1) for name, value in answer.timings_ms.items()},
        **({"judge": dict(asked.reasons)} if asked.reasons else {}),
    }


def percentiles(asked: Sequence[Asked]) -> dict[str, float]:
    """Seconds of a question, p50 and p95, and of each stage at p50 in milliseconds."""
    if not asked:
        return {}
    p50, p95 = np.percentile([one.seconds for one in asked], [50, 95])
    found = {"p50_s": round(float(p50), 3), "p95_s": round(float(p95), 3)}
    for stage in sorted({name for one in asked for name in one.answer.timings_ms}):
        times = [one.answer.timings_ms[stage] for one in asked if stage in one.answer.timings_ms]
        found[f"{stage}_p50_ms"] = round(float(np.median(times)), 1)
    return found
