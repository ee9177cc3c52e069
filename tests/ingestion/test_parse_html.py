from contextlib import suppress

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse.dispatch import parse

from .builders import brief

PAGE = """<!doctype html><html><head><title>Runbook - Site</title><meta name="author" content="Ada">
<style>p{}</style></head><body>
<nav><a href="/">Home</a></nav><header><h1>Search&nbsp;runbook</h1><p>Skip me</p></header>
<main><p>Intro with <code>curl</code> and <b>bold</b>text.<br>Next.</p>
<h2 id="restart">Restart<a class="headerlink" href="#restart">¶</a></h2>
<ol start="2"><li>Stop <ul><li>workers</li><li><p>queue</p></li></ul></li><li><pre>run
  it</pre></li></ol>
<section id="owners"><h2>Owners</h2>
<table><thead><tr><th>Service</th><th>Team</th></tr></thead>
<tr><td rowspan="2">search</td><td>a</td></tr><tr><td>b</td></tr></table></section>
<p style="display: none">hidden prompt</p><p hidden>also hidden</p><script>evil()</script>
<h3><a name="old"></a>Old</h3>loose text<aside>advert</aside></main>
<footer>Imprint</footer></body></html>"""


def test_main_content_only() -> None:
    document = parse("x.html", PAGE.encode())
    assert document.metadata == {"author": "Ada"}
    assert brief(document) == [
        ("paragraph", 0, "Intro with `curl` and boldtext.\nNext."),
        ("heading", 2, "Restart"),
        ("list_item", 0, "2. Stop"),
        ("list_item", 1, "workers"),
        ("list_item", 1, "queue"),
        ("list_item", 0, "3."),
        ("code", 0, "run\n  it"),
        ("heading", 2, "Owners"),
        ("table", 0, (("Service", "Team"), ("search", "a"), ("search", "b"))),
        ("heading", 3, "Old"),
        ("paragraph", 0, "loose text"),
    ]
    assert [b.anchor for b in document.blocks if b.kind == "heading"] == ["restart", "owners", "old"]


def test_title_is_h1_then_title_element() -> None:
    assert parse("x.html", b"<title>T - S</title><h1>H</h1><p>x").title == "H"
    assert parse("x.html", b"<title>T - S</title><p>x").title == "T - S"
    whole = parse("x.html", b"<body><header><h1>Head</h1><p>menu</p></header><p>text</p></body>")
    assert (whole.title, brief(whole)) == ("Head", [("paragraph", 0, "text")])


def test_layout_tables_are_walked_not_kept() -> None:
    page = b"<table><tr><td><h2>A</h2><p>one</p></td><td><ul><li>two</li></ul></td></tr></table>"
    assert [kind for kind, _, _ in brief(parse("x.html", page))] == ["heading", "paragraph", "list_item"]


def test_absurd_spans_are_bounded() -> None:
    page = b"<table><tr><th colspan=99999>A</th><th>B</th></tr><tr><td rowspan=100000000>1</td><td>2</td></tr></table>"
    rows = parse("x.html", page).blocks[0].rows
    assert len(rows) == 2
    assert len(rows[0]) <= 101


def test_declared_encoding_is_used() -> None:
    page = '<meta charset="koi8-r"><p>Привет, мир</p>'.encode("koi8-r")
    assert parse("x.html", page).blocks[0].text == "Привет, мир"


def test_deep_nesting_fails_or_parses_but_never_crashes() -> None:
    with suppress(DocumentUnreadable):
        assert parse("x.html", b"<div>" * 50_000 + b"deep").blocks[0].text == "deep"


def test_notes_set_aside_are_part_of_the_text() -> None:
    page = """<article><header><h1>Restart</h1><p>Written by the search team.</p></header><p>Stop it first.[1]</p>
<aside class="admonition warning"><p>Warning</p><p>All queries fail meanwhile.</p></aside>
<aside role="doc-footnote" id="f1">Never on Fridays.</aside>
<aside class="related">Other pages</aside><footer>Share</footer>
<blockquote><p>It works.</p><footer>Ada</footer></blockquote></article>"""
    texts = [block.text for block in parse("x.html", page.encode()).blocks]
    assert texts == [
        "Written by the search team.", "Stop it first.[1]", "Warning", "All queries fail meanwhile.",
        "Never on Fridays.", "It works.", "Ada",
    ]  # fmt: skip


def test_a_page_within_a_form_is_read_and_a_form_on_a_page_is_not() -> None:
    text = "The search service keeps its index in memory and needs a full restart after the disk was full. " * 3
    page = f'<body><form action="/"><h1>Restart</h1><p>{text}</p><select><option>Berlin</select></form>'
    page += "<form><p>Subscribe <input></p></form></body>"
    document = parse("x.html", page.encode())
    assert (document.title, brief(document)) == ("Restart", [("paragraph", 0, text.strip())])


def test_a_page_without_a_body_of_its_own() -> None:
    page = (
        b"<!doctype html><title>Plan</title><section><h1>Plan</h1></section><section><p>First the index.</p></section>"
    )
    assert brief(parse("x.html", page)) == [("paragraph", 0, "First the index.")]
