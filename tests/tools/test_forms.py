"""A tool's arguments without a model: from words and from fields, by its schema."""

from __future__ import annotations

from typing import Any

import pytest

from assistant.tools.forms import FormError, example, fields, pairs, typed
from assistant.tools.model import Tool

TOOL = Tool(
    "book", "Books a room.", title="Book a room", parameters={
        "type": "object",
        "properties": {
            "note": {"type": "string", "description": "Anything\nelse", "maxLength": 900},
            "room": {"type": "string", "enum": ["A", "B"], "title": "Room"},
            "people": {"type": ["integer", "null"], "default": 2},
            "hours": {"type": "number"},
            "catering": {"type": "boolean"},
            "day": {"type": "string", "format": "date", "examples": ["2026-05-31"]},
            "tags": {"type": "array", "items": {"type": "string"}},
            "extra": {"anyOf": [{"type": "object"}, {"type": "null"}]},
        },
        "required": ["room", "day"],
    },
)  # fmt: skip


def test_fields_say_what_the_schema_says_required_ones_first() -> None:
    found = {field.name: field for field in fields(TOOL)}
    assert list(found)[:2] == ["room", "day"]
    kinds = {name: field.kind for name, field in found.items()}
    assert kinds == {
        "room": "choice", "day": "date", "note": "text", "people": "integer", "hours": "number", "catering": "boolean",
        "tags": "json", "extra": "json",
    }  # fmt: skip
    assert found["room"].choices == ("A", "B")
    assert (found["note"].label, found["note"].hint, found["note"].long) == ("Note", "Anything else", True)
    assert found["people"].default == "2"
    assert example(TOOL) == "book room=… day=2026-05-31"
    assert fields(Tool("bare", "")) == ()


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("", {}),
        ('room=A note="two words"', {"room": "A", "note": "two words"}),
        ("room=A note=“two words”", {"room": "A", "note": "two words"}),
        ("note=a=b", {"note": "a=b"}),
        ("note=don't", {"note": "don't"}),
        ("room=", {"room": ""}),
    ],
)
def test_words_become_pairs(words: str, given: dict[str, str]) -> None:
    assert pairs(words) == given


@pytest.mark.parametrize("words", ["room", "room A", "=A", "r`oom=A"])
def test_words_that_are_no_pairs_are_named(words: str) -> None:
    with pytest.raises(FormError) as caught:
        pairs(words)
    assert caught.value.sentence("en").endswith("is no `argument=value`.")


def test_texts_become_what_the_schema_wants() -> None:
    given = {
        "room": "A", "day": "2026-05-31", "people": "3", "hours": "1.5", "catering": "Ja", "tags": "a, b",
        "extra": '{"x": [1]}', "note": "  ",
    }  # fmt: skip
    arguments, wrong = typed(TOOL, given, "en")
    assert wrong == {}
    assert arguments == {
        "room": "A", "day": "2026-05-31", "people": 3, "hours": 1.5, "catering": True, "tags": ["a", "b"],
        "extra": {"x": [1]},
    }  # fmt: skip
    assert type(typed(TOOL, given | {"hours": "2"}, "en")[0]["hours"]) is int


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("room", "C", "needs one of A, B"),
        ("room", " ", "needs a value"),
        ("day", "31.5.2026", "needs a date such as 2026-05-31"),
        ("people", "3.5", "needs a whole number"),
        ("hours", "nan", "needs a number"),
        ("hours", "1e999", "needs a number"),
        ("catering", "maybe", "needs yes or no"),
        ("tags", "[1", 'needs JSON such as ["a", "b"]'),
        ("extra", "x", 'needs JSON such as {"name": "value"}'),
    ],
)
def test_what_does_not_fit_is_said_beside_its_field(name: str, text: str, problem: str) -> None:
    given: dict[str, Any] = {"room": "A", "day": "2026-05-31", name: text}
    assert typed(TOOL, given, "en")[1] == {name: problem}


def test_an_argument_that_is_none_is_named_with_those_that_are() -> None:
    with pytest.raises(FormError) as caught:
        typed(TOOL, {"rooom": "A"}, "de")
    assert "`rooom` ist kein Argument von Book a room; es gibt: room, day" in caught.value.sentence("de")
