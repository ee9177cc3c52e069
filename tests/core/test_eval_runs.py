"""Runs of evaluations: their values and intervals, what is lost between two of them, how they are kept and drawn."""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sqlalchemy import text

from assistant.database import evaluations
from assistant.database.session import Sessions
from assistant.errors import AlmanacError, NotFound
from assistant.evaluation import answers, html, judge, plots, safety, tools
from assistant.evaluation.comparing import NotComparable, compare, losses, read_baseline
from assistant.evaluation.results import (
    CaseResult,
    Measured,
    Metric,
    Skipped,
    cases_of,
    difference,
    metrics_of,
    ratio,
    run_json,
    summary,
    yes_no,
)
from tests.browser import FLAGS, browser_path

RIGHT = Metric("right", "Right ones")
FALSE = Metric("alarms", "False alarms", better="lower")
SECONDS = Metric("seconds", "Seconds", better="lower", gate=False, unit="seconds")
METRICS = (RIGHT, FALSE, SECONDS, Metric("never", "Nobody counts for it"))


def case(name: str, right: float, alarm: float = 0.0, seconds: float = 0.1, **detail: Any) -> CaseResult:
    counts = {"right": (right, 1.0), "alarms": (alarm, 1.0), "seconds": (seconds, 1.0)}
    return CaseResult(name, f"Question {name}", counts, {"said": f"said {name}", **detail})


def run(*cases: CaseResult, **changed: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "suite": "answers",
        "subject": "mine",
        "model": "fake",
        "metrics": METRICS,
        "cases": cases,
    }
    return run_json(Measured(**{**values, "cases": cases, **changed}))


# Values


def test_a_metric_is_the_ratio_of_two_sums() -> None:
    rows = [CaseResult("a", "a", {"p": (1, 2)}), CaseResult("b", "b", {"p": (4, 4)}), CaseResult("c", "c", {})]
    assert ratio(rows, "p") == pytest.approx(5 / 6)  # not the mean of 1/2 and 1
    assert ratio(rows, "q") is None
    assert ratio([CaseResult("a", "a", {"p": (0, 0)})], "p") is None
    found = summary(rows, [Metric("p", "P"), Metric("q", "Q")])
    assert list(found) == ["p"]
    assert found["p"].cases == 2
    assert found["p"].low <= found["p"].value <= found["p"].high


def test_intervals_are_those_of_the_binomial_and_the_same_every_time() -> None:
    coins = [CaseResult(str(n), "x", {"p": yes_no(n < 30)}) for n in range(100)]
    found = summary(coins, [Metric("p", "P")])["p"]
    # 2.5 % and 97.5 % quantiles of binomial(100, 0.3) / 100
    assert (found.low, found.high) == pytest.approx((0.21, 0.39), abs=0.0151)
    assert summary(coins, [Metric("p", "P")])["p"] == found


def test_a_steady_difference_is_sure_though_the_values_scatter() -> None:
    chosen = random.Random(3)
    before = [CaseResult(str(n), "x", {"p": (chosen.random(), 1)}) for n in range(200)]
    after = [CaseResult(one.id, "x", {"p": (one.counts["p"][0] + 0.02, 1)}) for one in before]
    found = difference(before, after, "p")
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.02, 0.02, 0.02))
    assert difference(before, after, "q") is None


# Two runs


def test_a_comparison_says_what_changed_case_by_case_the_worst_first() -> None:
    before = run(case("a", 1), case("b", 0), case("c", 1, alarm=0), case("gone", 1))
    after = run(case("a", 0.25), case("b", 1), case("c", 1, alarm=1), case("new", 0))
    found = compare(before, after)
    assert (found["shared_cases"], found["new_cases"], found["gone_cases"]) == (3, 1, 1)
    assert found["metrics"]["right"]["before"] == pytest.approx(2 / 3, abs=1e-5)  # on the shared cases
    assert found["metrics"]["right"]["after"] == pytest.approx(2.25 / 3, abs=1e-5)
    assert found["metrics"]["right"]["loss"] == pytest.approx(-0.25 / 3, abs=1e-5)
    assert found["metrics"]["alarms"]["loss"] == pytest.approx(1 / 3, abs=1e-5)
    changed = [(row["id"], row["metric"], row["before"], row["after"]) for row in found["cases"]]
    assert changed == [("c", "alarms", 0, 1), ("a", "right", 1, 0.25), ("b", "right", 0, 1)]
    assert found["cases"][0]["said_after"] == "said c"


def test_losses_name_the_metric_and_leave_out_what_is_no_gate() -> None:
    before = run(*(case(str(n), 1, seconds=0.1) for n in range(100)))
    after = run(*(case(str(n), float(n >= 3), alarm=float(n < 2), seconds=9.9) for n in range(100)))
    compared = compare(before, after)
    assert losses(compared, 0.05) == []
    assert losses(compared, 0.03) == []  # exactly what may be lost
    assert losses(compared, 0.02) == [
        "Right ones fell from 1.000 to 0.970, which is more than the 0.02 that may be lost."
    ]
    assert losses(compared, 0.0)[1].startswith("False alarms rose from 0.000 to 0.020")


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(NotComparable, match="A run of safety says nothing about one of answers"):
        compare(run(case("a", 1), suite="safety"), run(case("a", 1)))
    with pytest.raises(NotComparable, match="share no case"):
        compare(run(case("a", 1)), run(case("b", 1)))
    missing = compare(run(case("a", 1)), run(CaseResult("a", "a", {"seconds": (1, 1)})))
    assert missing["missing"] == ["right", "alarms"]


def test_a_file_of_a_run_is_a_baseline(tmp_path: Path) -> None:
    document = run(case("a", 1))
    one, several = tmp_path / "one.json", tmp_path / "several.json"
    one.write_text(json.dumps(document))
    several.write_text(json.dumps({"runs": [run(case("a", 1), suite="tools"), document]}))
    assert read_baseline(one, "answers") == json.loads(json.dumps(document)) == read_baseline(several, "answers")
    assert cases_of(document) == [case("a", 1)]
    assert metrics_of(document) == [RIGHT, FALSE, SECONDS]
    with pytest.raises(NotComparable, match="holds no run of safety"):
        read_baseline(several, "safety")
    one.write_text("{")
    with pytest.raises(NotComparable, match="is not JSON"):
        read_baseline(one, "answers")


# Kept


async def test_runs_are_kept_found_by_the_beginning_of_their_id_and_accepted(sessions: Sessions) -> None:
    first = run(case("b", 1), case("a", 0), skipped=[Skipped("pii", "no data")], about={"index": "open"})
    second = run(case("a", 1), remarks=["A remark."])
    async with sessions.begin() as session:
        one = await evaluations.save(session, first)
        await session.execute(text("UPDATE evaluation_runs SET created_at = created_at - interval '1 minute'"))
        two = await evaluations.save(session, second)
    async with sessions() as session:
        loaded = await evaluations.load(session, one)
        assert {key: loaded[key] for key in first} == json.loads(json.dumps(first))  # the cases in their order
        assert await evaluations.find(session, str(one)[:8]) == one
        assert await evaluations.find(session, "last", "answers") == two
        assert await evaluations.accepted(session, "answers", "mine") is None
        with pytest.raises(NotFound, match="There is no evaluation run last"):
            await evaluations.find(session, "last", "tools")
        with pytest.raises(NotFound, match="no evaluation run 100%"):
            await evaluations.find(session, "100%")
        with pytest.raises(NotFound):
            await evaluations.load(session, uuid.uuid4())
        names = [row["id"] for row in await evaluations.newest(session, 10)]
        assert names == [str(two), str(one)]
        assert [row["cases"] for row in await evaluations.newest(session, 10)] == [1, 2]
    async with sessions.begin() as session:
        await evaluations.accept(session, two)
    async with sessions.begin() as session:
        await evaluations.accept(session, one)  # an older run may be taken back to
    async with sessions() as session:
        assert await evaluations.accepted(session, "answers", "mine") == one
        assert await evaluations.accepted(session, "answers", "yours") is None


# Drawn


def report() -> str:
    before = run(*(case(f"c{n}", 1, seconds=0.2) for n in range(30)))
    hostile = "<script>alert('&')</script>"
    after = run(
        *(case(f"c{n}", float(n > 4), alarm=float(n == 7), seconds=0.1 + n / 50) for n in range(29)),
        CaseResult("odd", hostile, {"right": (0, 1), "seconds": (0.3, 1)}, {"said": hostile, "cited": [hostile]}),
        skipped=[Skipped("judge", "no model")], remarks=["A remark."],
    )  # fmt: skip
    compared = compare(before, after)
    return html.page([{**after, "run": "abc", "compared": compared, "losses": losses(compared, 0.02)}])


def test_the_report_is_one_page_that_needs_nothing_else_and_escapes_everything() -> None:
    page = report()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    for outside in ("http://", "https://", "url(", "@import", "src="):
        assert outside not in page
    assert "Right ones fell from 1.000 to" in page
    assert "Skipped judge: no model" in page
    assert page.count("<svg") == 3
    for svg in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + svg.split("</svg>")[0] + "</svg>")  # well-formed, thus escaped


def test_plots_of_nothing_and_of_one_case_are_drawn() -> None:
    assert plots.values({}, {}).startswith("<svg")
    assert "<rect" in plots.spread([0.0])
    assert "<svg" in html.page([{**run(case("a", 1)), "run": "x", "compared": None, "losses": []}])


def test_every_metrics_title_fits_beside_its_plot() -> None:
    suites = (answers.METRICS, judge.METRICS, safety.METRICS, tools.METRICS, tools.ROUTED)
    for metric in (metric for metrics in suites for metric in metrics):
        assert len(metric.title) <= 44, metric.title
    for metrics in suites:
        assert len({metric.name for metric in metrics}) == len(metrics)


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AlmanacError, match="cannot be written"):
        html.write([], tmp_path / "none" / "r.html")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_in_a_browser(tmp_path: Path, scheme: Any) -> None:
    path = browser_path()
    if path is None:
        pytest.skip("no Chromium on the PATH")
    from playwright.sync_api import sync_playwright

    file = tmp_path / "report.html"
    file.write_text(report(), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 900, "height": 700}, color_scheme=scheme)
        wrong: list[str] = []
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith("file:") else None)
        page.goto(file.as_uri())
        assert page.locator("svg").count() == 3
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        # No label is cut off, and none runs into the plot.
        boxes = page.eval_on_selector_all(
            "svg text", "all => all.map(t => [t.getBoundingClientRect(), t.ownerSVGElement.getBoundingClientRect()])"
                        ".map(([t, s]) => [t.left - s.left, s.right - t.right])"
        )  # fmt: skip
        assert all(left >= -1 and right >= -1 for left, right in boxes)
        page.locator("details").first.click()
        assert page.locator(".pair").first.is_visible()
        ink = page.evaluate("getComputedStyle(document.body).color")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert wrong == []
        browser.close()
    assert _light(ground) > _light(ink) if scheme == "light" else _light(ground) < _light(ink)


def _light(colour: str) -> int:
    return sum(int(part) for part in colour.strip("rgb()").split(","))
