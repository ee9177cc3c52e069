"""``[n]`` markers: the same in the stream and in the final text, tied to words that stand in their passage."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from assistant.answering.citations import (
    QUOTE_CHARACTERS,
    Renumbering,
    attribute,
    cite,
    drawn_in,
    quote,
    renumber,
    without_dead,
)
from tests.core.parts import hit

WHOLE = [
    ("Run it [3]. Then wait [1]; again [3].", "Run it [1]. Then wait [2]; again [1].", [3, 1]),
    ("Both say so [1, 2].", "Both say so [1][2].", [1, 2]),
    ("Both say so [2,1,2].", "Both say so [1][2].", [2, 1]),
    ("So it is【1】.", "So it is[1].", [1]),
    ("A source of its own [7], and none [0].", "A source of its own , and none .", []),
    ("One known [9, 2].", "One known [1].", [2]),
    ("See [1](https://x) and [2].", "See [1](https://x) and [1].", [2]),
    ("Use `rows[1]` here [2].", "Use `rows[1]` here [1].", [2]),
    ("```py\nrows[1] = rows[2]\n```\nas shown [2].", "```py\nrows[1] = rows[2]\n```\nas shown [1].", [2]),
    ("```\nrows[3]\n", "```\nrows[3]\n", []),
    ("A lone ` and [2] then [1].", "A lone ` and [1] then [2].", [2, 1]),
    ("A lone ` ends\nwith its line [3] `x[1]`.", "A lone ` ends\nwith its line [1] `x[1]`.", [3]),
    ("Footnote [^1] and [x] and [12 34] and [", "Footnote [^1] and [x] and [12 34] and [", []),
    ("End [2", "End [2", []),
    ("[1][2][3]", "[1][2][3]", [1, 2, 3]),
    ("[3] [2]\n\n[1]", "[1] [2]\n\n[3]", [3, 2, 1]),
    ("Array [1, 2, 3, 1, 2, 3, 1, 2].", "Array [1][2][3].", [1, 2, 3]),
]


@pytest.mark.parametrize(("raw", "shown", "order"), WHOLE, ids=[raw[:24] for raw, _, _ in WHOLE])
def test_the_whole_text_is_renumbered_by_first_appearance(raw: str, shown: str, order: list[int]) -> None:
    assert renumber(raw, 3) == (shown, order)


def streamed(raw: str, cuts: list[int], passages: int = 3) -> tuple[str, list[int]]:
    numbering = Renumbering(passages)
    shown = "".join(numbering.feed(raw[start:end]) for start, end in pairwise([0, *cuts, len(raw)]))
    return shown + numbering.finish(), numbering.order


TICKS = "``x[1]`` and ````y[1]```` z [2]"


@pytest.mark.parametrize("raw", [*(raw for raw, _, _ in WHOLE), TICKS], ids=lambda raw: raw[:24])
def test_text_in_pieces_shows_what_the_whole_shows(raw: str) -> None:
    whole = renumber(raw, 3)
    random_ = random.Random(raw)
    places = range(1, len(raw))
    every_two_cuts = [[a, b] for a in places for b in places if a <= b]
    assert streamed(raw, list(places)) == whole  # a character at a time
    for cuts in every_two_cuts:
        assert streamed(raw, cuts) == whole, cuts
    for _ in range(50):
        cuts = sorted(random_.sample(places, random_.randint(1, len(raw) - 1)))
        assert streamed(raw, cuts) == whole, cuts


def test_text_is_not_held_back_without_need() -> None:
    numbering = Renumbering(3)
    assert numbering.feed("Run the command ") == "Run the command "
    assert numbering.feed("now [") == "now "
    assert numbering.feed("2]. Then") == "[1]. Then"


def test_a_stray_bracket_or_tick_does_not_stop_the_stream() -> None:
    numbering = Renumbering(3)
    shown = numbering.feed("[" + "1" * 40 + " goes on. ") + numbering.feed("A ` tick.\nThe next line is shown.")
    assert shown.endswith("The next line is shown.")


PASSAGES = [
    hit(1, "The ledger keeps invoices for seven years. Refunds need a second approver.", "Retention"),
    hit(2, "```sh\nferry rollback parcel-tracker\n```\n\nProduction returns to the version before.", "Rolling back"),
    hit(3, "## Owners\n\n- Mia owns the ledger service.\n- Tom owns the search service.", "Owners"),
]


def test_a_sentence_that_cites_nothing_gets_its_passage() -> None:
    text = "The ledger keeps its invoices for seven years. It is sunny in Lisbon and Porto today."
    marked = attribute(text, PASSAGES)
    assert marked == "The ledger keeps its invoices for seven years. [1] It is sunny in Lisbon and Porto today."


def test_what_cites_already_and_what_is_code_stays() -> None:
    text = "The ledger keeps invoices for seven years [2].\n\n```\nledger keeps invoices seven years\n```"
    assert attribute(text, PASSAGES) == text
    assert attribute("Mia owns the ledger service.", []) == "Mia owns the ledger service."


def test_every_quote_stands_in_its_passage() -> None:
    shown = "Mia owns the ledger [1]. Invoices are kept seven years [2]. Roll back with ferry rollback [3]."
    citations = cite(shown, [3, 1, 2], PASSAGES, {})
    assert [item.n for item in citations] == [1, 2, 3]
    assert [item.chunk_id for item in citations] == [3, 1, 2]
    assert [item.quote for item in citations[:2]] == [
        "- Mia owns the ledger service.",
        "The ledger keeps invoices for seven years.",
    ]
    assert "ferry rollback parcel-tracker" in citations[2].quote
    for item in citations:
        assert item.quote in PASSAGES[item.chunk_id - 1].text


def test_the_quote_of_the_model_goes_first_and_a_long_one_is_cut() -> None:
    [item] = cite("So [1].", [2], PASSAGES, {2: "Production returns to the version before."})
    assert item.quote == "Production returns to the version before."
    long = hit(1, "word " * 500)
    assert len(quote(long, "word")) == QUOTE_CHARACTERS
    assert quote(hit(1, "# Only a heading"), "x") in "# Only a heading"


def test_dead_chunks_leave_and_the_numbers_close() -> None:
    shown = "A [1]. B [2][3]. C `x[2]` [3](https://x) [3]."
    citations = cite(shown, [1, 2, 3], PASSAGES, {})
    text, kept = without_dead(shown, citations, {1, 3})
    assert text == "A [1]. B [2]. C `x[2]` [3](https://x) [2]."
    assert [(item.n, item.chunk_id) for item in kept] == [(1, 1), (2, 3)]
    assert without_dead(shown, citations, {1, 2, 3}) == (shown, citations)
    assert without_dead("A [1].", citations[:1], set()) == ("A .", ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is so. [1] And so. [2][3]", "It is so [1]. And so [2][3]."),
        ("It is so.[1] And so![2]", "It is so [1]. And so [2]!"),
        ("It is so [1]. And so [2].", "It is so [1]. And so [2]."),
        ("See v1.2 [1] and e.g. `a.[1]`.", "See v1.2 [1] and e.g. `a.[1]`."),
        ("Look here.[1](https://example.com)", "Look here.[1](https://example.com)"),
        ("```\nx. [1]\n```\n[1]", "```\nx. [1]\n```\n[1]"),
    ],
)
def test_numbers_behind_a_sentence_are_drawn_into_it(text: str, expected: str) -> None:
    assert drawn_in(text) == expected
    assert drawn_in(expected) == expected
