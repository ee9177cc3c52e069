"""Slack's markup in, messages within Slack's limits out."""

from __future__ import annotations

import random
import re
import uuid
from datetime import date

import pytest

from assistant.answering.messages import Answer, Citation
from assistant.answering.outcomes import Outcome
from bot.slack.clean import Cleaner, harmless, size
from bot.slack.events import plain
from bot.slack.pages import Pager, pages
from bot.slack.render import Look, answer_parts
from bot.slack.sources import age, source_line
from tests.slack.limits import refused, tables_fit


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


class Written:
    """Random documents; every word is unique, so the order of words proves that all arrived."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.count = 0
        lines: list[str] = []
        for _ in range(60):
            lines += self._block(self.chance.choice(["text", "text", "code", "table", "link", "long", "wide"]))
            lines += [""] * self.chance.randint(0, 3)
        if self.chance.random() < 0.5:
            lines += ["~~~", self._words(200)]
        self.text = "\n".join(lines)

    def _words(self, number: int) -> str:
        self.count += number
        return " ".join(f"w{n}" for n in range(self.count - number, self.count))

    def _block(self, kind: str) -> list[str]:
        many = self.chance.randint
        if kind == "code":
            return ["```py", *(self._words(3) for _ in range(many(1, 30))), "```"]
        if kind == "table":
            rows = (f"| {self._words(1)} | {self._words(2)} |" for _ in range(many(1, 130)))
            return ["| a | b |", "|---|---|", *rows]
        if kind == "wide":
            rows = ("|" + "|".join(self._words(1) for _ in range(25)) + "|" for _ in range(3))
            return ["|" + "a|" * 25, "|" + "---|" * 25, *rows]
        if kind == "link":
            link = f"[{self._words(3)}](https://x.example/{self._words(1)})"
            return [f"see {link} and `{self._words(2)} <!here>` <@U123> {self._words(2)} <!channel>"]
        return [self._words(many(100, 400) if kind == "long" else many(1, 30))]


@pytest.mark.parametrize("seed", range(25))
def test_pages_lose_nothing_and_fit(seed: int) -> None:
    written = Written(seed)
    limit = written.chance.choice([400, 900, 3_000, 11_000])
    made = pages(harmless(written.text), limit)
    assert max(map(size, made)) <= limit
    assert re.findall(r"w\d+", "\n".join(made)) == [f"w{n}" for n in range(written.count)]
    for page in made:
        assert len(re.findall(r"^(?:```|~~~)", page, re.MULTILINE)) % 2 == 0
        assert tables_fit(page)
        assert not re.search(r"<[!@]", page)


@pytest.mark.parametrize("seed", range(25))
def test_a_text_that_arrives_in_pieces_makes_the_same_pages_and_each_only_grows(seed: int) -> None:
    written = Written(1_000 + seed)
    limit = written.chance.choice([400, 900, 3_000, 11_000])
    cleaner, pager = Cleaner(), Pager(limit)
    position, before = 0, list[str]()
    while position < len(written.text):
        step = written.chance.choice([1, 3, 7, 40, 300])
        pager.feed(cleaner.feed(written.text[position : position + step]))
        position += step
        now = pager.pages
        assert now[: len(before) - 1] == before[:-1]
        assert not before or now[len(before) - 1].startswith(before[-1])
        before = now
    pager.feed(cleaner.finish())
    pager.finish()
    assert pager.pages == pages(harmless(written.text), limit)


def test_short_texts_are_left_as_they_are() -> None:
    text = "# Title\n\n```py\nx = 1\n\n\ny = 2\n```\n\n| a |\n|---|\n| 1 |\n\n- one\n- two"
    assert pages(text, 1_000) == [text]


def test_code_that_is_cut_is_closed_and_opened_again() -> None:
    made = pages("Before\n\n```py\nalpha = 1\nbeta = 2\ngamma = 3\n```\nAfter", 40)
    assert made == ["Before\n\n```py\nalpha = 1\nbeta = 2\n```", "```py\ngamma = 3\n```\nAfter"]


def test_a_fence_that_is_never_closed_is_closed() -> None:
    assert pages("~~~\none two\nthree", 100) == ["~~~\none two\nthree\n~~~"]


def test_a_table_that_is_cut_repeats_its_header() -> None:
    made = pages("| a |\n|---|\n| 1 |\n| 2 |\n| 3 |\n\nAfter", 26)
    assert made == ["| a |\n|---|\n| 1 |\n| 2 |", "| a |\n|---|\n| 3 |\n\nAfter"]


def test_each_message_holds_one_table_of_a_hundred_rows_and_a_wide_one_is_code() -> None:
    table = "\n".join(["| n |", "|---|", *(f"| {n} |" for n in range(150))])
    wide = "\n".join(["|" + "c|" * 21, "|" + "-|" * 21, "|" + "x|" * 21])
    made = pages(f"{table}\n\nThen:\n\n{table}\n\n{wide}\n\nEnd")
    assert [page.count("|---|") for page in made] == [1, 1, 1, 1]
    assert made[-1].endswith("\n\n```\n" + wide + "\n```\n\nEnd")
    assert re.findall(r"^\| (\d+) \|$", "\n".join(made), re.MULTILINE) == [str(n) for n in range(150)] * 2


def test_a_word_longer_than_a_message_is_cut() -> None:
    text = "x" * 5_000 + "<&>" * 2_000
    made = pages(text, 1_000)
    assert "".join(made) == text
    assert max(map(size, made)) <= 1_000


@pytest.mark.parametrize(
    "text",
    ["word " * 2_500, "<&>" * 12_000, "😀" * 20_000, "```\n" + "a < b && c\n" * 3_000, "\n" * 50_000, ""],
    ids=["prose", "escapes", "emoji", "code", "blank", "empty"],
)
@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_every_part_is_within_slacks_limits_also_as_plain_text(text: str, language: str) -> None:
    citations = tuple(
        Citation(n, "T<&" * 400, f"https://x.example/{'p' * 300}?a=<b>|c&n={n}", n, "", n, "f", ("H" * 500,),
                 owner="O&" * 200, updated="2026-01-01")
        for n in range(1, 21)
    )  # fmt: skip
    answer = Answer(uuid.uuid4(), Outcome.ANSWERED, text, citations, private=True, language=language)
    files = [(f"F{n}", "name " * 30) for n in range(9)]
    for look in (Look(files=files), Look(ephemeral=True), Look(sources=False)):
        for part in answer_parts(answer, look):
            assert refused({"text": part.text, "blocks": part.blocks}) is None
            assert refused({"text": part.plain}) is None


def citation(**changed: object) -> Citation:
    values = {"n": 1, "title": "Runbook", "url": None, "chunk_id": 1, "quote": "", "document_id": 1,
              "external_id": "guides/run.md", "heading_path": ("Runbook", "Deploy", "Roll back")}  # fmt: skip
    return Citation(**{**values, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({}, "[1] Runbook › Deploy › Roll back (guides/run.md)"),
        ({"url": "file:///srv/guides/run.md"}, "[1] Runbook › Deploy › Roll back (guides/run.md)"),
        ({"url": "javascript:alert(1)"}, "[1] Runbook › Deploy › Roll back (guides/run.md)"),
        ({"url": "https://x.example/a b|c>"}, "<https://x.example/a%20b%7Cc%3E|[1] Runbook › Deploy › Roll back>"),
        (
            {"title": "https://bank.example/login", "url": "https://evil.example", "heading_path": ()},
            "[1] https://bank.example/login <https://evil.example>",
        ),
        (
            {"title": "<!channel> <https://evil.example|x> @here", "heading_path": ()},
            "[1] &lt;\u200b!channel&gt; &lt;https://evil.example|x&gt; @\u200bhere (guides/run.md)",
        ),
        ({"title": "guides/run.md", "heading_path": ()}, "[1] guides/run.md"),
        (
            {"owner": "ops & <@U0BEN>", "updated": "2026-03-01", "indexed": "2026-03-29T10:00:00+00:00", "page": 3,
             "sensitivity": "Confidential"},
            "[1] Runbook › Deploy › Roll back (guides/run.md) · page 3 · ops &amp; &lt;\u200b@U0BEN&gt; · "
            "updated 4 weeks ago · Confidential",
        ),
        (
            {"indexed": "2026-03-28T10:00:00+00:00"},
            "[1] Runbook › Deploy › Roll back (guides/run.md) · read yesterday",
        ),
        ({"updated": "last week", "indexed": None}, "[1] Runbook › Deploy › Roll back (guides/run.md)"),
    ],
)  # fmt: skip
def test_a_source_is_named_with_place_owner_and_age_and_linked_where_a_link_leads_somewhere(
    changed: dict[str, object], shown: str
) -> None:
    assert source_line(citation(**changed), "[1] ", "en", date(2026, 3, 29)) == shown


@pytest.mark.parametrize(
    ("day", "english", "german"),
    [
        (date(2026, 3, 29), "today", "heute"),
        (date(2026, 3, 28), "yesterday", "gestern"),
        (date(2026, 3, 20), "9 days ago", "vor 9 Tagen"),
        (date(2026, 3, 1), "4 weeks ago", "vor 4 Wochen"),
        (date(2025, 9, 1), "6 months ago", "vor 6 Monaten"),
        (date(2020, 1, 1), "6 years ago", "vor 6 Jahren"),
        (date(2027, 1, 1), "today", "heute"),
    ],
)
def test_age_is_said_in_words(day: date, english: str, german: str) -> None:
    assert age(day, "en", date(2026, 3, 29)) == english
    assert age(day, "de", date(2026, 3, 29)) == german


def test_code_that_only_looks_like_a_mention_is_left_alone() -> None:
    code = "<!DOCTYPE html> <!-- x --> #include <stdio.h> List<@NonNull T> a@b.example @Override"
    assert harmless(code) == code


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[https://bank.example](https://evil.example)", "https://bank.example (https://evil.example)"),
        ("[Sign in at bank.example](https://evil.example/x)", "Sign in at bank.example (https://evil.example/x)"),
        ("[**bank.example**](https://evil.example)", "**bank.example** (https://evil.example)"),
        ("[ｂank.example](https://evil.example)", "ｂank.example (https://evil.example)"),
        ("[b\u200bank.example](https://evil.example)", "b\u200bank.example (https://evil.example)"),
        ("<https://evil.example|bank.example>", "bank.example (https://evil.example)"),
        ("![bank.example](https://evil.example/a.png)", "bank.example (https://evil.example/a.png)"),
        ("[bank.example](https://www.bank.example/deep)", "[bank.example](https://www.bank.example/deep)"),
        ("[rollback.md](https://docs.example/a/rollback.md)", "[rollback.md](https://docs.example/a/rollback.md)"),
        ("[the page](https://x.example/a_(b))", "[the page](https://x.example/a_(b))"),
        ("![a picture](https://x.example/a.png)", "[a picture](https://x.example/a.png)"),
        ("[here](javascript:alert)", "here"),
        ("[1]: https://evil.example", "\\[1]: https://evil.example"),
        ("so it is [1][2].", "so it is [1][2]."),
        ("`[bank.example](https://evil.example)`", "`[bank.example](https://evil.example)`"),
        ("<https://x.example>", "<https://x.example>"),
    ],
)
def test_a_link_that_lies_about_its_target_shows_the_target(written: str, shown: str) -> None:
    assert harmless(written) == shown
    cleaner = Cleaner()
    assert "".join(map(cleaner.feed, written)) + cleaner.finish() == shown
