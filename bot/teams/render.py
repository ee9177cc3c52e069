"""An answer as Teams messages: Markdown with ``[n]``, one Message entity with the citations, cards, and the thumbs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from assistant.answering.messages import Answer, Citation
from assistant.answering.outcomes import Outcome
from assistant.strings import say
from bot.teams import cards, citations
from bot.teams.citations import MAX_CITATIONS, MAX_NAME, short, web
from bot.teams.markdown import neutral, neutral_prose, shown
from bot.teams.port import Message

MAX_CHARS = 25_000  # of text in one message
MAX_BYTES = 44_000  # of text as UTF-8; with the citations a message stays under 80 KB

VOTABLE = frozenset({Outcome.ANSWERED, Outcome.NOT_IN_DOCUMENTS, Outcome.HIDDEN_BY_PERMISSIONS})
THUMBS = {"feedbackLoop": {"type": "custom"}}  # Teams asks us for its dialog, in the reader's language
MARKER = re.compile(r"\[(\d+)\]")


def answer_messages(
    answer: Answer,
    *,
    show_sources: bool = True,
    buttons: Sequence[cards.Button] = (),
    most_citations: int = MAX_CITATIONS,
) -> tuple[Message, ...]:
    """One message, or several for a very long answer; buttons and thumbs stand under the last."""
    view = shown(answer.text, answer.language)
    beyond = _beyond(answer.citations, most_citations) if show_sources else []
    text = view.text
    if answer.nearest and show_sources:
        text += _list(say("teams.nearest", answer.language), answer.nearest, numbered=False)
    if beyond:
        text += _list(say("teams.sources", answer.language), beyond, numbered=True)
    parts = split(text)
    tables = cards.table_cards(view.tables, answer.language)
    if answer.outcome not in VOTABLE and not answer.citations:
        return with_cards([Message(part) for part in parts], tables, buttons, answer.language)
    last = len(parts) - 1
    messages = [
        Message(
            part,
            (citations.message_entity(_named_in(part, answer.citations), answer.language, most_citations),),
            THUMBS if index == last and answer.outcome in VOTABLE else {},
        )
        for index, part in enumerate(parts)
    ]
    return with_cards(messages, tables, buttons, answer.language)


def with_cards(
    messages: Sequence[Message], tables: Sequence[cards.Card], buttons: Sequence[cards.Button], language: str
) -> tuple[Message, ...]:
    """The text, and under it each card as a message of its own."""
    found = [Message(say("teams.table_title", language, n=n), card=card) for n, card in enumerate(tables, start=1)]
    if buttons:
        titles = " · ".join(button.title for button in buttons)
        found.append(Message(titles, card=cards.button_card(buttons)))
    return (*messages, *found)


def plain_message(text: str) -> Message:
    return Message(neutral(text))


def plain(words: str) -> str:
    """A name or a question inside a sentence of ours: nothing in it is a link, code or a mention."""
    return neutral_prose(" ".join(words.split())).replace("[", "(").replace("]", ")").replace("`", "'") or "?"


def reduced(message: Message) -> Message:
    """The same answer with as little as can be refused: its sources as lines of text, and no cards."""
    claims = [claim for entity in message.entities for claim in entity.get("citation", ())]
    lines = []
    for claim in claims:
        name, url = claim["appearance"]["name"], claim["appearance"].get("url")
        title = neutral_prose(name).replace("[", "(").replace("]", ")")
        lines.append(f"- [{claim['position']}] " + (f"[{title}]({url})" if url else title))
    text = message.text if not lines else f"{message.text}\n\n" + "\n".join(lines)
    return replace(message, text=split(text)[0], entities=(), card=None, suggestions=())


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


def _beyond(all_of_them: Sequence[Citation], most: int) -> list[Citation]:
    """Those that Teams cannot show by itself: too many, or files, whose path is not a link."""
    return [c for i, c in enumerate(all_of_them) if i >= most or (not web(c.url) and citations.path(c.url))]


def _list(heading: str, found: Iterable[Citation], *, numbered: bool) -> str:
    lines = (f"- [{citation.n}] {source(citation)}" if numbered else f"- {source(citation)}" for citation in found)
    return f"\n\n{heading}\n\n" + "\n".join(lines)


def source(citation: Citation) -> str:
    """A link for the web, the path for a file, else the title alone."""
    title = neutral_prose(short(citation.title, MAX_NAME)).replace("[", "(").replace("]", ")")
    if url := web(citation.url):
        return f"[{title}]({url})"
    path = citations.path(citation.url)
    return f"{title} (`{path}`)" if path else title


def _named_in(part: str, found: Sequence[Citation]) -> list[Citation]:
    named = {int(n) for n in MARKER.findall(part)}
    return [citation for citation in found if citation.n in named]
