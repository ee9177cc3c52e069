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
