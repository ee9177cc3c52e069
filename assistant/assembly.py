"""The part of the composition root that is about answering: what stands beside the search and the model."""

from __future__ import annotations

from collections.abc import Sequence

from assistant.answering.acting import Actor
from assistant.answering.agent import conversing
from assistant.answering.aids import Aids
from assistant.answering.cache import AnswerCache
from assistant.answering.checking import Checker
from assistant.answering.hands import Screen, Workshop
from assistant.answering.routing import Router
from assistant.answering.tooling import Tooling
from assistant.answering.writing import PASSAGES
from assistant.database.session import Sessions
from assistant.guardrails.guards import Guards
from assistant.guardrails.limits import Limits
from assistant.guardrails.support import Support
from assistant.guardrails.verdicts import Verdict
from assistant.knowledge.embedding import Embedder
from assistant.knowledge.search import Searcher
from assistant.models.choice import Choice
from assistant.models.extractive import ExtractiveModel
from assistant.models.port import Model
from assistant.models.redacted import RedactedModel
from assistant.models.registry import Registry
from assistant.preferences import reward
from assistant.preferences.best_of import BestOf
from assistant.settings import Settings
from assistant.spending.budget import Budget
from assistant.telemetry import Metrics
from assistant.tools.approval import Approvals
from assistant.tools.registry import Toolbox


def model_of(settings: Settings, embedder: Embedder, guards: Guards, sessions: Sessions | None = None) -> Model:
    """The settings' language model, behind the redaction where it is to see placeholders; else the extractive one.

    With ``sessions``, the registry says which version of it answers, where the endpoint serves them.
    """
    if not settings.has_model:
        return ExtractiveModel(embedder)
    from assistant.models.client import OpenAIModel  # half a second to import, which the terminal need not wait for

    choice = None
    if sessions is not None and settings.has_versions:
        choice = Choice(Registry(sessions, settings.adapters_url).served, settings.model_name)
    model = OpenAIModel(settings, choice)
    return RedactedModel(model, guards.outside) if guards.redacts else model


def aids_of(
    settings: Settings, sessions: Sessions, embedder: Embedder, searcher: Searcher, model: Model, guards: Guards,
    toolbox: Toolbox, metrics: Metrics,
) -> Aids:  # fmt: skip
    """``sessions`` are transactional ones. A model that only selects needs no support checked, and nothing cached."""
    writes = model.name != ExtractiveModel.name
    support = Support(embedder) if writes else None
    callers = conversing(model)
    checker = Checker(searcher.sessions, guards, support)
    approvals = Approvals(sessions, toolbox, settings.approval_minutes)
    tooling = Tooling(
        Router(embedder), Workshop(toolbox, approvals, sessions, _counted(guards, metrics)), searcher,
        None if callers is None else Actor(callers, checker, settings.agent_steps),
    )  # fmt: skip
    caches = writes and settings.cache_hours > 0
    cache = AnswerCache(sessions, embedder, settings, metrics, model=model.name, passages=PASSAGES) if caches else None
    several = writes and settings.best_of > 1
    best_of = BestOf(settings.best_of, reward.load(settings.reward)) if several else None
    return Aids(Budget(sessions, settings, metrics), tooling, Limits(settings), guards, support, cache, best_of)


def _counted(guards: Guards, metrics: Metrics) -> Screen:
    """The guard's word on what tools say, counted."""

    async def screen(texts: Sequence[str]) -> Sequence[Verdict]:
        verdicts = await guards.untrusted(texts)
        for verdict in verdicts:
            metrics.guard_verdicts.labels("tool", verdict.verdict).inc()
        return verdicts

    return screen
