"""Arguments against a schema: what is right goes through unchanged, what is wrong is said with its field."""

from __future__ import annotations

from typing import Any

import pytest

from assistant.tools.model import BadArguments, Tool, arguments_hash
from assistant.tools.schema import validate

TOOL = Tool("book", "", {
    "type": "object", "required": ["who"], "additionalProperties": False,
    "properties": {
        "who": {"type": "string", "minLength": 2, "maxLength": 9}, "n": {"type": "integer", "minimum": 1, "maximum": 9},
        "kind": {"type": "string", "enum": ["a", "b"]}, "maybe": {"type": ["string", "null"]},
        "day": {"type": "string", "format": "date"}, "code": {"type": "string", "pattern": "^[A-Z]{3}$"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "at": {"type": "object", "required": ["x"], "properties": {"x": {"type": "number"}, "y": {"type": "number"}}},
        "either": {"anyOf": [{"type": "integer"}, {"type": "boolean"}]},
    },
})  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"n": "3"}, "n must be a whole number, not 3"),
        ({"n": True}, "n must be a whole number, not true"),
        ({"n": 0}, "n must be at least 1, not 0"),
        ({"n": 10}, "n must be at most 9, not 10"),
        ({"kind": "c"}, "kind must be one of a, b, not c"),
        ({"who": 7}, "who must be a string, not 7"),
        ({"who": "x"}, "who must have at least 2 characters"),
        ({"day": "tomorrow"}, "day must be a date, not tomorrow"),
        ({"code": "eur"}, "code must match ^[A-Z]{3}$, not eur"),
        ({"tags": ["a", 2]}, "tags.1 must be a string, not 2"),
        ({"tags": ["a", "b", "c"]}, "tags must have at most 2 items"),
        ({"at": {}}, "at.x is missing"),
        ({"at": {"x": "1"}}, "at.x must be a number"),
        ({"other": 1}, "other is no argument of it; there are who, n, kind"),
        ({"either": "x"}, "either does not fit"),
        ({"n": 0, "kind": "c", "day": "x", "code": "x"}, "(1 more)"),
    ],
)
def test_a_mistake_is_said_in_words_that_name_the_field(more: dict[str, Any], words: str) -> None:
    with pytest.raises(BadArguments) as caught:
        validate(TOOL, {"who": "ann", **more})
    assert words in str(caught.value)


def test_what_is_right_goes_through_as_it_is() -> None:
    arguments = {
        "who": "ann",
        "n": 3,
        "kind": "a",
        "maybe": None,
        "tags": [],
        "at": {"x": 1, "z": [None]},
        "either": True,
    }
    assert validate(TOOL, arguments) == arguments
    assert validate(TOOL, '{"who": "ann"}') == {"who": "ann"}


def test_null_is_left_out_where_a_model_had_to_say_something() -> None:
    given = {"who": "ann", "n": None, "kind": None, "maybe": None, "at": {"x": 1, "y": None}, "either": None}
    assert validate(TOOL, given) == {"who": "ann", "maybe": None, "at": {"x": 1}}
    with pytest.raises(BadArguments, match="who must be a string, not null"):
        validate(TOOL, {"who": None})


@pytest.mark.parametrize(
    "given", ["{", "[1]", "7", None, ["who"], {"who": "\ud800"}, {"who": float("nan")}, {"who": b"x"}, {1: 2}]
)
def test_what_is_no_object_of_json_is_refused(given: object) -> None:
    with pytest.raises(BadArguments):
        validate(TOOL, given)


def test_arguments_have_a_size() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    loose = Tool("loose", "", {"type": "object"})
    for given in ({"a": "x" * 200_000}, {"a": deep}):
        with pytest.raises(BadArguments, match="too large"):
            validate(loose, given)


def test_the_hash_binds_source_tool_and_every_argument() -> None:
    tool = Tool("restart", "", source="company")
    same = {arguments_hash(tool, {"a": 1, "b": {"c": [1, 2], "d": "é"}}),
            arguments_hash(tool, {"b": {"d": "é", "c": [1, 2]}, "a": 1})}  # fmt: skip
    assert len(same) == 1
    others = [
        arguments_hash(Tool("restart", "", source="other"), {"a": 1}),
        arguments_hash(Tool("stop", "", source="company"), {"a": 1}),
        arguments_hash(tool, {"a": 1}), arguments_hash(tool, {"a": "1"}), arguments_hash(tool, {"a": True}),
        arguments_hash(tool, {"a": 1, "b": None}), arguments_hash(tool, {}), arguments_hash(tool, {"a": [1, 2]}),
        arguments_hash(tool, {"a": [2, 1]}),
    ]  # fmt: skip
    assert len(set(others)) == len(others)
