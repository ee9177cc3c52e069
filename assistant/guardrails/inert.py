"""Where a text is code however its Markdown is read: there alone a link leads nowhere.

Readers of Markdown differ on where a fence ends, on tables, on HTML, on what a list holds. So this is no parser: a
stretch counts as code where all readings agree on it. From a fence on that can be read in two ways nothing is code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+\Z")
_FENCE = re.compile(r"(?P<lead>[ ]*(?:(?:>|[-*+](?=[ ]))[ ]{0,3})*)(?P<ticks>`{3,}|~{3,})(?P<info>[^\r\n]*)")
_TICKS = re.compile(r"`+")
_LONG = re.compile(r"`{3,}|~{3,}")
_ROW = re.compile(r"[ >]*\|?[ ]*:?-+:?[ ]*(?:\|[ ]*:?-+:?[ ]*)*\|?[ ]*")
# HTML that goes on over blank lines, and HTML that ends at one: within it, no fence and no tick is one.
_LONG_HTML = re.compile(r"(?i)[ >*+-]*<(?:[!?]|(?:pre|script|style|textarea)\b)")
_HTML = re.compile(
    r"[ >*+-]*</?(?!(?:a|b|br|code|del|em|i|ins|kbd|mark|s|small|span|strong|sub|sup|u)\b[^<>]*>[ ]*[^ ])"
    r"[a-zA-Z][a-zA-Z0-9-]*(?:[\s/>]|$)"
)
# A tick behind it may be none: escaped, or within what HTML takes as one piece.
_DOUBTFUL = re.compile(r"\\`|<[!?]|<[a-zA-Z][^`]*=")

Span = tuple[int, int]


def code(text: str) -> list[Span]:
    """The stretches of ``text`` that are code, in order and apart."""
    return _Reading(text).all if "`" in text or "~~~" in text else []


def fences(text: str) -> list[Span]:
    """Those of them that stand between fences; one that is open goes to the end."""
    return _Reading(text).fences if "```" in text or "~~~" in text else []


class _Reading:
    """One pass over the lines."""

    def __init__(self, text: str) -> None:
        self.all: list[Span] = []
        self.fences: list[Span] = []
        self._text = text
        self._at = 0
        self._lines = [match.span() for match in _LINE.finditer(text)]
        self._shown = [text[start:stop].rstrip("\r\n").expandtabs(4) for start, stop in self._lines]
        while self._at < len(self._lines) and self._block():
            pass

    def _block(self) -> bool:
        """The next fence, or the lines up to it or to a blank line. False: from here on nothing is certain."""
        first = self._at
        while self._at < len(self._lines) and self._shown[self._at].strip(" "):
            line = self._shown[self._at]
            opening = _FENCE.fullmatch(line)
            if opening is not None and (opening["ticks"][0] == "~" or "`" not in opening["info"]):
                before = self._shown[first : self._at]
                self._paragraph(first, self._at)
                return self._fence(opening["lead"], opening["ticks"], before)
            if _LONG_HTML.match(line) or _open_run(line):
                self._paragraph(first, self._at)
                return False
            if _HTML.match(line):
                self._paragraph(first, self._at)
                self._pass_over()
                return True
            self._at += 1
        self._paragraph(first, self._at)
        self._at += 1
        return True

    def _pass_over(self) -> None:
        """To the next blank line."""
        while self._at < len(self._lines) and self._shown[self._at].strip(" "):
            self._at += 1

    def _fence(self, lead: str, ticks: str, before: Sequence[str]) -> bool:
        """The block that begins here. ``before``: the lines above it, to whose paragraph one far in may belong."""
        start = self._lines[self._at][0]
        margin = re.sub(r"[-*+]", " ", lead)
        far = len(margin) - len(margin.lstrip(" ")) > 3
        if far and any(_TICKS.search(line) for line in before):
            return False
        for number in range(self._at + 1, len(self._lines)):
            line, (begins, ends) = self._shown[number], self._lines[number]
            inside = line.startswith(margin.rstrip(" ") if ">" in margin else margin)
            if not inside and (line.strip(" ") or ">" in margin):
                self._add_fence(start, begins, far)
                return False
            if run := next((run for run in _LONG.finditer(line) if run.group()[0] == ticks[0]), None):
                own = line.removeprefix(margin).strip(" >")
                if run.group() != own or len(own) < len(ticks) or (far and own != ticks):
                    self._add_fence(start, begins, far)
                    return False
                self._add_fence(start, ends, False)
                self._at = number + 1
                return True
        self._add_fence(start, len(self._text), far)
        return False

    def _add_fence(self, start: int, end: int, uncertain: bool) -> None:
        if not uncertain:
            self.fences.append((start, end))
            self.all.append((start, end))

    def _paragraph(self, first: int, last: int) -> None:
        """Code within one line each. After a run of ticks without its end, the rest is in doubt."""
        shown = self._shown[first:last]
        table = any("|" in line and _ROW.fullmatch(line) for line in shown)
        for start, end in self._lines[first:last]:
            spans = _spans(self._text, start, end)
            if spans is None:
                return
            if not (table and any("|" in self._text[slice(*span)] for span in spans)):
                self.all += spans


def _open_run(line: str) -> bool:
    """Whether a long run of ticks stands in a line without its end: some take it for a fence."""
    return "```" in line and _spans(line, 0, len(line)) is None


def _spans(text: str, start: int, end: int) -> list[Span] | None:
    """The code of a line; None where one of its runs of ticks has no end, or may be none."""
    runs = list(_TICKS.finditer(text, start, end))
    if runs and _DOUBTFUL.search(text, start, end):
        return None
    spans: list[Span] = []
    at = 0
    while at < len(runs):
        length = len(runs[at].group())
        close = next((n for n in range(at + 1, len(runs)) if len(runs[n].group()) == length), None)
        if close is None:
            return None
        spans.append((runs[at].start(), runs[close].end()))
        at = close + 1
    return spans
