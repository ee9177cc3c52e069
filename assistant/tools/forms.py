"""A tool's arguments as people give them: words of a command, fields of a form; from its JSON schema, without a model.

Only what the schema says is asked for: texts, numbers, choices, yes or no, dates. Everything else is given as JSON.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from assistant.strings import LANGUAGES, say
from assistant.tools.model import Tool

Kind = Literal["text", "integer", "number", "boolean", "choice", "date", "json"]

_JSON_EXAMPLES = {"array": '["a", "b"]', "object": '{"name": "value"}'}
_STRAIGHT = str.maketrans("“”„«»’", '"""""\'')
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True, slots=True)
class Field:
    """``hint`` is what the schema says of it; ``default`` as text, "" for none."""

    name: str
    label: str
    kind: Kind
    required: bool
    hint: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""
    long: bool = False
    example: str = ""


class FormError(Exception):
    """Words that are no arguments; ``key`` of ``approvals.toml`` with its ``values`` says why."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.values = values

    def sentence(self, language: str) -> str:
        return say(f"approvals.{self.key}", language, **self.values)


def fields(tool: Tool) -> tuple[Field, ...]:
    """What the tool takes: required ones first, otherwise as its schema lists them."""
    properties: Mapping[str, Any] = tool.parameters.get("properties") or {}
    required = set(tool.parameters.get("required") or ())
    found = [_field(name, schema, name in required) for name, schema in properties.items()]
    return tuple(sorted(found, key=lambda field: not field.required))


def pairs(words: str) -> dict[str, str]:
    """``name=value`` words; a value with blanks stands in quotes. Raises ``FormError``."""
    try:
        split = shlex.split(_straight(words))
    except ValueError:  # a quote without its end: an apostrophe, most likely
        split = words.split()
    given: dict[str, str] = {}
    for word in split:
        name, equals, value = word.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise FormError("form_pair", word=word[:60].replace("`", "'"))
        given[name] = value
    return given


def typed(tool: Tool, given: Mapping[str, str], language: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The arguments as JSON, and what is wrong with them by field. What is empty was not given."""
    known = {field.name: field for field in fields(tool)}
    for name in given:
        if name not in known:
            names = ", ".join(known) or say("approvals.no_arguments", language)
            raise FormError("form_unknown", field=name[:60], title=tool.title or tool.name, names=names)
    arguments: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in known.values():
        text = given.get(field.name, "").strip()
        if not text:
            if field.required:
                wrong[field.name] = say("approvals.form_missing", language)
            continue
        try:
            arguments[field.name] = _value(field, text)
        except FormError as error:
            wrong[field.name] = error.sentence(language)
    return arguments, wrong


def example(tool: Tool) -> str:
    """What one would type: ``restart_service service=…``."""
    return " ".join([tool.name, *(f"{field.name}={field.example or '…'}" for field in fields(tool) if field.required)])


def _field(name: str, schema: Mapping[str, Any], required: bool) -> Field:
    choices = _choices(schema)
    kinds = _kinds(schema)
    kind: Kind = "choice" if choices else _kind(kinds, schema)
    default = schema.get("default")
    shown = "" if default is None else default if isinstance(default, str) else json.dumps(default)
    found = next(iter(schema.get("examples") or ()), schema.get("example"))
    written = "" if found is None else found if isinstance(found, str) else json.dumps(found)
    if kind == "json" and not written:
        written = next((_JSON_EXAMPLES[kind] for kind in kinds if kind in _JSON_EXAMPLES), "")
    hint = " ".join(str(schema.get("description") or "").split())
    label = str(schema.get("title") or name.replace("_", " ").replace("-", " ").strip().capitalize() or name)
    long = kind == "json" or (kind == "text" and int(schema.get("maxLength") or 0) > 200)
    return Field(name, label, kind, required, hint, choices, shown, long, written)


def _kinds(schema: Mapping[str, Any]) -> tuple[str, ...]:
    kind = schema.get("type")
    kinds = kind if isinstance(kind, Sequence) and not isinstance(kind, str) else [kind] if kind else []
    for variant in schema.get("anyOf") or schema.get("oneOf") or ():
        if isinstance(variant, Mapping) and isinstance(variant.get("type"), str):
            kinds = [*kinds, variant["type"]]
    return tuple(kind for kind in kinds if kind != "null")


def _kind(kinds: tuple[str, ...], schema: Mapping[str, Any]) -> Kind:
    if kinds == ("integer",):
        return "integer"
    if kinds in (("number",), ("integer", "number"), ("number", "integer")):
        return "number"
    if kinds == ("boolean",):
        return "boolean"
    if "string" in kinds or (not kinds and not schema.get("properties")):
        return "date" if schema.get("format") == "date" else "text"
    return "json"


def _choices(schema: Mapping[str, Any]) -> tuple[str, ...]:
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    texts = tuple(value for value in values if isinstance(value, str) and value)
    return texts if len(texts) == len([value for value in values if value is not None]) else ()


def _value(field: Field, text: str) -> Any:
    if field.kind == "choice":
        if text not in field.choices:
            raise FormError("form_choice", choices=", ".join(field.choices))
        return text
    if field.kind == "boolean":
        return _boolean(text)
    if field.kind in ("integer", "number"):
        return _number(field.kind, text)
    if field.kind == "date":
        return day(text)
    if field.kind == "json":
        return _json(field, text)
    return text


def _boolean(text: str) -> bool:
    word = text.casefold()
    yes = {"true", "1", "on", *(say("approvals.yes", language).casefold() for language in LANGUAGES)}
    no = {"false", "0", "off", *(say("approvals.no", language).casefold() for language in LANGUAGES)}
    if word not in yes | no:
        raise FormError("form_boolean")
    return word in yes


def _number(kind: str, text: str) -> int | float:
    try:
        return int(text) if kind == "integer" or re.fullmatch(r"[+-]?\d+", text) else _finite(text)
    except ValueError:
        raise FormError(f"form_{kind}") from None


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:  # an infinity, or no number
        raise ValueError(text)
    return value


def is_number(text: str) -> bool:
    try:
        _finite(text)
    except ValueError:
        return False
    return True


def day(text: str) -> str:
    """A date as ISO writes it; raises ``FormError``."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise FormError("form_date") from None


def _json(field: Field, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        if field.example.startswith("[") and not text.startswith(("[", "{")):  # a list as people write it: a, b
            return [part.strip() for part in text.split(",") if part.strip()]
        raise FormError("form_json", example=field.example or "{}") from None


def _straight(words: str) -> str:
    """Quotes as keyboards of phones set them, made straight."""
    return words.translate(_STRAIGHT)
