"""A JSON parser that forgives what language models get wrong, and says what it forgave.

The idea: try the strict parser first, so that valid JSON is never touched. Otherwise read by recursive descent, and
where the grammar is broken take the reading that needs the smallest repair: a fence or prose around the value,
comments, single or curly quotes, bare keys, Python's literals, a missing or an extra comma, a quote inside a string, a
text that stops in the middle (the token limit). Each repair is noted, so that a caller may accept some and refuse
others.

What has no such reading is an error with its position: no value at all, or two values and nobody knows which.

Source: the JSON grammar (RFC 8259). Left out: streaming (week 8), constrained decoding (week 10), which makes most of
this needless where one owns the decoder.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

Json = Any  # None, bool, int, float, str, list or dict of these
DEPTH = 100
PAIRS = {'"': '"', "'": "'", "“": "”", "‘": "’", "`": "`"}
LITERALS: dict[str, Json] = {"true": True, "false": False, "null": None, "none": None, "undefined": None, "nan": None,
                             "infinity": None, "-infinity": None}  # fmt: skip
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")
FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:\n```|```\s*\Z|\Z)", re.DOTALL)
BLANK = re.compile(r"\s+|//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
# What may stand behind a string's closing quote: the end, a bracket, a comment, a forgotten comma and the next string,
# or a comma and something that begins an item. Anything else, and the quote belonged to the text.
AFTER_STRING = re.compile(
    r"\s*(?:\Z|[}\]]|//|/\*|#)|\s+[\"'“]|\s*\n\s*(?:[\[{\d-]|(?:true|false|null|none)\b|[A-Za-z_]\w*\s*:)"
    r"|\s*,\s*(?:[\"'“`\[{}\]\d#/-]|[A-Za-z_]\w*\s*:|(?:true|false|null|none)\b|[a-z]{0,4}\Z)",
    re.IGNORECASE,
)
BARE = re.compile(r"[^\s,:\[\]{}\"'`“”]+")


class Unrepairable(ValueError):
    """There is no JSON to be read from the text; the message says why and where."""


@dataclass(frozen=True)
class Repaired:
    """The ``value`` read, and what was forgiven, each kind of repair once, in order of its first use."""

    value: Json
    notes: tuple[str, ...] = ()


def strict(text: str) -> Json:
    """``json.loads`` without its extensions: NaN, Infinity and numbers too large for a float are refused."""

    def refuse(name: str) -> Json:
        raise ValueError(f"{name} is no JSON")

    def finite(number: str) -> float:
        value = float(number)
        return value if math.isfinite(value) else refuse(number)

    return json.loads(text, parse_constant=refuse, parse_float=finite)


def repair(text: str) -> Repaired:
    """Read ``text`` as JSON, forgiving what can be forgiven; ``Unrepairable`` otherwise."""
    try:
        return Repaired(strict(text))
    except (ValueError, RecursionError):
        return _Reader(text).whole()


@dataclass
class _Reader:
    """A position in ``text``, and the notes so far. Every method either moves ``at`` forward or raises."""

    text: str
    at: int = 0
    notes: dict[str, None] = field(default_factory=dict)  # a set that remembers its order

    def whole(self) -> Repaired:
        fence = FENCE.search(self.text)
        if fence and not re.search(r"[\[{]", self.text[: fence.start()]):
            self.text = fence[1]
            self.note("code fence")
        first = re.search(r"[\[{]", self.text)
        if first is None:
            raise Unrepairable("There is no { or [ in the text, so no JSON object or list begins.")
        if self.text[: first.start()].strip():
            self.note("text before")
        self.at = first.start()
        value = self.value(0)
        self.blanks()
        if rest := self.text[self.at :]:
            if re.match(r"[,:\"']", rest):
                raise self.error("The value has ended, but the text goes on")
            if re.search(r"[\[{]\s*[\"'\[{\d]", rest):
                raise self.error("A second value follows")
            self.note("text after")
        return Repaired(value, tuple(self.notes))

    def note(self, what: str) -> None:
        self.notes[what] = None

    def error(self, what: str) -> Unrepairable:
        line = self.text.count("\n", 0, self.at) + 1
        return Unrepairable(f"{what} at character {self.at} (line {line}): {self.text[self.at : self.at + 20]!r}")

    def peek(self) -> str:
        """The next character, or nothing at the end."""
        return self.text[self.at : self.at + 1]

    def blanks(self) -> None:
        """Skip white space and comments (``//``, ``#``, ``/* */``)."""
        while match := BLANK.match(self.text, self.at):
            if match[0].strip():
                self.note("comment")
            self.at = match.end()

    # ---- values ----
    def value(self, depth: int) -> Json:
        if depth > DEPTH:
            raise self.error(f"More than {DEPTH} levels deep")
        self.blanks()
        start = self.peek()
        if start == "{":
            return self.object(depth)
        if start == "[":
            return self.list(depth)
        if start in PAIRS:
            return self.string()
        return self.scalar()

    def object(self, depth: int) -> dict[str, Json]:
        self.at += 1
        found: dict[str, Json] = {}
        while not self.closed("}", "]"):
            key = self.key()
            self.blanks()
            if not self.peek():
                self.note("cut off")  # a key without its value says nothing
                break
            if self.peek() != ":":
                raise self.error(f"No colon after the key {key!r}")
            self.at += 1
            self.blanks()
            if not self.peek():
                self.note("cut off")
                break
            if self.peek() in ",}":
                self.note("missing value")
                found[key] = None
            else:
                found[key] = self.value(depth + 1)
            self.comma("}")
        return found

    def list(self, depth: int) -> list[Json]:
        self.at += 1
        found: list[Json] = []
        while not self.closed("]", "}"):
            found.append(self.value(depth + 1))
            self.comma("]")
        return found

    def closed(self, own: str, other: str) -> bool:
        """Whether the container ends here: by its bracket, by the outer one's, or because the text does."""
        self.blanks()
        if self.peek() == own:
            self.at += 1
            return True
        if not self.peek():
            self.note("cut off")
            return True
        if self.peek() == other:  # {"a": [1, 2}: the inner one was forgotten; the outer one takes this bracket
            self.note("missing bracket")
            return True
        return False

    def comma(self, close: str) -> None:
        """The comma after an item: too many, none, or one before the bracket are forgiven."""
        self.blanks()
        commas = 0
        while self.peek() == ",":
            self.at, commas = self.at + 1, commas + 1
            self.blanks()
        if commas and (commas > 1 or self.peek() in ("}", "]")):
            self.note("extra comma")
        if not commas and self.peek() and self.peek() not in "}]":
            if self.peek() == ":":
                raise self.error("A colon where a comma belongs")
            self.note("missing comma")

    def key(self) -> str:
        if self.peek() in PAIRS:
            return self.string(key=True)
        match = BARE.match(self.text, self.at)
        if match is None:
            raise self.error("No key")
        self.at = match.end()
        self.note("bare key")
        return match[0]

    # ---- leaves ----
    def string(self, key: bool = False) -> str:
        quote = PAIRS[self.peek()]
        if quote != '"':
            self.note("quotes")
        self.at += 1
        parts: list[str] = []
        while True:
            match = re.compile(r"[^\\" + re.escape(quote) + "]+").match(self.text, self.at)
            if match:
                if re.search(r"[\x00-\x1f]", match[0]):
                    self.note("control character")
                parts.append(match[0])
                self.at = match.end()
            if not self.peek():
                self.note("cut off")
                return "".join(parts)
            if self.peek() == "\\":
                parts.append(self.escape())
            elif key or AFTER_STRING.match(self.text, self.at + 1):
                self.at += 1
                return "".join(parts)
            else:
                self.note("quote inside a string")
                parts.append(quote)
                self.at += 1

    def escape(self) -> str:
        """A backslash and what follows; an escape that JSON does not know is its own character."""
        code = self.text[self.at + 1 : self.at + 2]
        self.at += 1 + len(code)
        if code == "u":
            match = re.compile(r"[0-9a-fA-F]{4}").match(self.text, self.at)
            if match is None:
                self.note("escape")
                return "u" if self.peek() else ""
            self.at = match.end()
            high = int(match[0], 16)
            pair = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})").match(self.text, self.at)
            if 0xD800 <= high < 0xDC00 and pair:  # two halves of one character beyond U+FFFF
                self.at = pair.end()
                return chr(0x10000 + ((high - 0xD800) << 10) + (int(pair[1], 16) - 0xDC00))
            return chr(high)
        if code not in ESCAPES and code not in "\"'\\/":
            self.note("escape")
        return ESCAPES.get(code, code)

    def scalar(self) -> Json:
        """A number, a literal of JSON, Python or JavaScript, or a bare word, which is a string without its quotes."""
        match = BARE.match(self.text, self.at)
        if match is None:
            raise self.error("No value" if self.peek() else "The text ends where a value belongs")
        word, start = match[0], self.at
        self.at = match.end()
        if NUMBER.fullmatch(word):
            return self.number(word, start)
        if word.lower() in LITERALS:
            if word not in ("true", "false", "null"):
                self.note("literal")
            return LITERALS[word.lower()]
        return self.unfinished(word)

    def number(self, word: str, start: int) -> Json:
        try:
            return strict(word)
        except ValueError:
            self.note("number")
        plain = word.replace("_", "").lstrip("+")
        hexadecimal = re.fullmatch(r"(-?)0[xX](\w+)", plain)
        value: float = int(f"{hexadecimal[1]}{hexadecimal[2]}", 16) if hexadecimal else float(plain)
        if not math.isfinite(value):
            self.at = start
            raise self.error("A number too large")
        return int(value) if re.fullmatch(r"-?\d+", plain) and abs(value) < 2**53 else value

    def unfinished(self, word: str) -> Json:
        """A word that is neither: at the end of the text the beginning of something, elsewhere a bare string."""
        if self.at == len(self.text):
            self.note("cut off")
            for literal in ("true", "false", "null", "None"):
                if literal.lower().startswith(word.lower()):
                    return LITERALS[literal.lower()]
            if number := re.match(r"-?\d+(?:\.\d+)?", word):  # 12. or 1e
                return strict(number[0]) if not re.match(r"-?0\d", number[0]) else float(number[0])
            if word in "-+.":
                return None
        rest = re.compile(r"(?:[^,\]}\n:]|:(?=//))*").match(
            self.text, self.at
        )  # the words up to the next mark belong to it
        self.at = rest.end() if rest else self.at
        self.note("bare string")
        return (word + rest[0]).strip() if rest else word
