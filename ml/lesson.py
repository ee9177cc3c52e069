"""What every lesson shares and no lesson teaches: the command line, the data folder, seeds, tables and figures.

A lesson's ``experiment.py`` is one function over a ``Run``::

    def experiment(run: Run) -> None:
        for epoch in run.track(range(10), "epochs"):
            ...
        run.record("test accuracy", 0.981)
        run.save(figure, "curves")

    if __name__ == "__main__":
        main(experiment, "Week 2: an MLP learns MNIST")

which gives ``python -m ml.week02_networks.experiment [--quick] [--out FOLDER] [--seed N]``. Everything a run recorded
is printed as a table and written to ``results.json`` beside the pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib
import numpy as np
from cycler import cycler
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")

# Okabe and Ito's eight colours, told apart by colour-blind readers; the dashes tell them apart in print without colour.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2))]
STYLE: dict[str, Any] = {
    "axes.prop_cycle": cycler(color=COLOURS, linestyle=DASHES),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "font.size": 10,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "image.cmap": "cividis",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 130,
    "savefig.facecolor": "white",
}


class LessonError(Exception):
    """An expected failure: one sentence that names what is missing and what to do."""


def data_folder(name: str) -> Path | None:
    """The evaluation data called ``name`` (``mnist``, ``scifact``, …), or None where this machine has none.

    It is looked for in ``ALMANAC_DATA``, else in ``shared/data`` beside the project.
    """
    root = Path(os.environ.get("ALMANAC_DATA") or Path(__file__).parents[2] / "shared" / "data")
    folder = root / name
    return folder if folder.is_dir() else None


def seed_everything(seed: int) -> np.random.Generator:
    """Seed Python, NumPy and, where it is loaded, torch; return the NumPy generator that a lesson should use."""
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)
    return np.random.default_rng(seed)


def style_figures() -> None:
    """Matplotlib settings for figures that read well on screen and in print."""
    matplotlib.rcParams.update(STYLE)


@dataclass
class Run:
    """One run of an experiment: what was asked for, and what it found out.

    ``quick`` asks for the small version, under a minute on two cores. ``out`` is the folder for pictures and results.
    """

    title: str
    out: Path
    quick: bool = False
    seed: int = 0
    arguments: argparse.Namespace = field(default_factory=argparse.Namespace)
    console: Console = field(default_factory=Console)
    results: dict[str, float | int | str] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Print a line of explanation."""
        self.console.print(text, highlight=False)

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Yield ``items`` under a progress bar with the time that is left."""
        if total is None and isinstance(items, Sequence):
            total = len(items)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            yield from bar.track(items, description=label, total=total)

    def record(self, name: str, value: float | int | str) -> None:
        """Keep a finding for the table at the end and for ``results.json``."""
        self.results[name] = value.item() if isinstance(value, np.generic) else value

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; numbers are aligned to the right and shortened to four digits."""
        table = Table(title=title, title_justify="left", title_style="bold")
        rows = [list(row) for row in rows]
        for index, name in enumerate(columns):
            numeric = all(isinstance(row[index], int | float | np.number) for row in rows)
            table.add_column(name, justify="right" if numeric else "left")
        for row in rows:
            table.add_row(*map(_short, row))
        self.console.print(table)

    def save(self, figure: Figure, name: str) -> Path:
        """Write ``figure`` to ``<out>/<name>.png`` and close it."""
        from matplotlib import pyplot

        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{name}.png"
        figure.savefig(path)
        pyplot.close(figure)
        self.pictures.append(path)
        return path


def _short(value: object) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return str(value)


def main(
    experiment: Callable[[Run], None],
    title: str,
    arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """Run ``experiment`` from the command line; an expected failure is one sentence and exit code 1."""
    week = Path(sys.modules[experiment.__module__].__file__ or ".").parent.name
    parser = argparse.ArgumentParser(prog=f"python -m ml.{week}.experiment", description=title)
    parser.add_argument("--quick", action="store_true", help="the small version: under a minute on two cores")
    parser.add_argument("--out", type=Path, default=Path(".almanac") / "learn" / week, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    if arguments:
        arguments(parser)
    given = parser.parse_args()
    run = Run(title, given.out, given.quick, given.seed, given)
    matplotlib.use("Agg")
    style_figures()
    seed_everything(given.seed)
    run.console.rule(f"[bold]{title}[/bold]", align="left")
    started = time.perf_counter()
    try:
        experiment(run)
    except (LessonError, OSError) as error:
        Console(stderr=True).print(f"{type(error).__name__}: {error}" if isinstance(error, OSError) else str(error))
        raise SystemExit(1) from error
    _finish(run, time.perf_counter() - started)


def _finish(run: Run, seconds: float) -> None:
    if run.results:
        run.table("Found", ["what", "value"], run.results.items())
        run.out.mkdir(parents=True, exist_ok=True)
        (run.out / "results.json").write_text(json.dumps(run.results, indent=2, ensure_ascii=False) + "\n")
    for path in run.pictures:
        run.say(f"picture  {path}")
    run.say(f"time     {seconds:.1f} s{' (quick)' if run.quick else ''}")
