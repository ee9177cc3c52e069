"""Several tables on one sheet, merged cells, OpenDocument."""

import random

from openpyxl import Workbook

from workers.ingestion.parse.dispatch import parse
from workers.ingestion.parse.sheet import tables

from .builders import brief, reason, saved, zip_file

_SPACES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table", "style")
)


def rows(*lines: str) -> list[tuple[str, ...]]:
    """``"a b . d"``: a dot is a blank cell."""
    return [tuple("" if cell == "." else cell for cell in line.split()) for line in lines]


def test_tables_beside_and_beneath_each_other() -> None:
    found = list(tables(rows("a b . x y", "1 2 . 7 8", "3 4 . 9 0", ". . . . .", ". p q r .", ". 1 2 3 .")))
    assert found == [rows("a b", "1 2", "3 4"), rows("x y", "7 8", "9 0"), rows("p q r", "1 2 3")]


def test_a_blank_row_or_a_spacer_does_not_end_a_table() -> None:
    assert list(tables(rows("a b", "1 2", ". .", "3 4"))) == [rows("a b", "1 2", "3 4")]
    assert list(tables(rows("name . port", "x . 1", "y . 2"))) == [rows("name port", "x 1", "y 2")]
    named = rows("zone sales . profit tax", "north 1 . 2 3", "south 4 . 5 6")  # the names count for both halves
    assert list(tables(named)) == [rows("zone sales profit tax", "north 1 2 3", "south 4 5 6")]


def test_no_cell_is_lost() -> None:
    for seed in range(200):
        generator = random.Random(seed)
        width, height = generator.randint(1, 9), generator.randint(1, 12)
        filled = generator.random()
        grid = [tuple(f"{r}:{c}" if generator.random() < filled else "" for c in range(width)) for r in range(height)]
        cells = sorted(cell for row in grid for cell in row if cell)
        assert sorted(cell for table in tables(grid) for row in table for cell in row if cell) == cells


def test_merged_cells_are_filled_in_and_captions_are_not() -> None:
    workbook = Workbook()
    sheet = workbook.active
    sheet.title = "Plan"
    for line in (
        ("All of the services", None, None, None, None),
        ("Team", "2023", None, "2024", None),
        ("core", 1, 2, 3, 4),
        (None, 5, 6, 7, 8),
    ):
        sheet.append(line)
    for area in ("A1:E1", "B2:C2", "D2:E2", "A3:A4"):
        sheet.merge_cells(area)
    (_, table) = parse("a.xlsx", saved(workbook)).blocks
    assert table.rows == (
        ("All of the services", "", "", "", ""),
        ("Team", "2023", "2023", "2024", "2024"),
        ("core", "1", "2", "3", "4"),
        ("core", "5", "6", "7", "8"),
    )


def opendocument(body: str, styles: str = "") -> bytes:
    content = f"<office:document-content {_SPACES}><office:automatic-styles>{styles}</office:automatic-styles>"
    return zip_file({"content.xml": f"{content}<office:body>{body}</office:body></office:document-content>".encode()})


def test_opendocument_text() -> None:
    item = "<text:list-item><text:p>{}</text:p></text:list-item>"
    body = (
        '<office:text><text:h text:outline-level="1">Runbook</text:h><text:p>Wait<text:s text:c="2"/>here.</text:p>'
        f"<text:list>{item.format('one')}<text:list-item><text:list>{item.format('two')}</text:list></text:list-item>"
        "</text:list>"
        '<text:p text:style-name="P1">make all</text:p>'
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p></table:table-cell>"
        "<table:table-cell><text:p>b</text:p></table:table-cell></table:table-row></table:table></office:text>"
    )
    styles = '<style:style style:name="P1" style:parent-style-name="Preformatted_20_Text"/>'
    document = parse("a.odt", opendocument(body, styles))
    assert document.title == "Runbook"
    assert brief(document) == [
        ("paragraph", 0, "Wait here."),
        ("list_item", 0, "one"),
        ("list_item", 1, "two"),
        ("code", 0, "make all"),
        ("table", 0, (("a", "b"),)),
    ]


def test_a_sheet_that_claims_a_thousand_million_cells() -> None:
    cell = '<table:table-cell table:number-columns-repeated="99999"/>'
    body = (
        '<office:spreadsheet><table:table table:name="S"><table:table-row><table:table-cell><text:p>x</text:p>'
        f"</table:table-cell><table:table-cell><text:p>y</text:p></table:table-cell>{cell}</table:table-row>"
        f'<table:table-row table:number-rows-repeated="1048576">{cell}</table:table-row></table:table>'
        "</office:spreadsheet>"
    )
    assert brief(parse("a.ods", opendocument(body))) == [("heading", 2, "S"), ("table", 0, (("x", "y"),))]
    assert reason("a.odt", zip_file({"a.txt": b"x"})) == "the file is a ZIP archive but not an OpenDocument file"
