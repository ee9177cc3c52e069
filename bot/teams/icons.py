"""The app's two icons, drawn: a sun that rises over an open book. ``python -m bot.teams.icons FOLDER`` writes them.

Shapes are masks over a grid of points, four to a pixel each way, so that edges come out smooth.
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]

COLOR_SIZE, OUTLINE_SIZE = 192, 32
FINER = 4
TOP, BOTTOM = (58, 72, 178), (31, 41, 110)  # the background, from above to below
SUN, PAGE, LINE = (255, 200, 61), (255, 255, 255), (158, 172, 224)
LEFT = ((0.20, 0.52), (0.485, 0.60), (0.485, 0.80), (0.20, 0.72))
RAYS = (-70, -35, 0, 35, 70)  # degrees from straight up


def color_icon() -> bytes:
    """192 by 192 pixels, full colour, up to its edges: Teams rounds the corners."""
    x, y = _grid(COLOR_SIZE)
    picture = np.stack([top + (bottom - top) * y for top, bottom in zip(TOP, BOTTOM, strict=True)], axis=-1)
    y = y + 0.06  # the drawing sits a little low
    for mask, colour in ((_sun(x, y, 0.135, 0.02), SUN), (_book(x, y), PAGE), (_lines(x, y), LINE)):
        picture = np.where(mask[..., None], np.array(colour, dtype=np.float64), picture)
    return _png(np.concatenate([_shrink(picture), np.full((COLOR_SIZE, COLOR_SIZE, 1), 255.0)], axis=-1))


def outline_icon() -> bytes:
    """32 by 32 pixels, white on nothing."""
    x, y = _grid(OUTLINE_SIZE)
    x, y = 0.5 + (x - 0.5) * 0.66, 0.555 + (y - 0.5) * 0.66  # the drawing fills the whole icon
    page = _book(x, y) & ~_book(x, y, inset=0.03)
    mask = page | (_sun(x, y, 0.12, 0.03) & ~_book(x, y))
    alpha = _shrink(mask[..., None].astype(np.float64) * 255.0)
    return _png(np.concatenate([np.full((OUTLINE_SIZE, OUTLINE_SIZE, 3), 255.0), alpha], axis=-1))


def _grid(size: int) -> tuple[Plane, Plane]:
    """Points from 0 to 1: x and y, each of shape (size * FINER, size * FINER)."""
    steps = (np.arange(size * FINER) + 0.5) / (size * FINER)
    x, y = np.meshgrid(steps, steps)
    return x, y


def _book(x: Plane, y: Plane, inset: float = 0.0) -> NDArray[np.bool_]:
    """Two pages, mirrored at the spine."""
    folded = np.where(x > 0.5, 1.0 - x, x)
    (left, top_left), (right, top_right), (_, bottom_right), (_, bottom_left) = LEFT
    along = (folded - left) / (right - left)
    top = top_left + (top_right - top_left) * along + inset
    bottom = bottom_left + (bottom_right - bottom_left) * along - inset
    mask: NDArray[np.bool_] = (folded > left + inset) & (folded < right - inset) & (y > top) & (y < bottom)
    return mask


def _lines(x: Plane, y: Plane) -> NDArray[np.bool_]:
    """What is written on the pages."""
    folded = np.where(x > 0.5, 1.0 - x, x)
    slope = y - (folded - LEFT[0][0]) * 0.08 / 0.285
    mask = np.zeros(x.shape, dtype=np.bool_)
    for row in (0.57, 0.615, 0.66):
        mask |= (np.abs(slope - row) < 0.009) & (folded > 0.235) & (folded < 0.45)
    return mask


def _sun(x: Plane, y: Plane, radius: float, width: float) -> NDArray[np.bool_]:
    """A disc behind the book, and its rays."""
    centre = (0.5, 0.53)
    mask: NDArray[np.bool_] = np.hypot(x - centre[0], y - centre[1]) < radius
    for angle in np.radians(RAYS):
        along = (x - centre[0]) * np.sin(angle) - (y - centre[1]) * np.cos(angle)
        across = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
        near = np.clip(along, radius + 0.05, radius + 0.115)
        mask |= np.hypot(along - near, across) < width
    return mask


def _shrink(picture: Plane) -> Plane:
    """The mean of each FINER by FINER block."""
    size = picture.shape[0] // FINER
    small: Plane = picture.reshape(size, FINER, size, FINER, picture.shape[-1]).mean(axis=(1, 3))
    return small


def _png(picture: Plane) -> bytes:
    """RGBA of shape (height, width, 4) as a PNG file."""
    height, width, _ = picture.shape
    rows = np.round(picture).astype(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "color.png").write_bytes(color_icon())
    (folder / "outline.png").write_bytes(outline_icon())
