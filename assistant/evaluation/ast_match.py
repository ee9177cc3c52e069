"""BFCL's AST match: are these calls the right ones? Names, parameters, types and values are compared, nothing is run.

A call is right when its function is the expected one, no required parameter is missing, no unknown one is there, each
value has the declared type and is one of those that the ground truth lists, and what was left out may be left out (the
list holds ""). Strings are compared without case, spaces and the signs ``,./-_*^``, with one kind of quote. An integer
passes for a float. A list's items must have the declared type, one level deep. Several calls may come in any order.

The rules are those of the published checker (Patil et al., 2025). Three things differ, and only where it cannot decide:
calls are paired with the ground truth as a whole, where first come, first served can reject a right answer; a
dictionary's bare value is its only option; Java's and JavaScript's values may come as JSON as well as in source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from assistant.evaluation.source_values import literal

TYPES: Mapping[str, type] = {
    "string": str, "integer": int, "float": float, "boolean": bool, "array": list, "tuple": list, "dict": dict,
    "any": str, "String": str, "char": str, "byte": int, "short": int, "long": int, "Bigint": int, "double": float,
    "Boolean": bool, "Array": list, "ArrayList": list, "HashMap": dict, "Hashtable": dict,
    "number": float, "object": dict,
}  # fmt: skip
Made = tuple[str, Mapping[str, Any]]  # a function's name and its arguments
Options = Mapping[str, Sequence[Any]]  # parameter -> the values that count
_IGNORED = re.compile(r"[ ,./\-_*^]")


def mistake(
    functions: Sequence[Mapping[str, Any]],
    calls: Sequence[Made],
    truth: Sequence[tuple[str, Options]],
    language: str = "python",
) -> str:
    """What is wrong with ``calls`` in a few words; "" where they are right. ``functions``: {name, parameters, …}."""
    if len(calls) != len(truth):
        return f"{len(calls)} calls instead of {len(truth)}"
    described = {function["name"]: function["parameters"] for function in functions}
    if len(calls) == 1:
        return call_mistake(described, calls[0], *truth[0], language)
    fits = [[not call_mistake(described, call, *wanted, language) for call in calls] for wanted in truth]
    return "" if _pairs_up(fits) else "a call is missing or wrong"


def call_mistake(
    described: Mapping[str, Mapping[str, Any]], call: Made, name: str, options: Options, language: str = "python"
) -> str:
    """What is wrong with one call against one expected call. ``described``: function name -> its parameters."""
    if call[0] != name:
        return f"{call[0]} instead of {name}"
    parameters = described[name]
    for key in parameters.get("required", ()):
        if key not in call[1]:
            return f"{key} is missing"
    for key, value in call[1].items():
        if key not in parameters["properties"] or key not in options:
            return f"{key} is unexpected"
        if not accepts(value, options[key], parameters["properties"][key], language):
            return f"{key} is wrong"
    left_out = (key for key in options if key not in call[1] and "" not in options[key])
    return next((f"{key} is missing" for key in left_out), "")


def accepts(value: Any, options: Sequence[Any], described: Mapping[str, Any], language: str = "python") -> bool:
    """Whether ``value`` has the declared type and is one of ``options``.

    Where the options are of another type than the declared one, they name a variable, and count exactly as they are.
    """
    listed = next((type(option) for option in options if option != ""), None)
    kind = TYPES.get(described["type"], str) if "type" in described else listed or str
    if language != "python" and isinstance(value, str) and kind is not str:
        value = literal(value, language)
    if isinstance(value, tuple):
        value = list(value)
    if kind is float and type(value) is int:
        value = float(value)
    variable = listed is not None and listed is not kind
    inner = _inner(described) if kind is list else None
    if type(value) is kind:
        if inner is not None and not _items_fit(value, options, inner):
            return False
    elif type(value) is listed:
        variable = True
    else:
        return False
    return value in options if variable else _equals_one(value, options, inner)


def _inner(described: Mapping[str, Any]) -> type | None:
    items = described.get("items")
    return TYPES.get(str(items.get("type")), str) if isinstance(items, Mapping) and "type" in items else None


def _items_fit(value: Any, options: Sequence[Any], inner: type) -> bool:
    """Whether the items have the declared type, or one that the items of the same option have."""

    def fits(item: Any, option: Sequence[Any]) -> bool:
        return type(item) in {inner, *(type(other) for other in option if other != "")}

    return any(not isinstance(option, list) or all(fits(item, option) for item in value) for option in options)


def _equals_one(value: Any, options: Sequence[Any], inner: type | None) -> bool:
    if isinstance(value, str):
        return plain(value) in [plain(option) for option in options if isinstance(option, str)]
    if isinstance(value, dict):
        return any(_same_entries(value, option) for option in options if isinstance(option, Mapping))
    if isinstance(value, list) and inner is dict:
        return any(_same_dicts(value, option) for option in options if isinstance(option, list))
    if isinstance(value, list):
        given = [_plain_item(item) for item in value]
        return any(given == [_plain_item(item) for item in option] for option in options)  # "" is the empty list
    return value in options


def _same_entries(value: Mapping[str, Any], option: Mapping[str, Any]) -> bool:
    """One dictionary against one option, whose values are lists of options again."""
    listed = {key: found if isinstance(found, list) else [found] for key, found in option.items()}
    for key, item in value.items():
        if key not in listed or _plain_item(item) not in [_plain_item(other) for other in listed[key]]:
            return False
    return all(key in value or "" in found for key, found in listed.items())


def _same_dicts(value: Sequence[Any], option: Sequence[Any]) -> bool:
    if len(value) != len(option):
        return False
    pairs = zip(value, option, strict=True)
    return all(isinstance(one, Mapping) and isinstance(other, Mapping) and _same_entries(one, other)
               for one, other in pairs)  # fmt: skip


def plain(text: str) -> str:
    """A string without what does not count."""
    return _IGNORED.sub("", text).lower().replace("'", '"')


def _plain_item(item: Any) -> Any:
    return plain(item) if isinstance(item, str) else item


def _pairs_up(fits: Sequence[Sequence[bool]]) -> bool:
    """Whether every row finds a column of its own (augmenting paths)."""
    owner: dict[int, int] = {}  # column -> row

    def settle(row: int, seen: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if fit and column not in seen:
                seen.add(column)
                if column not in owner or settle(owner[column], seen):
                    owner[column] = row
                    return True
        return False

    return all(settle(row, set()) for row in range(len(fits)))


def arguments_right(
    described: Mapping[str, Mapping[str, Any]],
    calls: Sequence[Made],
    truth: Sequence[tuple[str, Options]],
    language: str = "python",
) -> tuple[int, int]:
    """How many arguments are right, of how many: those that must be there, and those that were given.

    Each expected call is held against the call of its function that has most right; one that was not made has none.
    """
    right = total = 0
    left = list(calls)
    for name, options in truth:
        own = [call for call in left if call[0] == name]
        scored = [(*_scored(described[name], call[1], options, language), call) for call in own]
        if not scored:
            total += sum("" not in found for found in options.values())
            continue
        good, count, best = max(scored, key=lambda one: (one[0] / max(1, one[1]), one[0]))
        right, total = right + good, total + count
        left.remove(best)
    return right, total


def _scored(
    parameters: Mapping[str, Any], given: Mapping[str, Any], options: Options, language: str
) -> tuple[int, int]:
    wanted = {key for key, found in options.items() if "" not in found}
    good = sum(
        key in options and key in parameters["properties"]
        and accepts(value, options[key], parameters["properties"][key], language)
        for key, value in given.items()
    )  # fmt: skip
    return good, len(wanted | given.keys())
