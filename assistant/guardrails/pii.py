"""Personal data in text, as far as its form gives it away: addresses, numbers of telephones, cards, accounts, people.

What has no form of its own (names and titles of people, places and firms, postal addresses, ages, dates) cannot be found
without a model that recognises names, and none is shipped. A number counts when its check digit is right, and one that
many numbers would pass only beside a word that says what it is.
"""

from __future__ import annotations

import functools
import importlib
import ipaddress
import re
from collections.abc import Callable, Iterator

from assistant.guardrails.spans import Span, apart

REGIONS = ("US", "GB", "DE", "FR", "ES")  # whose numbers may stand without a country code
AFTER = 12  # characters after a telephone number in which "office" or "fax" may stand
NEAR = 40  # characters before a number in which the word must stand

_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-zA-Z]{2,24}(?![\w-])")
_DIGITS = re.compile(r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-]|\.\d)")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}(?!\w)")
_IP = re.compile(r"(?<![\w.:/-])(?:\d{1,3}(?:\.\d{1,3}){3}|(?=[0-9a-fA-F]*:)[0-9a-fA-F:]{6,39})(?![\w.:-]*[\w])")
_SSN = re.compile(r"(?<![\w-])\d{3}[- ]\d{2}[- ]\d{4}(?![\w-])")
_PHONE_NEAR = re.compile(
    r"(?i)\b(?:phone|tele(?:phone|fon|fono)?|tel|mobile|cell|fax|call(?:ed|ing)?|ring|dial|whatsapp|sms|text me|number is|handy|portable|m[oó]vil|reach|contact|hotline|office|answering|dial(?:ed|ing)?)\b"
)
_NO_PHONE = re.compile(
    r"\d{4}-\d\d-\d\d.*|\d{1,3}(?:\.\d{1,3}){1,3}|\D*(?:\d\D*){1,6}"
)  # dates, versions, too few digits
_PHONE_FORM = re.compile(r"[(+]|\d[-. )]\d")
# kind: (module of stdnum, what may be one, the word that must stand near)
_NUMBERS: dict[str, tuple[str, str, str]] = {
    "NHS_NUMBER": ("gb.nhs", r"\b\d{3}[ -]?\d{3}[ -]?\d{4}\b", r"nhs"),
    "TAX_NUMBER_DE": ("de.idnr", r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b", r"steuer|idnr|tin\b|tax"),
    "NIF": ("es.nif", r"\b[0-9XYZKLM]\d{7}-?[A-Z]\b", r""),
    "NIR": ("fr.nir", r"\b[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}\b", r""),
    "CODICE_FISCALE": ("it.codicefiscale", r"\b[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]\b", r""),
    "PESEL": ("pl.pesel", r"\b\d{11}\b", r"pesel"),
    "BSN": ("nl.bsn", r"\b\d{9}\b", r"bsn|burgerservice"),
    "AADHAAR": ("in_.aadhaar", r"\b\d{4} ?\d{4} ?\d{4}\b", r"aadhaar|uidai"),
    "BITCOIN_ADDRESS": ("bitcoin", r"\b(?:bc1[a-z0-9]{25,60}|[13][A-HJ-NP-Za-km-z1-9]{25,34})\b", r""),
}
_NAMED = {
    "DRIVER_LICENSE": re.compile(r"(?i)\b(?:driver'?s?|driving)\W{1,3}licen[cs]e\D{0,25}?\b([A-Z]{0,3}\d[A-Z0-9-]{4,15})\b"),
    "PASSPORT": re.compile(r"(?i)\bpassport\D{0,25}?\b([A-Z]{0,2}\d{6,9})\b"),
}  # fmt: skip


def find(text: str) -> list[Span]:
    """The personal data of ``text``, in their order, apart from each other."""
    return apart([*_of_form(text), *_phones(text), *_numbers(text)])


def _of_form(text: str) -> Iterator[Span]:
    if "@" in text:
        yield from (Span("EMAIL", *match.span(), match.group()) for match in _EMAIL.finditer(text))
    for match in _DIGITS.finditer(text):
        if _is_card(match.group()):
            yield Span("CREDIT_CARD", *match.span(), match.group())
    for match in _IBAN.finditer(text):
        if value := _longest_iban(match.group()):
            yield Span("IBAN", match.start(), match.start() + len(value), value)
    for match in _IP.finditer(text):
        if _is_public(match.group()):
            yield Span("IP_ADDRESS", *match.span(), match.group())
    for match in _SSN.finditer(text):
        if _valid("us.ssn", match.group().replace(" ", "-")):
            yield Span("US_SSN", *match.span(), match.group())


def _numbers(text: str) -> Iterator[Span]:
    for kind, (module, form, word) in _NUMBERS.items():
        for match in _compiled(form).finditer(text):
            near = text[max(0, match.start() - NEAR) : match.start()]
            if (not word or _compiled(rf"(?i){word}").search(near)) and _valid(module, match.group()):
                yield Span(kind, *match.span(), match.group())
    for kind, pattern in _NAMED.items():
        yield from (Span(kind, match.start(1), match.end(1), match[1]) for match in pattern.finditer(text))


def _phones(text: str) -> Iterator[Span]:
    """With a country code anywhere; without one where it is set as people set it and a word says what it is."""
    if sum(map(str.isdigit, text)) < 7:
        return
    phonenumbers = importlib.import_module("phonenumbers")
    for match in phonenumbers.PhoneNumberMatcher(text, None, leniency=phonenumbers.Leniency.VALID):
        yield Span("PHONE_NUMBER", match.start, match.end, match.raw_string)
    if not _PHONE_NEAR.search(text):
        return
    for region in REGIONS:
        for match in phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.POSSIBLE):
            near = text[max(0, match.start - NEAR) : match.start] + " " + text[match.end : match.end + AFTER]
            if _NO_PHONE.fullmatch(match.raw_string):
                continue
            if _PHONE_NEAR.search(near) and _PHONE_FORM.search(match.raw_string) and not _IP.search(match.raw_string):
                yield Span("PHONE_NUMBER", match.start, match.end, match.raw_string)


def _is_card(digits: str) -> bool:
    number = re.sub(r"\D", "", digits)
    if len(number) == 15 and number[:4] in ("1800", "2131"):  # JCB's old ones
        return _valid("luhn", number)
    return 13 <= len(number) <= 19 and number[0] in "23456" and len(set(number)) > 1 and _valid("luhn", number)


def _longest_iban(text: str) -> str:
    """The beginning of ``text`` that is an IBAN; words in capitals may follow it."""
    while len(text) >= 15:
        if _valid("iban", text):
            return text
        text = text.rpartition(" ")[0]
    return ""


def _is_public(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _valid(module: str, number: str) -> bool:
    check: Callable[[str], bool] = _stdnum(module).is_valid
    return check(number)


@functools.cache
def _stdnum(module: str):  # type: ignore[no-untyped-def]
    return importlib.import_module(f"stdnum.{module}")


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
