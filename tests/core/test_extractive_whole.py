"""What is selected of a passage stands on its own: whole procedures, what a colon announces, lists kept apart."""

from __future__ import annotations

from collections.abc import Collection

from assistant.knowledge.search import Hit
from assistant.knowledge.sentences import split_units
from assistant.models.extractive import Candidate, compose, select

ROLLBACK = """\
The ledger needs more care:

1. Pause settlement.
2. Check that no file is being written:

```sh
tb ledger settle --status
```

3. Roll back.
4. Run the balance check.

If step 4 prints anything else, declare a SEV1."""
EXCEPTIONS = """\
Nobody needs to approve a roll-back, with two exceptions:

- the ledger, where a second engineer confirms
- a security fix, where the duty officer is asked"""
LIMITS = "| Service | Kept for |\n|---|---|\n| ledger | 45 minutes |\n| console | 7 days |"
USUAL = """\
```sh
ferry rollback parcel-tracker
```

This returns production to the version before. To go further back, name the version:

```sh
ferry rollback parcel-tracker --to 4
```"""


def hit(text: str, *headings: str) -> Hit:
    return Hit(1, 1, "a.md", "Rolling back", None, text, headings, None, None, 0, 1.0, 1.0, 1, 1, 1.0)


def answered(best: Collection[str], *hits: Hit) -> str:
    """The answer when the units that hold one of these words score best, and the others nothing."""
    candidates = []
    for passage, found in enumerate(hits):
        for place, unit in enumerate(split_units(found.text)):
            score = 1.0 - passage / 10 if any(word in unit.text for word in best) else 0.0
            source = found.text[unit.start : unit.end]
            if unit.kind != "heading":
                candidates.append(Candidate(passage, place, unit, source, score, 0.0, True, score))
    return "".join(compose(select(candidates), hits))


def test_no_step_of_a_procedure_is_left_out() -> None:
    text = answered(["balance check"], hit(ROLLBACK))
    assert text == (
        "The ledger needs more care: [1]\n\n1. Pause settlement. [1]\n2. Check that no file is being written: [1]\n\n"
        "```sh\ntb ledger settle --status\n```\n[1]\n\n3. Roll back. [1]\n4. Run the balance check. [1]"
    )


def test_what_a_colon_announces_follows_it() -> None:
    assert answered(["second engineer"], hit(EXCEPTIONS)).count("\n- ") == 2
    assert "--to 4" in answered(["further back"], hit(USUAL))


def test_a_list_that_is_long_is_not_added_whole() -> None:
    items = "\n".join(f"- the service number {number}, which has a long name" for number in range(30))
    assert answered(["number 7,"], hit(f"These are exempt:\n\n{items}")).count("\n- ") == 1


def test_code_stands_before_the_sentence_on_it() -> None:
    assert answered(["returns production"], hit(USUAL)) == (
        "```sh\nferry rollback parcel-tracker\n```\n[1]\n\nThis returns production to the version before. [1]"
    )


def test_the_rows_of_another_passage_are_not_the_list_s() -> None:
    text = answered(["second engineer", "45 minutes"], hit(EXCEPTIONS), hit(LIMITS, "How long you have"))
    assert text.endswith("is asked [1]\n\n**How long you have** [2]\n\n- Service: ledger; Kept for: 45 minutes [2]")
