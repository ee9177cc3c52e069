"""Filters in a question: what is one and what is not, what it means in SQL, and what people read when it is wrong."""

from __future__ import annotations

import random
from datetime import date
from functools import reduce
from operator import or_

import pytest

from assistant.knowledge.filters import NO_FILTERS, FilterError, Filters, from_arguments, parse
from assistant.strings import LANGUAGES

TODAY = date(2026, 3, 31)


@pytest.mark.parametrize(
    ("text", "rest", "filters"),
    [
        ("source:runbooks how do I deploy?", "how do I deploy?", Filters(sources=("runbooks",))),
        ("how source:runbooks, source:wiki do I", "how do I", Filters(sources=("runbooks", "wiki"))),
        ("deploy Source:a,b -source:c", "deploy", Filters(sources=("a", "b"), not_sources=("c",))),
        ('x title:"roll back" author:“Ann Lee”', "x", Filters(titles=("roll back",), authors=("Ann Lee",))),
        ("x title:«mise en prod» -title:'old page'", "x", Filters(titles=("mise en prod",), not_titles=("old page",))),
        ("x author:@ann.", "x", Filters(authors=("ann",))),
        ("x after:2026-05 before:2026", "x", Filters(after=date(2026, 5, 1), before=date(2026, 1, 1))),
        ("x after:01.05.2026", "x", Filters(after=date(2026, 5, 1))),
        ("x after:2026-06 after:2026-05-02", "x", Filters(after=date(2026, 5, 2))),
        ("x -after:2026-05", "x", Filters(before=date(2026, 5, 1))),
        ("x after:7d", "x", Filters(after=date(2026, 3, 24))),
        ('x after:"last week"', "x", Filters(after=date(2026, 3, 24))),
        ('x after:"letzte Woche"', "x", Filters(after=date(2026, 3, 24))),
        ('x after:"il y a 2 semaines"', "x", Filters(after=date(2026, 3, 17))),
        ("x after:1m", "x", Filters(after=date(2026, 2, 28))),
        ("x before:1y", "x", Filters(before=date(2025, 3, 31))),
        ("x after:today", "x", Filters(after=TODAY)),
        ("source:https://example.com/a?b=1 x", "x", Filters(sources=("https://example.com/a?b=1",))),
        ("x source:/srv/handbook", "x", Filters(sources=("/srv/handbook",))),
        ("line one\nsource:a\n    code  here", "line one\n\n    code  here", Filters(sources=("a",))),
    ],
)
def test_filters_are_taken_out_of_the_text(text: str, rest: str, filters: Filters) -> None:
    assert parse(text, TODAY) == (rest, filters)


@pytest.mark.parametrize(
    "text",
    [
        "error: foo", "what does error:foo mean", "see https://example.com/a:b", "standup at time: 5pm", "at 17:30",
        "title: see below", "source : x", "source:", 'title:"', 'title:"unclosed words', "source:: x", "std::source:x",
        "data-source:x", "resource:x", "what is `source:runbooks`?", "```\nafter:soon\n```", "`a title:x b`", "source://x",
        "author:@", "after:,", "owner:ann", "  spaces   stay  ", "C:\\title:x", '"source:x"', "(title:x)", "",
    ],
)  # fmt: skip
def test_what_is_no_filter_stays_as_it_is(text: str) -> None:
    assert parse(text, TODAY) == (text, NO_FILTERS)


VALUES = [
    "runbooks",
    "roll back",
    "Ann Lee",
    "a:b",
    "https://example.com/x",
    "owner/name",
    "C++",
    "ü-wiki",
    "50% (old)",
]
PLAIN = "how do I error: foo https://x.org/a:b `source:no` time: 5pm title: x 17:30 unknown:thing -flag".split(" ")


def random_filters(random_: random.Random) -> Filters:
    def some() -> tuple[str, ...]:
        return tuple(random_.sample(VALUES, random_.choice((0, 0, 1, 2))))

    def day() -> date | None:
        return random_.choice((None, date(random_.randint(1990, 2030), random_.randint(1, 12), random_.randint(1, 28))))

    return Filters(some(), some(), some(), day(), day(), some(), some(), some())


@pytest.mark.parametrize("seed", range(200))
def test_what_is_written_is_read_wherever_it_stands(seed: int) -> None:
    random_ = random.Random(seed)
    filters = random_filters(random_)
    words = [random_.choice(PLAIN) for _ in range(random_.randint(0, 12))]
    split = random_.randint(0, len(words))
    before, after = " ".join(words[:split]), " ".join(words[split:])
    rest, found = parse(f"{before} {filters.text()} {after}", TODAY)
    assert found == filters
    assert rest.split() == words
    assert parse(rest, TODAY) == (rest, NO_FILTERS)


@pytest.mark.parametrize("seed", range(300))
def test_any_text_is_read_or_refused_in_one_sentence(seed: int) -> None:
    random_ = random.Random(seed)
    names = ["source:", "title:", "after:", "-before:", "author:"]
    pieces = [*names, *"\"“”«'` \n,:aé@-\\%", "2026-13", "7d", "last week"]
    text = "".join(random_.choice(pieces) for _ in range(random_.randint(0, 30)))
    try:
        rest, filters = parse(text, TODAY)
    except FilterError as error:
        assert len({error.sentence(language) for language in LANGUAGES}) == len(LANGUAGES)  # noqa: PT017
        return
    assert parse(f"x {filters.text()}", TODAY)[1] == filters
    assert rest == text if not filters else len(rest) < len(text)


@pytest.mark.parametrize("seed", range(50))
def test_filters_of_several_places_are_as_those_of_one(seed: int) -> None:
    random_ = random.Random(seed)
    several = [random_filters(random_) for _ in range(3)]
    joined = reduce(or_, several)
    assert parse("x " + " ".join(each.text() for each in several), TODAY)[1] == joined
    assert joined | joined == joined
    assert joined | NO_FILTERS == joined


@pytest.mark.parametrize("value", ["soon", "2026-13", "2026-02-30", "99999y", "0", "7", "-7d", "7x", "tomorrow-ish"])
@pytest.mark.parametrize("name", ["after", "before", "-after"])
def test_a_bad_date_is_one_sentence_that_names_the_filter_and_what_it_takes(name: str, value: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(f"x {name}:{value}", TODAY)
    assert f"`{name.lstrip('-')}:{value}`" in str(caught.value)
    assert "2026-05-01" in str(caught.value)
    assert "Datum" in caught.value.sentence("de")
    assert "date" in caught.value.sentence("fr")
    assert "fecha" in caught.value.sentence("es")


def test_too_many_and_too_long_values_are_refused() -> None:
    with pytest.raises(FilterError, match="10 values"):
        parse(" ".join(f"source:s{n}" for n in range(11)))
    with pytest.raises(FilterError, match="200 characters"):
        parse(f"x title:{'a' * 201}")


def test_arguments_mean_what_filters_in_the_text_mean() -> None:
    given = {"source": ["a", "b"], "title": ["roll back"], "after": ["2026-05"], "k": ["3"], "-source": ["c"]}
    text = 'source:a source:b title:"roll back" after:2026-05'
    assert from_arguments(given) == parse(text)[1]
    with pytest.raises(FilterError, match="`source:` has no value"):
        from_arguments({"source": [" "]})


def test_active_filters_are_said_in_few_words() -> None:
    _, filters = parse("x source:a source:b after:2026-05 -title:draft")
    assert filters.described("en") == "source a or b, not title draft, after 2026-05-01"
    assert filters.described("de") == "Quelle a oder b, nicht Titel draft, ab 2026-05-01"
