"""A tool's arguments as a card with fields, made from its schema, and what was entered there."""

from __future__ import annotations

from collections.abc import Mapping

from assistant.commands import Form
from assistant.services import Services
from assistant.strings import say
from assistant.tools import forms
from assistant.tools.forms import Field, FormError
from bot.teams import cards
from bot.teams.cards import Card
from bot.teams.citations import short

TOOL = "tool"  # a verb
FIELD = "argument."  # before a field's name, so that none is taken for one of ours
MOST_FIELDS, MOST_CHOICES = 40, 100


def form_card(form: Form, language: str) -> Card:
    """Required fields are marked by Teams; what was typed already stands in them, and what is wrong beside them."""
    body: list[Card] = [cards.text(form.title, weight="Bolder", size="Medium")]
    for field in form.fields[:MOST_FIELDS]:
        said = form.given.get(field.name, field.default)
        wrong = form.wrong.get(field.name, "") if form.given.get(field.name) else ""
        body.append(_input(field, said, language))
        if wrong:
            problem = say("approvals.form_wrong", language, field=field.label, problem=wrong)
            body.append(cards.text(problem, color="Attention", size="Small", spacing="None"))
    title = say("approvals.form_propose" if form.waits else "approvals.form_run", language)
    data = (("tool", form.tool), ("language", language))
    return cards.card(body, (cards.Button(title, TOOL, data, "positive", inputs=True),))


def entered(data: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The tool's name, and what was given by field."""
    given = {name.removeprefix(FIELD): said for name, said in data.items() if name.startswith(FIELD) and said.strip()}
    return data.get("tool", ""), given


async def mistaken(services: Services, data: Mapping[str, str], language: str) -> Card | None:
    """The form once more, where something on it is wrong."""
    name, given = entered(data)
    tool = next((tool for tool in await services.toolbox.all(1.0) if tool.name == name), None)
    if tool is None:
        return None
    try:
        _, wrong = forms.typed(tool, given, language)
    except FormError:
        return None
    if not wrong:
        return None
    shown = {name: said or " " for name, said in {**dict.fromkeys(wrong, ""), **given}.items()}
    return form_card(Form(name, tool.title or name, tool.needs_approval, forms.fields(tool), shown, wrong), language)


def _input(field: Field, said: str, language: str) -> Card:
    label = " – ".join(filter(None, (field.label, short(field.hint, 150))))
    made: Card = {"id": f"{FIELD}{field.name}", "label": label, "isRequired": field.required}
    if field.required:
        made["errorMessage"] = f"{field.label}: {say('approvals.form_missing', language)}"
    if field.kind == "boolean":
        choices = [{"title": say(f"approvals.{key}", language), "value": value} for key, value in _YES_NO]
        return {**made, "type": "Input.ChoiceSet", "style": "expanded", "choices": choices, "value": said}
    if field.kind == "choice" and len(field.choices) <= MOST_CHOICES:
        choices = [{"title": short(choice, 80), "value": choice} for choice in field.choices]
        return {**made, "type": "Input.ChoiceSet", "style": "compact", "choices": choices, "value": said}
    if field.kind in ("integer", "number"):
        return {**made, "type": "Input.Number", **({"value": float(said)} if forms.is_number(said) else {})}
    if field.kind == "date":
        return {**made, "type": "Input.Date", "value": said.strip()}
    more = {"isMultiline": True} if field.long else {}
    placeholder = {"placeholder": short(field.example, 100)} if field.example else {}
    return {**made, "type": "Input.Text", "maxLength": 4_000, "value": said[:4_000], **more, **placeholder}


_YES_NO = (("yes", "true"), ("no", "false"))
