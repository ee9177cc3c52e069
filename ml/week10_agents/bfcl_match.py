"""The AST match: are these calls the right ones? Names, parameters, types and values are compared, nothing is run.

Idea.    A call is right if its function is the expected one, no required parameter is missing, no unknown one is
         there, and every value has the declared type and is one of those that the ground truth lists. Strings are
         compared without case, spaces and the punctuation ,./-_*^ ("April 1, 2024" is "april 1 2024"). Several calls
         may come in any order. Where no function fits, the right answer is no call.
Source.  Patil et al. (2025), section 4.1, and the published checker, whose decisions this one was held against.
Left out. Running the calls.

Four differences, all for reasons: calls are matched to the ground truth by a maximum matching (first come, first
served can reject a right answer); a dictionary's bare value counts as its only option; Java and JavaScript values may
come as JSON, and where they come as source, ``bfcl_source.py`` reads them; dictionaries inside lists are compared
option by option.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ml.week10_agents.bfcl import TYPES, Call, Case
from ml.week10_agents.bfcl_source import read

PYTHON = {"object": dict, "number": float, "integer": int, "array": list, "string": str, "boolean": bool}
TEXT = ("string", "String", "char", "any", "")


def mistake(case: Case, calls: Sequence[Call]) -> str:
    """What is wrong with ``calls``, in a few words; "" where they are right."""
    if len(calls) != len(case.truth):
        return f"{len(calls)} calls instead of {len(case.truth)}"
    if len(calls) == 1:
        return call_mistake(case, calls[0], *case.truth[0])
    fits = [[not call_mistake(case, call, *truth) for call in calls] for truth in case.truth]  # (T, T)
    return "" if _perfect(fits) else "a call is missing or wrong"


def call_mistake(case: Case, call: Call, name: str, options: Mapping[str, list[Any]]) -> str:
    """What is wrong with one call against one expected call."""
    if call[0] != name:
        return "wrong function"
    parameters = (case.function(name) or {})["parameters"]
    if missing := [key for key in parameters.get("required", ()) if key not in call[1]]:
        return f"{missing[0]} is missing"
    for key, value in call[1].items():
        described = parameters["properties"].get(key)
        if described is None or key not in options:
            return f"{key} is unexpected"
        if not accepts(value, options[key], described, case.language):
            return f"{key} is wrong"
    left_out = [key for key, allowed in options.items() if key not in call[1] and "" not in allowed]
    return f"{left_out[0]} is missing" if left_out else ""


def accepts(value: Any, options: Sequence[Any], described: Mapping[str, Any], language: str = "python") -> bool:
    """Whether ``value`` has the type that is described and is one of ``options``.

    An option of another type than the declared one is a variable's name ("dataset" for an array): it counts exactly
    as it is.
    """
    kind, item = described.get("type", ""), described.get("items", {}).get("type")
    expected, inner = python_type(kind), python_type(item) if item else None
    if language != "python" and isinstance(value, str) and kind not in TEXT:
        value = read(value, language)
    if isinstance(value, tuple):
        value = list(value)
    if expected is float and type(value) is int:  # 5 is a float for Python; true is not
        value = float(value)
    listed = next((type(option) for option in options if option != ""), None)
    if type(value) is expected:
        if inner and not any(_items_fit(value, option, inner) for option in options):
            return False
        if listed in (None, expected):
            return any(equal(value, option) for option in options if option != "" or value == [])
    elif type(value) is not listed:
        return False
    return any(type(option) is not bool and value == option for option in options if option != "") or (
        type(value) is bool and value in [option for option in options if type(option) is bool]
    )


def python_type(kind: str) -> type:
    """The Python type of BFCL's type; "any" is compared as text."""
    return PYTHON[TYPES.get(kind, "string")]


def _items_fit(value: list[Any], option: Any, inner: type) -> bool:
    """Each item has the declared type, or the one that the ground truth uses (integers in a list of floats)."""
    if not isinstance(option, list):
        return True
    used = {type(item) for item in option if item != ""}
    return all(type(item) is inner or type(item) in used for item in value)


def equal(value: Any, option: Any) -> bool:
    """One value against one option. In a dictionary, each value of the option is a list of options again."""
    if isinstance(value, str) and isinstance(option, str):
        return plain(value) == plain(option)
    if isinstance(value, list):
        given = [] if option == "" else option  # nothing in the list is as good as leaving it out
        return isinstance(given, list) and len(given) == len(value) and all(map(equal, value, given))
    if isinstance(value, dict):
        return isinstance(option, dict) and _entries_equal(value, option)
    return bool(value == option) and isinstance(value, bool) == isinstance(option, bool)


def _entries_equal(value: dict[str, Any], option: dict[str, Any]) -> bool:
    if not value.keys() <= option.keys():
        return False
    listed = {key: allowed if isinstance(allowed, list) else [allowed] for key, allowed in option.items()}
    present = all(any(equal(item, allowed) for allowed in listed[key]) for key, item in value.items())
    return present and all(key in value or "" in allowed for key, allowed in listed.items())


def plain(text: str) -> str:
    """A string without what does not count."""
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"')


def _perfect(fits: Sequence[Sequence[bool]]) -> bool:
    """Whether rows and columns can be paired one to one (Kuhn's augmenting paths)."""
    partner: dict[int, int] = {}  # column -> row

    def place(row: int, tried: set[int]) -> bool:
        for column, good in enumerate(fits[row]):
            if good and column not in tried:
                tried.add(column)
                if column not in partner or place(partner[column], tried):
                    partner[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(fits)))
