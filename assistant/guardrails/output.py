"""An answer as it may be shown: no link to a foreign place, no mass mention, no secret or personal data from nowhere.

A foreign link or picture loses its address and keeps its words, so that nothing can be carried out by a URL; an address
that stands in what the asker could read stays, as code that nobody can click. Code stays code. What the asker could
read may be repeated, secrets and personal data included; what came from anywhere else may not. Works on whole texts
and on pieces: ``Settling`` holds back what a later piece could still turn into something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from assistant.guardrails import inert, redacting
from assistant.guardrails.links import Places, host_of
from assistant.guardrails.verdicts import Checked, Removed

REMOVED = "[…]"  # where a secret or personal data stood
_TEXT = r"(?:[^\[\]\\]|\\.|\[(?:[^\[\]\\]|\\.|\[[^\[\]]*\])*\])*"
_TARGET = r"<[^<>\n]*>|(?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*\))*"
_ELEMENT = re.compile(
    rf"""(?P<comment><!--.*?(?:-->|\Z))
    |(?P<definition>^[ ]{{0,3}}\[(?P<label>[^\]\n]+)\]:[ \t]*\n?[ \t]*<?(?P<defined>[^\s<>]+)>?[^\n]*\n?)
    |(?P<link>(?P<bang>!?)\[(?P<words>{_TEXT})\]\(\s*(?P<target>{_TARGET})(?:\s+(?:"[^"]*"|'[^']*'|\([^()]*\)))?\s*\))
    |(?P<at></?at\b[^<>\n]*>)
    |(?P<angled><(?P<address>[a-zA-Z][a-zA-Z0-9+.-]{{1,31}}:[^\s<>|]*|[^\s<>|@]+@[^\s<>|]+\.[a-zA-Z]+)(?:\|(?P<shown>[^<>\n]*))?>)
    |(?P<mention><(?:!|@|\#)[^<>\s|]+(?:\|[^<>\n]*)?>|<users/[^<>\s]+>)
    |(?P<html></?(?P<tag>[a-zA-Z][a-zA-Z0-9]*)(?P<attributes>\b[^<>]*)>)
    |(?P<everyone>(?<![\w/.@])@(?:channel|here|everyone|all|room)\b)
    |(?P<bare>(?:[hH][tT][tT][pP][sS]?:(?://|\\\\|/\\|\\/)|(?<![\w@/.])(?:[a-zA-Z][a-zA-Z0-9+.-]{{1,20}}:(?://|\\\\|/\\|\\/)|www\.|(?:javascript|data|vbscript|file|mailto|tel|blob|intent):(?=[^\s])|(?:[a-zA-Z0-9-]+\.)+[a-zA-Z]{{2,}}(?:/[^\s?]*)?\?(?=[^\s=]+=)))[^\s<>`|]+)
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)  # fmt: skip
# Tags that load, lead or run something; others with attributes lose them all the same.
_ACTIVE = frozenset(
    "a img iframe frame script style object embed form input button link meta svg video audio source base area map "
    "body html head math picture track portal applet".split()
)
_TRAILING = re.compile(r"(?<![.,;:!?)\]*_~'\"”])[.,;:!?)\]*_~'\"”]+$")
_NOT_A_SCHEME = re.compile(r"(?i)^(?:data|file|tel|intent):(?![\w+/-]*[/;,+\d]).*")


@dataclass(frozen=True, slots=True)
class Policy:
    """``places`` may be linked to. ``readable`` is what the asker could read: its data and addresses may be repeated."""

    places: Places
    readable: str = ""

    def repeats(self, value: str) -> bool:
        return bool(self.readable) and value in self.readable


@dataclass(frozen=True, slots=True)
class Change:
    """``text[start:end]`` becomes ``new``. ``removed`` is None where only its form changes."""

    start: int
    end: int
    new: str
    removed: Removed | None = None


def check(text: str, policy: Policy) -> Checked:
    """The whole text as it may be shown."""
    changes = _changes(text, policy)
    return Checked(_applied(text, changes), tuple(change.removed for change in changes if change.removed))


def _changes(text: str, policy: Policy) -> list[Change]:
    """What has to change, in order and apart. Secrets come first: a link may hold one."""
    found = [
        Change(span.start, span.end, REMOVED, Removed(span.kind))
        for span in redacting.find(text, frozenset({"secrets", "pii"}))
        if not policy.repeats(span.value)
    ]
    result: list[Change] = []
    for change in sorted([*found, *_elements(text, policy)], key=lambda change: (change.start, -change.end)):
        if not result or change.start >= result[-1].end:
            result.append(change)
        elif change.end > result[-1].end or _within(change, result[-1]):
            result[-1] = _both(text, result[-1], change)
    return result


def _within(change: Change, outer: Change) -> bool:
    return change.removed is not None and change.new == REMOVED and outer.new != REMOVED


def _both(text: str, outer: Change, inner: Change) -> Change:
    """Two that overlap: the words that the outer one keeps lose what the inner one takes out."""
    value = text[inner.start : inner.end]
    new = outer.new.replace(value, inner.new) if inner.end <= outer.end else REMOVED
    return Change(outer.start, max(outer.end, inner.end), new, outer.removed or inner.removed)


def _applied(text: str, changes: list[Change]) -> str:
    parts, position = [], 0
    for change in changes:
        parts += [text[position : change.start], change.new]
        position = change.end
    return "".join([*parts, text[position:]])


def _outside_code(text: str) -> Iterator[re.Match[str]]:
    """The elements that begin where the text is no code. One that ends within code shows that it is none."""
    spans = inert.code(text)
    at = 0
    while (match := _ELEMENT.search(text, at)) is not None:
        while spans and spans[0][1] <= match.start():
            spans.pop(0)
        if spans and spans[0][0] <= match.start():
            at = spans.pop(0)[1]
            continue
        yield match
        at = match.end()
        while spans and spans[0][1] <= at:
            spans.pop(0)
        if spans and spans[0][0] < at:
            spans = []


def _elements(text: str, policy: Policy) -> Iterator[Change]:
    for match in _outside_code(text):
        kind = match.lastgroup or ""
        start, end = match.span()
        if match["comment"] is not None:
            yield Change(start, end, "", Removed("comment"))
        elif match["definition"] is not None:
            if not policy.places.allow(match["defined"]):
                yield Change(start, end, "", Removed("link", host_of(match["defined"])))
        elif match["link"] is not None:
            yield from _link(match, policy)
        elif match["angled"] is not None:
            yield from _angled(match, policy)
        elif match["at"] is not None or match["mention"] is not None:
            yield Change(start, end, "", Removed("mention"))
        elif match["everyone"] is not None:
            yield Change(start, end, match["everyone"][1:], Removed("mention"))
        elif match["html"] is not None:
            if match["tag"].lower() in _ACTIVE or "=" in match["attributes"]:
                yield Change(start, end, "", Removed("html", match["tag"].lower()))
        elif kind:
            yield from _bare(match, policy)


def _link(match: re.Match[str], policy: Policy) -> Iterator[Change]:
    """``[words](target)``. The words are looked through, too: a picture may stand in a link."""
    target = match["target"].strip("<>").replace("\\", "") if match["target"].startswith("<") else match["target"]
    words = check(match["words"], policy)
    picture = bool(match["bang"])
    if policy.places.allow(target):
        if words.removed:
            yield Change(*match.span(), f"{match['bang']}[{words.text}]({match['target']})", words.removed[0])
        return
    yield Change(*match.span(), words.text, Removed("image" if picture else "link", host_of(target)))


def _angled(match: re.Match[str], policy: Policy) -> Iterator[Change]:
    address, shown = match["address"], match["shown"]
    if policy.places.allow(address):
        if shown is not None:  # Slack's form: ours is Markdown
            yield Change(*match.span(), f"[{shown}]({address})")
        return
    new = check(shown, policy).text if shown is not None else _inert(address, policy)
    yield Change(*match.span(), new, Removed("link", host_of(address)))


def _bare(match: re.Match[str], policy: Policy) -> Iterator[Change]:
    address = _TRAILING.sub("", match["bare"])
    if not address or _NOT_A_SCHEME.match(address) or policy.places.allow(address):
        return
    end = match.start() + len(address)
    yield Change(match.start(), end, _inert(address, policy), Removed("link", host_of(address)))


def _inert(address: str, policy: Policy) -> str:
    """As code: whole where the asker could read it, else its host alone."""
    return f"`{address if policy.repeats(address) else host_of(address)}`"


# What a later piece may go on with: an open bracket, angle, code or comment; digits that are being written; a key.
# Nothing here may be read in two ways (``++``, ``*+``): what models write would else decide how long we think about it.
_OPEN = (
    re.compile(r"!?\[(?:[^\[\]]++|\[[^\[\]]*+\]?+)*+\Z"),
    re.compile(r"!?\[(?:[^\[\]]++|\[[^\[\]]*+\])*+\](?:\((?:[^()]++|\([^()]*+\)?+)*+)?\Z"),
    re.compile(r"^[ ]{0,3}\[[^\]\n]+\]:[^\n]*(?:\n[ \t]*)?\Z", re.MULTILINE),
    re.compile(r"<(?![\s=\d])[^<>]{0,1000}\Z"),
    re.compile(r"(?<!`)`+(?!`)[^`\n]*\Z"),
    re.compile(r"^[ ]{0,3}[`~]{1,}[^\n]*\Z", re.MULTILINE),
    re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{1,4}){0,8}\s?\Z|[+(\d][\d ()./-]{0,40}\Z"),
    re.compile(r"-----BEGIN (?:(?!-----END)[\s\S])*\Z"),
    re.compile(
        r"(?i)(?:pass\w*|pwd|secret|token|key|credential\w*|kennwort|bearer|basic|licen[cs]e|passport|nhs|pesel|bsn|tax|phone|tel|call\w*|mobile)[^\n]{0,60}\Z"
    ),
    re.compile(r"(?<!\S)\S+\Z"),
)
_ROW = re.compile(r"^[^\n`]*+`[^\n]*\|[^\n]*(?:\n[ |:-]*)?\Z", re.MULTILINE)  # the next line may make a table of it
LONGEST_HELD = 2_000  # characters; an open construct that is longer is none


def _masked(text: str) -> str:
    """The text with letters in the place of its code."""
    for start, end in inert.code(text):
        text = f"{text[:start]}{'x' * (end - start)}{text[end:]}"
    return text


class Settling:
    """Checks text that arrives in pieces: ``feed`` gives what can be shown now, ``finish`` the rest.

    What was shown is never changed; in its end the text is the same as ``check`` of the whole gives, but for what only
    a later piece could tell.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._raw = ""
        self._shown = 0
        self.removed: list[Removed] = []

    def feed(self, piece: str) -> str:
        self._raw += piece
        if not any(mark.isspace() for mark in piece):
            return ""
        return self._emit(self._settled())

    def finish(self) -> str:
        return self._emit(len(self._raw))

    def _start(self) -> int:
        """Where the paragraph begins in which the next shown text stands; a fence is one paragraph."""
        start = self._raw.rfind("\n\n", 0, self._shown)
        start = 0 if start < 0 else start + 2
        return next((begin for begin, end in inert.fences(self._raw) if begin < start < end), start)

    def _settled(self) -> int:
        start = self._start()
        tail = self._raw[start:]
        row, tail = _ROW.search(tail), _masked(tail)
        ends = [match.start() for match in (row, *(pattern.search(tail) for pattern in _OPEN)) if match]
        settled = start + min(ends, default=len(tail))
        return max(self._shown, settled if len(self._raw) - settled <= LONGEST_HELD else len(self._raw))

    def _emit(self, end: int) -> str:
        if end <= self._shown:
            return ""
        start = self._start()
        parts = []
        for change in _changes(self._raw[start:], self._policy):
            begin, stop = change.start + start, change.end + start
            if stop <= self._shown:
                continue
            if stop > end:  # goes on in what is not settled
                end = min(end, begin)
                break
            parts += [self._raw[self._shown : max(begin, self._shown)], change.new]
            self._shown = stop
            if change.removed:
                self.removed.append(change.removed)
        end = max(end, self._shown)
        parts.append(self._raw[self._shown : end])
        self._shown = end
        return "".join(parts)
