"""Function calling without a language model: words choose the function, rules fill in the arguments.

Idea.    Before a model is praised for its calls, somebody should see how far words and patterns get. Each part of the
         question is compared with each function's words (the share of the question's rare words that the function
         covers, weighted by idf); numbers, quoted texts and capitalised names are handed out to the parameters in
         order, a parameter's own words nearby taking precedence.
Source.  Robertson and Spärck Jones (1976), for the idf.
Left out. Grammar, units, arithmetic ("two weeks" is no 14), world knowledge: everything that a model is for.

``threshold`` and ``share`` are chosen on every other case (``bfcl_study.py``) and judged on the rest.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ml.week10_agents.bfcl import Call, Case

STOP = set(
    "a an and are as at be by can could do does for from get give has have help how i if in is it its know me my of on "
    "or please should show tell that the their them then there this to want was we what when where which who will with "
    "would you your calculate compute find using given".split()
)
NUMBER = re.compile(r"(?<![\w.])-?\$?\d[\d,]*(?:\.\d+)?%?")
QUOTED = re.compile(r"[\"'`‘“]([^\"'`’”]{1,60})[\"'`’”]")
NAMED = re.compile(r"(?<![.?!] )(?<!^)\b([A-Z][\w&-]*(?:,? (?:of |the |de )?[A-Z][\w&-]*)*)")
LISTED = re.compile(r"\[([^\[\]]*)\]")
CLAUSE = re.compile(r"[.?!;]\s+|,? and (?=(?:also|then|what|how|find|calculate|get|the)\b)|,? (?:also|then),? ", re.I)


@cache
def words(text: str) -> tuple[str, ...]:
    """Words in lower case, names taken apart at dots, underscores and capitals, a plural's last letter dropped."""
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower()
    found = re.findall(r"[a-z]+", text)
    return tuple(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found if word not in STOP)


def function_words(function: Mapping[str, Any]) -> set[str]:
    """The words of a function's name, description and parameters."""
    parts = [function["name"], function.get("description", "")]
    for name, part in function["parameters"]["properties"].items():
        parts += [name, part.get("description", ""), *map(str, part.get("enum", ()))]
    return set(words(" ".join(parts)))


@dataclass
class Chooser:
    """The baseline. ``threshold``: the least coverage for a call at all; ``share``: of the best function's coverage
    that another function needs in its own part of the question."""

    idf: Mapping[str, float]
    threshold: float = 0.2
    share: float = 0.9
    unknown: float = field(init=False)

    def __post_init__(self) -> None:
        self.unknown = max(self.idf.values())

    @classmethod
    def learn(cls, cases: Iterable[Case]) -> Chooser:
        """The idf of words over all functions of ``cases``; nothing else is learnt from them."""
        documents = [function_words(function) for case in cases for function in case.functions]
        counts = Counter(word for document in documents for word in document)
        return cls({word: math.log(1 + len(documents) / count) for word, count in counts.items()})

    def coverage(self, text: str, function: Mapping[str, Any]) -> float:
        """The share of the text's idf that the function's words cover, 0 to 1."""
        asked, known = set(words(text)), function_words(function)
        weight = {word: self.idf.get(word, self.unknown) for word in asked}
        return sum(weight[word] for word in asked & known) / max(sum(weight.values()), 1e-9)

    def calls(self, case: Case) -> list[Call]:
        """The calls for a case; it looks at the question and the functions only."""
        best = max(self.coverage(case.question, function) for function in case.functions)
        if best < self.threshold:
            return []
        chosen: list[Call] = []
        for function, text in self._parts(case, best):
            chosen += fill(text, function)
        return chosen

    def _parts(self, case: Case, best: float) -> list[tuple[Mapping[str, Any], str]]:
        """Each function that some part of the question is about, with that part."""
        clauses = [clause for clause in CLAUSE.split(case.question) if len(words(clause)) > 1] or [case.question]
        whole = max(case.functions, key=lambda function: self.coverage(case.question, function))
        if len(case.functions) == 1 or len(clauses) == 1:
            return [(whole, case.question)]
        owners: dict[str, list[str]] = {}
        for clause in clauses:
            owner = max(case.functions, key=lambda function: self.coverage(clause, function))
            if self.coverage(clause, owner) >= self.share * best:
                owners.setdefault(owner["name"], []).append(clause)
        if len(owners) < 2:
            return [(whole, case.question)]
        return [(case.function(name) or whole, ". ".join(texts)) for name, texts in owners.items()]


# ---- arguments ----
def number(text: str) -> float | int:
    """A number as it is written: $1,000 is 1000, 5% is 0.05."""
    plain = text.strip("$%").replace("$", "").replace(",", "")
    value = float(plain) / (100 if text.endswith("%") else 1)
    return int(value) if value.is_integer() and "." not in plain and not text.endswith("%") else value


def fill(text: str, function: Mapping[str, Any]) -> list[Call]:
    """One call, or several where the text holds several sets of the required values. A required argument that cannot
    be found gets a guess by its type: a wrong call and a missing one count the same."""
    properties, required = function["parameters"]["properties"], function["parameters"].get("required", [])
    plain = LISTED.sub(" ", text)
    numbers = [number(found) for found in NUMBER.findall(plain)]
    names = list(dict.fromkeys([*QUOTED.findall(plain), *NAMED.findall(QUOTED.sub(" ", plain))]))
    wanted = [name for name in required if kind_of(properties[name]) in ("integer", "float")]
    told = [name for name in required if kind_of(properties[name]) == "string" and "enum" not in properties[name]]
    times = 1
    if wanted and len(numbers) % len(wanted) == 0 and len(numbers) > len(wanted):
        times = len(numbers) // len(wanted)
    elif len(told) == 1 and not wanted and len(names) > 1:
        times = len(names)
    return [
        (function["name"], arguments(text, function, _share(numbers, times, turn), _share(names, times, turn)))
        for turn in range(times)
    ]


def _share(values: Sequence[Any], times: int, turn: int) -> list[Any]:
    """The values of one call: a block of them where they divide, all of them where there are too few."""
    size = len(values) // times
    return list(values[turn * size : (turn + 1) * size] if size else values)


def kind_of(described: Mapping[str, Any]) -> str:
    """The kinds that the rules know, whatever the language calls them."""
    kind = described.get("type", "")
    if kind in ("integer", "long"):
        return "integer"
    if kind in ("float", "double"):
        return "float"
    if kind in ("array", "tuple", "Array", "ArrayList"):
        return "array"
    return {"boolean": "boolean", "Boolean": "boolean", "dict": "dict", "HashMap": "dict"}.get(kind, "string")


def arguments(text: str, function: Mapping[str, Any], numbers: list[Any], names: list[str]) -> dict[str, Any]:
    """Values for the required parameters, and for optional ones that the text names."""
    found: dict[str, Any] = {}
    required = function["parameters"].get("required", [])
    for name, described in function["parameters"]["properties"].items():
        value = _value(text, name, described, numbers, names, name in required)
        if value is not None:
            found[name] = value
    return found


def _value(text: str, name: str, described: Mapping[str, Any], numbers: list[Any], names: list[str], must: bool) -> Any:
    """The value for one parameter; a number or name that is used is taken out of its list. None: leave it out."""
    kind, lower = kind_of(described), text.lower()
    if "enum" in described and kind != "array":
        named = [one for one in described["enum"] if re.search(rf"\b{re.escape(str(one).lower())}\b", lower)]
        return named[0] if named else described["enum"][0] if must else None
    if kind in ("integer", "float"):
        near = _number_near(text, name)
        if near is not None and near in numbers:
            numbers.remove(near)
            return near
        return (numbers.pop(0) if numbers else 0) if must else None
    if kind == "boolean":
        return True if must or set(words(name)) <= set(words(text)) else None
    if not must:
        return None
    if kind == "array":
        return _list(text, described, numbers, names)
    if kind == "dict":
        return {}
    return names.pop(0) if names else " ".join(words(text)[-1:])


def _number_near(text: str, name: str) -> Any:
    """The number that stands right behind or before one of the parameter's own words: "radius of 5", "5 years"."""
    for word in words(name):
        behind = re.search(rf"\b{word}\w*(?: of| is| =|=| to|:)? ?({NUMBER.pattern})", text, re.IGNORECASE)
        before = re.search(rf"({NUMBER.pattern})[ -]{word}", text, re.IGNORECASE)
        if found := behind or before:
            return number(found[1])
    return None


def _list(text: str, described: Mapping[str, Any], numbers: list[Any], names: list[str]) -> list[Any]:
    """A list written in brackets, else all numbers or names that are left."""
    inner = kind_of(described.get("items", {}))
    written = LISTED.search(text)
    items = [item.strip(" \"'`") for item in written[1].split(",")] if written else []
    if inner in ("integer", "float"):
        return [number(item) for item in items if NUMBER.fullmatch(item)] or list(numbers)
    return items or list(names)
