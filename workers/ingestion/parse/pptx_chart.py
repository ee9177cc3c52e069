"""The numbers of a chart as a table: a row per category, a column per series."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from assistant.knowledge.documents import Block

C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_A_TEXT = "{http://schemas.openxmlformats.org/drawingml/2006/main}t"
_MAX_POINTS = 2_000


def chart_title(root: ET.Element | None) -> str:
    title = root.find(f"{C}chart/{C}title") if root is not None else None
    return "".join(node.text or "" for node in title.iter(_A_TEXT)) if title is not None else ""


def chart_table(root: ET.Element, page: int | None) -> Iterator[Block]:
    title = chart_title(root)
    if title:
        yield Block("paragraph", f"Chart: {title}", page=page)
    series = list(root.iter(f"{C}ser"))[:50]
    names = [next(iter(_points(one.find(f"{C}tx")).values()), f"Series {place}") for place, one in enumerate(series, 1)]
    categories = _points(_first(series[0], "cat", "xVal")) if series else {}
    columns = [_points(_first(one, "val", "yVal")) for one in series]
    places = sorted(set(categories).union(*columns))[:_MAX_POINTS] if columns else []
    rows = [(categories.get(at, str(at + 1)), *(column.get(at, "") for column in columns)) for at in places]
    if rows:
        yield Block("table", rows=(("", *names), *rows), page=page)


def _points(node: ET.Element | None) -> dict[int, str]:
    """Index -> value, as the chart last cached them."""
    found: dict[int, str] = {}
    for point in node.iter(f"{C}pt") if node is not None else ():
        index = point.get("idx", "")
        value = point.find(f"{C}v")
        if index.isdecimal() and value is not None:
            found[int(index)] = value.text or ""
    return found


def _first(node: ET.Element, *names: str) -> ET.Element | None:
    return next((found for name in names if (found := node.find(f"{C}{name}")) is not None), None)
