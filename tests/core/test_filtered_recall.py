"""Where an audience sees only a part of the index, the vector arm still finds what is nearest of that part."""

from __future__ import annotations

from bench import filtered


async def test_recall_where_half_to_a_thousandth_is_visible(postgres_url: str) -> None:
    """Against an exact scan of what is visible: documents here and there, and clusters far from the questions."""
    async with filtered.index(postgres_url, rows=10_000, dimensions=64, questions=60) as found:
        results = await filtered.measure(found)
    assert {(one.kind, one.share) for one in results} == {
        (kind, share) for kind in filtered.KINDS for share in filtered.SHARES
    }
    assert min(one.rows for one in results) < 30  # a thousandth
    low = [one for one in results if one.recall < 0.98]
    assert not low, low
