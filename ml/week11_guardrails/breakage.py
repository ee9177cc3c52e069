"""Values written as JSON the way models get it wrong: the data on which the repair is measured.

The idea: write a value with one habit broken (quotes, commas, literals, a fence, a token limit), repair the text, and
compare with the value. Equal is a repair, an error is honest, and another value is the one outcome to fear, because
nobody notices. The strings are nasty on purpose: they hold commas, brackets, quotes and colons.

Left out: more than two habits at once, what one particular model gets wrong (measure yours).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ml.week11_guardrails.json_repair import Json, Unrepairable, repair

STRINGS = (
    "ledger", "two words", "", "a, b", "a: b", "[x]", "{y}", "it's", "C:\\temp", "line\nbreak", "50 %", "ünïcode 😀",
    "// no comment", "# 5", "true", "12", "end.", "He wrote, then left", "https://example.org/a?b=c#d", 'say "yes" now',
    'she said "no", then "yes"', '"quoted" first', 'last "quoted"', 'a "b": c', '{"a": "b"}', "'single' too",
)  # fmt: skip


def random_value(rng: np.random.Generator, depth: int = 0) -> Json:
    """An object or list, up to three levels deep."""
    kind = rng.integers(0, 2) if depth == 0 else rng.integers(0, 8 if depth < 3 else 6) - 6
    if kind == 0 or kind == 1:
        items = [random_value(rng, depth + 1) for _ in range(rng.integers(1 if depth == 0 else 0, 5))]
        names = rng.permutation(["name", "count", "tags", "is_open", "note", "city", "n2"])
        return items if kind == 0 else {str(name): item for name, item in zip(names, items, strict=False)}
    leaves: list[Json] = [
        str(rng.choice(STRINGS)), int(rng.integers(-999, 1000)), float(rng.integers(-50, 50)) / 8, True, False, None,
    ]  # fmt: skip
    return leaves[int(rng.choice(6, p=[0.5, 0.15, 0.1, 0.1, 0.05, 0.1]))]


@dataclass(frozen=True)
class Style:
    """How to write: with which quotes, literals, separators, and what else."""

    quote: str = '"'
    bare_keys: bool = False
    python: bool = False
    comma: str = ", "
    trailing: str = ""
    escaped: bool = True


def write(value: Json, style: Style = Style()) -> str:
    """``value`` in ``style``; the default is valid JSON."""
    if isinstance(value, dict):
        keys = [key if style.bare_keys else quoted(key, style) for key in value]
        inside = style.comma.join(f"{key}: {write(value[name], style)}" for key, name in zip(keys, value, strict=True))
        return f"{{{inside}{style.trailing if value else ''}}}"
    if isinstance(value, list):
        return f"[{style.comma.join(write(item, style) for item in value)}{style.trailing if value else ''}]"
    if isinstance(value, str):
        return quoted(value, style)
    return repr(value) if style.python else json.dumps(value)


def quoted(text: str, style: Style) -> str:
    """``text`` in quotes; unescaped, its own quotes and line breaks stand there raw, as models like to leave them."""
    inside = json.dumps(text, ensure_ascii=False)[1:-1]
    if style.quote != '"':
        inside = inside.replace('\\"', '"').replace(style.quote, "\\" + style.quote)
    if not style.escaped:
        inside = inside.replace(f"\\{style.quote}", style.quote).replace("\\n", "\n")
    return f"{style.quote}{inside}{style.quote}"


def with_comments(value: Json, rng: np.random.Generator) -> str:
    """Each line of the indented text may end in a comment."""
    ends = ["", "  // as asked", "  # see above", "  /* new */"]
    return "\n".join(line + str(rng.choice(ends)) for line in json.dumps(value, indent=2).split("\n"))


def cut_off(value: Json, rng: np.random.Generator) -> str:
    """The text up to a random character: the token limit."""
    text = json.dumps(value, ensure_ascii=False)
    return text[: int(rng.integers(1, len(text)))]


def styled(value: Json, _: np.random.Generator, style: Style) -> str:
    return write(value, style)


WAYS: dict[str, Callable[[Json, np.random.Generator], str]] = {
    "valid": lambda value, _: json.dumps(value),
    "code fence": lambda value, _: f"```json\n{json.dumps(value, indent=1)}\n```",
    "prose around": lambda value, _: f"Sure! Here it is:\n{json.dumps(value)}\nShall I go on?",
    "trailing comma": partial(styled, style=Style(trailing=",")),
    "single quotes": partial(styled, style=Style(quote="'")),
    "bare keys": partial(styled, style=Style(bare_keys=True)),
    "Python's literals": partial(styled, style=Style(python=True)),
    "Python's repr": lambda value, _: repr(value),
    "comments": with_comments,
    "missing commas": partial(styled, style=Style(comma="\n")),
    "raw quotes, newlines": partial(styled, style=Style(escaped=False)),
    "single, raw quotes": partial(styled, style=Style(quote="'", escaped=False)),
    "bare keys, no commas": partial(styled, style=Style(bare_keys=True, comma="\n")),
    "missing end": lambda value, _: json.dumps(value).rstrip("]}"),
    "cut off anywhere": cut_off,
}


def is_beginning(part: Json, whole: Json) -> bool:
    """Whether ``part`` is what a reader may keep of ``whole`` when its end is missing: nothing in it is foreign."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and is_beginning(part[key], whole[key]) for key in part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(is_beginning, part, whole))
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part)
    if isinstance(part, int | float) and isinstance(whole, int | float) and not isinstance(whole, bool):
        return json.dumps(whole).startswith(json.dumps(part).removesuffix(".0"))  # -1 of -12.5
    return part is None or part == whole  # a value that had not begun reads as null


def broken(way: str, rng: np.random.Generator) -> tuple[Json, str]:
    """A value and its text, which ``json.loads`` refuses (but for the way "valid")."""
    while True:
        value = random_value(rng)
        text = WAYS[way](value, rng)
        try:
            json.loads(text)
        except ValueError:
            return value, text
        if way == "valid":
            return value, text


def measure(way: str, rng: np.random.Generator, values: int) -> dict[str, float]:
    """Shares of ``values`` that came back the same, refused, or different; of a text cut off, a beginning will do."""
    counts = dict.fromkeys(("same", "refused", "different"), 0)
    same = is_beginning if way == "cut off anywhere" else lambda part, whole: part == whole
    for _ in range(values):
        value, text = broken(way, rng)
        try:
            counts["same" if same(repair(text).value, value) else "different"] += 1
        except Unrepairable:
            counts["refused"] += 1
    return {outcome: count / values for outcome, count in counts.items()}
