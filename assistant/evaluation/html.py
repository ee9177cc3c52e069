"""Evaluation runs as one page that needs nothing else: values, changes, plots, and the cases that went wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from assistant.errors import AlmanacError
from assistant.evaluation import plots
from assistant.evaluation.results import CaseResult, Metric, cases_of, metrics_of, ratio

STYLE = Path(__file__).parent / "report.css"
WORST = 60  # cases that are listed
CHANGED = 60
HIDDEN = ("timings_ms", "tokens")  # of a case's detail


def write(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Raises ``AlmanacError`` where the file cannot be written."""
    try:
        path.write_text(page(runs), encoding="utf-8")
    except OSError as error:
        raise AlmanacError(f"{path} cannot be written ({error.strerror or type(error).__name__}).") from error


def page(runs: Sequence[Mapping[str, Any]]) -> str:
    """``runs``: documents as ``almanac eval … --json`` prints them."""
    body = "".join(part for run in runs for part in _run(run))
    names = " · ".join(f"{escape(run['suite'])}: {escape(run['subject'])}" for run in runs)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Almanac: evaluation of {names}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f'<body><main><h1>How good Almanac is</h1><p class="soft">{names}</p>{body}</main></body></html>\n'
    )


def _run(run: Mapping[str, Any]) -> Iterator[str]:
    about = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in run["about"].items() if _plain(value))
    yield f"<h2>{escape(run['suite'].capitalize())}: {escape(run['subject'])}</h2>"
    yield (
        f'<p class="soft">{len(run["cases"]):,} cases, {escape(run["model"])}, {run["seconds"]:.0f} s, '
        f"run {escape(str(run.get('run', ''))[:8])}</p>"
    )
    for sentence in run.get("losses", ()):
        yield f'<p class="lost">{escape(sentence)}</p>'
    for skipped in run["skipped"]:
        yield f'<p class="note">Skipped {escape(skipped["part"])}: {escape(skipped["reason"])}</p>'
    for remark in run["remarks"]:
        yield f'<p class="note">{escape(remark)}</p>'
    compared = run.get("compared") or {}
    before = compared.get("metrics", {})
    ring = " The ring is where the run stood that this one is compared with." if before else ""
    caption = f"Values with 95 % bootstrap intervals over cases.{ring}"
    yield _figure("Values", plots.values(run["metrics"], before), caption)
    yield _others(run["metrics"])
    if compared:
        yield from _comparison(compared)
    seconds = [case["counts"]["seconds"][0] for case in run["cases"] if "seconds" in case["counts"]]
    if seconds:
        yield _figure("Latency", plots.spread(seconds), "Seconds of a question, up to the 99th percentile.")
    yield _worst(run)
    if about:
        yield f'<p class="soft">Measured with: {escape(about)}.</p>'


def _figure(title: str, svg: str, caption: str) -> str:
    return (
        f'<section class="card"><h3>{escape(title)}</h3><figure class="wide">{svg}'
        f"<figcaption>{escape(caption)}</figcaption></figure></section>"
    )


def _others(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """What is no share, as a sentence."""
    said = [
        f"{metric['title']}: {metric['value']:.3f} s" if metric["unit"] == "seconds" else
        f"{metric['title']}: ${metric['value']:.5f}"
        for metric in metrics.values() if metric["unit"] != "share"
    ]  # fmt: skip
    return f"<p>{escape(' · '.join(said))}</p>" if said else ""


def _comparison(compared: Mapping[str, Any]) -> Iterator[str]:
    other = compared["with"]
    name = f"run {str(other.get('run') or '')[:8] or '(a file)'}, {other.get('model')}"
    caption = (
        f"This run minus {name}, on {compared['shared_cases']:,} shared cases, with paired 95 % intervals; "
        f"{compared['new_cases']:,} cases are new, {compared['gone_cases']:,} are gone."
    )
    yield _figure("Changes", plots.changes(compared["metrics"]), caption)
    changed = compared["cases"]
    if not changed:
        yield '<p class="soft">No case changed.</p>'
        return
    rows = "".join(_changed(row) for row in changed[:CHANGED])
    more = f'<p class="soft">and {len(changed) - CHANGED:,} more</p>' if len(changed) > CHANGED else ""
    yield f'<section class="card"><h3>Cases that changed, the worst first</h3>{rows}{more}</section>'


def _changed(row: Mapping[str, Any]) -> str:
    tag = "tag bad" if row["loss"] > 0 else "tag"
    numbers = " → ".join("–" if row[key] is None else f"{row[key]:.3f}" for key in ("before", "after"))
    said = "".join(f"<div>{escape(str(row[key] or '–'))}</div>" for key in ("said_before", "said_after"))
    return (
        f"<details><summary>{escape(row['title'])} <span class='soft'>{escape(row['id'])}</span> "
        f"<span class='{tag}'>{escape(row['metric_title'])}: {numbers}</span></summary>"
        f"<div class='pair'>{said}</div></details>"
    )


def _worst(run: Mapping[str, Any]) -> str:
    metrics = [metric for metric in metrics_of(run) if metric.gate and metric.unit == "share"]
    cases = {case.id: case for case in cases_of(run)}
    missed = {name: _misses(case, metrics) for name, case in cases.items()}
    order = sorted((name for name in cases if missed[name]), key=lambda name: -len(missed[name]))
    if not order:
        return '<p class="soft">Every case is right in every respect.</p>'
    listed = "".join(_case(cases[name], missed[name]) for name in order[:WORST])
    more = f'<p class="soft">and {len(order) - WORST:,} more</p>' if len(order) > WORST else ""
    head = f"Cases that miss something ({len(order):,} of {len(cases):,})"
    return f'<section class="card"><h3>{head}</h3>{listed}{more}</section>'


def _misses(case: CaseResult, metrics: Sequence[Metric]) -> list[str]:
    """Titles of the metrics that are wholly lost on this case."""
    found = []
    for metric in metrics:
        value = ratio([case], metric.name)
        if value is not None and (value == 0 if metric.better == "higher" else value == 1):
            found.append(metric.title)
    return found


def _case(case: CaseResult, missed: Sequence[str]) -> str:
    tags = " ".join(f'<span class="tag bad">{escape(title)}</span>' for title in missed)
    rows = "".join(
        f"<dt>{escape(key.replace('_', ' '))}</dt><dd>{escape(_shown(value))}</dd>"
        for key, value in case.detail.items()
        if key not in HIDDEN and value not in (None, "", [], {}, False)
    )
    return (
        f"<details><summary>{escape(case.title)} <span class='soft'>{escape(case.id)}</span> {tags}</summary>"
        f"<dl>{rows}</dl></details>"
    )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(_shown(item) for item in value)
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_shown(item)}" for key, item in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""
