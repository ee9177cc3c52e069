"""Jupyter notebooks: the prose as Markdown, the code as code, what it printed beneath."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse import html, markdown
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft

_MAX_OUTPUT = 2_000  # characters: an answer is in the first lines, a log goes on for ever


def read(content: bytes, name: str) -> Draft:
    try:
        book = json.loads(decode(content))
    except json.JSONDecodeError as error:
        raise DocumentUnreadable(f"the notebook is not valid JSON (line {error.lineno})") from error
    cells = book.get("cells") if isinstance(book, dict) else None
    if cells is None and isinstance(book, dict) and isinstance(book.get("worksheets"), list):  # before version 4
        cells = [cell for sheet in book["worksheets"] for cell in sheet.get("cells", ())]
    if not isinstance(cells, list):
        raise DocumentUnreadable("the file is JSON but not a notebook: it has no cells")
    anchors: dict[str, int] = {}
    blocks = [block for cell in cells if isinstance(cell, dict) for block in _cell(cell, anchors)]
    meta = book.get("metadata") if isinstance(book.get("metadata"), dict) else {}
    title = meta.get("title") if isinstance(meta.get("title"), str) else ""
    return Draft(blocks, title or "")


def _cell(cell: dict[str, Any], anchors: dict[str, int]) -> Iterator[Block]:
    source = _joined(cell.get("source", cell.get("input", "")))
    match cell.get("cell_type"):
        case "markdown":
            yield from markdown.blocks_of(source, anchors)
        case "heading":
            level = cell.get("level")
            yield Block("heading", source, level=level if isinstance(level, int) and 0 < level < 7 else 1)
        case "raw":
            yield Block("paragraph", source)
        case "code":
            yield Block("code", source)
            for output in cell.get("outputs") or ():
                yield from _output(output) if isinstance(output, dict) else ()


def _output(output: dict[str, Any]) -> Iterator[Block]:
    data: dict[str, Any] = output["data"] if isinstance(output.get("data"), dict) else {}
    if output.get("output_type") == "error":
        yield Block("code", f"{output.get('ename', 'Error')}: {output.get('evalue', '')}")
    elif "text/html" in data and "<table" in _joined(data["text/html"]):
        yield from html.fragment(_joined(data["text/html"]))
    elif "text/markdown" in data:
        yield from markdown.blocks_of(_joined(data["text/markdown"]), {})
    else:
        text = _joined(output.get("text") or data.get("text/plain") or "")
        if text.strip():
            yield Block("code", text if len(text) <= _MAX_OUTPUT else f"{text[:_MAX_OUTPUT]}…")


def _joined(source: object) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else source if isinstance(source, str) else ""
