"""Scanned pages through Tesseract, run as a program on the rendered page; without it nothing here does anything."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from functools import cache
from itertools import groupby
from typing import Any

import pypdfium2 as pdfium

from workers.ingestion.parse import progress
from workers.ingestion.parse.pdf_lines import Line

_DPI = 300
_MAX_SIDE = 5_000  # pixels
_SECONDS = 90  # for one page
_MIN_CONFIDENCE = 25  # of 100; below it stand the words that Tesseract sees in stains and frames
_MAX_LANGUAGES = 4


@cache
def installed() -> bool:
    return bool(_languages())


@cache
def _languages() -> str:
    """Those whose data is installed, ``eng+deu``; empty where there is no Tesseract."""
    program = shutil.which("tesseract")
    if program is None:
        return ""
    listed = subprocess.run([program, "--list-langs"], capture_output=True, timeout=20, check=False)
    names = [line.strip() for line in listed.stdout.decode("utf-8", "replace").splitlines()[1:]]
    wanted = [name for name in names if name not in ("osd", "equ", "snum") and "/" not in name]
    wanted.sort(key=lambda name: name != "eng")
    return "+".join(wanted[:_MAX_LANGUAGES])


def page_lines(page: pdfium.PdfPage) -> list[Line]:
    """The lines that Tesseract reads, top to bottom; none where it fails or finds no words."""
    picture, scale = _rendered(page)
    height = page.get_height()
    for mode in ("1", "3"):  # 1 turns a page that lies on its side, for which it needs its data on orientation
        progress.extend(_SECONDS + 10)
        command = ["tesseract", "stdin", "stdout", "-l", _languages(), "--dpi", str(_DPI), "--psm", mode, "tsv"]
        try:
            done = subprocess.run(command, input=picture, capture_output=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return []
        if done.returncode == 0:
            progress.extend(_SECONDS)
            return _lines(done.stdout.decode("utf-8", "replace"), scale, height)
    return []


def _rendered(page: pdfium.PdfPage) -> tuple[bytes, float]:
    """A grey picture as PGM, and its pixels per point."""
    scale = min(_DPI / 72, _MAX_SIDE / max(*page.get_size(), 1.0))
    bitmap = page.render(scale=scale, grayscale=True)
    data = bytes(bitmap.buffer)
    rows = (data[start : start + bitmap.width] for start in range(0, bitmap.stride * bitmap.height, bitmap.stride))
    header = f"P5 {bitmap.width} {bitmap.height} 255\n".encode()
    return header + b"".join(rows), scale


def _lines(table: str, scale: float, height: float) -> list[Line]:
    words = [word for word in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE) if _good(word)]
    lines = []
    for _, group in groupby(words, key=lambda word: (word["block_num"], word["par_num"], word["line_num"])):
        found = list(group)
        text = " ".join(word["text"].strip() for word in found)
        left, top = min(int(word["left"]) for word in found), min(int(word["top"]) for word in found)
        tall = sorted(int(word["height"]) for word in found)[len(found) // 2]
        lines.append(Line(text, left / scale, height - (top + tall) / scale, 10.0))
    return lines if any(character.isalnum() for line in lines for character in line.text) else []


def _good(word: dict[str, Any]) -> bool:
    text = (word.get("text") or "").strip()
    try:
        return bool(text) and float(word["conf"]) >= _MIN_CONFIDENCE
    except (KeyError, TypeError, ValueError):
        return False
