"""Personal data by pattern: what it looks like, whether its checksum holds, and what stands beside it.

The idea: three sieves, coarse to fine. A *pattern* says what it looks like (16 digits). A *check* says whether it can
be one (Luhn). *Context* says whether it is meant as one: "47" is an age after "I just turned", and nothing otherwise.
Rules that are checked come first, and a stretch that one of them took is not offered to the next: a card is no phone.

Patterns find what has a form. Names, places and organisations have none: "Rubija" is a name because somebody is called
so. The rules for names here know titles and "my name is", find few, and are measured to say so (``experiment.py``).

Source: the design (recognisers with validation and context) is Microsoft Presidio's; the rules are our own. Left out:
secrets and keys, languages other than English in the contexts, named-entity models (the mend for names).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from ml.week11_guardrails.checksums import is_iban, is_luhn, is_ssn
from ml.week11_guardrails.spans import Span, overlaps

WINDOW = 40  # characters on either side in which a context word counts


@dataclass(frozen=True)
class Rule:
    """``pattern`` finds (its group ``value`` where it has one), ``check`` may reject, ``context`` must stand nearby."""

    kind: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool] | None = None
    context: re.Pattern[str] | None = None

    def find(self, text: str) -> Iterable[Span]:
        for match in self.pattern.finditer(text):
            group = "value" if "value" in self.pattern.groupindex else 0
            start, end = match.span(group)
            if self.check and not self.check(text[start:end]):
                continue
            around = f"{text[max(0, start - WINDOW) : start]} {text[end : end + WINDOW]}"
            if self.context is None or self.context.search(around):
                yield Span(start, end, self.kind)


def is_address(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address; 999.1.1.1 and a version such as 1.2.3 are none."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_phone(text: str) -> bool:
    """Seven to fifteen digits (ITU E.164 allows 15), in groups or after a plus; a date, an address, 3-2-4 is none."""
    digits = re.sub(r"\D", "", text)
    grouped = bool(re.search(r"[ .()-]", text.strip())) or text.startswith("+")
    other = re.fullmatch(
        r"(19|20)\d\d-\d\d-\d\d( \d\d)?|\d{1,2}\.\d{1,2}\.\d{4}|\d{1,3}(\.\d{1,3}){3}|\d{3}-\d\d-\d{4}", text
    )
    return 7 <= len(digits) <= 15 and grouped and not other


def _rule(kind: str, pattern: str, check: Callable[[str], bool] | None = None, context: str = "") -> Rule:
    nearby = re.compile(context, re.IGNORECASE) if context else None
    return Rule(kind, re.compile(pattern, re.VERBOSE), check, nearby)


DAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
STREETS = "Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Way|Court|Ct|Square|Squares|Place|Pl"
PHONE = r"(?<![\w.+(-])(?>(?:\+|\(?\d)[\d ().-]{5,20}\d(?!\d))"  # atomic: a shorter match would leave digits standing
NAME = r"[^\W\d_][\w'’-]+"
TITLES = r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof)\b\.?"

RULES = (
    _rule("EMAIL_ADDRESS", r"[\w.+%-]+@(?:[\w-]+\.)+[A-Za-z]{2,}\b"),
    _rule("DOMAIN_NAME", r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:!?] | \bwww\.[\w-]+(?:\.[\w-]+)+"),
    _rule("IBAN_CODE", r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{2,4}){3,8}(?:[ ]?[A-Z0-9]{1,3})?\b", is_iban),
    _rule("US_DRIVER_LICENSE",
          r"(?i:driver'?s?[ ]licen[sc]e(?:[ ]number)?[ ](?:is|:))[ ](?P<value>[A-Z]?\d[\d-]{5,15})"),
    _rule("US_SSN", r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", is_ssn),
    _rule("CREDIT_CARD", r"(?<![\d.-])\d(?:[ -]?\d){11,18}(?![\d-])", is_luhn),
    _rule("IP_ADDRESS", r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3} | [0-9A-Fa-f:]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f]+)(?![\w:])",
          is_address),
    _rule("DATE_TIME", rf"""\b(?:19|20)\d\d-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?
          | \b\d{{1,2}}[/.]\d{{1,2}}[/.](?:19|20)\d\d\b
          | \b\d{{1,2}}[ ](?:{MONTHS})(?:[ ]\d{{4}})? | \b(?:{MONTHS})[ ]\d{{1,2}}(?:,?[ ]\d{{4}})? | \b(?:{DAYS})\b
          | (?<=\bin[ ])(?:19|20)\d\d\b | (?<=\bsince[ ])(?:19|20)\d\d\b | (?<=\bDuring[ ])(?:19|20)\d\d\b"""),
    _rule("PHONE_NUMBER", PHONE, is_phone,
          r"\b(call|phone|tel|telephone|fax|mobile|cell|office|answering|reach|number)\b"),
    _rule("PHONE_NUMBER", rf"(?=\+){PHONE}", is_phone),
    # Without such a word beside it, a number with a word behind it is an address: "3784 216 Archwood St".
    _rule("PHONE_NUMBER", rf"{PHONE}(?![ ]?[^\W\d_])", is_phone),
    _rule("AGE", r"""\b(?:turn(?:ed|s|ing)?|aged?(?:[ ]of)?)[ ](?P<value>\d{1,3})\b(?!,\d)"""),
    _rule("AGE", r"\b(?P<value>\d{1,3})(?=[ -]?(?:years?[ -]old|y/o)\b)"),
    _rule("ZIP_CODE", r"\b(?P<value>\d{5}|[A-Z]\d[A-Z][ ]\d[A-Z]\d|[A-Z]{1,2}\d[A-Z\d]?[ ]\d[A-Z]{2})\b",
          context=r"\b(zip|post ?code|postal)"),
    _rule("STREET_ADDRESS", rf"\b\d{{1,5}}[ ](?:[A-Z][\w'.-]*[ ]){{1,4}}(?:{STREETS})\b"),
    _rule("TITLE", TITLES),
    _rule("PERSON", rf"{TITLES}[ ](?P<value>{NAME}(?:[ ](?=[A-Z]){NAME})*)"),
    _rule("PERSON", rf"(?i:\bmy[ ]name[ ]is|\bI[ ]am|\bI'm)[ ](?P<value>(?=[A-Z]){NAME}(?:[ ](?=[A-Z]){NAME})*)"),
)  # fmt: skip


def find(text: str, rules: Iterable[Rule] = RULES) -> list[Span]:
    """Spans of personal data in ``text``, in reading order, none overlapping another; earlier rules win."""
    taken: list[Span] = []
    for rule in rules:
        taken += [span for span in rule.find(text) if not any(overlaps(span, other) for other in taken)]
    return sorted(taken)


def redact(text: str, rules: Iterable[Rule] = RULES) -> str:
    """``text`` with each finding replaced by its kind, as in ``[CREDIT_CARD]``: readable, and searchable in a log."""
    for span in reversed(find(text, rules)):  # from the end, so that earlier positions stay true
        text = f"{text[: span.start]}[{span.kind}]{text[span.end :]}"
    return text


def unchecked(rules: Iterable[Rule] = RULES) -> tuple[Rule, ...]:
    """The same patterns without their checks: what the second sieve is worth."""
    return tuple(replace(rule, check=None) for rule in rules)
