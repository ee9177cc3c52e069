"""The vectors of a text's tokens, small enough to be kept: late interaction (the idea of ColBERT, 2020).

A passage's one vector is the mean of its tokens' and says what it is about; the tokens' own say what stands in it. They
come out of the same forward pass. A passage's are kept as one bit a number: on which side of the passage's mean it
lies, with one length for each token. A question's are kept as they are. How well a passage fits is the mean over the
question's tokens of the best cosine that one of the passage's reaches. Pure numpy.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]

ASKED = 64  # tokens of a question that count: the first ones
_HEAD = struct.Struct("<HH")  # width, tokens


@dataclass(frozen=True, slots=True)
class Asked:
    """The token vectors of one text that is asked, of length 1, shape (tokens, width), and what it counts for."""

    vectors: Halves
    weight: float = 1.0


def packed(tokens: Floats) -> bytes:
    """Token vectors, shape (tokens, width), of any length, as they are kept: 4 + 2 * width bytes, and 2 + width / 8
    for each token. The width is a multiple of 8."""
    rows = unit(tokens)
    mean = rows.mean(axis=0) if len(rows) else np.zeros(tokens.shape[1], np.float32)
    rows -= mean
    # The length along the signs with which a cosine is right on average (the idea of RaBitQ, 2024). The mean size of
    # the numbers would be nearest to the vector itself, and rank worse: it draws all tokens towards the mean.
    lengths = np.einsum("ij,ij->i", rows, rows) / np.maximum(np.abs(rows).sum(axis=1), 1e-9)
    head = _HEAD.pack(tokens.shape[1], len(rows))
    bits = np.packbits(rows > 0, axis=1)
    return b"".join((head, mean.astype("<f2").tobytes(), lengths.astype("<f2").tobytes(), bits.tobytes()))


def unit(rows: Floats) -> Floats:
    """Rows of length 1, or of 0."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    ones: Floats = rows / np.maximum(lengths, np.float32(1e-9))
    return ones


def unpacked(kept: bytes) -> Floats:
    """What ``packed`` kept, about: shape (tokens, width)."""
    mean, lengths, bits = _parts(kept)
    rows: Floats = mean + lengths[:, None] * (2 * bits.astype(np.float32) - 1)
    return rows


def _parts(kept: bytes) -> tuple[Floats, Floats, npt.NDArray[np.uint8]]:
    """The mean, shape (width,); the lengths, shape (tokens,); the bits, 0 or 1, shape (tokens, width)."""
    width, count = _HEAD.unpack_from(kept)
    at = _HEAD.size
    mean = np.frombuffer(kept, "<f2", width, at).astype(np.float32)
    lengths = np.frombuffer(kept, "<f2", count, at + 2 * width).astype(np.float32)
    bits = np.frombuffer(kept, np.uint8, offset=at + 2 * width + 2 * count).reshape(count, width // 8)
    return mean, lengths, np.unpackbits(bits, axis=1)


def fits(asked: Sequence[Asked], kept: Sequence[bytes | None]) -> Floats | None:
    """How well each passage fits what is asked, -1..1, shape (passages,); one whose tokens are not kept fits as the
    others do on average. None where there is nothing to compare."""
    asked = [one for one in asked if len(one.vectors)]
    width = asked[0].vectors.shape[1] if asked else 0
    places = [place for place, one in enumerate(kept) if one is not None and _comparable(one, width)]
    if not places:
        return None
    total = sum(one.weight for one in asked)
    questions = np.concatenate([one.vectors for one in asked]).astype(np.float32)
    shares = np.concatenate([np.full(len(one.vectors), one.weight / total / len(one.vectors)) for one in asked])
    found = np.array([_best(questions, kept[place]) @ shares for place in places], np.float32)  # type: ignore[arg-type]
    fit = np.full(len(kept), found.mean(), np.float32)
    fit[places] = found
    return fit


def _comparable(kept: bytes, width: int) -> bool:
    size, count = _HEAD.unpack_from(kept)
    return bool(size == width and count)


def _best(questions: Floats, kept: bytes) -> Floats:
    """The best cosine of each of the question's tokens, shape (tokens,)."""
    mean, lengths, bits = _parts(kept)
    signs = 2 * (questions @ bits.T.astype(np.float32)) - questions.sum(axis=1, keepdims=True)
    best: Floats = (signs * lengths).max(axis=1) + questions @ mean
    return best
