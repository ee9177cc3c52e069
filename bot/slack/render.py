"""Answers as Slack messages, within Slack's limits and unable to notify anybody."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.answering.messages import Answer, Citation
from assistant.answering.outcomes import Outcome
from bot.slack import texts
from bot.slack.split import split

MESSAGE_CHARS = 12_000  # of all blocks together; Slack refuses more Markdown, and more text at about 13,200
PIECE_CHARS = 11_000
CONTEXT_CHARS = 2_900  # a text object holds 3,000
NOTIFICATION_CHARS = 2_900
NAME_CHARS = 200
URL_CHARS = 1_000

FEEDBACK = "answer_feedback"  # the buttons' action id

_VOTABLE = (Outcome.ANSWERED, Outcome.NOT_IN_DOCUMENTS, Outcome.HIDDEN_BY_PERMISSIONS)
_MENTION = re.compile(r"<(?=!(?:channel|here|everyone|subteam|group)\b|@[UWB][A-Z0-9]|#[CDG][A-Z0-9])", re.IGNORECASE)
_AT_ALL = re.compile(r"@(?=(?:channel|here|everyone)\b)", re.IGNORECASE)
_APART = "\u200b"  # a space without width, also good inside code, where an entity would be shown as such


@dataclass(frozen=True, slots=True)
class Part:
    """One message. ``plain`` stands alone where Slack refuses ``blocks``; ``text`` is for notifications."""

    text: str
    blocks: list[dict[str, Any]]
    plain: str


def answer_parts(answer: Answer, outsiders: bool) -> list[Part]:
    """The messages of an answer, in order; sources and thumbs are at the end."""
    parts = [_text_part(piece) for piece in split(harmless(answer.text), PIECE_CHARS, size) or [texts.EMPTY]]
    for note in _notes(answer, outsiders):
        last = parts[-1]
        if len(last.plain) + len(note) > MESSAGE_CHARS:
            parts.append(Part(texts.SOURCES, [_context(note)], note))
        else:
            parts[-1] = Part(last.text, [*last.blocks, _context(note)], f"{last.plain}\n\n{note}")
    if answer.outcome in _VOTABLE:
        parts[-1].blocks.append(_thumbs(answer.id))
    return parts


def plain_part(text: str) -> Part:
    """A short message that is no answer."""
    return _text_part(harmless(text))


def escape(text: str) -> str:
    """For mrkdwn: after this nothing is a link, a mention or a command."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def harmless(text: str) -> str:
    """Markdown that notifies nobody: mentions of people, channels and everyone are taken apart."""
    return _AT_ALL.sub(f"@{_APART}", _MENTION.sub(f"<{_APART}", text))


def size(text: str) -> int:
    """Characters as Slack may count them at worst: escaped, in UTF-16."""
    return len(escape(text).encode("utf-16-le", "surrogatepass")) // 2


def _text_part(text: str) -> Part:
    return Part(_shortened(text), [{"type": "markdown", "text": text}], escape(text))


def _shortened(text: str) -> str:
    if size(text) <= NOTIFICATION_CHARS:
        return escape(text)
    return escape(split(text, NOTIFICATION_CHARS - 1, size)[0]) + "…"


def _notes(answer: Answer, outsiders: bool) -> Iterator[str]:
    """What stands below the text, as mrkdwn."""
    if outsiders and answer.outcome is Outcome.NOT_IN_DOCUMENTS:
        yield texts.OUTSIDERS
    if answer.citations:
        yield from _packed([_source(citation, f"[{citation.n}] ") for citation in answer.citations])
    elif answer.nearest:
        yield from _packed([texts.NEAREST, *(_source(citation, "• ") for citation in answer.nearest)])


def _packed(lines: Sequence[str]) -> Iterator[str]:
    """The lines in as many texts as they need."""
    group: list[str] = []
    for line in lines:
        if group and sum(map(len, group)) + len(group) + len(line) > CONTEXT_CHARS:
            yield "\n".join(group)
            group = []
        group.append(line)
    yield "\n".join(group)


def _source(citation: Citation, mark: str) -> str:
    path = [part for part in citation.heading_path if part.casefold() != citation.title.casefold()]
    name = " ".join(" - ".join(filter(None, [citation.title, " > ".join(path)])).split())
    name = name if len(name) <= NAME_CHARS else name[: NAME_CHARS - 1] + "…"
    label = escape(harmless(mark + name))
    url = _link(citation.url)
    if url is not None:
        return f"<{url}|{label}>"
    where = citation.external_id[-NAME_CHARS:]
    return f"{label} ({escape(harmless(where))})" if where and where != name else label


def _link(url: str | None) -> str | None:
    """The URL as mrkdwn may hold it, or None where a click would lead nowhere."""
    if url is None or not url.lower().startswith(("http://", "https://")):
        return None
    for character, code in (("<", "%3C"), (">", "%3E"), ("|", "%7C"), (" ", "%20"), ("\n", ""), ("\r", "")):
        url = url.replace(character, code)
    return escape(url) if len(escape(url)) <= URL_CHARS else None


def _context(note: str) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": note, "verbatim": True}]}


def _thumbs(answer_id: uuid.UUID) -> dict[str, Any]:
    def button(text: str, value: str, label: str) -> dict[str, Any]:
        return {"text": {"type": "plain_text", "text": text}, "value": value, "accessibility_label": label}

    return {
        "type": "context_actions",
        "block_id": f"feedback-{uuid.uuid4().hex}",
        "elements": [
            {
                "type": "feedback_buttons",
                "action_id": FEEDBACK,
                "positive_button": button(texts.GOOD, f"up:{answer_id}", texts.GOOD_LABEL),
                "negative_button": button(texts.BAD, f"down:{answer_id}", texts.BAD_LABEL),
            }
        ],
    }
