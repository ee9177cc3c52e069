"""What "company" means: which words are in whose window. Every method of the week starts from these pairs.

Pairs are made for a whole corpus at once: for each distance d, the text is laid beside itself moved by d words.

Left out: windows of syntax (dependency contexts), and directions (left and right neighbours count alike).
"""

from __future__ import annotations

import numpy as np

from ml.week03_embeddings.vocabulary import Encoded


def fixed_pairs(text: Encoded, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(left ids, right ids, distance), each (P,): all pairs at most ``window`` words apart, each once."""
    _check(window)
    left, right, distance = [], [], []
    for d in range(1, window + 1):
        together = text.piece[:-d] == text.piece[d:]  # (N - d,), a window ends where the piece ends
        left.append(text.ids[:-d][together])  # (P_d,)
        right.append(text.ids[d:][together])  # (P_d,)
        distance.append(np.full(together.sum(), d))  # (P_d,)
    return np.concatenate(left), np.concatenate(right), np.concatenate(distance)  # each (P,)


def skip_pairs(text: Encoded, window: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(centre ids, context ids), each (P,), in random order, with word2vec's shrinking window.

    Every centre draws its own reach from 1..window, so a neighbour at distance d is used with probability
    (window + 1 - d) / window: near words count more, at no cost.
    """
    _check(window)
    reach = rng.integers(1, window + 1, len(text.ids))  # (N,)
    centres, contexts = [], []
    for d in range(1, window + 1):
        together = text.piece[:-d] == text.piece[d:]  # (N - d,)
        forward = together & (d <= reach[:-d])  # (N - d,), the left word is the centre
        backward = together & (d <= reach[d:])  # (N - d,), the right word is the centre
        centres += [text.ids[:-d][forward], text.ids[d:][backward]]
        contexts += [text.ids[d:][forward], text.ids[:-d][backward]]
    centre, context = np.concatenate(centres), np.concatenate(contexts)  # (P,), (P,)
    order = rng.permutation(len(centre))  # (P,)
    return centre[order], context[order]


def bags(text: Encoded, window: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(centre ids (M,), context ids (M, 2 * window)) with -1 where there is no neighbour, in random order.

    A centre without any neighbour is left out.
    """
    _check(window)
    count = len(text.ids)
    reach = rng.integers(1, window + 1, count)  # (N,)
    context = np.full((count, 2 * window), -1)  # (N, 2W)
    for d in range(1, window + 1):
        together = text.piece[:-d] == text.piece[d:]  # (N - d,)
        right, left = together & (d <= reach[:-d]), together & (d <= reach[d:])  # (N - d,) each
        context[:-d, 2 * d - 2][right] = text.ids[d:][right]
        context[d:, 2 * d - 1][left] = text.ids[:-d][left]
    order = rng.permutation(np.flatnonzero((context >= 0).any(axis=1)))  # (M,)
    return text.ids[order], context[order]


def _check(window: int) -> None:
    if window < 1:
        raise ValueError(f"A window of {window} words holds no neighbours; it must be 1 or more.")
