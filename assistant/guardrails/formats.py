"""An answer in a format that was asked for: JSON that fits a schema, or one instruction to write it again.

A schema comes from whoever asks, so that nothing of it is taken on trust: it has a size and a depth, refers to its own
parts alone (no address is ever fetched), and holding a value against it takes a bounded number of steps.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import jsonschema
import regex
from jsonschema import Draft202012Validator, validators

from assistant.errors import QuestionRejected

CHARACTERS = 16_000  # of a schema, as JSON
DEPTH = 40
STEPS = 20_000  # keywords that are looked at for one value
PATTERN_SECONDS = 0.2
LARGEST = 2**63  # beyond it, many programs cannot read a whole number
MESSAGE = 200  # characters of what the validator says

Schema = Mapping[str, Any]

_FENCE = re.compile(r"```(?:json|JSON)?\s*\n(.*?)\n?```", re.DOTALL)
# Where a schema holds others: by name, in a list, or one.
NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SINGLE = frozenset(
    {"items", "additionalProperties", "contains", "not", "if", "then", "else", "propertyNames", "unevaluatedItems",
     "unevaluatedProperties"}
)  # fmt: skip
# They change what a reference means, or hold patterns for names, which a validator would search without a limit.
REFUSED = ("$id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveRef", "$recursiveAnchor", "patternProperties")


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
    """A JSON schema that answers must fit: an object at the root.

    Raises ``QuestionRejected``, with one sentence that names what is wrong, where it is none or goes too far.
    ``schema`` is the schema as it was given, ``names`` are those of its fields, ``fixed`` the values that it fixes
    (``enum``, ``const``), ``words`` what it says in sentences.
    """

    def __init__(self, schema: object) -> None:
        self.schema = _bounded(schema)
        try:
            Draft202012Validator.check_schema(self.schema)
        except jsonschema.SchemaError as error:
            raise QuestionRejected(f"The format is no JSON schema: {_line(error.message)}.") from None
        except (RecursionError, OverflowError):  # of a pattern
            raise QuestionRejected("The format holds a pattern that cannot be read.") from None
        if self.schema.get("type") != "object":
            raise QuestionRejected('The format must be a JSON schema with "type": "object" at its root.')
        parts = dict(subschemas(self.schema))
        for place, part in parts.items():
            _allowed(place, part, parts)
        self.names = frozenset(name for part in parts.values() for name in part.get("properties", ()))
        self.fixed = _fixed(parts.values())
        self.words = "\n".join(_sentences(self.schema))
        self._validator = _Bounded(self.schema)

    def fitting(self, text: str) -> Fitting:
        """The value of a model's text, which may stand in a fence, if it fits."""
        read = parsed(text)
        return self.check(read.value) if read.fits else read

    def check(self, value: Any) -> Fitting:
        """The value, if it fits."""
        token = _STEPS.set([0])
        try:
            errors = sorted(self._validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
        except (TooMuch, RecursionError, TimeoutError):
            return Fitting(problem="holding it against the schema takes too long.")
        finally:
            _STEPS.reset(token)
        if not errors:
            return Fitting(value)
        place = "/".join(map(str, errors[0].absolute_path)) or "the document"
        return Fitting(problem=f"at {place}, {_line(errors[0].message)}.")


def parsed(text: str) -> Fitting:
    """The JSON of a model's text, which may stand in a fence. Numbers that programs cannot read are none."""
    try:
        value = json.loads(_body(text), parse_constant=_no_number, parse_float=_float, parse_int=_int)
    except ValueError as error:
        return Fitting(problem=f"it is no JSON ({_line(str(error))}).")
    except RecursionError:
        return Fitting(problem="it is nested too deeply.")
    return Fitting(value)


def subschemas(schema: Any, place: str = "#") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(JSON pointer, schema) of a schema and of each that it holds."""
    if not isinstance(schema, Mapping):
        return  # true and false are schemas, too, and hold nothing
    yield place, schema
    for keyword, part in schema.items():
        inner = f"{place}/{keyword}"
        if keyword in NAMED and isinstance(part, Mapping):
            for name, one in part.items():
                yield from subschemas(one, f"{inner}/{name.replace('~', '~0').replace('/', '~1')}")
        elif keyword in LISTED and isinstance(part, list):
            for number, one in enumerate(part):
                yield from subschemas(one, f"{inner}/{number}")
        elif keyword in SINGLE:
            yield from subschemas(part, inner)


def _bounded(schema: object) -> dict[str, Any]:
    """A copy that is JSON for certain, of a bounded size."""
    if not isinstance(schema, Mapping):
        raise QuestionRejected("The format must be a JSON schema: an object.")
    try:
        written = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        written.encode()
        plain: dict[str, Any] = json.loads(written)
        deep = _depth(plain) > DEPTH
    except RecursionError:
        deep, written = True, ""
    except (TypeError, ValueError):
        raise QuestionRejected("The format is no JSON.") from None
    if len(written) > CHARACTERS:
        raise QuestionRejected(f"The format is longer than {CHARACTERS:,} characters.")
    if deep:
        raise QuestionRejected(f"The format is nested more than {DEPTH} levels deep.")
    return plain


def _allowed(place: str, part: Schema, parts: Mapping[str, Schema]) -> None:
    for keyword in REFUSED:
        if keyword in part:
            raise QuestionRejected(f'The format may not use "{keyword}", as it does at {place[:MESSAGE]}.')
    reference = part.get("$ref")
    if reference is not None and unquote(reference) not in parts:
        raise QuestionRejected(f"The format refers to {reference[:MESSAGE]!r}, which is no schema within it.")
    try:
        regex.compile(part.get("pattern", ""))
    except (regex.error, RecursionError, OverflowError):
        raise QuestionRejected(f"The pattern at {place[:MESSAGE]} of the format is no regular expression.") from None


def _fixed(parts: Any) -> frozenset[str | int | float]:
    """The texts and numbers that the schema itself gives as possible values."""
    given = [
        value for part in parts for value in [*part.get("enum", ()), *([part["const"]] if "const" in part else [])]
    ]
    return frozenset(value for value in given if isinstance(value, str | int | float) and not isinstance(value, bool))


def _sentences(value: Any, least: int = 4) -> Iterator[str]:
    """Texts of some words anywhere in the schema: a model will read them."""
    if isinstance(value, str):
        if len(value.split()) >= least:
            yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _sentences(name, least)
            yield from _sentences(part, least)
    elif isinstance(value, list):
        for part in value:
            yield from _sentences(part, least)


def _depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    children = value.values() if isinstance(value, dict) else value
    return 1 + max((_depth(child) for child in children), default=0)


class TooMuch(Exception):
    """A value takes more steps than it may."""


_STEPS: ContextVar[list[int]] = ContextVar("steps")


def _counted(check: Callable[..., Any]) -> Callable[..., Any]:
    """A keyword whose use is counted: references that branch would otherwise take exponential time."""

    def run(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:
        steps = _STEPS.get()
        steps[0] += 1
        if steps[0] > STEPS:
            raise TooMuch
        return check(validator, wanted, value, schema)

    return run


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, str) and not regex.search(pattern, value, timeout=PATTERN_SECONDS):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_Bounded = validators.extend(
    Draft202012Validator,
    {
        keyword: _counted(_pattern if keyword == "pattern" else check)
        for keyword, check in Draft202012Validator.VALIDATORS.items()
    },
)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _float(written: str) -> float:
    value = float(written)
    if not math.isfinite(value):
        raise ValueError(f"{written[:20]} is too large")
    return value


def _int(written: str) -> int:
    if len(written) > 20 or not -LARGEST <= int(written) < LARGEST:
        raise ValueError(f"{written[:20]} is too large")
    return int(written)


def _body(text: str) -> str:
    if text.lstrip().startswith("{"):
        return text
    fences = _FENCE.findall(text)
    return fences[0] if len(fences) == 1 else text.strip()


def _line(message: str) -> str:
    return " ".join(message.split()).rstrip(".")[:MESSAGE]
