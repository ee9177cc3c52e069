"""A verdict that was reached before: it holds for one text, and as long as the same judge would be asked."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from assistant.guardrails.verdicts import Verdict
from assistant.knowledge.documents import text_hash


@dataclass(frozen=True, slots=True)
class Judged:
    """``judge``: the fingerprint of what judged (``assistant.guardrails.judging``); ``text_key``: of what text."""

    judge: UUID
    text_key: UUID
    verdict: Verdict

    @classmethod
    def of(cls, judge: UUID, text: str, verdict: Verdict) -> Judged:
        return cls(judge, text_hash(text), verdict)

    def holds(self, judge: UUID, text: str) -> bool:
        """Whether ``judge`` need not look at ``text`` any more."""
        return self.judge == judge and self.text_key == text_hash(text)
