"""Rich Text: its words by paragraph, cells of a row side by side. Fonts and styles are not read."""

from __future__ import annotations

from striprtf.striprtf import rtf_to_text

from assistant.knowledge.documents import Block
from workers.ingestion.parse.draft import Draft


def read(content: bytes, name: str) -> Draft:
    text = rtf_to_text(content.decode("latin-1"), errors="replace")
    blocks: list[Block] = []
    rows: list[tuple[str, ...]] = []
    for line in text.split("\n"):
        if line.count("|") >= 2 and line.rstrip().endswith("|"):
            rows.append(tuple(cell.strip() for cell in line.rstrip().removesuffix("|").split("|")))
            continue
        if rows:
            blocks.append(Block("table", rows=tuple(rows)))
            rows = []
        stripped = line.strip()
        bullet = stripped[:1] in "•·▪" and stripped != ""
        blocks.append(Block("list_item" if bullet else "paragraph", stripped.lstrip("•·▪ \t")))
    if rows:
        blocks.append(Block("table", rows=tuple(rows)))
    return Draft(blocks)
