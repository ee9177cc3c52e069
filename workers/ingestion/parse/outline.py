"""Nested data as a document: mappings are sections, lists of alike records are tables, the rest are "key: value"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block

MAX_NODES = 400_000
_MAX_LEVEL = 4
_MAX_COLUMNS = 12
_MAX_CELL = 200
_NAMED = ("name", "title", "id", "key", "label")

Scalar = str | int | float | bool | None


def outline(value: Any) -> Iterator[Block]:
    """Raises DocumentUnreadable where aliases make the data far larger than its file."""
    yield from _Outliner().blocks(value, "", 2)


class _Outliner:
    def __init__(self) -> None:
        self._left = MAX_NODES

    def blocks(self, value: Any, path: str, level: int) -> Iterator[Block]:
        self._left -= 1
        if self._left < 0:
            raise DocumentUnreadable("the file unfolds to far more than its size (repeated aliases?) and was not read")
        if isinstance(value, dict):
            yield from self._mapping(value, path, level)
        elif isinstance(value, list):
            yield from self._list(value, path, level)
        elif value is not None and value != "":
            yield Block("list_item", f"{path}: {shown(value)}" if path else shown(value))

    def _mapping(self, value: dict[Any, Any], path: str, level: int) -> Iterator[Block]:
        deep = [(key, inner) for key, inner in value.items() if isinstance(inner, dict | list) and inner]
        for key, inner in value.items():
            if not (isinstance(inner, dict | list) and inner):
                yield from self.blocks(inner if inner or inner in (0, False) else "none", _joined(path, key), level)
        for key, inner in deep:
            if level > _MAX_LEVEL or (isinstance(inner, list) and _flat(inner)):
                yield from self.blocks(inner, _joined(path, key), level)
            else:
                yield Block("heading", _joined(path, key), level=level)
                yield from self.blocks(inner, "", level + 1)

    def _list(self, value: list[Any], path: str, level: int) -> Iterator[Block]:
        if _flat(value):
            words = ", ".join(map(shown, value))
            if path and len(words) < 400:
                yield Block("list_item", f"{path}: {words}")
            else:
                yield from (Block("list_item", f"{path}: {shown(item)}" if path else shown(item)) for item in value)
            return
        columns = _columns(value)
        if columns:
            self._left -= len(value) * len(columns)
            if path:
                yield Block("paragraph", f"{path}:")
            rows = (tuple(shown(record.get(column)) for column in columns) for record in value)
            yield Block("table", rows=(columns, *rows))
            return
        for number, item in enumerate(value, 1):
            name = _name_of(item) or str(number)
            if isinstance(item, dict) and level <= _MAX_LEVEL:
                yield Block("heading", f"{path} {name}".strip(), level=level)
                yield from self.blocks(item, "", level + 1)
            else:
                yield from self.blocks(item, f"{path}[{number}]" if path else str(number), level + 1)


def shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(shown, value)) if isinstance(value, list) else str(value)


def _joined(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _flat(value: list[Any]) -> bool:
    return not any(isinstance(item, dict | list) for item in value)


def _columns(value: list[Any]) -> tuple[str, ...]:
    """The keys of records that are alike and short enough to be rows; none where they are not."""
    if len(value) < 2 or not all(isinstance(item, dict) for item in value):
        return ()
    counts = Counter(str(key) for item in value for key in item)
    if len(counts) > _MAX_COLUMNS or min(map(len, value)) * 2 < len(counts):
        return ()
    for item in value:
        for key, cell in item.items():
            nested = isinstance(cell, dict) or (isinstance(cell, list) and not _flat(cell))
            if nested or len(shown(cell)) > _MAX_CELL or not isinstance(key, str):
                return ()
    return tuple(counts)


def _name_of(item: Any) -> str:
    found = (item.get(key) for key in _NAMED) if isinstance(item, dict) else ()
    return next((shown(value) for value in found if isinstance(value, str | int) and value != ""), "")
