"""What lies in a model file: GGUF read with struct and NumPy, four-bit blocks turned back into numbers.

Idea.    A model file is a table of settings (sizes, vocabulary, merges, chat template) and a table of named tensors.
         Here the matrices are quantised: 32 weights share a scale and a minimum, and each has 4 bits of its own.
Source.  The GGUF specification in ggml's ``docs/gguf.md``; block layouts from ggml's ``ggml-common.h``.
Left out. The other thirty or so block types (an error names the one it meets) and computing on the packed blocks, which
         is how llama.cpp is fast; we unpack to float32 once. Week 8 makes such blocks.

Hugging Face's reader gives the same tensors in more than ten times the time: it parses the vocabulary several times.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

STRING, ARRAY = 8, 9  # value types in the settings; the others are numbers:
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

# Tensor types: name, weights in a block, and the block's layout in the file.
BLOCKS: dict[int, tuple[str, int, np.dtype[Any]]] = {
    0: ("F32", 1, np.dtype("<f4")),
    1: ("F16", 1, np.dtype("<f2")),
    3: ("Q4_1", 32, np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("halves", "u1", 16)])),
    8: ("Q8_0", 32, np.dtype([("scale", "<f2"), ("whole", "i1", 32)])),
}


class Stored(NamedTuple):
    """A tensor as it lies in the file: its type, its shape (rows, columns) and its blocks, not yet read from disk."""

    kind: str
    shape: tuple[int, ...]
    blocks: np.ndarray


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Settings and tensors of a GGUF file. Raises ValueError for another kind of file or an unknown block type."""
    data = np.memmap(path, mode="r")
    if bytes(data[:4]) != b"GGUF":
        raise ValueError(f"{path} is not a GGUF file.")
    reader = _Reader(memoryview(data))
    reader.place = 4
    _version, tensors, settings = reader.numbers("IQQ")
    metadata = {reader.string(): reader.value(reader.numbers("I")[0]) for _ in range(settings)}
    table = []
    for _ in range(tensors):
        name, (dimensions,) = reader.string(), reader.numbers("I")
        shape = reader.numbers(f"{dimensions}Q")[::-1]  # ggml names the fastest dimension first, NumPy last
        table.append((name, shape, *reader.numbers("IQ")))
    alignment = metadata.get("general.alignment", 32)
    start = math.ceil(reader.place / alignment) * alignment
    return metadata, {name: _stored(data, shape, kind, start + at) for name, shape, kind, at in table}


def dequantise(tensor: Stored) -> np.ndarray:
    """The float32 numbers of a tensor, in its shape."""
    blocks = np.array(tensor.blocks)  # (blocks,)   now it is read from disk
    if tensor.kind == "Q4_1":
        weights = np.empty((len(blocks), 32), dtype=np.float32)  # (blocks, 32)
        weights[:, :16], weights[:, 16:] = blocks["halves"] & 15, blocks["halves"] >> 4  # q, two in each byte
        weights *= blocks["scale"].astype(np.float32)[:, None]  # (blocks, 32)
        weights += blocks["minimum"].astype(np.float32)[:, None]  # (blocks, 32)   w = scale · q + minimum
        return weights.reshape(tensor.shape)
    if tensor.kind == "Q8_0":
        return (blocks["whole"] * blocks["scale"].astype(np.float32)[:, None]).reshape(tensor.shape)  # w = scale · q
    return blocks.astype(np.float32).reshape(tensor.shape)


def neighbours_to_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Query or key rows (heads · D, C) from llama.cpp's rotary layout to ours; see ``positions.rotate``.

    There, pair i of a head is rows (2i, 2i + 1); here it is rows (i, i + D/2).
    """
    pairs = rows.reshape(heads, -1, 2, rows.shape[1])  # (heads, D/2, 2, C)
    return pairs.swapaxes(1, 2).reshape(rows.shape)  # (heads, 2, D/2, C) to (heads · D, C)


def _stored(data: np.memmap, shape: tuple[int, ...], kind: int, start: int) -> Stored:
    if kind not in BLOCKS:
        known = ", ".join(name for name, _, _ in BLOCKS.values())
        raise ValueError(f"This GGUF file holds tensors of type {kind}, which is not one of {known}.")
    name, weights, layout = BLOCKS[kind]
    size = math.prod(shape) // weights * layout.itemsize
    return Stored(name, shape, data[start : start + size].view(layout))


class _Reader:
    """A place in the file that moves on with everything read; all numbers are little-endian."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.place = data, 0

    def numbers(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self.data, self.place)
        self.place += struct.calcsize("<" + layout)
        return values

    def string(self) -> str:
        (length,) = self.numbers("Q")
        self.place += length
        return bytes(self.data[self.place - length : self.place]).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            item, count = self.numbers("IQ")
            if item in NUMBERS:
                return list(self.numbers(f"{count}{NUMBERS[item]}"))
            return [self.value(item) for _ in range(count)]
        return self.numbers(NUMBERS[kind])[0]
