"""An answer's text and citations within the limits of Teams."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import replace

import pytest

from assistant.answering.messages import Answer, Citation
from assistant.answering.outcomes import Outcome
from bot.teams import render
from bot.teams.markdown import Growing, shown


def citation(
    n: int, url: str | None = "https://wiki.example.com/a", title: str = "A title", quote: str = "q"
) -> Citation:
    return Citation(n, title, url, n, quote, n, f"{n}.md")


def answer(text: str, *citations: Citation, outcome: Outcome = Outcome.ANSWERED) -> Answer:
    return Answer(uuid.uuid4(), outcome, text, citations)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<at>Everyone</at>", "&lt;at>Everyone&lt;/at>"),
        ("<script>x</script>", "&lt;script>x&lt;/script>"),
        ("![logo](https://evil.example/p.png)", "[logo](https://evil.example/p.png)"),
        ("[click](javascript:alert(1))", "[click] (javascript:alert(1))"),
        ("[click]( data:text/html,x)", "[click] ( data:text/html,x)"),
        ("[click](https://wiki.example.com)", "[click](https://wiki.example.com)"),
        ("run `kubectl get <pod>` now", "run `kubectl get <pod>` now"),
        ("```\nif a < b:\n```\n<b>", "```\nif a < b:\n```\n&lt;b>"),
        ("a < b [1]", "a &lt; b [1]"),
        ("[bank.com](https://evil.example/x)", "[evil.example](https://evil.example/x)"),
        ("[see https://bank.com now](https://evil.example)", "[evil.example](https://evil.example)"),
        ("[wiki.example.com](https://wiki.example.com/a_(b))", "[wiki.example.com](https://wiki.example.com/a_(b))"),
        ("[example.com](https://wiki.example.com/a)", "[example.com](https://wiki.example.com/a)"),
        ("[deploy.md](https://wiki.example.com/d)", "[deploy.md](https://wiki.example.com/d)"),
        ("https://bank.com@evil.example/x", "https://evil.example/x"),
        ("[1]: https://evil.example", "[1] : https://evil.example"),
    ],
)
def test_document_text_is_neutral(text: str, shown: str) -> None:
    assert render.neutral(text) == shown


def test_citations_keep_to_the_limits() -> None:
    text = " ".join(f"[{n}]" for n in range(1, 26))
    citations = [citation(n, title="T" * 200, quote="q " * 200) for n in range(1, 26)]
    [message] = render.answer_messages(answer(text, *citations))
    claims = message.entities[0]["citation"]
    assert [claim["position"] for claim in claims] == list(range(1, 21))
    assert all(len(claim["appearance"]["name"]) <= 80 for claim in claims)
    assert all(len(claim["appearance"]["abstract"]) <= 160 for claim in claims)
    assert "- [21] [" in message.text


@pytest.mark.parametrize("url", [None, "ftp://x", "javascript:alert(1)", "https://x/" + "y" * 2_000])
def test_only_web_links_are_links(url: str | None) -> None:
    [message] = render.answer_messages(answer("It is so [1]", citation(1, url)))
    assert "url" not in message.entities[0]["citation"][0]["appearance"]
    assert message.text == "It is so [1]"


def test_a_file_is_shown_as_its_path() -> None:
    [message] = render.answer_messages(answer("It is so [1]", citation(1, "file:///srv/a%20b.md#part")))
    assert message.text.endswith("- [1] A title (`/srv/a b.md`)")


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.OVER_LIMIT])
def test_what_is_no_answer_has_neither_label_nor_thumbs(outcome: Outcome) -> None:
    [message] = render.answer_messages(answer("Something went wrong.", outcome=outcome))
    assert (message.entities, message.channel_data) == ((), {})


@pytest.mark.parametrize("letter", ["a", "ж", "語", "🙂"])
@pytest.mark.parametrize("separator", ["\n\n", "\n", " ", ""])
def test_a_long_text_is_split_without_loss(letter: str, separator: str) -> None:
    text = separator.join([letter * 700] * 130)
    parts = render.split(text)
    assert len(parts) > 1
    assert "".join(parts).replace("\n", "").replace(" ", "") == letter * 700 * 130
    assert all(len(part) <= render.MAX_CHARS and len(part.encode()) <= render.MAX_BYTES for part in parts)


def test_a_part_with_everything_at_its_limit_stays_under_100_kb() -> None:
    many = [citation(n, "https://x/" + "y" * 980, "語" * 90, "語" * 170) for n in range(1, 21)]
    text = " ".join(f"[{n}]" for n in range(1, 21)) + "語" * 14_500
    [message] = render.answer_messages(answer(text, *many))
    body = json.dumps({"text": message.text, "entities": list(message.entities)}, ensure_ascii=False)
    assert 70_000 < len(body.encode()) < 90_000


def test_a_code_block_that_is_cut_goes_on_in_the_next_part() -> None:
    parts = render.split("```\n" + "x = 1\n" * 50 + "```\nend", chars=100)
    assert all(part.count("```") % 2 == 0 for part in parts)
    assert "".join(parts).count("x = 1") == 50


WHOLE = (
    "# Title\nHello **x** [1], see [bank.com](https://evil.example/a) and `code <b>` <at>x</at> ![a](http://x/y)\n\n"
    "| a | b |\n|---|---|\n| 1 \\| 2 | 2 [1] |\n\nafter `x` [docs](https://wiki.example.com/a_(b)) end [2].\n\n1. one\n"
    "2. two `unclosed\n\n```\n| no | table |\n|---|---|\n```\nlast [deploy.md](https://wiki.example.com/x) word"
)


@pytest.mark.parametrize("seed", range(60))
def test_text_that_arrives_in_pieces_only_grows(seed: int) -> None:
    chance = random.Random(seed)
    growing, at, before = Growing("en", 10_000), 0, ""
    while at < len(WHOLE):
        size = chance.randint(1, 12)
        growing.feed(WHOLE[at : at + size])
        at += size
        assert growing.text.startswith(before)
        before = growing.text
    whole = shown(WHOLE, "en")
    assert whole.text.startswith(before)
    assert len(before) > 0.8 * len(whole.text)
    assert [(table.header, table.rows) for table in whole.tables] == [(("a", "b"), (("1 | 2", "2 [1]"),))]
    assert "| no | table |" in whole.text


def test_a_document_with_a_label_puts_it_on_the_message_and_on_its_source() -> None:
    secret = replace(citation(1), sensitivity="Confidential", owner="Platform team", page=3, updated="2026-01-02")
    [message] = render.answer_messages(answer("It is so [1]", secret))
    [entity] = message.entities
    assert entity["usageInfo"]["name"] == "Confidential"
    looks = entity["citation"][0]["appearance"]
    assert looks["usageInfo"]["name"] == "Confidential"
    assert looks["keywords"][:2] == ["Platform team", "page 3"]
    assert looks["image"]["name"] == "Text"
