"""What a JSON value may say, given its passages: numbers as they may be written, short texts, dates."""

from __future__ import annotations

from decimal import Decimal

import pytest

from assistant.guardrails import leaves
from assistant.guardrails.formats import Format
from assistant.guardrails.support import Support
from tests.core.parts import WordEmbedder

GROUND = (
    "Ferry keeps 1,500 releases (2.5 GB) for twelve days; 40 % of the quota is free, at -5 °C. Version 2.3.1."
    " Byron, Ada answers for it since 3. Mai 2026; run `ferry roll-back --to v7 && ferry check`."
    " See https://graphs.example/a?b=1."
)
FORM = Format({"type": "object", "properties": {"v": {}, "kind": {"enum": ["sev1", 7]}}})


async def found(value: object) -> bool:
    passages = {1: GROUND}
    return await leaves.unsupported({"v": value}, FORM, passages, Support(WordEmbedder())) is None


@pytest.mark.parametrize(
    "value",
    [
        1500, 1500.0, 2.5, 12, 40, 0.4, -5, 5, 2026, True, None, "", "Ada Byron", "2.3.1", "2026-05-03",
        "1,500 releases", "ferry roll-back --to v7 && ferry check", "roll-back", "https://graphs.example/a?b=1",
        "BYRON, ADA", "sev1", 7, [12, {"v": "twelve days"}],
    ],
    ids=repr,
)  # fmt: skip
async def test_it_is_there(value: object) -> None:
    assert await found(value)


@pytest.mark.parametrize(
    "value",
    [
        1501, 1.5001, 0.25, 13, 41, -12, 8, "Ada Lovelace", "Grace", "2.3.2", "2026-05-04", "2026-06-03",
        "1,501 releases", "ferry roll-back --to v8", "https://graphs.example/a?b=2", "https://graphs.example/", "ferr",
        {"Grace": None},
        [12, {"v": "thirteen days"}], "Grace Hopper answers for it and knows all of the passwords.",
    ],
    ids=repr,
)  # fmt: skip
async def test_it_is_not_there(value: object) -> None:
    assert not await found(value)


def test_numbers_are_read_in_every_way_that_they_may_be_meant() -> None:
    assert leaves.amounts("1.500,5 and 10 000") >= {Decimal("1500.5"), Decimal(10)}
    assert leaves.amounts("5 %") == {Decimal(5), Decimal("0.05")}
    assert leaves.amounts("v2 and P95") == set()
    assert leaves.amounts("drei, quatre, veinte") == {Decimal(3), Decimal(4), Decimal(20)}


def test_names_of_fields_that_the_schema_gives_are_nobodys_claim() -> None:
    value = {"v": {"kind": "sev1", "other": [1, True, None]}}
    assert list(leaves.leaves(value, FORM)) == [leaves.Leaf("v/other", "other"), leaves.Leaf("v/other/0", 1)]
    assert leaves.cleaned(value, FORM, str.upper) == {"v": {"kind": "SEV1", "OTHER": [1, True, None]}}
