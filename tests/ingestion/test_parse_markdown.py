from workers.ingestion.parse.dispatch import parse

from .builders import brief

PAGE = b"""---
title: "Roll back: an app"
owner_slack: "#platform"
last_reviewed_on: 2024-03-01
tags: [deploy, ops]
---

# Roll back

Use **this** [page](http://x.test/) and `kubectl  get`;
it goes on<br>here ![a graph](g.png).

## Before you start

1. Check:

   ```sh
   kubectl get pods
     | wc -l
   ```

2. Wait
   - a minute
     - or two

> Quoted words.

| Service | Owner |
|---------|-------|
| search  | `team` a |

    indented code

## Before you start
Text <b>bold</b> &amp; more.

Underlined
----------
"""


def test_structure() -> None:
    document = parse("roll-back.md", PAGE)
    assert document.title == "Roll back: an app"
    assert brief(document) == [
        ("heading", 1, "Roll back"),
        ("paragraph", 0, "Use this page and `kubectl get`; it goes on\nhere a graph."),
        ("heading", 2, "Before you start"),
        ("list_item", 0, "1. Check:"),
        ("code", 0, "kubectl get pods\n  | wc -l"),
        ("list_item", 0, "2. Wait"),
        ("list_item", 1, "a minute"),
        ("list_item", 2, "or two"),
        ("paragraph", 0, "Quoted words."),
        ("table", 0, (("Service", "Owner"), ("search", "`team` a"))),
        ("code", 0, "indented code"),
        ("heading", 2, "Before you start"),
        ("paragraph", 0, "Text bold & more."),
        ("heading", 2, "Underlined"),
    ]


def test_anchors_are_githubs_and_unique() -> None:
    source = b"# A\n## What's `new` in v1.2?\n## B & C\n## A\n## A-1\n## A\n## \xc3\x9cber uns\n"
    anchors = [block.anchor for block in parse("x.md", source + b"text").blocks if block.kind == "heading"]
    assert anchors == ["whats-new-in-v12", "b--c", "a-1", "a-1-1", "a-2", "über-uns"]


def test_front_matter_becomes_metadata() -> None:
    assert parse("x.md", PAGE).metadata == {
        "owner_slack": "#platform",
        "owner": "#platform",
        "last_reviewed_on": "2024-03-01",
        "updated": "2024-03-01",
        "tags": "deploy, ops",
    }


def test_broken_front_matter_is_read_by_line() -> None:
    document = parse("x.md", b"---\ntitle: Deploy: how\nowner: [a\n---\nText.")
    assert document.title == "Deploy: how"
    assert document.metadata["owner"] == "[a"


def test_yaml_builds_no_objects_and_expands_no_aliases() -> None:
    bomb = "a: &a [x,x]\n" + "".join(f"b{i}: &b{i} [*a,*a]\n" for i in range(20))
    document = parse("x.md", f"---\n{bomb}c: !!python/object/apply:os.getcwd []\n---\nText.".encode())
    assert document.blocks[0].text == "Text."
    assert all(len(value) < 100 for value in document.metadata.values())


def test_title_is_front_matter_then_h1_then_name() -> None:
    assert parse("a.md", b"---\ntitle: T\n---\n# H\nx").title == "T"
    assert parse("a.md", b"intro\n\n# H\n\nx").title == "H"
    assert parse("roll-back_app.html.md", b"text").title == "Roll back app"
    assert parse("notes.v1.2.md", b"text").title == "Notes.v1.2"


def test_a_heading_that_repeats_the_title_is_left_out() -> None:
    assert brief(parse("a.md", b"# Same\n\ntext")) == [("paragraph", 0, "text")]
    assert brief(parse("a.md", b"---\ntitle: same\n---\n# Same\n\ntext")) == [("paragraph", 0, "text")]
    assert parse("a.md", b"# Only").blocks[0].text == "Only"


def test_html_inside_markdown() -> None:
    table = b"<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>"
    source = b"<!-- secret -->\n" + table + b"\n\n<script>x()</script>\n\nText."
    assert brief(parse("x.md", source)) == [("table", 0, (("A", "B"), ("1", "2"))), ("paragraph", 0, "Text.")]


def test_ordered_lists_start_where_they_say() -> None:
    assert [b.text for b in parse("x.md", b"3. c\n4. d\n\ntext\n").blocks] == ["3. c", "4. d", "text"]
