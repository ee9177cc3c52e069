"""Rich Text: paragraphs, headings by their styles, lists, tables, notes; what is hidden or deleted is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from assistant.knowledge.documents import Block
from workers.ingestion.parse.docx_styles import heading_of
from workers.ingestion.parse.draft import Draft, one_line
from workers.ingestion.parse.rtf_text import Mark, tokens

# Groups that hold no text of the document.
_LEFT_OUT = frozenset(
    "fonttbl colortbl filetbl listtable listoverridetable revtbl rsidtbl pict objdata fldinst datafield themedata "
    "colorschememapping latentstyles datastore generator xmlnstbl bkmkstart bkmkend atnid atnauthor atntime atnref "
    "atndate annotation comment falt panose fontemb fontfile formfield nonesttables shpinst sp background pgptbl "
    "keywords subject operator company category doccomm hlinkbase creatim revtim printim buptim xe tc rxe txe".split()
)
_RUNNING = frozenset("header headerl headerr headerf footer footerl footerr footerf".split())
_NOTES = frozenset({"footnote"})
_MARKERS = frozenset({"pntext", "listtext"})
_PROPERTIES = frozenset({"title", "author"})
_PARTS = frozenset({*_RUNNING, *_NOTES, *_MARKERS, *_PROPERTIES, "stylesheet"})  # whose text goes elsewhere
_SAFE = frozenset({*_RUNNING, *_NOTES, *_MARKERS, "shptxt", "fldrslt", "result", "ud", "shprslt"})  # though starred
_NUMBERED = re.compile(r"\(?\w{1,4}[.)]")


@dataclass(frozen=True, slots=True)
class _Look:
    """What a group inherits from the one around it."""

    into: str = ""  # the kind of the group whose text goes elsewhere: a note, a marker, a style, a property
    left_out: bool = False
    hidden: bool = False
    starred: bool = False


@dataclass(slots=True)
class _Paragraph:
    style: int = 0
    level: int = 0  # of a heading by itself, 0 is none
    depth: int = 0  # of a list
    in_table: bool = False


@dataclass(slots=True)
class _Reader:
    blocks: list[Block] = field(default_factory=list)
    running: dict[str, None] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    headings: dict[int, int] = field(default_factory=dict)
    title_styles: set[int] = field(default_factory=set)
    title: str = ""
    _looks: list[_Look] = field(default_factory=lambda: [_Look()])
    _texts: list[tuple[str, int, list[str]]] = field(default_factory=lambda: [("", 0, [])])  # kind, depth, pieces
    _paragraph: _Paragraph = field(default_factory=_Paragraph)
    _marker: str = ""
    _cells: list[str] = field(default_factory=list)
    _rows: list[tuple[str, ...]] = field(default_factory=list)

    def read(self, content: bytes) -> None:
        for token in tokens(content):
            if isinstance(token, str):
                self._text(token)
            elif token.word == "{":
                self._looks.append(replace(self._looks[-1], starred=False))
            elif token.word == "}":
                self._close()
            elif not self._looks[-1].left_out:
                self._mark(token)
        while len(self._texts) > 1:
            self._end_of_part()
        self._end_of_paragraph()
        self._end_of_table()

    def _text(self, text: str) -> None:
        look = self._looks[-1]
        if not (look.left_out or look.hidden):
            self._texts[-1][2].append(text)

    def _mark(self, mark: Mark) -> None:
        look, word = self._looks[-1], mark.word
        if word == "*":
            self._looks[-1] = replace(look, starred=True)
        elif word in _LEFT_OUT or (look.starred and word not in _SAFE and word != "s"):
            self._looks[-1] = replace(look, left_out=True, starred=False)
        elif (
            word in _SAFE - {"shptxt", "fldrslt", "result", "ud", "shprslt"}
            or word in _PROPERTIES
            or word == "stylesheet"
        ):
            self._begin(word)
        elif word in ("v", "deleted"):
            self._looks[-1] = replace(look, hidden=mark.number != 0)
        elif word == "plain":
            self._looks[-1] = replace(look, hidden=False)
        elif look.into != "stylesheet" or word not in ("par", "row", "cell"):
            self._shape(word, mark.number)
        if look.starred and word != "*":
            self._looks[-1] = replace(self._looks[-1], starred=False)

    def _begin(self, kind: str) -> None:
        self._looks[-1] = replace(self._looks[-1], into=kind, starred=False)
        self._texts.append((kind, len(self._looks), []))

    def _close(self) -> None:
        if len(self._looks) > 1:
            if self._looks[-1].into == "stylesheet":
                self._style()
            self._looks.pop()
        while len(self._texts) > 1 and self._texts[-1][1] > len(self._looks):
            self._end_of_part()

    def _end_of_part(self) -> None:
        kind, _, pieces = self._texts.pop()
        text = one_line("".join(pieces))
        if kind in _NOTES and text:
            self._texts[-1][2].append(f" ({text})")
        elif kind in _RUNNING and sum(map(str.isalpha, text)) > 12:
            self.running[text] = None
        elif kind in _MARKERS:
            self._marker = text
        elif kind in _PROPERTIES:
            self.properties[kind] = text

    def _style(self) -> None:
        """The end of an entry in the table of styles: what it is called says what it is for."""
        pieces = self._texts[-1][2]
        name = one_line("".join(pieces)).rstrip(";")
        pieces.clear()
        level = self._paragraph.level or heading_of(name)
        if name and level:
            self.headings[self._paragraph.style] = level
        if name.lower() == "title":
            self.title_styles.add(self._paragraph.style)
        self._paragraph = _Paragraph()

    def _shape(self, word: str, number: int) -> None:
        """What parts the text, and what the paragraph is."""
        if word in ("par", "sect", "page") and self._texts[-1][0] in ("", "stylesheet"):
            self._end_of_paragraph()
        elif word in ("line", "par", "softline", "lbr"):
            self._text("\n")
        elif word in ("tab", "nestcell"):
            self._text("\t")
        elif word == "cell" and len(self._texts) == 1:
            self._cells.append(one_line("".join(self._texts[0][2])))
            self._texts[0][2].clear()
            self._marker = ""
        elif word == "row" and len(self._texts) == 1:
            self._rows.append(tuple(self._cells))
            self._cells = []
        elif self._texts[-1][0] in ("", "stylesheet"):  # a note has properties of its own, and a list's mark
            self._properties_of(word, number)

    def _properties_of(self, word: str, number: int) -> None:
        if word == "pard":
            self._paragraph = _Paragraph()
        elif word == "s":
            self._paragraph.style = number
        elif word == "outlinelevel" and 0 <= number < 6:
            self._paragraph.level = number + 1
        elif word == "ilvl":
            self._paragraph.depth = min(max(number, 0), 8)
        elif word == "intbl":
            self._paragraph.in_table = True

    def _end_of_paragraph(self) -> None:
        pieces = self._texts[0][2]
        if self._paragraph.in_table and (self._cells or self._rows or pieces):
            pieces.append("\n")  # within a cell
            return
        text = "".join(pieces).strip()
        pieces.clear()
        marker, self._marker = self._marker, ""
        if text:
            self._end_of_table()
            self.blocks.append(self._block(text, marker))

    def _block(self, text: str, marker: str) -> Block:
        style = self._paragraph.style
        level = self._paragraph.level or self.headings.get(style, 0)
        if style in self.title_styles and not self.title:
            self.title = one_line(text)
            return Block("heading", text, level=1)
        if level:
            return Block("heading", f"{marker} {text}" if _NUMBERED.match(marker) else text, level=level)
        if marker:
            shown = f"{marker} {text}" if _NUMBERED.fullmatch(marker) else text
            return Block("list_item", shown, level=self._paragraph.depth)
        bullet = text[0] in "•·▪\uf0b7"
        return Block("list_item" if bullet else "paragraph", text.lstrip("•·▪\uf0b7 \t") if bullet else text)

    def _end_of_table(self) -> None:
        if self._cells:
            self._rows.append(tuple(self._cells))
        if max(map(len, self._rows), default=0) > 1:
            self.blocks.append(Block("table", rows=tuple(self._rows)))
        else:
            self.blocks.extend(Block("paragraph", cell) for row in self._rows for cell in row if cell)
        self._rows, self._cells = [], []


def read(content: bytes, name: str) -> Draft:
    reader = _Reader()
    reader.read(content)
    blocks = reader.blocks
    if reader.running:
        blocks += [
            Block("heading", "Header and footer", level=2),
            *(Block("paragraph", text) for text in reader.running),
        ]
    found = reader.properties
    return Draft(blocks, reader.title, found.get("title", ""), {"author": found.get("author", "")})
