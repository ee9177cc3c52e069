"""Several tables on one sheet, merged cells, OpenDocument."""

import datetime as dt
import io
import random
import zipfile

from openpyxl import Workbook

from workers.ingestion.parse.dispatch import parse
from workers.ingestion.parse.sheet import tables
from workers.ingestion.parse.xlsx import MAX_CELLS, capped

from .builders import brief, reason, repacked, saved, zip_file

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


def workbook_of(*lines: tuple[object, ...], title: str = "Plan") -> Workbook:
    workbook = Workbook()
    workbook.active.title = title
    for line in lines:
        workbook.active.append(line)
    return workbook


def test_what_excel_does_to_values() -> None:
    workbook = workbook_of(("a", "b"), (dt.date(2024, 3, 1), 0.5), (dt.time(9, 30), True), ("x_x0041_", "=B2*2"))
    workbook.active["B2"].number_format = "[h]:mm"
    (table,) = [block for block in parse("a.xlsx", saved(workbook)).blocks if block.rows]
    assert table.rows == (("a", "b"), ("2024-03-01", "12:00"), ("09:30:00", "True"), ("xA", "=B2*2"))


def test_hidden_sheets_say_so() -> None:
    workbook = workbook_of(("a", 1))
    workbook.create_sheet("Rates").append(("b", 2))
    workbook["Rates"].sheet_state = "hidden"
    headings = [block.text for block in parse("a.xlsx", saved(workbook)).blocks if block.kind == "heading"]
    assert headings == ["Plan", "Rates (hidden)"]


def test_a_workbook_is_read_whatever_its_styles_and_its_writer_are() -> None:
    content = saved(workbook_of(("a", "b"), (1, 2)))
    expected = brief(parse("a.xlsx", content))
    assert expected == [("heading", 2, "Plan"), ("table", 0, (("a", "b"), ("1", "2")))]
    unknown = repacked(content, "xl/styles.xml", (b"<cellStyle ", b'<cellStyle nobody="knows" '))
    assert brief(parse("a.xlsx", unknown)) == expected
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # as Windows writes paths
        parts = {name.replace("/", "\\").upper(): archive.read(name) for name in archive.namelist()}
    assert (
        brief(parse("a.xlsx", zip_file({name.replace(".XML", ".xml"): data for name, data in parts.items()})))
        == expected
    )
    named = repacked(content, "xl/worksheets/sheet1.xml", (b"spreadsheetml/2006/main", b"excel/2006/2"))
    assert brief(parse("a.xlsx", named)) == expected


def test_text_in_a_box_on_a_sheet() -> None:
    drawing = (
        '<xdr:wsDr xmlns:xdr="x" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"><xdr:sp><xdr:txBody>'
        "<a:p><a:r><a:t>Call the </a:t></a:r><a:r><a:t>owner</a:t></a:r></a:p></xdr:txBody></xdr:sp></xdr:wsDr>"
    )
    relation = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/drawing" '
        'Target="../drawings/drawing1.xml"/></Relationships>'
    )
    content = saved(workbook_of(("a", "b"), (1, 2)))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts |= {"xl/worksheets/_rels/sheet1.xml.rels": relation.encode(), "xl/drawings/drawing1.xml": drawing.encode()}
    assert brief(parse("a.xlsx", zip_file(parts)))[-1] == ("paragraph", 0, "Call the owner")


def test_a_sheet_that_breaks_off_is_read_as_far_as_it_goes() -> None:
    content = repacked(saved(workbook_of(("a", "b"), (1, 2))), "xl/worksheets/sheet1.xml", (b"</sheetData>", b"<"))
    document = parse("a.xlsx", content)
    assert brief(document) == [("heading", 2, "Plan"), ("table", 0, (("a", "b"), ("1", "2")))]
    assert document.metadata["damaged"] == "not read to the end: Plan"


def test_one_long_text_in_every_cell_is_cut() -> None:
    """Its file is small, for the text stands in it once."""
    kept, cut = capped((("x" * 30_000,) for _ in range(5_000)), MAX_CELLS)
    assert cut
    assert 1_000_000 < sum(len(row[0]) for row in kept) < 12_000_000


def test_opendocument_lists_are_counted_and_hidden_text_is_left_out() -> None:
    item = "<text:list-item{}><text:p>{}</text:p></text:list-item>"
    lists = item.format("", "Stop") + item.format(' text:start-value="5"', "Start")
    body = (
        f'<office:text><text:list text:style-name="L">{lists}</text:list>'
        f"<text:list>{item.format('', 'a mark')}</text:list>"
        '<text:p>Seen<text:span text:style-name="H"> and unseen</text:span>, again.</text:p></office:text>'
    )
    styles = (
        '<style:style style:name="H"><style:text-properties text:display="none"/></style:style><text:list-style '
        'style:name="L"><text:list-level-style-number text:level="1" style:num-format="1"/></text:list-style>'
    )
    document = parse("a.odt", opendocument(body, styles))
    assert brief(document) == [
        ("list_item", 0, "1. Stop"),
        ("list_item", 0, "5. Start"),
        ("list_item", 0, "a mark"),
        ("paragraph", 0, "Seen, again."),
    ]
    assert document.metadata["hidden_text"] == "left out"
