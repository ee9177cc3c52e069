"""Where the benchmarks keep things and find their data; importing it needs nothing else."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOME = Path(os.environ.get("ALMANAC_BENCH_HOME") or ROOT / ".almanac" / "bench")
DATA = Path(os.environ.get("ALMANAC_DATA") or ROOT.parent / "shared" / "data")
