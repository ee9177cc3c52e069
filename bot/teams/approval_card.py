"""A call that waits for somebody's word, as an Adaptive Card."""

from __future__ import annotations

from collections.abc import Iterable

from assistant.database.approvals import Approval
from assistant.strings import say
from assistant.tools.showing import Shown, shown
from bot.teams import cards
from bot.teams.cards import MAX_CARD, Button, Card
from bot.teams.port import Message

APPROVE, DENY = "approve", "deny"  # verbs
VALUE_CHARS = (700, 200, 60)  # of one argument: less, where all of them are too much


def message(approval: Approval, language: str) -> Message:
    """The card, and the words that stand for it where it cannot be shown."""
    view = shown(approval, language)
    return Message(f"{view.title}: {view.status}.", card=card(approval, language))


def card(approval: Approval, language: str) -> Card:
    """The exact call in runs of text, into which nothing is read; who asked; how it stands; while it waits, buttons."""
    for values in VALUE_CHARS:
        made = _card(approval, shown(approval, language, values), language)
        if cards.size(made) <= MAX_CARD:
            return made
    return made


def _card(approval: Approval, view: Shown, language: str) -> Card:
    body = [
        _line(view.title, weight="Bolder", size="Medium"),
        _code(view.exact),
        *(_line(note, isSubtle=True, size="Small") for note in view.notes),
        _line(view.status, weight="Bolder", color=_COLOURS.get(view.state, "Default")),
    ]
    if view.result:
        body += [_line(say("approvals.result", language), isSubtle=True, size="Small"), _code(view.result.splitlines())]
    if view.before:
        body += [_line(say("approvals.before", language), isSubtle=True, size="Small"), _code(view.before.splitlines())]
    return cards.card(body, _buttons(approval, language) if view.open else ())


_COLOURS = {"done": "Good", "failed": "Attention", "unknown": "Warning", "void": "Warning", "denied": "Attention"}


def _buttons(approval: Approval, language: str) -> tuple[Button, ...]:
    data = (("approval", str(approval.id)), ("hash", approval.arguments_hash), ("language", language))
    return (
        Button(say("approvals.approve", language), APPROVE, data, "positive"),
        Button(say("approvals.deny", language), DENY, data, "destructive"),
    )


def _code(lines: Iterable[str]) -> Card:
    items = [_line(line or " ", fontType="Monospace", size="Small") for line in lines]
    return {"type": "Container", "style": "emphasis", "items": [{**item, "spacing": "None"} for item in items]}


def _line(words: str, **looks: object) -> Card:
    """A paragraph of one run: no Markdown. ``{{`` would begin a date's formula, so its second brace is written out."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": words.replace("{{", "{\\u007b"), **looks}]}
