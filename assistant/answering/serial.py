"""Answers and hits as JSON documents: one shape for the terminal, the web page and whatever reads them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from assistant.answering.filtering import Found
from assistant.answering.messages import Answer, AnswerEvent, Citation, Delta, PendingApproval, Progress
from assistant.knowledge.search import Hit


def answer_json(answer: Answer) -> dict[str, Any]:
    return {
        "answer_id": str(answer.id),
        "outcome": answer.outcome.value,
        "text": answer.text,
        "citations": [citation_json(citation) for citation in answer.citations],
        "nearest": [citation_json(citation) for citation in answer.nearest],
        "timings_ms": dict(answer.timings_ms),
        "usage": asdict(answer.usage),
        "model": answer.model,
        "reference": answer.reference,
        "calls": [asdict(call) for call in answer.calls],
        "approvals": [approval_json(approval) for approval in answer.approvals],
        "value": answer.value,
    }


def citation_json(citation: Citation) -> dict[str, Any]:
    return {**asdict(citation), "heading_path": list(citation.heading_path)}


def approval_json(approval: PendingApproval) -> dict[str, Any]:
    return {**asdict(approval), "id": str(approval.id), "approvers": list(approval.approvers)}


def event_json(event: AnswerEvent) -> tuple[str, dict[str, Any]]:
    """An event's name and data: ``progress``, ``delta`` or ``done``."""
    if isinstance(event, Progress):
        return "progress", {"stage": event.stage} | ({"tool": event.tool} if event.tool else {})
    if isinstance(event, Delta):
        return "delta", {"text": event.text}
    return "done", answer_json(event.answer)


def found_json(found: Found) -> dict[str, Any]:
    """``filters`` as they would be written in the query; ``note`` says them in words."""
    return {"hits": [hit_json(hit) for hit in found.hits], "filters": found.filters.text(), "note": found.note}


def hit_json(hit: Hit) -> dict[str, Any]:
    return {
        "chunk_id": hit.chunk_id,
        "document_id": hit.document_id,
        "external_id": hit.external_id,
        "title": hit.title,
        "url": hit.link,
        "heading_path": list(hit.heading_path),
        "text": hit.text,
        "score": round(hit.score, 6),
        "bm25": round(hit.bm25, 6),
        "cosine": round(hit.cosine, 6),
        "bm25_rank": hit.bm25_rank,
        "vector_rank": hit.vector_rank,
    }
