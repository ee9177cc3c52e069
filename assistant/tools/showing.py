"""An approval as people read it: the exact call, who asked, who may decide, how it stands. No platform's markup."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from assistant.database.approvals import Approval
from assistant.strings import say
from assistant.tools.rights import ADMINISTRATORS, REQUESTER

VALUE_CHARS = 700
RESULT_CHARS = 1_200


@dataclass(frozen=True, slots=True)
class Shown:
    """``rows``: each argument with its value as JSON; ``status`` has no full stop; ``notes`` stand below the call."""

    title: str
    call: str
    rows: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    status: str
    before: str
    result: str
    state: str

    @property
    def exact(self) -> tuple[str, ...]:
        """The call and its arguments, a line each."""
        width = max((len(name) for name, _ in self.rows), default=0)
        return (self.call, *(f"{name.ljust(width)} = {value}" for name, value in self.rows))

    @property
    def open(self) -> bool:
        return self.state == "waiting"


def shown(approval: Approval, language: str, values: int = VALUE_CHARS) -> Shown:
    """``values``: characters of one argument, the rest of which is only counted."""
    name = asker(approval, language)
    notes: tuple[str, ...] = (say("approvals.asked_by", language, name=name),)
    if approval.state == "waiting":
        notes = (say("approvals.asked", language, name=name), _who(approval, language))
    result = _told(approval.result, language) if approval.state == "done" else ""
    if approval.state == "failed":
        result = visible(approval.reason or "")
    rows = ((visible(name), _value(value, approval, language, values)) for name, value in ordered(approval).items())
    return Shown(
        title=visible(approval.title),
        call=visible(approval.call or approval.tool),
        rows=tuple(rows),
        notes=tuple(note[:1].upper() + note[1:] for note in notes),
        status=status(approval, language),
        before=_told(approval.before, language) if approval.before and result else "",
        result=result,
        state=approval.state,
    )


def status(approval: Approval, language: str) -> str:
    """One sentence without its full stop."""
    state = approval.state
    if state == "waiting":
        return say("approvals.waiting", language, until=until(approval, language))
    if state == "void":
        why = approval.reason or "void_arguments"
        return say("approvals.void", language, why=say(f"approvals.{why}", language))
    if state == "expired":
        return say("approvals.expired", language)
    name = _person(approval.decided_by or "", approval.decided_name, language)
    if state == "running":
        return say("approvals.running", language, name=name)
    when = clock(approval.decided_at or approval.created_at)
    if state == "denied" and approval.decided_by == approval.requester:
        state = "taken_back"
    said = say(f"approvals.{state}", language, name=name, when=f"{when} UTC")
    return said[:1].upper() + said[1:]


def until(approval: Approval, language: str) -> str:
    return say("approvals.until", language, time=clock(approval.expires_at))


def clock(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%H:%M")


def one_line(approval: Approval, language: str, limit: int = 120) -> str:
    """The arguments for a list of calls."""
    said = ", ".join(f"{visible(name)}={literal(value)}" for name, value in ordered(approval).items())
    said = said or say("approvals.no_arguments", language)
    return said if len(said) <= limit else said[: limit - 1] + "…"


def asker(approval: Approval, language: str) -> str:
    """Who asked, as people call them."""
    return _person(approval.requester, approval.requester_name, language)


def literal(value: object) -> str:
    """A value as JSON in which everything can be seen: no line ends, nothing invisible, nothing that turns the text."""
    return visible(json.dumps(value, ensure_ascii=False))


def visible(text: str) -> str:
    """The text with what has no shape of its own (controls, marks of direction, spaces without width) written out."""
    return "".join(letter if _has_shape(letter) else _escaped(letter) for letter in text)


def _has_shape(letter: str) -> bool:
    return letter == " " or unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")


def _escaped(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def ordered(approval: Approval) -> dict[str, Any]:
    """The arguments as their tool lists them; Postgres keeps no order of its own."""
    order = {name: place for place, name in enumerate(approval.caller.get("order", ()))}
    return dict(sorted(approval.arguments.items(), key=lambda item: order.get(item[0], len(order))))


def _value(value: object, approval: Approval, language: str, limit: int) -> str:
    said = literal(value)
    if len(said) <= limit:
        return said
    return said[:limit] + say("approvals.cut", language, length=f"{len(said):,}", number=approval.number)


def _told(result: Mapping[str, Any] | None, language: str) -> str:
    """What a tool gave back, in short; its lines stay lines."""
    if result is None:
        return ""
    text = str(result.get("text") or result.get("error") or "").strip()
    text = "\n".join(visible(line) for line in _lines(text)) or say("approvals.nothing_back", language)
    return text if len(text) <= RESULT_CHARS else text[: RESULT_CHARS - 1] + "…"


def _lines(text: str) -> list[str]:
    """A JSON object as a line for each of its fields; any other text as the lines that it has."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        return text.splitlines()
    return [f"{name}: {_plain(part)}" for name, part in value.items()]


def _plain(value: object) -> str:
    """Words as they are, where they are one line; anything else as JSON."""
    if isinstance(value, str) and value.splitlines() == [value]:
        return value
    return json.dumps(value, ensure_ascii=False)


def _who(approval: Approval, language: str) -> str:
    named = [_approver(name, language) for name in approval.approvers or (ADMINISTRATORS,) if name != REQUESTER]
    if not named:
        return say("approvals.who_requester", language)
    names = ", ".join(named)
    if REQUESTER in approval.approvers:
        return say("approvals.who_both", language, names=names)
    if tuple(approval.approvers) in ((), (ADMINISTRATORS,)):
        return say("approvals.who_administrators", language)
    return say("approvals.who_named", language, names=names)


def _approver(principal: str, language: str) -> str:
    """A principal as people call it: the last part of ``group:payments`` or ``user:email:ben@example.com``."""
    if principal == ADMINISTRATORS:
        return say("approvals.administrators", language)
    return visible(principal.rpartition(":")[2] or principal)


def _person(person: str, name: str, language: str) -> str:
    """Who it was, as people call them; the web page knows nobody's name."""
    if not name and person.startswith("web:"):
        return say("approvals.web_person", language)
    return visible(name or person)


def as_json(approval: Approval, language: str = "en", values: int = 20_000) -> dict[str, Any]:
    """For the page and the terminal: what a card shows, and what a decision must name."""
    view = shown(approval, language, values)
    return {
        "id": str(approval.id),
        "number": approval.number,
        "tool": approval.tool,
        "title": view.title,
        "call": view.call,
        "arguments": ordered(approval),
        "rows": [list(row) for row in view.rows],
        "notes": list(view.notes),
        "status": view.status,
        "state": approval.state,
        "hash": approval.arguments_hash,
        "requester": approval.requester,
        "decided_by": approval.decided_by,
        "expires_at": approval.expires_at.isoformat(),
        "before": view.before,
        "result": view.result,
    }
