"""What a model reads of an answer: the fields that are wanted, lists and texts cut, and all of it within a budget.

What is cut says so in its place ("… and 17 more"), and the result stays JSON as long as the budget allows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from assistant.tools.text import characters, clean, cut

# How much each attempt leaves: of the items of a list, and characters of each text.
_ATTEMPTS = ((1.0, 2_000), (1.0, 500), (0.5, 300), (0.25, 200), (0.15, 120), (0.05, 80))
DEPTH = 30


@dataclass(frozen=True, slots=True)
class Trimmed:
    """``data`` is what ``text`` writes; ``truncated``: something was cut that was asked for."""

    text: str
    data: Any
    truncated: bool


def trim(data: Any, fields: Sequence[str] = (), max_items: int = 20, max_tokens: int = 1_500) -> Trimmed:
    """``data`` is JSON. ``fields`` are dotted paths (``items.name``, ``*.id``); lists on the way are gone through."""
    wanted = keep(data, fields) if fields else data
    budget = characters(max_tokens)
    for share, longest in _ATTEMPTS:
        cutter = _Cutter(max(1, round(max_items * share)), longest)
        shorter = cutter.cut(wanted)
        text = write(shorter)
        if len(text) <= budget:
            return Trimmed(text, shorter, cutter.cuts > 0)
    return Trimmed(cut(text, budget), shorter, True)


def trim_text(text: str, max_tokens: int) -> Trimmed:
    """Text that is no JSON."""
    cleaned = clean(text, lines=True)
    short = cut(cleaned, characters(max_tokens))
    return Trimmed(short, short, short != cleaned)


def write(data: Any) -> str:
    """Compact JSON; text alone stays as it is."""
    return data if isinstance(data, str) else orjson.dumps(data, option=orjson.OPT_NON_STR_KEYS).decode()


def keep(data: Any, fields: Sequence[str]) -> Any:
    """Only what lies on one of the paths, in its place. A path that leads nowhere keeps nothing."""
    tree: dict[str, Any] = {}
    for path in fields:
        branch = tree
        for part in path.replace("[*]", "").removeprefix("$.").split("."):
            branch = branch.setdefault(part, {})
        branch[_END] = {}
    return _kept(data, tree)


_END = "\0"


def _kept(data: Any, tree: Mapping[str, Any]) -> Any:
    if not tree or _END in tree:
        return data
    if isinstance(data, list):
        return [kept for item in data if (kept := _kept(item, tree)) not in ({}, None)]
    if not isinstance(data, Mapping):
        return None
    found = {}
    for key, value in data.items():
        for name in (key, "*"):
            if name in tree:
                kept = _kept(value, tree[name])
                if kept is not None or value is None:
                    found[key] = kept
                break
    return found


class _Cutter:
    """Cuts lists and texts, cleans texts, and counts what it cut."""

    def __init__(self, items: int, characters: int) -> None:
        self._items = items
        self._characters = characters
        self.cuts = 0

    def cut(self, data: Any, depth: int = 0) -> Any:
        if isinstance(data, str):
            cleaned = clean(data[: 2 * self._characters + 100], lines=True)
            short = cut(cleaned, self._characters)
            self.cuts += short != cleaned or len(data) > 2 * self._characters + 100
            return short
        if not isinstance(data, list | Mapping):
            return data
        if depth > DEPTH:
            self.cuts += 1
            return "…"
        if isinstance(data, list):
            return self._list(data, depth)
        return self._mapping(data, depth)

    def _list(self, data: list[Any], depth: int) -> list[Any]:
        kept = [self.cut(item, depth + 1) for item in data[: self._items]]
        if len(data) > self._items:
            self.cuts += 1
            kept.append(f"… and {len(data) - self._items} more")
        return kept

    def _mapping(self, data: Mapping[str, Any], depth: int) -> dict[str, Any]:
        most = self._items * 5  # a record has more fields than a list should have items; a table of 10,000 keys is cut
        kept = {clean(key, 100): self.cut(value, depth + 1) for key, value in list(data.items())[:most]}
        if len(data) > most:
            self.cuts += 1
            kept["…"] = f"and {len(data) - most} more"
        return kept
