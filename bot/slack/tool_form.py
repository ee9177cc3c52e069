"""A tool's arguments as a modal, made from its schema, and what was entered there."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from assistant.commands import Form
from assistant.strings import say
from assistant.tools import forms
from assistant.tools.forms import Field, FormError
from bot.slack import blocks
from bot.slack.blocks import Block
from bot.slack.events import Message
from bot.slack.modals import State, note_view
from bot.slack.workplace import Workplace

TOOL, OPEN = "tool_form", "tool_form_open"  # a view's callback, and the button that opens one
MOST_FIELDS, MOST_OPTIONS = 60, 100
OPTION_VALUE = 150


def view(form: Form, message: Message, language: str) -> Block:
    """Required fields are marked by Slack; what was typed already stands in them."""
    metadata = {"team": message.team, "channel": message.channel, "direct": message.direct, "language": language,
                "tool": form.tool, "thread": message.thread}  # fmt: skip
    fields = [_entry(field, form, language) for field in form.fields[:MOST_FIELDS]]
    intro = blocks.section(f"*{blocks.cut(form.title, 150).replace('*', '∗').replace('<', '‹')}*")
    submit = say("approvals.form_propose" if form.waits else "approvals.form_run", language)
    return blocks.modal(
        TOOL, say("approvals.form_title", language), [intro, *fields], close=say("slack.cancel", language),
        submit=submit, metadata=json.dumps(metadata),
    )  # fmt: skip


def opener(form: Form, language: str) -> Block:
    """For when the click that led here is too long ago to open anything."""
    value = json.dumps({"tool": form.tool, "given": dict(form.given)})
    value = value if len(value) <= 2_000 else json.dumps({"tool": form.tool, "given": {}})
    return blocks.actions(blocks.button(OPEN, say("approvals.form_open", language), value, style="primary"))


async def submitted(
    place: Workplace, message: Message, state: State, metadata: Mapping[str, Any], language: str, view_id: str
) -> dict[str, Any]:
    """What was entered, checked while the modal is open, then stored: the call is made in its turn."""
    name = str(metadata.get("tool") or "")
    tool = next((tool for tool in await place.services.toolbox.all(1.0) if tool.name == name), None)
    if tool is not None:
        given = entered(state, forms.fields(tool))
        try:
            _, wrong = forms.typed(tool, given, language)
        except FormError:
            wrong = {}
        if wrong:
            return {"response_action": "errors", "errors": wrong}
        said = replace(message, kind="command", text=f"tool {name}", thread=str(metadata.get("thread") or ""))
        payload = {**said.payload(), "form": {"tool": name, "given": given}, "at": time.time()}
        await place.inbox.store(f"tool:{view_id}", f"tool:{view_id}", payload)
    note = say("approvals.form_sent", language)
    return {
        "response_action": "update",
        "view": note_view(say("approvals.form_title", language), note, language),
    }


def entered(state: State, fields: Sequence[Field]) -> dict[str, str]:
    given = {}
    for field in fields:
        element = (state.get(field.name) or {}).get(field.name) or {}
        chosen = element.get("selected_option")
        value = (chosen or {}).get("value") if chosen else element.get("selected_date") or element.get("value")
        if value is not None and str(value).strip():
            given[field.name] = str(value)
    return given


def _entry(field: Field, form: Form, language: str) -> Block:
    said = form.given.get(field.name, field.default)
    hint = " ".join(filter(None, (form.wrong.get(field.name, "") if form.given.get(field.name) else "", field.hint)))
    element = _element(field, said, language)
    return blocks.entry(field.name, field.label, element, optional=not field.required, hint=blocks.cut(hint, 2_000))


def _element(field: Field, said: str, language: str) -> Block:
    if field.kind == "boolean":
        options = [blocks.option(say(f"approvals.{key}", language), value) for key, value in _YES_NO]
        return _chosen({"type": "radio_buttons", "options": options}, said)
    fits = len(field.choices) <= MOST_OPTIONS and all(len(choice) <= OPTION_VALUE for choice in field.choices)
    if field.kind == "choice" and fits:
        return _chosen(
            {"type": "static_select", "options": [blocks.option(choice, choice) for choice in field.choices]}, said
        )
    if field.kind in ("integer", "number"):
        number = {"type": "number_input", "is_decimal_allowed": field.kind == "number"}
        return {**number, **({"initial_value": said} if forms.is_number(said) else {})}
    if field.kind == "date":
        return {"type": "datepicker", **({"initial_date": said} if _is_date(said) else {})}
    text: Block = {"type": "plain_text_input", "multiline": field.long, "max_length": 3_000}
    if field.example:
        text["placeholder"] = blocks.plain(field.example, 150)
    return {**text, **({"initial_value": said[:3_000]} if said else {})}


_YES_NO = (("yes", "true"), ("no", "false"))


def _chosen(element: Block, said: str) -> Block:
    first = next((option for option in element["options"] if option["value"] == said), None)
    return {**element, "initial_option": first} if first else element


def _is_date(said: str) -> bool:
    try:
        forms.day(said)
    except FormError:
        return False
    return True
