"""What holds for every week: its parts are there, its notebook runs, its quick experiment shows a picture."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from ml import notebooks
from ml.__main__ import find_weeks
from tests.ml.forks import cells, experiment, forked

ROOT = notebooks.ROOT.parent
WEEKS = notebooks.weeks()
SECTIONS = ["Time", "The lesson", "Run", "Expect", "Exercises", "In Almanac", "Sources"]
each_week = pytest.mark.parametrize("week", WEEKS, ids=[week.name[:6] for week in WEEKS])


def test_the_twelve_weeks_are_in_three_phases_and_each_has_its_document() -> None:
    weeks = find_weeks()
    numbers = [week.number for week in weeks]
    assert numbers == list(range(1, 13))
    for week in weeks:
        assert week.phase == (1 if week.number < 5 else 2 if week.number < 9 else 3)
        assert not week.title.startswith("#"), "the page's heading is `# Week N: title`"
    for phase in (1, 2, 3):
        page = (notebooks.ROOT / f"phase{phase}.md").read_text()
        assert f"weeks {4 * phase - 3} to {4 * phase}" in page.splitlines()[0]


@each_week
def test_the_page_has_its_sections_its_pictures_and_answers(week: Path) -> None:
    page = (week / "README.md").read_text()
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == SECTIONS
    assert page.count("<details>") >= 3
    linked = re.findall(r"\]\((?!http)([^)#]+)", page)
    assert [link for link in linked if not (week / link).exists()] == []
    pictures = sorted(path.name for path in (week / "pictures").iterdir())
    assert pictures, "a lesson shows a picture"
    assert [name for name in pictures if f"pictures/{name}" not in page] == []
    assert all((week / "pictures" / name).stat().st_size < 150_000 for name in pictures)


@each_week
def test_every_module_is_in_the_reading_order(week: Path) -> None:
    page = (week / "README.md").read_text()
    common = {"__init__.py", "experiment.py", "exercises.py", "notebook.py"}
    modules = {path.name for path in week.glob("*.py")} - common
    assert sorted(name for name in modules if name not in page) == []


@each_week
def test_the_notebook_is_the_script_executed(week: Path) -> None:
    kept = nbformat.read(week / "notebook.ipynb", as_version=4)
    script = notebooks.read_script(week)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ], f"notebook.py was changed: run `python -m ml.notebooks {int(week.name[4:6])}`"
    assert (week / "notebook.ipynb").stat().st_size <= notebooks.LIMIT
    outputs = [output for cell in kept.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)


@each_week
def test_the_notebooks_code_runs(week: Path) -> None:
    """In Python alone; ``python -m bench.lessons`` has Jupyter execute all of them."""
    assert forked(cells, str(week / "notebook.py")) > 10


def test_a_notebook_runs_in_jupyter() -> None:
    notebook = notebooks.execute(notebooks.read_script(WEEKS[1]))
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip())


@each_week
def test_the_quick_experiment_finds_something_and_draws_it(week: Path, tmp_path: Path) -> None:
    code, errors = forked(experiment, str(int(week.name[4:6])), "--quick", "--out", str(tmp_path))
    assert code == 0, errors
    assert "Traceback" not in errors
    results = json.loads((tmp_path / "results.json").read_text())
    assert results, "an experiment records what it found"
    assert not [name for name, value in results.items() if value != value], f"not a number: {results}"
    assert list(tmp_path.glob("*.png"))


def learn(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``almanac learn`` as a person runs it, from the project's root."""
    command = [sys.executable, "-m", "bot.terminal", "learn", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment)


def test_learn_lists_the_weeks_for_people_and_for_programs() -> None:
    shown = learn().stdout
    listed = json.loads(learn("--json").stdout)
    assert [week["number"] for week in listed] == [int(week.name[4:6]) for week in WEEKS]
    for week in listed:
        assert week["title"] in " ".join(shown.split())
        assert Path(week["readme"]).exists()


def test_learn_runs_an_experiment(tmp_path: Path) -> None:
    finished = learn("1", "--quick", "--out", str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "results.json").exists()


def test_learn_shows_a_page() -> None:
    shown = learn("4", "--read")
    assert shown.returncode == 0
    assert "Exercises" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["13"], 2, "There is no week 13; the weeks are 1, 2, 3"),
        (["1", "--quick", "--out", "/proc/nowhere"], 1, "/proc/nowhere"),
        (["1", "--slow"], 2, "unrecognized arguments: --slow"),
    ],
)
def test_what_goes_wrong_is_one_sentence(arguments: list[str], code: int, words: str) -> None:
    finished = learn(*arguments)
    assert finished.returncode == code
    assert words in " ".join(finished.stderr.split())
    assert "Traceback" not in finished.stderr


def test_a_missing_package_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['sklearn'] = None\n")
    finished = learn("1", "--quick", "--out", str(tmp_path), PYTHONPATH=str(tmp_path))
    assert finished.returncode == 1
    assert finished.stderr.strip() == "Week 1 needs the package sklearn: run `make learn` once."
