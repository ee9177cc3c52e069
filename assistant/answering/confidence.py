"""Whether what was found is good enough to answer from."""

from __future__ import annotations

from assistant.knowledge.search import SearchResult

LEAST_COSINE = 0.2


def worth_asking(result: SearchResult) -> bool:
    """A loose gate before a language model is called: it refuses only what is plainly not in the documents."""
    return bool(result.hits) and max(hit.cosine for hit in result.hits) >= LEAST_COSINE
