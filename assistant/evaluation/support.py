"""The check that answers go through, as a measure: whether a passage supports a claim."""

from __future__ import annotations

from collections.abc import Sequence

from assistant.guardrails.support import Support, bare
from assistant.knowledge.embedding import Embedder


class CheckedSupport:
    """1 where nothing speaks against the claim (``assistant.guardrails.support``), else 0; one number a pair."""

    def __init__(self, embedder: Embedder) -> None:
        self._support = Support(embedder)

    async def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        judged = await self._support.judge([(bare(claim), passage) for claim, passage in pairs])
        return [float(not against) for _, against in judged]
