"""What Teams knows of an answer beside its text: the AI label, the numbered sources, the sensitivity label.

All of it is one root Message entity; a second one, a 21st citation or a fourth keyword would be refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from assistant.answering.citations import asked
from assistant.answering.messages import Citation
from assistant.strings import say

MAX_CITATIONS = 20
MAX_NAME = 80
MAX_ABSTRACT = 160
MAX_KEYWORDS = 3
MAX_KEYWORD = 28
MAX_URL = 1_000
MESSAGE = "https://schema.org/Message"
# the names of icons that Teams has, by what a document's name ends with
ICONS = {
    ".docx": "Microsoft Word", ".doc": "Microsoft Word", ".xlsx": "Microsoft Excel", ".xls": "Microsoft Excel",
    ".csv": "Microsoft Excel", ".pptx": "Microsoft PowerPoint", ".ppt": "Microsoft PowerPoint", ".pdf": "PDF",
    ".md": "Text", ".txt": "Text", ".rst": "Text", ".py": "Source Code", ".js": "Source Code", ".ts": "Source Code",
    ".go": "Source Code", ".rs": "Source Code", ".java": "Source Code", ".c": "Source Code", ".sql": "Source Code",
    ".sh": "Source Code", ".yaml": "Source Code", ".yml": "Source Code", ".json": "Source Code", ".toml": "Source Code",
    ".png": "Image", ".jpg": "Image", ".jpeg": "Image", ".gif": "GIF", ".zip": "ZIP",
}  # fmt: skip
TEXT = "Text"


def message_entity(citations: Sequence[Citation], language: str, limit: int = MAX_CITATIONS) -> dict[str, Any]:
    """The root entity for a message in which these ``[n]`` stand; at most ``limit`` are named."""
    entity: dict[str, Any] = {
        "type": MESSAGE,
        "@type": "Message",
        "@context": "https://schema.org",
        "@id": "",
        "additionalType": ["AIGeneratedContent"],
    }
    if citations:
        entity["citation"] = [_claim(citation, language) for citation in citations[:limit]]
    labels = dict.fromkeys(citation.sensitivity for citation in citations if citation.sensitivity)
    if labels:
        entity["usageInfo"] = _usage(" · ".join(labels), language)
    return entity


def web(url: str | None) -> str | None:
    """The URL, safe inside a Markdown link, when it leads to the web."""
    if not url or len(url) > MAX_URL or not url.lower().startswith(("http://", "https://")):
        return None
    return url.translate({ord(mark): f"%{ord(mark):02X}" for mark in ' ()<>"\\`\n\r\t'})


def path(url: str | None) -> str | None:
    """The path of a file, for people who can reach it."""
    if not url or not url.lower().startswith("file:"):
        return None
    return short(unquote(urlsplit(url).path), MAX_URL).replace("`", "'") or None


def short(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def place_in(citation: Citation) -> str:
    """Where in its document the passage stands: ``Chapter > Section``; "" where nothing is known."""
    return " > ".join(part for part in citation.heading_path if part != citation.title)


def age(citation: Citation, language: str, now: datetime | None = None) -> str:
    """When the document was last changed, else last read, or the tool was asked; "" where nothing is known."""
    if citation.tool:
        return asked(citation, language)
    if when := _date(citation.updated):
        return say("teams.updated", language, age=_ago(when, language, now))
    if when := _date(citation.indexed):
        return say("teams.indexed", language, age=_ago(when, language, now))
    return ""


def _claim(citation: Citation, language: str) -> dict[str, Any]:
    title = " > ".join(filter(None, (citation.title, place_in(citation))))
    fallback = say("teams.source", language, n=citation.n)
    appearance: dict[str, Any] = {
        "@type": "DigitalDocument",
        "name": short(title, MAX_NAME) or fallback,
        "abstract": short(citation.quote or title, MAX_ABSTRACT) or fallback,
        "image": {"@type": "ImageObject", "name": _icon(citation)},
    }
    if keywords := _keywords(citation, language):
        appearance["keywords"] = keywords
    if url := web(citation.url):
        appearance["url"] = url
    if citation.sensitivity:
        appearance["usageInfo"] = _usage(citation.sensitivity, language)
    return {"@type": "Claim", "position": citation.n, "appearance": appearance}


def _keywords(citation: Citation, language: str) -> list[str]:
    page = say("teams.page", language, n=citation.page) if citation.page else ""
    found = (citation.owner or "", page, age(citation, language))
    return [short(word, MAX_KEYWORD) for word in found if word.strip()][:MAX_KEYWORDS]


def _usage(label: str, language: str) -> dict[str, Any]:
    return {
        "type": MESSAGE,
        "@type": "CreativeWork",
        "name": short(label, MAX_NAME),
        "description": say("teams.sensitive", language),
    }


def _icon(citation: Citation) -> str:
    for name in (urlsplit(citation.url or "").path, citation.external_id):
        if icon := ICONS.get(PurePosixPath(unquote(name)).suffix.lower()):
            return icon
    return TEXT


def _date(value: str | None) -> datetime | None:
    try:
        when = datetime.fromisoformat(value or "")
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _ago(when: datetime, language: str, now: datetime | None) -> str:
    days = ((now or datetime.now(UTC)) - when).days
    for size, key in ((365, "years"), (30, "months"), (1, "days")):
        if days >= size:
            count = days // size
            return say(f"teams.{key}_ago" if count > 1 else f"teams.{key[:-1]}_ago", language, n=count)
    return say("teams.today", language)
