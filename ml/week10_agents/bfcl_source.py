"""Values of Java and JavaScript source: ``new int[]{1, 2}``, ``5L``, ``{limit: [50]}`` read as Python values, and
written.

Idea.    A model that is shown Java functions writes Java. To compare what it wrote, its literals are read by a small
         recursive-descent reader; whatever is not a literal (a variable, a call) stays the text that it is.
Source.  The grammar of literals in the two languages' specifications; BFCL's own converters do this with regular
         expressions, which trip over commas inside strings and nested brackets.
Left out. Expressions, unicode escapes, template strings.
"""

from __future__ import annotations

import json
import re
from typing import Any

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
STRING = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")
NAME = re.compile(r"[A-Za-z_$][\w$-]*")
JAVA_LIST = re.compile(r"(?:new\s+ArrayList<[^>]*>\s*\(\s*)?(?:java\.util\.)?(?:Arrays\.asList|List\.of)\s*\(")
JAVA_ARRAY = re.compile(r"new\s+[\w<>]+\s*\[\s*\]\s*\{")
JAVA_MAP = re.compile(r"new\s+HashMap<[^(]*>\s*\(\s*\)\s*\{\s*\{")
JAVA_PUT = re.compile(r"put\s*\(")
EMPTY = re.compile(r"new\s+(ArrayList|HashMap)<[^(]*>\s*\(\s*\)\s*(?:\{\s*\{?\s*\}?\s*\})?\s*\Z")


class NotALiteral(ValueError):
    """The text is something else than a literal."""


def read(text: str, language: str) -> Any:
    """The value of a literal, or ``text`` itself where it is none."""
    try:
        return _Reader(text.strip(), language).whole()
    except NotALiteral:
        return text


class _Reader:
    def __init__(self, text: str, language: str) -> None:
        self.text, self.java, self.place = text, language == "java", 0

    def whole(self) -> Any:
        if self.java and (found := EMPTY.match(self.text)):
            return [] if found[1] == "ArrayList" else {}
        value = self.value()
        self.skip()
        if self.place < len(self.text):
            raise NotALiteral
        return value

    def skip(self) -> None:
        while self.place < len(self.text) and self.text[self.place].isspace():
            self.place += 1

    def take(self, pattern: re.Pattern[str]) -> str | None:
        self.skip()
        found = pattern.match(self.text, self.place)
        if found:
            self.place = found.end()
        return found[0] if found else None

    def sign(self, expected: str) -> bool:
        self.skip()
        if self.text.startswith(expected, self.place):
            self.place += len(expected)
            return True
        return False

    def need(self, expected: str) -> None:
        if not self.sign(expected):
            raise NotALiteral

    def value(self) -> Any:
        if quoted := self.take(STRING):
            return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), quoted[1:-1])
        if number := self.take(NUMBER):
            return self.number(number)
        return self.java_collection() if self.java else self.javascript_collection()

    def number(self, digits: str) -> Any:
        suffix = self.take(re.compile(r"[lLfFdDn](?![\w$])")) or ""
        if suffix in "lLn" and suffix:
            return int(digits)
        return float(digits) if suffix or re.search(r"[.eE]", digits) else int(digits)

    def word(self) -> Any:
        name = self.take(NAME)
        if name not in ("true", "false", "null"):
            raise NotALiteral
        return {"true": True, "false": False, "null": None}[name]

    def items(self, end: str) -> list[Any]:
        found: list[Any] = []
        while not self.sign(end):
            if found:
                self.need(",")
                if self.sign(end):
                    break
            found.append(self.value())
        return found

    def java_collection(self) -> Any:
        if self.take(JAVA_ARRAY):
            return self.items("}")
        if opened := self.take(JAVA_LIST):
            found = self.items(")")
            if opened.startswith("new"):
                self.need(")")
            return found
        if not self.take(JAVA_MAP):
            return self.word()
        entries = {}
        while self.take(JAVA_PUT):
            key = self.value()
            self.need(",")
            entries[key] = self.value()
            self.need(")")
            self.need(";")
        self.need("}")
        self.need("}")
        return entries

    def javascript_collection(self) -> Any:
        if self.sign("["):
            return self.items("]")
        if self.take(re.compile(r"new\s+Array\s*\(")):
            return self.items(")")
        if not self.sign("{"):
            return self.word()
        entries: dict[str, Any] = {}
        while not self.sign("}"):
            if entries:
                self.need(",")
                if self.sign("}"):
                    break
            key = self.take(STRING) or self.take(NAME) or self.take(NUMBER)
            if key is None:
                raise NotALiteral
            self.need(":")
            entries[key.strip("'\"")] = self.value()
        return entries


def write(value: Any, kind: str, language: str) -> str:
    """``value`` as source of BFCL's type ``kind``. Strings of the types String and any are names as often as texts:
    as is."""
    if isinstance(value, str):
        return value
    if language == "java":
        return _java(value, kind)
    return json.dumps(value, ensure_ascii=False)  # JSON is JavaScript


def _java(value: Any, kind: str) -> str:
    if isinstance(value, dict):
        puts = " ".join(f"put({json.dumps(key)}, {_java(item, '')});" for key, item in value.items())
        return f"new HashMap<String, Object>() {{{{ {puts} }}}}"
    if isinstance(value, list):
        inside = ", ".join(_java(item, "") for item in value)
        return f"new ArrayList<>(Arrays.asList({inside}))" if kind != "Array" else f"new Object[]{{{inside}}}"
    if isinstance(value, int) and not isinstance(value, bool) and kind == "long":
        return f"{value}L"
    return json.dumps(value, ensure_ascii=False) + ("f" if kind == "float" else "")
