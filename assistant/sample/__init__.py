"""The engineering handbook of a fictional company, to try Almanac with, and questions on it, to measure it with."""

from pathlib import Path

HANDBOOK = Path(__file__).parent / "handbook"
QUESTIONS = Path(__file__).parent / "questions.jsonl"
