"""Markdown that notifies nobody and links to nowhere but where it says, also while it is still being written.

What a model writes may hold mentions that ping a whole channel, and links whose label names another address than the
one they lead to. Both are taken apart; the words stay. Code keeps its characters, except for mentions, which Slack
would read there too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import urlsplit

URL_CHARS = 1_000
OPEN_CHARS = 1_500  # a link that has not ended after so many characters is none

_APART = "\u200b"  # a space without width, also good inside code, where an entity would be shown as such
_MENTION = re.compile(r"<(?=!(?:channel|here|everyone|subteam|group)\b|@[UWB][A-Z0-9]|#[CDG][A-Z0-9])", re.IGNORECASE)
_AT_ALL = re.compile(r"@(?=(?:channel|here|everyone)\b)", re.IGNORECASE)
_FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})([^\n]*)")
_DEFINITION = re.compile(r"^(\s{0,3})\[(?=[^\]\n]+\]:)")
_LINK = re.compile(
    r"!?\[((?:[^\[\]\n]|\[[^\[\]\n]*\])*)\]\(\s*+(<[^<>\n]*>|[^\s()]*+(?:\([^\s()]*+\)[^\s()]*+)*+)([^()\n]*+)\)"
)
_ANGLE = re.compile(r"<([a-z][a-z0-9+.-]*:[^<>|\s]*)(?:\|([^<>\n]*))?>", re.IGNORECASE)
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_RUN = re.compile(r"`+")
_NAMED = re.compile(
    r"(?:(?:https?|ftp)://|www\.)[^\s<>\"'`*_|)\]]+"
    r"|(?<![\w@-])(?<![\w-]\.)(?:[\w-]+\.)+[a-z]{2,}(?![\w-])(?:[:/][^\s<>\"'`*|)\]]*)?",
    re.IGNORECASE,
)


def escape(text: str) -> str:
    """For mrkdwn: after this nothing is a link, a mention or a command."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quiet(text: str) -> str:
    """The text with mentions of people, channels and everyone taken apart."""
    return _AT_ALL.sub(f"@{_APART}", _MENTION.sub(f"<{_APART}", text))


def harmless(text: str) -> str:
    """The whole text, cleaned."""
    cleaner = Cleaner()
    return cleaner.feed(text) + cleaner.finish()


def size(text: str) -> int:
    """Characters as Slack may count them at worst: escaped, in UTF-16."""
    escapes = 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))
    units = len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
    return units + escapes


def web_address(url: str | None) -> str | None:
    """The URL where a click leads to a page; None for anything else."""
    if url is None or not url.lower().startswith(("http://", "https://")) or len(escape(url)) > URL_CHARS:
        return None
    return url


def lies(label: str, url: str) -> bool:
    """Whether the label names an address other than the one it leads to."""
    shown = unicodedata.normalize("NFKC", label).replace(_APART, "")
    path = unicodedata.normalize("NFKC", url).casefold()
    return any(_elsewhere(found.group().rstrip(".,;:!?"), path) for found in _NAMED.finditer(shown))


def _elsewhere(named: str, url: str) -> bool:
    named = named.casefold()
    if "://" not in named and not named.startswith("www.") and url.rstrip("/").endswith("/" + named.strip("/")):
        return False  # a file's name, not a host's
    return _host(named) != _host(url)


def _host(url: str) -> str:
    try:
        host = urlsplit(url if "://" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""
    return host.removeprefix("www.")


class Cleaner:
    """Cleans a text that arrives in pieces; what a later piece may still change is held back."""

    def __init__(self) -> None:
        self._raw = ""
        self._fence: str | None = None  # what closes the code block that is open
        self._begins = True  # the next character is the first of its line

    def feed(self, piece: str) -> str:
        self._raw += piece
        return self._take(self._settled())

    def finish(self) -> str:
        return self._take(len(self._raw))

    def _take(self, end: int) -> str:
        ready, self._raw = self._raw[:end], self._raw[end:]
        return "".join(self._line(line) for line in ready.splitlines(keepends=True)) if ready else ""

    def _settled(self) -> int:
        """Up to the last line that is whole, and in the one being written up to its last word, link or code."""
        start = self._raw.rfind("\n") + 1
        fence = self._fence
        for line in self._raw[:start].splitlines():
            fence = _after(line, fence)
        line = self._raw[start:]
        begins = self._begins if start == 0 else True
        if fence is not None or (begins and line.lstrip()[:1] in ("`", "~", "")):
            return start
        return start + _closed(line)

    def _line(self, line: str) -> str:
        code, begins = self._fence is not None, self._begins
        if begins:
            self._fence = _after(line, self._fence)
        self._begins = line.endswith(("\n", "\r"))
        if code or self._fence is not None:
            return quiet(line)
        if begins:
            line = _DEFINITION.sub(r"\1\\[", line)
        parts: list[str] = []
        position = 0
        for start, end in _codes(line):
            parts += [_prose(line[position:start]), quiet(line[start:end])]
            position = end
        return "".join([*parts, _prose(line[position:])])


def _codes(line: str) -> Iterator[tuple[int, int]]:
    """Where code stands in a line: from each run of backticks to the next run of as many. A run alone is itself."""
    runs = [match.span() for match in _RUN.finditer(line)]
    following: dict[int, list[int]] = {}  # length -> places of such runs, the next one last
    for place in range(len(runs) - 1, -1, -1):
        following.setdefault(runs[place][1] - runs[place][0], []).append(place)
    done = -1
    for place, (start, end) in enumerate(runs):
        alike = following[end - start]
        while alike and alike[-1] <= max(place, done):
            alike.pop()
        if place > done and alike:
            done = alike[-1]
            yield start, runs[done][1]


def _after(line: str, fence: str | None) -> str | None:
    """What closes the code block that is open after the line."""
    match = _FENCE.match(line)
    if fence is None:
        return match[1] if match and not (match[1][0] == "`" and "`" in match[2]) else None
    closes = match is not None and match[1][0] == fence[0] and len(match[1]) >= len(fence) and not match[2].strip()
    return None if closes else fence


def _closed(line: str) -> int:
    """Where the part of an unfinished line ends in which every link, address and code is closed."""
    position = end = 0
    while position < len(line):
        character = line[position]
        if character.isspace():
            position += 1
            end = position
            continue
        after = _construct(line, position)
        if after is None:
            return end if len(line) - end < OPEN_CHARS else len(line)
        position = after
    return end if len(line) - end < OPEN_CHARS else len(line)


def _construct(line: str, start: int) -> int | None:
    """The end of what begins at ``start``; None where it has not ended yet."""
    character = line[start]
    if character == "`":
        match = _CODE.match(line, start)
        return match.end() if match and match.end() < len(line) else None
    if character == "<":
        end = line.find(">", start)
        return end + 1 if end >= 0 else None
    if character == "[":
        match = re.compile(r"\[(?:[^\[\]\n]|\[[^\[\]\n]*\])*\]").match(line, start)
        if match is None or match.end() == len(line):
            return None
        if line[match.end()] != "(":
            return match.end()
        end = line.find(")", match.end())
        return end + 1 if end >= 0 else None
    return start + 1


def _prose(text: str) -> str:
    text = _ANGLE.sub(_angle, text)
    return quiet(_LINK.sub(_honest, text))


def _angle(match: re.Match[str]) -> str:
    """Slack's own form of a link, as Markdown's."""
    url, label = match[1], match[2]
    return f"<{url}>" if label is None and web_address(url) else f"[{label or url}]({url})"


def _honest(match: re.Match[str]) -> str:
    """A link as it is where its label tells the truth; an image is a link to it."""
    label, url = match[1], match[2].strip("<>")
    if web_address(url) is None and not url.lower().startswith("mailto:"):
        return label or url
    if lies(label, url):
        return f"{label} ({url})"
    return f"[{label or url}]({match[2]}{match[3]})"
