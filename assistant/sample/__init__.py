"""The engineering handbook of a fictional company, to try Almanac with."""

from pathlib import Path

HANDBOOK = Path(__file__).parent / "handbook"
