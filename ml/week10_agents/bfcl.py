"""The Berkeley function-calling leaderboard: its cases, their types as JSON Schema, and what an answer looks like.

Idea.    A case is a question and one or more functions; the ground truth names the calls, and for each parameter
         lists all values that count, "" among them where the parameter may be left out. Types are written as the
         language of the functions writes them (Python, Java, JavaScript): ``schema_of`` makes JSON Schema of all
         three.
Source.  Patil et al., "The Berkeley Function Calling Leaderboard" (ICML 2025); the data is Apache-2.0.
Left out. The live, executable and multi-turn parts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CATEGORIES = (
    "simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple", "irrelevance"
)  # fmt: skip
TYPES = {
    "dict": "object", "HashMap": "object", "float": "number", "double": "number", "long": "integer",
    "integer": "integer", "tuple": "array", "array": "array", "Array": "array", "ArrayList": "array",
    "string": "string", "String": "string", "char": "string", "boolean": "boolean", "Boolean": "boolean",
}  # fmt: skip

Call = tuple[str, dict[str, Any]]  # a function's name and its arguments


@dataclass(frozen=True)
class Case:
    """A question, the functions ({name, description, parameters}) and the calls that are right: for each its name
    and, for each parameter, the values that count."""

    id: str
    category: str
    question: str
    functions: tuple[Mapping[str, Any], ...]
    truth: tuple[tuple[str, Mapping[str, list[Any]]], ...]

    @property
    def language(self) -> str:
        """Whose notation strings in the arguments are read in."""
        return {"simple_java": "java", "simple_javascript": "javascript"}.get(self.category, "python")

    def function(self, name: str) -> Mapping[str, Any] | None:
        """The function of that name."""
        return next((function for function in self.functions if function["name"] == name), None)

    def tools(self) -> list[dict[str, Any]]:
        """The functions with JSON Schema for their parameters."""
        return [{**function, "parameters": schema_of(function["parameters"])} for function in self.functions]


def load(folder: Path, categories: Iterable[str] = CATEGORIES) -> list[Case]:
    """The cases of these categories, in the order of the files."""
    return [
        make_case(json.loads(line))
        for category in categories
        for line in (folder / f"{category}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def make_case(row: Mapping[str, Any]) -> Case:
    """A line of a file as a case."""
    question = "\n".join(message["content"] for turn in row["question"] for message in turn)
    truth = tuple(next(iter(call.items())) for call in row["ground_truth"])
    return Case(row["id"], row["category"], question, tuple(row["function"]), truth)


def sample(cases: Sequence[Case], each: int) -> list[Case]:
    """``each`` cases of every category, evenly spaced over the file."""
    chosen = []
    for category in CATEGORIES:
        own = [case for case in cases if case.category == category]
        chosen += [own[(2 * place + 1) * len(own) // (2 * each)] for place in range(min(each, len(own)))]
    return chosen


def schema_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """BFCL's description of a value as JSON Schema."""
    kind = TYPES.get(described.get("type", ""), "")
    schema: dict[str, Any] = {"type": kind or "string"}  # "any" is compared as text
    if "description" in described:
        schema["description"] = described["description"]
    if "enum" in described and kind != "array":
        schema["enum"] = described["enum"]
    if kind == "string":
        schema |= {key: described[key] for key in ("minLength", "maxLength") if key in described}
    if kind == "array":
        items = schema_of(described.get("items", {}))
        # Some functions write the items' choices beside the array's type.
        schema["items"] = items | ({"enum": described["enum"]} if "enum" in described and "enum" not in items else {})
        schema |= {key: described[key] for key in ("minItems", "maxItems") if key in described}
    if kind == "object" and described.get("properties"):
        schema["properties"] = {name: schema_of(part) for name, part in described["properties"].items()}
        schema["required"] = [name for name in described.get("required", ()) if name in schema["properties"]]
        schema["additionalProperties"] = False
    return schema


def first_answer(case: Case, option: int = 0) -> list[Call]:
    """The ground truth as calls: for each parameter its value number ``option`` (the last where it has fewer). Where
    that is "" the parameter is left out, unless the function requires it: then its first value is taken."""
    calls = []
    for name, parameters in case.truth:
        described = (case.function(name) or {})["parameters"]
        chosen = {}
        for key, options in parameters.items():
            value = options[min(option, len(options) - 1)]
            if value == "" and key in described.get("required", ()):
                value = next(other for other in options if other != "")
            if value != "" and key in described["properties"]:
                chosen[key] = concrete(value)
        calls.append((name, chosen))
    return calls


def concrete(value: Any) -> Any:
    """A dictionary's values are lists of options, too, at any depth of lists: take the first of each."""
    if isinstance(value, list):
        return [concrete(item) for item in value]
    if not isinstance(value, dict):
        return value
    chosen = {key: options[0] if isinstance(options, list) and options else options for key, options in value.items()}
    return {key: concrete(option) for key, option in chosen.items() if option != ""}
