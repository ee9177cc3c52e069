"""Adaptive Cards: what a message's text cannot show. Plain dicts, each within the size that Teams lets through."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from assistant.answering.messages import Citation
from assistant.strings import say
from bot.teams.citations import age, path, place_in, short, web
from bot.teams.markdown import Table, neutral_prose

Card = dict[str, Any]

SCHEMA = "http://adaptivecards.io/schemas/adaptive-card.json"
MAX_CARD = 27_000  # bytes as JSON; Teams refuses cards of more than about 28 KB
MAX_COLUMNS = 12
MAX_CELL = 400
MAX_ACTIONS = 6
MARK = "almanac"  # says that a button's data is ours


@dataclass(frozen=True, slots=True)
class Button:
    """A press arrives as an invoke with ``verb`` and ``data``. ``style``: default, positive or destructive."""

    title: str
    verb: str
    data: tuple[tuple[str, str], ...] = ()
    style: str = "default"
    inputs: bool = False  # whether the card's fields are sent, too


def answer_buttons(
    answer_id: uuid.UUID, of: str, language: str, *, sources: bool, share: bool = False, outsiders: bool = False
) -> tuple[Button, ...]:
    """What can be done with an answer. ``of``: the key of the message that it answers. ``outsiders``: who reads the
    channel, which a press need not tell."""
    shared = (("outsiders", "1"),) if outsiders else ()
    data = (("answer", str(answer_id)), ("of", of), ("language", language), *shared)
    wanted = (
        ("share", "teams.share", share),
        ("sources", "teams.show_sources", sources),
        ("person", "teams.ask_person", True),
        ("regenerate", "teams.regenerate", True),
    )
    return tuple(Button(say(key, language), verb, data) for verb, key, shown in wanted if shown)


def card(body: Sequence[Card], actions: Sequence[Button] = (), *, wide: bool = False) -> Card:
    made: Card = {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.5",
    }
    made["body"] = [*body, action_set(actions)] if actions else list(body)
    if wide:
        made["msteams"] = {"width": "Full"}
    return made


def action_set(buttons: Sequence[Button]) -> Card:
    return {"type": "ActionSet", "actions": [_execute(button) for button in buttons[:MAX_ACTIONS]]}


def button_card(buttons: Sequence[Button]) -> Card:
    return card((), buttons)


def text(words: str, **looks: Any) -> Card:
    """A paragraph; ``words`` may hold links and emphasis, and come from documents."""
    return {"type": "TextBlock", "text": _safe(words), "wrap": True, **looks}


def note(words: str, buttons: Sequence[Button] = ()) -> Card:
    """A card that says one thing."""
    return card([text(words)], buttons)


def sources_card(citations: Sequence[Citation], language: str, buttons: Sequence[Button] = ()) -> Card:
    """Each source with its title, place, owner, age and the passage; the last are left off where all are too much."""
    heading = text(say("teams.sources_of", language), weight="Bolder", size="Medium")
    body: list[Card] = [heading]
    for at, citation in enumerate(citations):
        item = _source(citation, language)
        if size(card([*body, item], buttons)) > MAX_CARD - 500:
            body.append(text(say("teams.more_sources", language, n=len(citations) - at), isSubtle=True))
            break
        body.append(item)
    return card(body, buttons)


def table_cards(tables: Iterable[Table], language: str) -> list[Card]:
    """One card a table; a table too large for one goes on in the next."""
    return [made for n, table in enumerate(tables, start=1) for made in _table_cards(table, n, language)]


def table_card(header: Sequence[str], rows: Sequence[Sequence[str]], language: str, title: str = "") -> list[Card]:
    """A table of plain values, as commands show them."""
    return _table_cards(Table(tuple(header), tuple(tuple(map(str, row)) for row in rows)), 0, language, title)


def size(made: Card) -> int:
    """Bytes on the wire."""
    return len(json.dumps(made, ensure_ascii=False).encode())


def _table_cards(table: Table, n: int, language: str, title: str = "") -> list[Card]:
    heading = title or (say("teams.table_title", language, n=n) if n else "")
    made: list[Card] = []
    rows: list[Card] = []
    for row in table.rows:
        cells = _row(row, header=False)
        if rows and size(_table(table, [*rows, cells], heading)) > MAX_CARD:
            made.append(_table(table, rows, heading))
            rows, heading = [], say("teams.continued", language, title=heading) if heading else ""
        rows.append(cells)
    made.append(_table(table, rows, heading))
    return made


def _table(table: Table, rows: list[Card], heading: str) -> Card:
    columns = min(len(table.header), MAX_COLUMNS)
    grid = {
        "type": "Table",
        "firstRowAsHeader": True,
        "showGridLines": True,
        "gridStyle": "default",
        "columns": [{"width": _width(table, column)} for column in range(columns)],
        "rows": [_row(table.header, header=True), *rows],
    }
    title = [text(heading, weight="Bolder")] if heading else []
    return card([*title, grid], wide=columns > 3)


def _row(cells: Sequence[str], *, header: bool) -> Card:
    looks = {"weight": "Bolder"} if header else {}
    return {
        "type": "TableRow",
        "cells": [
            {"type": "TableCell", "items": [text(short(cell, MAX_CELL) or " ", **looks)]}
            for cell in cells[:MAX_COLUMNS]
        ],
    }


def _width(table: Table, column: int) -> int:
    """A share of the width by what the column holds, so that numbers leave room for sentences."""
    cells = [table.header[column], *(row[column] for row in table.rows if column < len(row))]
    return min(6, max(2, round(max(map(len, cells)) / 7)))


def _source(citation: Citation, language: str) -> Card:
    title = _plain(short(citation.title, 120)) or say("teams.source", language, n=citation.n)
    url, file = web(citation.url), path(citation.url)
    page = say("teams.page", language, n=citation.page) if citation.page else ""
    owner = say("teams.owner", language, owner=citation.owner) if citation.owner else ""
    facts = [place_in(citation), page, owner, age(citation, language), citation.sensitivity or "", file or ""]
    items = [text(f"[{citation.n}] " + (f"[{title}]({url})" if url else title), weight="Bolder")]
    if known := " · ".join(_plain(fact) for fact in facts if fact):
        items.append(text(short(known, 400), isSubtle=True, size="Small", spacing="None"))
    if citation.quote:
        items.append(text(f"“{_plain(short(citation.quote, 500))}”", spacing="Small"))
    return {"type": "Container", "separator": True, "spacing": "Medium", "items": items}


def _execute(button: Button) -> Card:
    made: Card = {
        "type": "Action.Execute",
        "title": button.title,
        "verb": button.verb,
        "data": {MARK: button.verb, **dict(button.data)},
        "associatedInputs": "auto" if button.inputs else "none",
    }
    if button.style != "default":
        made["style"] = button.style
    return made


def _plain(words: str) -> str:
    """Words of a document inside a card: nothing in them is a link or a list."""
    return words.replace("[", "(").replace("]", ")").replace("`", "'")


def _safe(words: str) -> str:
    """No HTML, no remote images, no lying links, no ``{{DATE()}}``; ``&lt;`` would be shown as it stands."""
    safe = "\n".join(neutral_prose(line) for line in words.split("\n"))
    return safe.replace("&lt;", "‹").replace("{{", "{ {")
