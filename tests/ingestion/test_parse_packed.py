"""Presentations, mails, archives and books: files made of several parts."""

from email.message import EmailMessage

from workers.ingestion.parse.dispatch import parse
from workers.ingestion.parse.unread import unread_of

from .builders import brief, pdf_file, reason, word_file, zip_file

_P = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
_A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
_R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
_KIND = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def relations(**targets: tuple[str, str]) -> bytes:
    inner = "".join(
        f'<Relationship Id="{key}" Type="{_KIND}/{kind}" Target="{to}"/>' for key, (kind, to) in targets.items()
    )
    return f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{inner}</Relationships>'.encode()


def shape(text: str, role: str = "", top: int = 0, level: int = 0) -> str:
    place = f"<p:spPr><a:xfrm><a:off x='0' y='{top}'/></a:xfrm></p:spPr>" if top else ""
    holder = f'<p:ph type="{role}"/>' if role else ""
    lines = "".join(f'<a:p><a:pPr lvl="{level}"/><a:r><a:t>{line}</a:t></a:r></a:p>' for line in text.split("\n"))
    return f"<p:sp><p:nvSpPr><p:nvPr>{holder}</p:nvPr></p:nvSpPr>{place}<p:txBody>{lines}</p:txBody></p:sp>"


def slide(tag: str, *shapes: str) -> bytes:
    return f"<p:{tag} {_P} {_A} {_R}><p:cSld><p:spTree>{''.join(shapes)}</p:spTree></p:cSld></p:{tag}>".encode()


def deck(broken: bool = False) -> bytes:
    cell = "<a:tc><a:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></a:txBody></a:tc>"
    row = "<a:tr>{}</a:tr>"
    rows = "".join(row.format(cell.format(a) + cell.format(b)) for a, b in (("Service", "Owner"), ("search", "core")))
    table = (
        f"<p:graphicFrame><a:graphic><a:graphicData><a:tbl>{rows}</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    )
    picture = "<p:pic><p:nvPicPr><p:cNvPr id='1' name='x' descr='A diagram of the queue'/></p:nvPicPr></p:pic>"
    ids = "".join(f'<p:sldId id="{n}" r:id="r{n}"/>' for n in (2, 1))  # the order of the deck, not of the files
    parts = {
        "_rels/.rels": relations(a=("officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": f"<p:presentation {_P} {_R}><p:sldIdLst>{ids}</p:sldIdLst></p:presentation>".encode(),
        "ppt/_rels/presentation.xml.rels": relations(r1=("slide", "slides/s1.xml"), r2=("slide", "slides/s2.xml")),
        "ppt/slides/s1.xml": slide("sld", shape("Owners", "title"), table, picture),
        "ppt/slides/s2.xml": slide(
            "sld",
            shape("below", top=9_000_000),
            shape("one\ntwo", "body"),
            shape("Restarts", "ctrTitle"),
            shape("7", "sldNum"),
        ),
        "ppt/slides/_rels/s2.xml.rels": relations(n=("notesSlide", "../notes/n2.xml")),
        "ppt/notes/n2.xml": slide("notes", shape("Say it slowly.", "body"), shape("2", "sldNum")),
    }
    if broken:
        parts["ppt/slides/s1.xml"] = parts["ppt/slides/s1.xml"][:200]
    return zip_file(parts)


def test_slides_in_order_with_tables_pictures_and_notes() -> None:
    document = parse("a.pptx", deck())
    assert document.title == "Restarts"
    assert [(b.kind, b.text or b.rows, b.page) for b in document.blocks] == [
        ("heading", "Restarts", 1),
        ("list_item", "one", 1),
        ("list_item", "two", 1),
        ("paragraph", "below", 1),
        ("heading", "Notes", 1),
        ("paragraph", "Say it slowly.", 1),
        ("heading", "Owners", 2),
        ("table", (("Service", "Owner"), ("search", "core")), 2),
        ("paragraph", "Picture: A diagram of the queue", 2),
    ]


def test_a_broken_slide_is_named_and_the_others_are_read() -> None:
    document = parse("a.pptx", deck(broken=True))
    assert document.metadata["unread_slides"] == "2"
    assert document.blocks[0].text == "Restarts"
    assert reason("a.pptx", word_file()) == "the file is a ZIP archive but not a PowerPoint presentation"


def mail() -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = "Ada <ada@example.org>", "team@example.org"
    message["Subject"], message["Date"] = "Grüße from the queue", "Mon, 01 Jan 2024 10:00:00 +0000"
    message.set_content("Hello,\n\n- one\n- two\n")
    message.add_alternative("<p>Hello,</p><ul><li>one<li>two</ul>", subtype="html")
    return message


def test_a_mail_with_its_people_body_and_attachments() -> None:
    message = mail()
    message.add_attachment(word_file(), maintype="application", subtype="octet-stream", filename="plan.docx")
    message.add_attachment(b"\x89PNG\r\n", maintype="image", subtype="png", filename="photo.png")
    message.add_attachment(pdf_file(password="x"), maintype="application", subtype="pdf", filename="secret.pdf")
    forwarded = EmailMessage()
    forwarded["Subject"], forwarded["From"] = "Older", "bob@example.org"
    forwarded.set_content("What was said before.")
    message.add_attachment(forwarded)
    document = parse("a.eml", message.as_bytes())
    assert document.title == "Grüße from the queue"
    assert document.metadata == {"author": "Ada <ada@example.org>", "updated": "2024-01-01"}
    found = brief(document)
    assert found[:5] == [
        ("list_item", 0, "From: Ada <ada@example.org>"),
        ("list_item", 0, "To: team@example.org"),
        ("list_item", 0, "Date: Mon, 01 Jan 2024 10:00:00 +0000"),
        ("paragraph", 0, "Hello,"),
        ("list_item", 0, "one"),
    ]
    headings = [value for kind, _, value in found if kind == "heading"]
    assert [name for name in headings if name.startswith(("Attachment", "Message"))] == [  # type: ignore[union-attr]
        "Attachment: plan.docx",
        "Attachment: photo.png",
        "Attachment: secret.pdf",
        "Message: Older",
    ]
    texts = [value for kind, _, value in found if kind == "paragraph"]
    assert "Use the pipeline." in texts
    assert any("secret.pdf" in text and "protected by a password" in text for text in texts)  # type: ignore[operator]
    assert "What was said before." in texts


def test_what_is_no_mail() -> None:
    assert reason("a.eml", b"just some text\nwithout headers\n") == "the file is not a mail: it has no headers"


def test_an_archive_is_one_document_with_a_section_per_member() -> None:
    content = zip_file(
        {
            "docs/run.md": b"# Run\n\n## Restart\n\nDo it.\n",
            "a/table.csv": b"x,y\n1,2\n",
            "inner.zip": zip_file({"deep.txt": b"deep text", "lost.docx": b""}),
            "photo.png": b"\x89PNG",
            "locked.pdf": pdf_file(password="x"),
            "__MACOSX/._run.md": b"junk",
            ".hidden": b"junk",
        }
    )
    document = parse("bundle.zip", content)
    assert document.title == "Bundle"
    found = brief(document)
    assert found[:3] == [("heading", 1, "docs/run.md"), ("heading", 3, "Restart"), ("paragraph", 0, "Do it.")]
    assert ("heading", 1, "a/table.csv") in found
    assert ("paragraph", 0, "deep text") in found
    assert document.metadata["members"] == "5"
    assert unread_of(document.metadata) == {
        "photo.png": "files of this kind are not supported",
        "locked.pdf": "the PDF is protected by a password",
        "inner.zip!/lost.docx": "the file is empty",
    }


def test_an_archive_of_which_nothing_can_be_read_says_why() -> None:
    found = reason("a.zip", zip_file({"x.pdf": pdf_file(password="x"), "b.png": b"\x89PNG"}))
    assert found == "nothing in the archive could be read: x.pdf: the PDF is protected by a password (and 1 more)"
    assert reason("a.zip", zip_file({})) == "the archive is empty"
    assert reason("a.zip", word_file()) == "the file is named .zip but is an Office file; name it .docx"
    assert (
        reason("a.zip", zip_file({"a.md": b"x" * 9_000})[:-30])
        == "the archive is damaged or cut off and cannot be read"
    )


def test_a_book_in_the_order_of_its_spine() -> None:
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>Handbook</dc:title><dc:creator>Ada</dc:creator></metadata><manifest>"
        '<item id="b" href="b.xhtml"/><item id="a" href="a%20one.xhtml"/></manifest>'
        '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    parts = {
        "META-INF/container.xml": b'<container><rootfiles><rootfile full-path="in/p.opf"/></rootfiles></container>',
        "in/p.opf": package.encode(),
        "in/b.xhtml": b"<!DOCTYPE html><html><body><h1>Second</h1><p>two</p></body></html>",
        "in/a one.xhtml": b"<html><body><h1>First</h1><p>one</p></body></html>",
    }
    document = parse("a.epub", zip_file(parts))
    assert document.title == "Handbook"
    assert [value for _, _, value in brief(document)] == ["Authors: Ada", "First", "one", "Second", "two"]


def test_bodies_in_places_where_they_are_missed() -> None:
    def texts(*lines: str) -> list[object]:
        content = "\n".join(["From: ada@example.org", "Subject: Plan", "MIME-Version: 1.0", *lines]).encode()
        return [block.text for block in parse("a.eml", content).blocks if block.text != "From: ada@example.org"]

    kept = 'Content-Disposition: attachment; filename="note.txt"'
    assert texts(kept, "Content-Type: text/plain", "", "Stop the index.")[-1] == "Stop the index."
    assert texts("Content-Transfer-Encoding: base64", "", "Stop the index.", "Start it!") == [
        "Stop the index.\nStart it!"
    ]
    mixed = 'Content-Type: multipart/mixed; boundary="m"'
    assert texts(mixed, "", "Stop the index.") == ["Stop the index."]
    both = [
        'Content-Type: multipart/alternative; boundary="a"',
        "",
        "--a",
        "",
        "{}",
        "--a",
        "Content-Type: text/html",
        "",
    ]
    second = ["--m", *both, "<p>Start it.</p>", "--a--", "--m--"]
    lines = [mixed, "", "--m", "", "Stop the index.", *second]
    assert texts(*[line.format("") for line in lines]) == ["Stop the index.", "Start it."]
    assert texts(*[line.format("Start it now.") for line in lines])[-2:] == ["Stop the index.", "Start it now."]
