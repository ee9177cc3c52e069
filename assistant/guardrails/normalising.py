"""A text as its reader would take it: what hides words from a filter and not from a model is undone.

``plain`` undoes what nobody writes by accident inside a word: invisible characters, look-alike letters of another
script, letters set apart. ``decoded`` gives what a text carries in another coat: base64, hexadecimal, percent and
Unicode escapes, text turned by 13 letters, read backwards, with digits for letters. Both are cheap where there is
nothing to undo.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

LEET_LETTERS = 4  # of words that count as written in digits: k8s and s3 are words
MOST_DECODED = 4  # pieces of one text
READ_CHARACTERS = 20_000
DECODED_CHARACTERS = 4_000  # of one piece

# Zero-width and direction marks, soft hyphens, variation selectors, and the tag characters that mirror ASCII.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000e0100-\U000e01ef]"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһԛԝⅼкмтвнАВЕКМНОРСТУХІЈЅαοντικρυɑɡıℓ",
    "aeopcyxijsdhqwlkmtbhABEKMHOPCTYXIJSaovtikpuagil",
)
_MIXED = re.compile(r"\b(?=\w*[a-zA-Z])(?=\w*[\u0370-\u03ff\u0400-\u052f\u0251\u0261\u0131\u2113\u217c])\w+\b")
_STYLED = re.compile("[\u1d00-\u1d7f\u2100-\u214f\u2460-\u24ff\uff01-\uff5e\U0001d400-\U0001d7ff\U0001f100-\U0001f1ff]")
_SPELLED = re.compile(r"(?<![\w])(?:\w[ .\-_*|/·•~+]{1,3}){4,300}\w(?![\w])")
_BASE64 = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{20,}={0,2}(?![\w+/=])")
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ ,:]?){12,}(?![0-9A-Fa-f])")
_PERCENT = re.compile(r"(?<![\w.+~-])[\w.+~-]*+(?:%[0-9A-Fa-f]{2}[\w.+~-]*+){2,}+")
_ESCAPES = re.compile(r"(?:\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}){4,}")
_LEET_WORD = re.compile(
    r"(?<![\w@$!|])(?=[0-9@$!|]*[A-Za-z])(?=[A-Za-z@$!|]*[0134578@$!|])[A-Za-z0-9@$!|]{2,30}(?![\w@$!|])"
)
_LEET = str.maketrans("0134578@$!|", "oieastbasil")
# Words of attacks, turned by 13 letters or backwards: seen, the text is read that way, too.
_MORSE = re.compile(r"(?:(?<![.\-])[.\-]{1,5}(?:[ /|]+|$)){12,}")
_MORSE_CODE = dict(
    zip(
        ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..".split(),
        "abcdefghijklmnopqrstuvwxyz", strict=True,
    )
)  # fmt: skip
_TURNED = re.compile(
    r"\b(?:vafgehpgvba\w*|cerivbhf\w*|vtaber|flfgrz|cebzcg|cnffjbeq|erirny|bireevqr|qvfertneq)\b", re.IGNORECASE
)
_BACKWARDS = re.compile(r"\b(?:s?noitcurtsni|suoiverp|erongi|metsys|tpmorp|drowssap|laever|drager\w*)\b", re.IGNORECASE)


def plain(text: str) -> str:
    """``text`` without what hides its words; text that hides nothing comes back as it is. Of a very long text, its ends."""
    if len(text) > READ_CHARACTERS:
        text = f"{text[: READ_CHARACTERS * 3 // 4]}\n{text[-READ_CHARACTERS // 4 :]}"
    if text.isascii():
        return _joined(html.unescape(text) if "&" in text else text)
    text = _TAGS.sub(lambda match: " " + "".join(chr(ord(mark) - 0xE0000) for mark in match.group()) + " ", text)
    text = _CONTROL.sub(" ", _INVISIBLE.sub("", html.unescape(text)))
    text = unicodedata.normalize("NFKC", _unstyled(text))
    return _joined(_MIXED.sub(lambda match: match.group().translate(_LOOK_ALIKES), text))


def _unstyled(text: str) -> str:
    """Letters in circles, squares and small capitals, which NFKC leaves in part."""
    if not _STYLED.search(text):
        return text
    return "".join(_letter(character) for character in text)


def _letter(character: str) -> str:
    name = unicodedata.name(character, "") if ord(character) > 127 else ""
    if name.startswith("REGIONAL INDICATOR SYMBOL LETTER"):
        return name[-1].lower()
    if name.startswith(
        ("NEGATIVE SQUARED LATIN", "SQUARED LATIN", "NEGATIVE CIRCLED LATIN", "LATIN LETTER SMALL CAPITAL")
    ):
        return name[-1].lower()
    return character


def _joined(text: str) -> str:
    """Letters that were set apart, ``i g n o r e``, put together again; two blanks end a word."""
    return _SPELLED.sub(lambda match: _word(match.group()), text) if _SPELLED.search(text) else text


def _word(spelled: str) -> str:
    letters = re.split(r"([ .\-_*|/·•~+]{1,3})", spelled)
    if sum(map(str.isalpha, letters[::2])) < 0.8 * len(letters[::2]):
        return spelled  # numbers, dates, flags
    gaps = letters[1::2]
    shortest = min(map(len, gaps))
    return "".join(
        letter + (" " if place < len(gaps) and len(gaps[place]) > shortest else "")
        for place, letter in enumerate(letters[::2])
    )


def decoded(text: str) -> list[tuple[str, str]]:
    """(coat, text) of what ``text`` carries encoded, as far as it can be read; at most ``MOST_DECODED``."""
    found: list[tuple[str, str]] = []
    for coat, piece in _candidates(text):
        if _readable(piece) and piece not in text:
            found.append((coat, piece[:DECODED_CHARACTERS]))
            if len(found) == MOST_DECODED:
                break
    return found


def _candidates(text: str) -> Iterator[tuple[str, str]]:
    if match := _ESCAPES.search(text):
        yield (
            "escapes",
            _ESCAPES.sub(lambda found: found.group().encode().decode("unicode_escape"), text[match.start() :]),
        )
    if "%" in text:
        yield from (("percent", unquote(match.group()).replace("+", " ")) for match in _PERCENT.finditer(text))
    yield from (("base64", _unbase64(match.group())) for match in _BASE64.finditer(text))
    yield from (("hexadecimal", _unhex(match.group())) for match in _HEX.finditer(text))
    yield from (("Morse code", _unmorse(match.group())) for match in _MORSE.finditer(text))
    if _TURNED.search(text):
        yield "rot13", codecs.decode(text, "rot13")
    if _BACKWARDS.search(text):
        yield "backwards", text[::-1]
    if sum(len(word) >= LEET_LETTERS for word in _LEET_WORD.findall(text)) >= 2:
        yield "digits for letters", _LEET_WORD.sub(lambda match: match.group().translate(_LEET), text)


def _unmorse(text: str) -> str:
    words = re.split(r" {2,}|[/|]", text)
    return " ".join("".join(_MORSE_CODE.get(letter, "") for letter in word.split()) for word in words)


def _unbase64(text: str) -> str:
    if not (any(map(str.islower, text)) and any(map(str.isupper, text))):
        return ""  # a path, a hash in hexadecimal
    body = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""


def _unhex(text: str) -> str:
    digits = re.sub(r"0x|\\x|[ ,:]", "", text)
    try:
        return bytes.fromhex(digits).decode("utf-8")
    except ValueError:
        return ""


def _readable(text: str) -> bool:
    """Whether this is likely a sentence: mostly letters and blanks, of several words."""
    if len(text) < 8:
        return False
    letters = sum(character.isalpha() or character.isspace() for character in text)
    return letters >= 0.75 * len(text) and len(text.split()) >= 2
