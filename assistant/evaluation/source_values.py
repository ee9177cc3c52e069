"""Literals of Java and JavaScript source as Python values: ``new int[]{1, 2}``, ``5L``, ``{limit: [50]}``.

The source is rewritten, sign by sign, as a Python literal, which Python then reads. What is no literal (a variable, a
call of something else) stays the text that it is.
"""

from __future__ import annotations

import ast
import re
from typing import Any

_STRING = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_WORDS = {"true": "True", "false": "False", "null": "None", "undefined": "None"}
_GENERIC = r"(?:<[^(){}]*>)?"
# What opens, what it becomes, what closes it, and what that becomes.
_JAVA = (
    (rf"new\s+(?:ArrayList|LinkedList|HashSet){_GENERIC}\s*\(\s*(?:java\.util\.)?(?:Arrays\.asList|List\.of)\s*\(",
     "[", r"\)\s*\)", "]"),
    (r"(?:java\.util\.)?(?:Arrays\.asList|List\.of|Set\.of)\s*\(", "[", r"\)", "]"),
    (rf"new\s+(?:ArrayList|LinkedList|HashSet){_GENERIC}\s*\(", "[", r"\)(?:\s*\{\s*\})?", "]"),
    (rf"new\s+(?:Hash|Tree|LinkedHash)Map{_GENERIC}\s*\(\s*\)\s*\{{\s*\{{", "{", r"\}\s*\}", "}"),
    (rf"new\s+(?:Hash|Tree|LinkedHash)Map{_GENERIC}\s*\(", "{", r"\)", "}"),
    (r"put\s*\(", "", r"\)\s*;", ","),
    (rf"new\s+[\w.]+{_GENERIC}\s*\[\s*\]\s*\{{", "[", r"\}", "]"),
)  # fmt: skip
_JAVASCRIPT = (
    (r"new\s+Array\s*\(", "[", r"\)", "]"),
    (r"\[", "[", r"\]", "]"),
    (r"\{", "{", r"\}", "}"),
)
_TOKEN = re.compile(
    rf"(?P<string>{_STRING})|(?P<number>{_NUMBER})(?P<suffix>[lLfFdDn]?)(?![\w$])|(?P<name>[A-Za-z_$][\w$]*)|(?P<sign>[,:])"
)


class _NoLiteral(ValueError):
    """The source is something else."""


def literal(source: str, language: str) -> Any:
    """The value of a literal, or ``source`` itself where it is none. ``language``: java or javascript."""
    try:
        return ast.literal_eval(_rewritten(source.strip(), language))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return source


def _rewritten(source: str, language: str) -> str:
    brackets = [
        (re.compile(opens), left, re.compile(closes), right)
        for opens, left, closes, right in (_JAVA if language == "java" else _JAVASCRIPT)
    ]
    written: list[str] = []
    open_ones: list[tuple[re.Pattern[str], str, bool]] = []  # what closes, what that becomes, whether it is a map
    place = 0
    while place < len(source):
        if source[place].isspace():
            place += 1
            continue
        if open_ones and (found := open_ones[-1][0].match(source, place)):
            written.append(open_ones.pop()[1])
            place = found.end()
            continue
        for opens, left, closes, right in brackets:
            if found := opens.match(source, place):
                written.append(left)
                open_ones.append((closes, right, left == "{"))
                break
        else:
            token = _token(source, place)
            written.append(_python(token, language, bool(open_ones) and open_ones[-1], source))
            found = token
        place = found.end()
    if open_ones:
        raise _NoLiteral
    return "".join(written)


def _token(source: str, place: int) -> re.Match[str]:
    found = _TOKEN.match(source, place)
    if found is None:
        raise _NoLiteral
    return found


def _python(token: re.Match[str], language: str, within: Any, source: str) -> str:
    if token["string"] is not None:
        return token["string"]
    if token["number"] is not None:
        whole = token["suffix"] in ("l", "L", "n")
        return token["number"] if whole or not token["suffix"] else repr(float(token["number"]))
    if token["sign"] is not None:
        # In `put(key, value);` the comma stands between a key and its value.
        return ":" if within and within[1] == "," else token["sign"]
    if token["name"] in _WORDS:
        return _WORDS[token["name"]]
    is_key = language == "javascript" and bool(within) and within[2] and _before_colon(source, token.end())
    if not is_key:
        raise _NoLiteral
    return repr(token["name"])


def _before_colon(source: str, place: int) -> bool:
    return source[place:].lstrip().startswith(":")
