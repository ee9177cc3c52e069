"""An answer as Teams messages: Markdown with ``[n]``, one Message entity with the citations, and the thumbs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from assistant.answering.messages import Answer, Citation
from assistant.answering.outcomes import Outcome
from bot.teams import texts
from bot.teams.port import Message

MAX_CHARS = 25_000  # of text in one message
MAX_BYTES = 48_000  # of text as UTF-8; with the citations a message stays under 80 KB
MAX_CITATIONS = 20
MAX_NAME = 80
MAX_ABSTRACT = 160
MAX_URL = 1_000

VOTABLE = frozenset({Outcome.ANSWERED, Outcome.NOT_IN_DOCUMENTS, Outcome.HIDDEN_BY_PERMISSIONS})
THUMBS = {"feedbackLoop": {"type": "default"}}
CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
UNSAFE_LINK = re.compile(r"\]\((?!\s*https?://)", re.IGNORECASE)
MARKER = re.compile(r"\[(\d+)\]")


def answer_messages(answer: Answer) -> tuple[Message, ...]:
    """One message, or several for a very long answer; the thumbs stand under the last."""
    parts = split(_text(answer))
    if answer.outcome not in VOTABLE:
        return tuple(Message(part) for part in parts)
    last = len(parts) - 1
    return tuple(
        Message(part, (_entity(_named_in(part, answer.citations)),), THUMBS if index == last else {})
        for index, part in enumerate(parts)
    )


def plain_message(text: str) -> Message:
    return Message(neutral(text))


def neutral(text: str) -> str:
    """Text of documents without HTML, mentions, remote images and links to anything but the web.

    Code keeps its characters: Teams shows it verbatim.
    """
    pieces = CODE.split(text)
    return "".join(piece if index % 2 else _neutral_prose(piece) for index, piece in enumerate(pieces))


def split(text: str, chars: int = MAX_CHARS, size: int = MAX_BYTES) -> list[str]:
    """Parts within both limits, cut at a paragraph, line or word; a code block that is cut goes on as one."""
    parts = []
    while len(text) > chars or len(text.encode()) > size:
        head = text[:chars].encode()[: size - 8].decode(errors="ignore")
        cut = next((at for mark in ("\n\n", "\n", " ") if (at := head.rfind(mark)) > len(head) // 2), len(head))
        part, text = text[:cut].rstrip(), text[cut:].lstrip(" \n")
        if part.count("```") % 2:
            part, text = f"{part}\n```", f"```\n{text}"
        parts.append(part)
    return [*parts, text]


def _neutral_prose(text: str) -> str:
    text = text.replace("<", "&lt;").replace("![", "[")
    return UNSAFE_LINK.sub("] (", text)


def _text(answer: Answer) -> str:
    text = neutral(answer.text)
    if answer.nearest:
        text += f"\n\n{texts.NEAREST}\n\n" + _listed(answer.nearest, marker="-")
    beyond = [c for i, c in enumerate(answer.citations) if i >= MAX_CITATIONS or (not _web(c.url) and _path(c.url))]
    if beyond:
        text += f"\n\n{texts.SOURCES}\n\n" + _listed(beyond)
    return text


def _listed(citations: Iterable[Citation], marker: str = "") -> str:
    return "\n".join(f"{marker or f'- [{citation.n}]'} {_source(citation)}" for citation in citations)


def _source(citation: Citation) -> str:
    """A link for the web, the path for a file, else the title alone."""
    title = _neutral_prose(_short(citation.title, MAX_NAME)).replace("[", "(").replace("]", ")")
    if url := _web(citation.url):
        return f"[{title}]({url})"
    path = _path(citation.url)
    return f"{title} (`{path}`)" if path else title


def _named_in(part: str, citations: Sequence[Citation]) -> list[Citation]:
    named = {int(n) for n in MARKER.findall(part)}
    return [citation for citation in citations if citation.n in named]


def _entity(citations: Sequence[Citation]) -> dict[str, Any]:
    """The one root Message entity: the AI label and what the ``[n]`` stand for."""
    entity: dict[str, Any] = {
        "type": "https://schema.org/Message",
        "@type": "Message",
        "@context": "https://schema.org",
        "@id": "",
        "additionalType": ["AIGeneratedContent"],
    }
    if citations:
        entity["citation"] = [_claim(citation) for citation in citations[:MAX_CITATIONS]]
    return entity


def _claim(citation: Citation) -> dict[str, Any]:
    title = " > ".join((citation.title, *(part for part in citation.heading_path if part != citation.title)))
    appearance = {
        "@type": "DigitalDocument",
        "name": _short(title, MAX_NAME) or f"Source {citation.n}",
        "abstract": _short(citation.quote or title, MAX_ABSTRACT) or f"Source {citation.n}",
    }
    if url := _web(citation.url):
        appearance["url"] = url
    return {"@type": "Claim", "position": citation.n, "appearance": appearance}


def _short(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _web(url: str | None) -> str | None:
    """The URL, safe inside a Markdown link, when it leads to the web."""
    if not url or len(url) > MAX_URL or not url.lower().startswith(("http://", "https://")):
        return None
    return url.translate({ord(mark): f"%{ord(mark):02X}" for mark in ' ()<>"\\`\n\r\t'})


def _path(url: str | None) -> str | None:
    if not url or not url.lower().startswith("file:"):
        return None
    return _short(unquote(urlsplit(url).path), MAX_URL).replace("`", "'") or None
