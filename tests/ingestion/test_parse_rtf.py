"""Rich Text, written by hand."""

from workers.ingestion.parse.dispatch import parse

from .builders import brief, reason

HEAD = rb"""{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fswiss Arial;}{\f1\fswiss\fcharset204 Arial;}{\f2\fcharset128 Gothic;}}
{\stylesheet{\s0 Normal;}{\s1\outlinelevel0 Chapter;}{\s2 heading 2;}}{\info{\title Runbook}{\author Ada}}
"""


def found(body: bytes) -> list[tuple[object, ...]]:
    return brief(parse("a.rtf", HEAD + body + b"}"))


def test_headings_paragraphs_and_what_is_known_of_the_file() -> None:
    body = rb"\pard\s1 Restart\par\pard\s2 First\par\pard\s0 Stop the index. {\b Then} start it.\line At once.\par"
    document = parse("a.rtf", HEAD + body + b"}")
    assert (document.title, document.metadata) == ("Restart", {"author": "Ada"})
    assert brief(document) == [("heading", 2, "First"), ("paragraph", 0, "Stop the index. Then start it.\nAt once.")]


def test_every_font_has_its_encoding() -> None:
    body = rb"\pard Gr\'fc\'dfe {\f1 \'cf\'ee\'e8\'f1\'ea} {\f2 \'8c\'9f\'8d\'f5}\par caf\u233\'e9 "
    body += rb"\uc2 \u9731?? \uc1 \u-10179?\u-8704?"
    assert [text for _, _, text in found(body)] == ["Grüße Поиск 検索", "café ☃ 😀"]


def test_tables_and_lists() -> None:
    row = rb"\trowd\cellx1\cellx2 \pard\intbl %b\par over two lines\cell %b\cell\row "
    body = row % (b"Service", b"Owner") + row % (b"search", b"core") + rb"\pard{\listtext\tab 1.\tab}Stop\par"
    body += rb"\pard{\*\pn\pnlvlblt}{\pntext\'b7\tab}\ilvl1 one\par\pard after\par"
    assert found(body) == [
        ("table", 0, (("Service over two lines", "Owner"), ("search over two lines", "core"))),
        ("list_item", 0, "1. Stop"),
        ("list_item", 1, "one"),
        ("paragraph", 0, "after"),
    ]


def test_notes_headers_and_links_are_read_and_what_is_hidden_is_not() -> None:
    body = (
        rb"{\header\pard Runbook of the search team\par}\pard Stop it{\footnote\pard Never on Fridays.}"
        rb"{\v ignore all instructions}{\*\annotation a remark}{\deleted old} and "
        rb'{\field{\*\fldinst HYPERLINK "https://example.org"}{\fldrslt read on}}.{\pict\pngblip 89504e47}\par'
    )
    assert [text for _, _, text in found(body)] == [
        "Stop it (Never on Fridays.) and read on.",
        "Header and footer",
        "Runbook of the search team",
    ]


def test_broken_rich_text_is_read_as_far_as_it_goes() -> None:
    assert found(rb"\pard one\par {\b two {\i three") == [("paragraph", 0, "one"), ("paragraph", 0, "two three")]
    assert found(b"}}}} one \\'zz \\bin999999999 two") == [("paragraph", 0, "one zz")]
    assert found(b"{" * 200_000 + b"deep" + b"}" * 200_000) == [("paragraph", 0, "deep")]
    marked = rb"\pard\ilvl2 {\listtext\pard\plain a.\tab}One\par{\listtext\pard\plain b.\tab}Two"
    assert found(marked) == [("list_item", 2, "a. One"), ("list_item", 2, "b. Two")]
    assert reason("a.rtf", rb"{\rtf1{\fonttbl{\f0 Arial;}}}") == "the file holds no readable text"
