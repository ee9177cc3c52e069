import io
import zipfile

import docx
from openpyxl import Workbook

from workers.ingestion.parse import xlsx
from workers.ingestion.parse.dispatch import parse

from .builders import brief, excel_file, reason, repacked, saved, word_file, zip_file

W = b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def test_word_in_document_order() -> None:
    document = parse("deploy.docx", word_file())
    assert document.title == "Deploying"
    assert document.metadata["author"] == "Ada"
    assert brief(document) == [
        ("paragraph", 0, "Use the pipeline."),
        ("heading", 2, "Steps"),
        ("list_item", 0, "1. Build"),
        ("list_item", 0, "2. Test"),
        ("list_item", 0, "a note"),
        ("list_item", 1, "a detail"),
        ("table", 0, (("Service", "Owner"), ("search", "platform"))),
        ("paragraph", 0, "After the table."),
    ]


def test_word_tracked_changes_and_content_controls() -> None:
    change = b"<w:p><w:ins><w:r><w:t>new </w:t></w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del></w:p>"
    control = b"<w:sdt><w:sdtContent><w:p><w:r><w:t>held</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    content = repacked(word_file(), "word/document.xml", (b"<w:body>", b"<w:body>" + change + control))
    assert [block.text for block in parse("x.docx", content).blocks[:2]] == ["new", "held"]


def test_word_title_style_and_metadata_title() -> None:
    document = docx.Document()
    document.core_properties.title = "From properties"
    document.add_paragraph("Text.")
    assert parse("x.docx", saved(document)).title == "From properties"
    document.add_paragraph("In style", style="Title")
    assert parse("x.docx", saved(document)).title == "In style"


def test_word_strict_variant() -> None:
    with zipfile.ZipFile(io.BytesIO(word_file())) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    usual = b"http://schemas.openxmlformats.org/officeDocument/2006"
    for name in parts:
        parts[name] = parts[name].replace(W, b"http://purl.oclc.org/ooxml/wordprocessingml/main")
        parts[name] = parts[name].replace(usual, b"http://purl.oclc.org/ooxml/officeDocument")
    assert brief(parse("x.docx", zip_file(parts))) == brief(parse("x.docx", word_file()))


def test_excel_sheets() -> None:
    document = parse("service-list.xlsx", excel_file())
    assert document.title == "Service list"
    assert [(b.kind, b.text or b.rows, b.page) for b in document.blocks] == [
        ("heading", "Services", 1),
        ("table", (("Service", "Port", "Share"), ("search", "8080", "0.25"), ("mail", "25", "")), 1),
        ("heading", "Owners", 3),
        ("table", (("Team", "Since"),), 3),
    ]


def test_excel_is_capped_and_says_so() -> None:
    workbook = Workbook(write_only=True)
    sheet = workbook.create_sheet("Big")
    for number in range(xlsx.MAX_ROWS + 5):
        sheet.append((number,))
    document = parse("big.xlsx", saved(workbook))
    assert len(document.blocks[1].rows) == xlsx.MAX_ROWS
    assert document.metadata["truncated"] == "only the first rows of: Big"


def test_excel_without_cells() -> None:
    assert reason("x.xlsx", saved(Workbook())) == "the file holds no readable text"


def test_zip_bomb_is_not_opened() -> None:
    bomb = zip_file({"word/document.xml": b" " * (64 * 1024 * 1024)})
    assert len(bomb) < 100_000
    assert "ZIP bomb" in reason("x.docx", bomb)
    assert "ZIP bomb" in reason("x.xlsx", bomb)


def test_entities_are_never_expanded() -> None:
    declared = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><w:document'
    for name, part, opening in (
        ("x.docx", "word/document.xml", b"<w:document"),
        ("x.xlsx", "xl/workbook.xml", b"<workbook"),
    ):
        content = word_file() if name == "x.docx" else excel_file()
        replaced = declared.replace(b"<w:document", opening)
        assert "XML entities" in reason(name, repacked(content, part, (opening, replaced)))


def test_swapped_and_damaged_archives() -> None:
    assert reason("x.xlsx", word_file()) == "the file is a ZIP archive but not an Excel workbook"
    assert reason("x.docx", excel_file()) == "the file is a ZIP archive but not a Word document"
    assert reason("x.docx", zip_file({"a.txt": b"x"})) == "the file is a ZIP archive but not a Word document"
    assert "ZIP archive cannot be read" in reason("x.docx", word_file()[:-2000])
    assert reason("x.docx", repacked(word_file(), "word/document.xml", (b"</w:body>", b""))).endswith(
        "damaged or not valid"
    )


def test_footnotes_stand_where_their_numbers_stand() -> None:
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    words = (
        "<w:r><w:t>Restart it</w:t></w:r><w:r><w:footnoteReference w:id='2'/></w:r><w:r><w:t>, then wait.</w:t></w:r>"
    )
    note = "<w:footnote w:id='2'><w:p><w:r><w:footnoteRef/><w:t>By hand only.</w:t></w:r></w:p></w:footnote>"
    relation = '<Relationship Id="{}" Type="{}/{}" Target="{}"/>'
    parts = {
        "_rels/.rels": relation.format("a", kind, "officeDocument", "word/document.xml"),
        "word/_rels/document.xml.rels": relation.format("b", kind, "footnotes", "footnotes.xml"),
    }
    parts = {name: f'<Relationships xmlns="{package}">{inner}</Relationships>' for name, inner in parts.items()}
    parts["word/document.xml"] = f"<w:document {space}><w:body><w:p>{words}</w:p></w:body></w:document>"
    parts["word/footnotes.xml"] = f"<w:footnotes {space}>{note}</w:footnotes>"
    document = parse("a.docx", zip_file({name: text.encode() for name, text in parts.items()}))
    assert brief(document) == [("paragraph", 0, "Restart it (By hand only.), then wait.")]
