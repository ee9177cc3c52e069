"""``python -m ml``: the twelve weeks; with a week's number, its experiment. ``almanac learn`` is the same command."""

from __future__ import annotations

import argparse
import json
import re
import runpy
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Week:
    """One week: its number, title and folder."""

    number: int
    title: str
    module: str
    readme: Path

    @property
    def phase(self) -> int:
        return (self.number - 1) // 4 + 1


PHASES = {1: "Foundations", 2: "Language models and practice", 3: "Integration and enterprise patterns"}


def find_weeks() -> list[Week]:
    """The weeks that are complete, in order; each title is the heading of the week's page."""
    found = []
    for readme in sorted(ROOT.glob("week[0-9][0-9]_*/README.md")):
        folder = readme.parent.name
        heading = readme.read_text(encoding="utf-8").splitlines()[0]
        found.append(Week(int(folder[4:6]), re.sub(r"^# Week \d+: ", "", heading), f"ml.{folder}", readme))
    return found


def list_weeks(console: Console) -> None:
    """Print the path: three phases, twelve weeks, and the design document at the end of each phase."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for week in find_weeks():
        if week.number % 4 == 1:
            table.add_row("", f"[bold]Phase {week.phase}: {PHASES[week.phase]}[/bold]")
        table.add_row(f"{week.number:>4}", week.title)
        if week.number % 4 == 0 and (ROOT / f"phase{week.phase}.md").exists():
            table.add_row("", f"[dim]then read ml/phase{week.phase}.md[/dim]", end_section=True)
    console.print(table)
    console.print("\n  almanac learn 1 --read     the lesson's page, with its exercises")
    console.print("  almanac learn 1 --quick    its experiment, in about a minute; without --quick the whole of it")


def run_week(week: Week, arguments: list[str]) -> None:
    """Run the week's experiment as if it had been called itself, with the ``arguments`` it was given."""
    sys.argv = [f"{week.module}.experiment", *arguments]
    try:
        runpy.run_module(f"{week.module}.experiment", run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "ml":
            raise
        raise SystemExit(f"Week {week.number} needs the package {error.name}: run `make learn` once.") from error


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="almanac learn", description="Twelve weeks of foundations.", add_help=False)
    parser.add_argument("week", nargs="?", help="its number; none lists them")
    parser.add_argument("--read", action="store_true", help="show the week's page instead of running it")
    parser.add_argument("--json", action="store_true", help="list the weeks as one JSON document")
    if not arguments or arguments[0].startswith("-"):
        parser.add_argument("-h", "--help", action="help")
        given = parser.parse_args(arguments)
        if given.json:
            weeks = [asdict(week) | {"readme": str(week.readme), "phase": week.phase} for week in find_weeks()]
            sys.stdout.write(json.dumps(weeks) + "\n")
        else:
            list_weeks(Console())
        return
    given, rest = parser.parse_known_args(arguments)
    week = next((week for week in find_weeks() if str(week.number) == given.week.removeprefix("0")), None)
    if week is None:
        numbers = ", ".join(str(week.number) for week in find_weeks())
        sys.stderr.write(f"There is no week {given.week}; the weeks are {numbers}.\n")
        raise SystemExit(2)
    if given.read:
        Console().print(Markdown(week.readme.read_text(encoding="utf-8")))
    else:
        run_week(week, rest)


if __name__ == "__main__":
    main(sys.argv[1:])
