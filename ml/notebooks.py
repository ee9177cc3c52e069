"""Notebooks from their paired scripts: ``python -m ml.notebooks [WEEK ...]`` makes and executes them.

The script (jupytext's percent format) is the one that people edit and review; the notebook is made from it, executed,
and kept with its small outputs so that it can be read without running anything.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

ROOT = Path(__file__).parent
LIMIT = 400_000  # bytes of an executed notebook
TIMEOUT = 120  # seconds a cell


def weeks() -> list[Path]:
    """The folders of all weeks that are complete (they have a page), in order."""
    return sorted(path.parent for path in ROOT.glob("week[0-9][0-9]_*/README.md"))


def read_script(folder: Path) -> Any:
    """The notebook that ``notebook.py`` describes, without outputs."""
    notebook = jupytext.read(folder / "notebook.py")
    notebook.metadata = nbformat.NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        jupytext={"formats": "ipynb,py:percent"},
    )
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:02d}"  # random ones would change with every execution
        cell.metadata = nbformat.NotebookNode()
    return notebook


def execute(notebook: Any) -> Any:
    """Run every cell from the project's root; a failing cell raises with its traceback."""
    environment = {
        "PYTHONPATH": str(ROOT.parent),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm asks for ipywidgets, which a kept notebook cannot show
    }
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        # A socket file instead of a port: nobody else on the machine can listen or connect.
        config = Config({"ConnectionFileMixin": {"transport": "ipc"}})
        client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", record_timing=False, config=config)
        client.execute(cwd=str(ROOT.parent))
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output["data"].pop("text/plain", None)  # a picture's plain-text twin says nothing
    return notebook


def build(folder: Path) -> Path:
    """Execute a week's script into its notebook and write it."""
    notebook = execute(read_script(folder))
    text = nbformat.writes(notebook) + "\n"
    if len(text) > LIMIT:
        raise SystemExit(f"{folder.name}/notebook.ipynb would have {len(text):,} bytes; the limit is {LIMIT:,}.")
    path = folder / "notebook.ipynb"
    path.write_text(text)
    return path


def main(wanted: list[str]) -> None:
    for folder in weeks():
        if wanted and str(int(folder.name[4:6])) not in wanted:
            continue
        try:
            path = build(folder)
        except CellExecutionError as error:
            raise SystemExit(f"{folder.name}/notebook.py: {error}") from error
        print(f"{path.relative_to(ROOT.parent)}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
