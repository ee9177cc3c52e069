"""The cost tables of infra/terraform/README.md: their arithmetic, and that they price what the sizes are."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "infra" / "terraform"
PAGE = (FOLDER / "README.md").read_text("utf-8")
TABLES = re.findall(r"\| a month, US dollars .*?(?:\n\n|\Z)", PAGE, re.S)


@pytest.mark.parametrize("table", TABLES)
def test_the_arithmetic_is_right(table: str) -> None:
    totals = [0.0, 0.0, 0.0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    for name, *cells in rows[:-1]:
        for i, cell in enumerate(cells):
            factors, result = cell.split(" = ")
            assert math.isclose(math.prod(map(float, factors.split(" × "))), float(result), abs_tol=0.0051), name
            totals[i] += float(result)
    assert [f"**{total:.2f}**" for total in totals] == rows[-1][1:]


def test_the_sums_are_told_where_costs_are_told() -> None:
    page = (FOLDER.parents[1] / "docs/costs.md").read_text("utf-8")
    for cloud, table in zip(("AWS", "Azure"), TABLES, strict=True):
        sums = re.findall(r"\*\*([\d.]+)\*\*", table.strip().splitlines()[-1])
        told = re.search(rf"(?m)^\| {cloud} \| (.+) \|$", page)
        assert told is not None
        assert told[1].split(" | ") == sums
    assert re.search(r"list prices .+ \d{1,2} \w+ 20\d\d", page)
    assert re.search(r"list prices .+\n?.*\d{1,2} \w+ 20\d\d", PAGE)


def test_there_is_one_for_each_cloud() -> None:
    assert len(TABLES) == 2
    for product, result in re.findall(r"((?:[\d.]+ × )+730) = (\d+\.\d\d)", PAGE):
        assert math.isclose(math.prod(map(float, product.split(" × "))), float(result), abs_tol=0.0051)


@pytest.mark.parametrize(("cloud", "table"), list(zip(["aws", "azure"], TABLES, strict=True)))
def test_what_is_priced_is_what_is_made(cloud: str, table: str) -> None:
    sizes = (FOLDER / cloud / "sizes.tf").read_text("utf-8")
    named = r'(?:node_types|node_size|database_class|database_sku|cache_type|queue_sku) += \[?"([\w.]+)"'
    wanted = [re.sub(r"^(B|MO|GP)_", "", kind) for kind in re.findall(named, sizes)]
    assert len(wanted) == 9
    for kind in wanted:
        assert kind in table, kind
    nodes = [int(n) for n in re.findall(r"nodes += \{ min = (\d+)", sizes)]
    row = next(line for line in table.splitlines() if line.startswith("| nodes:"))
    assert [int(n) for n in re.findall(r"\| (\d+) ×", row)] == nodes
