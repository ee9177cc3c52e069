"""Subtitles (SRT, WebVTT): what is said, half a minute to a paragraph, with the time at which it begins."""

from __future__ import annotations

import re

from assistant.knowledge.documents import Block
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft

_CUE = re.compile(r"^(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,]\d+\s+-->.*$")
_TAGS = re.compile(r"</?[A-Za-z][^>]*>|\{\\[^}]*\}")
_SPAN = 30  # seconds
_META = ("WEBVTT", "NOTE", "STYLE", "REGION")


def read(content: bytes, name: str) -> Draft:
    spans: list[tuple[int, list[str]]] = []
    for cue in re.split(r"\n\s*\n", decode(content)):
        lines = [line.strip() for line in cue.strip().split("\n")]
        place = next((at for at, line in enumerate(lines) if _CUE.match(line)), None)
        if place is None:
            if lines[0] and not lines[0].startswith(_META):
                spans.append((spans[-1][0] if spans else 0, lines))
            continue
        start = _seconds(lines[place])
        words = [_TAGS.sub("", line) for line in lines[place + 1 :]]
        if spans and start - spans[-1][0] < _SPAN:
            spans[-1][1].extend(words)
        else:
            spans.append((start, words))
    return Draft([Block("paragraph", f"[{_clock(start)}] {' '.join(words)}") for start, words in spans if any(words)])


def _seconds(line: str) -> int:
    match = _CUE.match(line)
    assert match is not None
    return int(match[1] or 0) * 3600 + int(match[2]) * 60 + int(match[3])


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
