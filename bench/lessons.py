"""Every week's notebook, executed by Jupyter: ``python -m bench.lessons [WEEK ...]``. Fails where a cell does.

The tests run the same code without a kernel, and one notebook with it.
"""

from __future__ import annotations

import sys
import time

from nbclient.exceptions import CellExecutionError

from ml import notebooks


def main(wanted: list[str]) -> None:
    for week in notebooks.weeks():
        if wanted and str(int(week.name[4:6])) not in wanted:
            continue
        began = time.monotonic()
        try:
            notebook = notebooks.execute(notebooks.read_script(week))
        except CellExecutionError as error:
            raise SystemExit(f"{week.name}/notebook.py: {error}") from error
        cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
        left = sum(cell.execution_count is None for cell in cells)
        if left:
            raise SystemExit(f"{week.name}/notebook.py: {left} cells were not executed.")
        print(f"lessons: {week.name} {len(cells):3d} cells in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
