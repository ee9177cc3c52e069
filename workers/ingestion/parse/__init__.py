"""One file in, one ``ParsedDocument`` out, read in a process of its own; every failure is a ``DocumentUnreadable``
with its reason."""

from workers.ingestion.parse.formats import SUPPORTED
from workers.ingestion.parse.limits import DEFAULT_LIMIT
from workers.ingestion.parse.pool import Limits, ParserPool, parse

__all__ = ["DEFAULT_LIMIT", "SUPPORTED", "Limits", "ParserPool", "parse"]
