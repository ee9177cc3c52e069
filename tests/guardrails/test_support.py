"""A sentence stands only where what it cites says it."""

from __future__ import annotations

import pytest

from assistant.guardrails.support import Sentence, Support, denies, objection, without
from assistant.knowledge.embedding import TransformerEmbedder

PASSAGE = (
    "Rolling back\nTo roll back a service, run `ferry rollback parcel-tracker` on the bastion. "
    "Logs are kept for 30 days. Deployments must not be made on Fridays. Maria owns the payments service."
)
OTHER = "Holidays\nEverybody has 28 days of holiday a year. Ask Peter before you book."


@pytest.mark.parametrize(
    "claim",
    [
        "Logs are kept for 30 days.",
        "Run `ferry rollback parcel-tracker` on the bastion to roll back a service.",
        "The logs stay for 30 days.",
        "You must not deploy on a Friday.",
        "The payments service is owned by Maria.",
    ],
)
async def test_what_the_passage_says_is_supported(embedder: TransformerEmbedder, claim: str) -> None:
    [(score, against)] = await Support(embedder).judge([(claim, PASSAGE)])
    assert against == "", (score, against)


@pytest.mark.parametrize(
    ("claim", "why"),
    [
        ("Logs are kept for 90 days.", "another number"),
        ("Run `ferry restart parcel-tracker` on the bastion.", "not there"),
        ("To roll back, ask Peter on the bastion.", "not there"),
        ("Logs are not kept for 30 days.", "opposite"),
        ("The moon is made of green cheese, as everybody knows.", "not in the passage"),
        ("Everybody has 28 days of holiday a year.", "another number"),
    ],
)
async def test_what_it_does_not_say_is_not(embedder: TransformerEmbedder, claim: str, why: str) -> None:
    [(_, against)] = await Support(embedder).judge([(claim, PASSAGE)])
    assert why in against


async def test_an_answer_keeps_what_is_supported(embedder: TransformerEmbedder) -> None:
    answer = (
        "Logs are kept for 30 days [1]. They are stored in Oslo [1]. Everybody has 28 days of holiday a year [2].\n\n"
        "To roll back:\n\n- Run `ferry rollback parcel-tracker` [1].\n- Then run `ferry destroy` [1].\n"
    )
    checked = await Support(embedder).check(answer, {1: PASSAGE, 2: OTHER})
    assert checked.text == (
        "Logs are kept for 30 days [1]. Everybody has 28 days of holiday a year [2].\n\n"
        "To roll back:\n\n- Run `ferry rollback parcel-tracker` [1]."
    )
    assert (len(checked.dropped), checked.kept) == (2, 3)


async def test_a_sentence_is_checked_against_what_it_cites_alone(embedder: TransformerEmbedder) -> None:
    checked = await Support(embedder).check("Everybody has 28 days of holiday a year [1].", {1: PASSAGE, 2: OTHER})
    assert (checked.text, checked.kept) == ("", 0)
    uncited = await Support(embedder).check("Everybody has 28 days of holiday a year.", {1: PASSAGE, 2: OTHER})
    assert uncited.dropped == ()


async def test_code_and_headings_are_let_through(embedder: TransformerEmbedder) -> None:
    answer = "# Steps\n\n```\nferry rollback x\n```"
    assert (await Support(embedder).check(answer, {1: PASSAGE})).text == answer


def test_nothing_dropped_is_nothing_changed() -> None:
    text = "  A [1].\n\n\n\nB  "
    assert without(text, []) == text
    assert without("A. B. C.", [Sentence(3, 5, (), 0.0, "x")]) == "A. C."


def test_two_denials_are_none() -> None:
    assert denies("It is not there")
    assert not denies("It is not impossible without it")
    assert denies("You can't")
    assert not denies("You can do it")


def test_no_passage_is_an_objection() -> None:
    assert objection("Logs are kept.", " ")
