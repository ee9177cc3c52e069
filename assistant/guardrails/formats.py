"""An answer in a format that was asked for: JSON that fits a schema, or one instruction to write it again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator

from assistant.errors import SettingsError

_FENCE = re.compile(r"```(?:json|JSON)?\s*\n(.*?)\n?```", re.DOTALL)
MESSAGE = 200  # characters of what the validator says


@dataclass(frozen=True, slots=True)
class Fitting:
    """``value`` where the text fits. Else ``instruction`` is for the model, once, and ``problem`` for people."""

    value: Any = None
    problem: str = ""

    @property
    def fits(self) -> bool:
        return not self.problem

    @property
    def instruction(self) -> str:
        return (
            f"Your answer does not have the format that was asked for: {self.problem} "
            "Write it again as one JSON document and nothing else."
        )


class Format:
    """A JSON schema that answers must fit; raises ``SettingsError`` where it is none."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError as error:
            raise SettingsError(f"The format is no JSON schema: {_line(error.message)}") from None
        self._validator = Draft202012Validator(schema)

    def fitting(self, text: str) -> Fitting:
        """The value of a model's text, which may stand in a fence, if it fits."""
        try:
            value = json.loads(_body(text))
        except ValueError as error:
            return Fitting(problem=f"it is no JSON ({_line(str(error))}).")
        except RecursionError:
            return Fitting(problem="it is nested too deeply.")
        errors = sorted(self._validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
        if not errors:
            return Fitting(value)
        place = "/".join(map(str, errors[0].absolute_path)) or "the document"
        return Fitting(problem=f"at {place}, {_line(errors[0].message)}.")


def _body(text: str) -> str:
    fences = _FENCE.findall(text)
    return fences[0] if len(fences) == 1 else text.strip()


def _line(message: str) -> str:
    return " ".join(message.split()).rstrip(".")[:MESSAGE]
