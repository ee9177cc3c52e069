"""What a JSON value says, leaf by leaf: made safe to be shown, and held against the passages that it rests on.

Checked are numbers, texts, and the names of fields that the schema does not give. A number stands in a passage, written
as digits, with a per cent sign or as a word. A text of a few words stands there, or all of its words do; a date may be
spelled in another way. A longer text is checked sentence by sentence as answers are (``assistant.guardrails.support``).
Not checked is what the schema itself offers (``enum``, ``const``), and true, false and null: these are judgements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from assistant.guardrails.formats import Format
from assistant.guardrails.support import Support, objection
from assistant.knowledge.lexical import query_terms

PLAIN = 4  # words; a longer text is read as sentences
SHOWN = 60  # characters of a leaf that a sentence names

_DIGITS = re.compile(r"(?<![\w.,])([-−])?(\d+(?:[.,'’\u202f\u00a0]\d+)*)\s?(%)?")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_MONTHS = (
    "jan|ene", "feb|fév|fev", "mar|mär|mrz", "apr|avr|abr", "may|mai", "jun|juin", "jul|juil", "aug|août|ago", "sep",
    "oct|okt", "nov", "dec|dez|déc|dic",
)  # fmt: skip
# "ein", "un" and "una" are articles, too.
_WORDS = {
    0: "zero null zéro cero", 1: "one eins einmal", 2: "two twice zwei zweimal deux dos", 3: "three drei trois tres",
    4: "four vier quatre cuatro", 5: "five fünf cinq cinco", 6: "six sechs seis", 7: "seven sieben sept siete",
    8: "eight acht huit ocho", 9: "nine neun neuf nueve", 10: "ten zehn dix diez", 11: "eleven elf onze",
    12: "twelve zwölf douze doce", 15: "fifteen fünfzehn quinze quince", 20: "twenty zwanzig vingt veinte",
    30: "thirty dreißig trente treinta", 40: "forty vierzig quarante cuarenta", 50: "fifty fünfzig cinquante cincuenta",
    60: "sixty sechzig soixante sesenta", 90: "ninety neunzig noventa", 100: "hundred hundert cien",
}  # fmt: skip
_NAMED = {word: Decimal(number) for number, words in _WORDS.items() for word in words.split()}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A text or a number of a value; ``place`` names it as ``steps/0/command``."""

    place: str
    value: str | int | float


def leaves(value: Any, form: Format, place: str = "") -> Iterator[Leaf]:
    """All that has to rest on something."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            inner = f"{place}/{name}" if place else str(name)
            if name not in form.names:
                yield Leaf(inner, name)
            yield from leaves(part, form, inner)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from leaves(part, form, f"{place}/{number}")
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and value not in form.fixed:
        yield Leaf(place, value)


def cleaned(value: Any, form: Format, clean: Callable[[str], str]) -> Any:
    """The value with each text put through ``clean``, and each name that the schema does not give."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {name if name in form.names else clean(name): cleaned(part, form, clean) for name, part in value.items()}
    if isinstance(value, list):
        return [cleaned(part, form, clean) for part in value]
    return value


async def unsupported(value: Any, form: Format, passages: Mapping[int, str], support: Support) -> Leaf | None:
    """The first leaf that the passages do not say; ``passages`` are those that the value rests on."""
    ground = "\n\n".join(passages.values())
    there, terms = amounts(ground), set(query_terms(ground))
    for leaf in leaves(value, form):
        if not isinstance(leaf.value, str):
            if Decimal(str(leaf.value)) not in there:
                return leaf
        elif not leaf.value.strip() or _stands(leaf.value, ground, there, terms):
            continue
        elif len(leaf.value.split()) <= PLAIN or any(
            sentence.against for sentence in await support.sentences(leaf.value, passages)
        ):
            return leaf
    return None


def _stands(text: str, ground: str, there: set[Decimal], terms: set[int]) -> bool:
    """Whether a text stands in the passages word for word or, where it is short, with all of its words."""
    said = " ".join(text.split())
    if re.search(rf"(?<!\w){re.escape(said.casefold())}(?!\w)", " ".join(ground.split()).casefold()):
        return True
    if date := _DATE.fullmatch(said):
        return _dated(date, ground, there)
    if len(said.split()) > PLAIN or isinstance(objection(said, ground), str):
        return False
    own = set(query_terms(said))
    return bool(own) and own <= terms


def _dated(date: re.Match[str], ground: str, there: set[Decimal]) -> bool:
    year, month, day = (int(part) for part in date.groups())
    if not {Decimal(year), Decimal(day)} <= there:
        return Decimal(f"{day}.{month}") in there and Decimal(year) in there
    spelled = 1 <= month <= 12 and re.search(rf"(?i)\b(?:{_MONTHS[month - 1]})", ground)
    return bool(spelled) or Decimal(month) in there


def amounts(text: str) -> set[Decimal]:
    """The numbers of a text in every way that they can be read: 1,500 and 1.500 are 1500, and 1.5; 50 % is 0.5, too."""
    found = {_NAMED[word] for word in re.findall(r"[^\W\d_]+", text.casefold()) if word in _NAMED}
    for sign, digits, percent in _DIGITS.findall(text):
        for written in {re.sub(r"[^\d]", "", digits), re.sub(r"[^\d.]", "", digits), _with_comma(digits)}:
            try:
                number = Decimal(written)
            except InvalidOperation:  # 2.3.1 is a version
                continue
            found |= {number, number / 100} if percent else {number}
            if sign:
                found.add(-number)
    return found


def _with_comma(digits: str) -> str:
    """Read as most of Europe writes it: 1.500,5."""
    return re.sub(r"[^\d,]", "", digits).replace(",", ".")
