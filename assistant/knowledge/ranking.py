"""How passages are ranked: the settings of the stages, each of which can be left out. `benchmarks.md` has the numbers
that chose them."""

from __future__ import annotations

from dataclasses import dataclass

BM25_SHARE = 0.4  # of the fused score; the rest is the vectors'


@dataclass(frozen=True, slots=True)
class Ranking:
    """One way to rank. ``share``: how much of the fused score is BM25's, 0..1."""

    share: float = BM25_SHARE


BM25 = Ranking(share=1.0)
DENSE = Ranking(share=0.0)
HYBRID = Ranking()
FINAL = HYBRID  # what answers use
ARMS = {"bm25": BM25, "dense": DENSE, "hybrid": HYBRID, "final": FINAL}
