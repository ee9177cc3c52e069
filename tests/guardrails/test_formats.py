"""Answers in a format: a value that fits, or one sentence that says what does not."""

from __future__ import annotations

import pytest

from assistant.errors import QuestionRejected
from assistant.guardrails.formats import Format

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "ports": {"type": "array", "items": {"type": "integer"}}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("text", ['{"name": "a", "ports": [1]}', 'Here:\n```json\n{"name": "a", "ports": [1]}\n```'])
def test_a_value_that_fits(text: str) -> None:
    assert Format(SCHEMA).fitting(text).value == {"name": "a", "ports": [1]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no json", "it is no JSON"),
        ('{"ports": []}', "'name' is a required property"),
        ('{"name": "a", "ports": [1, "x"]}', "at ports/1,"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_what_does_not_fit_is_said_and_an_instruction_given(text: str, problem: str) -> None:
    fitting = Format(SCHEMA).fitting(text)
    assert not fitting.fits
    assert problem in fitting.problem
    assert fitting.problem in fitting.instruction


def test_a_wrong_schema_is_named() -> None:
    with pytest.raises(QuestionRejected, match="no JSON schema"):
        Format({"type": "thing"})


def nested(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ([], "The format must be a JSON schema: an object."),
        ("{}", "The format must be a JSON schema: an object."),
        ({}, 'The format must be a JSON schema with "type": "object" at its root.'),
        ({"type": "array"}, 'The format must be a JSON schema with "type": "object" at its root.'),
        ({"type": "object", "properties": 5}, "The format is no JSON schema: 5 is not of type 'object'."),
        ({"type": "object", "title": "a" * 20_000}, "The format is longer than 16,000 characters."),
        ({"type": "object", "title": "\ud800"}, "The format is no JSON."),
        ({"type": "object", "const": float("nan")}, "The format is no JSON."),
        (nested(30), "The format is nested more than 40 levels deep."),
        (nested(5_000), "The format is nested more than 40 levels deep."),
        (
            {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/secret.json"}}},
            "The format refers to 'http://127.0.0.1:1/secret.json', which is no schema within it.",
        ),
        (
            {"type": "object", "$ref": "#/$defs/none"},
            "The format refers to '#/$defs/none', which is no schema within it.",
        ),
        (
            {"type": "object", "enum": [{"$id": "file:///"}], "allOf": [{"$ref": "#/enum/0"}]},
            "The format refers to '#/enum/0', which is no schema within it.",
        ),
        ({"type": "object", "$id": "http://127.0.0.1:1/"}, 'The format may not use "$id", as it does at #.'),
        (
            {"type": "object", "properties": {"a": {"patternProperties": {"^(a+)+$": {}}}}},
            'The format may not use "patternProperties", as it does at #/properties/a.',
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
            "The format is no JSON schema: '(' is not a 'regex'.",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "a{99999999999999}"}}},
            "The format holds a pattern that cannot be read.",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "(" * 3_000 + ")" * 3_000}}},
            "The format holds a pattern that cannot be read.",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_schema_that_is_not_taken_is_refused_with_what_is_wrong(schema: object, sentence: str) -> None:
    with pytest.raises(QuestionRejected) as caught:
        Format(schema)
    assert str(caught.value) == sentence


def test_fields_may_be_called_as_keywords_are() -> None:
    names = {name: {"type": "string"} for name in ("$id", "$ref", "enum", "pattern", "patternProperties")}
    form = Format({"type": "object", "properties": names | {"x": {"enum": ["$id", 3, True]}}, "required": ["$ref"]})
    assert form.check({"$ref": "a", "enum": "b"}).fits
    assert not form.check({"enum": "b"}).fits
    assert form.names == {*names, "x"}
    assert form.fixed == {"$id", 3}


def test_references_that_branch_and_patterns_that_search_for_ever_come_to_an_end() -> None:
    branching = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)} | {
        "a40": {"type": "object"}
    }
    endless = {"b": {"$ref": "#/$defs/b"}}
    for schema, value in (
        ({"$ref": "#/$defs/a0", "$defs": branching}, {}),
        ({"$ref": "#/$defs/b", "$defs": endless}, {}),
        ({"properties": {"a": {"pattern": "^(a|a)*$"}}}, {"a": "a" * 60 + "b"}),
    ):
        fitting = Format({"type": "object", **schema}).check(value)
        assert fitting.problem == "holding it against the schema takes too long."


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity", "9223372036854775808", "1" * 5_000])
def test_a_number_that_programs_cannot_read_is_none(number: str) -> None:
    fitting = Format({"type": "object"}).fitting(f'{{"a": {number}}}')
    assert fitting.problem.startswith("it is no JSON (")


def test_what_a_schema_says_in_sentences_is_known() -> None:
    schema = {
        "type": "object",
        "description": "The command that rolls back.",
        "properties": {"command": {"type": "string", "enum": ["a b", "say that all is well"]}},
    }
    assert Format(schema).words == "The command that rolls back.\nsay that all is well"
