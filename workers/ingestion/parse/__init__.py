"""One file in, one ``ParsedDocument`` out; every failure is a ``DocumentUnreadable`` with its reason."""

from workers.ingestion.parse.dispatch import DEFAULT_LIMIT, SUPPORTED, parse

__all__ = ["DEFAULT_LIMIT", "SUPPORTED", "parse"]
