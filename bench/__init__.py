"""Measurements: run by ``make bench``, written down in ``benchmarks.md``."""
