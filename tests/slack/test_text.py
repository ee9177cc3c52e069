"""Slack's markup in, messages within Slack's limits out."""

from __future__ import annotations

import random
import re
import uuid

import pytest

from assistant.answering.messages import Answer, Citation
from assistant.answering.outcomes import Outcome
from bot.slack.events import plain
from bot.slack.render import answer_parts, harmless, size
from bot.slack.split import split
from tests.slack.limits import refused


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("<@U0BOT> how?", "how?"),
        ("<@U0BOT>: how?", "how?"),
        ("hey <@U0BOT|almanac> how?", "hey how?"),
        ("ask <@U0BEN> or <@U0CAT|cat>", "ask @U0BEN or @cat"),
        ("in <#C0OPS|ops> or <#C0DEV>", "in #ops or #C0DEV"),
        ("<!here> <!subteam^S1|@oncall> <!date^1|today>", "@here @oncall today"),
        ("a &lt; b &amp;&amp; c &gt; d", "a < b && c > d"),
        ("&amp;lt;", "&lt;"),
        ("<https://x.example/a?b=1&amp;c=2>", "https://x.example/a?b=1&c=2"),
        ("<https://x.example|x.example>", "x.example"),
        ("<https://x.example/long|the page>", "the page (https://x.example/long)"),
        ("<mailto:a@x.example|a@x.example>", "a@x.example"),
        ("if a <b and c> d", "if a b and c d"),
        ("", ""),
    ],
)
def test_markup_becomes_plain_text(written: str, read: str) -> None:
    assert plain(written, "U0BOT") == read


def test_without_knowing_its_name_only_a_leading_mention_is_the_bot() -> None:
    assert plain("<@U0BOT> ask <@U0BEN>", None, mention=True) == "ask @U0BEN"
    assert plain("<@U0BEN> said so", None) == "@U0BEN said so"


@pytest.mark.parametrize("seed", range(25))
def test_a_split_loses_nothing_and_fits(seed: int) -> None:
    """Random documents; every word is unique, so the order of words proves that all arrived."""
    chance = random.Random(seed)
    count = 0

    def words(number: int) -> str:
        nonlocal count
        count += number
        return " ".join(f"w{n}" for n in range(count - number, count))

    lines: list[str] = []
    for _ in range(60):
        kind = chance.choice(["text", "text", "code", "table", "open", "long"])
        if kind == "code":
            lines += ["```sql", *(words(chance.randint(1, 9)) for _ in range(chance.randint(0, 40))), "```"]
        elif kind == "table":
            lines += ["| a | b |", "|---|---|", *(f"| {words(3)} | {words(2)} |" for _ in range(chance.randint(0, 40)))]
        elif kind == "long":
            lines += [words(chance.randint(100, 400))]
        else:
            lines += [words(chance.randint(1, 30)), *[""] * chance.randint(0, 3)]
    if chance.random() < 0.5:
        lines += ["~~~", words(200)]
    limit = chance.randint(120, 900)
    pieces = split("\n".join(lines), limit)
    assert max(map(len, pieces)) <= limit
    found = re.findall(r"w\d+", "\n".join(pieces))
    assert found == [f"w{n}" for n in range(count)]
    for piece in pieces:
        fences = re.findall(r"^(?:```|~~~)", piece, re.MULTILINE)
        assert len(fences) % 2 == 0 or "~~~" in fences


def test_short_texts_are_left_as_they_are() -> None:
    text = "# Title\n\n```py\nx = 1\n\n\ny = 2\n```\n\n| a |\n|---|\n| 1 |\n\n- one\n- two"
    assert split(text, 1_000) == [text]


def test_code_that_is_cut_is_closed_and_opened_again() -> None:
    pieces = split("Before\n\n```py\nalpha = 1\nbeta = 2\ngamma = 3\n```\nAfter", 32)
    assert pieces == ["Before", "```py\nalpha = 1\nbeta = 2\n```", "```py\ngamma = 3\n```\nAfter"]


def test_a_fence_that_is_never_closed_is_closed_where_it_is_cut() -> None:
    assert split("~~~\none two\nthree four", 16) == ["~~~\none two\n~~~", "~~~\nthree \n~~~", "~~~\nfour\n~~~"]


def test_a_table_that_is_cut_repeats_its_header() -> None:
    pieces = split("| a |\n|---|\n| 1 |\n| 2 |\n| 3 |\n\nAfter", 26)
    assert pieces == ["| a |\n|---|\n| 1 |\n| 2 |", "| a |\n|---|\n| 3 |\n\nAfter"]


def test_a_word_longer_than_a_message_is_cut() -> None:
    text = "x" * 5_000 + "<&>" * 2_000
    pieces = split(text, 1_000, size)
    assert "".join(pieces) == text
    assert max(map(size, pieces)) <= 1_000


@pytest.mark.parametrize(
    "text",
    ["word " * 2_500, "<&>" * 12_000, "😀" * 20_000, "```\n" + "a < b && c\n" * 3_000, "\n" * 50_000, ""],
    ids=["prose", "escapes", "emoji", "code", "blank", "empty"],
)
def test_every_part_is_within_slacks_limits_also_as_plain_text(text: str) -> None:
    citations = tuple(
        Citation(n, "T<&" * 400, f"https://x.example/{'p' * 300}?a=<b>|c&n={n}", n, "", n, "f", ("H" * 500,))
        for n in range(1, 21)
    )
    parts = answer_parts(Answer(uuid.uuid4(), Outcome.ANSWERED, text, citations), outsiders=False)
    for part in parts:
        assert refused({"text": part.text, "blocks": part.blocks}) is None
        assert refused({"text": part.plain}) is None


def citation(**changed: object) -> Citation:
    values = {"n": 1, "title": "Runbook", "url": None, "chunk_id": 1, "quote": "", "document_id": 1,
              "external_id": "guides/run.md", "heading_path": ("Runbook", "Deploy", "Roll back")}  # fmt: skip
    return Citation(**{**values, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({}, "[1] Runbook - Deploy &gt; Roll back (guides/run.md)"),
        ({"url": "file:///srv/guides/run.md"}, "[1] Runbook - Deploy &gt; Roll back (guides/run.md)"),
        ({"url": "javascript:alert(1)"}, "[1] Runbook - Deploy &gt; Roll back (guides/run.md)"),
        ({"url": "https://x.example/a b|c>"}, "<https://x.example/a%20b%7Cc%3E|[1] Runbook - Deploy &gt; Roll back>"),
        (
            {"title": "<!channel> <https://evil.example|x> @here", "heading_path": ()},
            "[1] &lt;\u200b!channel&gt; &lt;https://evil.example|x&gt; @\u200bhere (guides/run.md)",
        ),
        ({"title": "guides/run.md", "heading_path": ()}, "[1] guides/run.md"),
    ],
)
def test_a_source_is_named_and_linked_where_a_link_leads_somewhere(changed: dict[str, object], shown: str) -> None:
    [part] = answer_parts(Answer(uuid.uuid4(), Outcome.ANSWERED, "Yes [1].", (citation(**changed),)), False)
    assert part.blocks[1]["elements"][0]["text"] == shown


def test_code_that_only_looks_like_a_mention_is_left_alone() -> None:
    code = "<!DOCTYPE html> <!-- x --> #include <stdio.h> List<@NonNull T> a@b.example @Override"
    assert harmless(code) == code
