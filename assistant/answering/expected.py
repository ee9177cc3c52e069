"""What kind of answer a question asks for, and what such an answer looks like in a text.

"How long …" wants a duration, "who …" a person or a team: a passage that is near to the question but holds nothing of
the kind does not answer it. Classic answer-type detection by patterns (Li and Roth 2002 name the classes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = (
    r"(?:\d[\d,.]*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|once|twice|half|both|no|none"
    r"|unlimited)"
)
_UNIT = (
    r"(?:seconds?|secs?|s|ms|minutes?|mins?|m|hours?|hrs?|h|days?|weeks?|months?|years?|quarters?|fortnights?|sprints?)"
)
_ROLES = (
    r"(?:teams?|leads?|managers?|engineers?|owners?|commanders?|directors?|heads?|members?|officers?|developers?|"
    r"administrators?|admins?|group|on-call|shift|maintainers?|authors?)"
)


@dataclass(frozen=True, slots=True)
class AnswerType:
    """``asked`` matches the question, ``given`` a text that may answer it."""

    name: str
    asked: re.Pattern[str]
    given: re.Pattern[str]


def _type(name: str, asked: str, given: str, *, case: bool = False) -> AnswerType:
    return AnswerType(name, re.compile(asked, re.IGNORECASE), re.compile(given, 0 if case else re.IGNORECASE))


# The first that matches counts, so the narrow ones come first.
TYPES = (
    _type("phone", r"\bphone\b|\btelephone\b", r"\+?\d[\d\s()-]{6,}\d"),
    _type(
        "money",
        r"\bhow much (?:does|do|is|are|did|will|money)\b.*\b(?:cost|pay|spend|price|charge)|\bcosts?\b|\bprices?\b"
        r"|\bsalary\b|\bspend\b|\bbudget\b|\bpounds\b|\beuros\b|\bdollars\b|\bfees?\b",
        r"[£$€]\s?\d|\b\d[\d,.]*\s?(?:pounds|euros|dollars|gbp|eur|usd|cents|pence)\b",
    ),
    _type("version", r"\bversions?\b", r"\bv?\d+\.\d+|\bversions?\s+v?\d+|\b[A-Z]\w+ \d{1,2}\b"),
    _type("port", r"\bports?\b", r"(?<![\d.])\d{2,5}(?!\d|\.\d)"),
    _type("share", r"\bpercent\w*|\bratio\b|\bslo\b|\bsla\b|\buptime\b|\bhow bad\b", r"\d\s?%|\bpercent|\d in \d"),
    _type(
        "size",
        r"\bmemory\b|\bhow (?:big|large)\b|\bsize\b|\b(?:largest|biggest) (?:file|upload|attachment)\b|\bin [gm]b\b",
        r"\d\s?(?:[kmgt]i?b?|bytes|kilobytes|megabytes|gigabytes)\b",
    ),
    _type(
        "duration",
        r"\bhow (?:long|often|soon|stale|old|quick\w*|fast|frequently|late)\b|\bretention\b|\bttl\b|\btime-?out\b"
        r"|\btime limit\b|\bdeadline\b|\bdowntime\b|\bcut-?off\b"
        r"|\bhow many (?:seconds|minutes|hours|days|weeks|months|years)\b",
        _NUMBER + r"[\s-]*(?:\w+[\s-]+)?" + _UNIT + r"\b|\b(?:hourly|daily|nightly|weekly|fortnightly|monthly|quarterly"
        r"|annually|yearly|immediately|indefinitely|forever|permanently|an hour|a day|a week|a month|a year|every)\b",
    ),
    _type(
        "time",
        r"^\W*when\b|\bwhen (?:does|do|is|are|did|will|should|can)\b|\bwhat (?:time|date|day)\b",
        r"\b\d{1,2}(?::\d\d)?\s*(?:am|pm)\b|\b\d{1,2}:\d\d\b|\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b"
        r"|\b(?:january|february|march|april|may|june|july|august|september|october|november|december)\b"
        r"|\b(?:19|20)\d\d\b|\b(?:midnight|noon|after|before|once|until|when|during|every|daily|nightly|weekly|first|last)\b",
    ),
    _type("count", r"\bhow (?:many|much|high|far)\b|\bnumber of\b|\bmax(?:imum)?\b|\bmin(?:imum)?\b|\blimit\b",
          r"(?<!\w)" + _NUMBER + r"(?!\w)"),
    _type(
        "person",
        r"\bwho(?:m|se|'s)?\b|\bwhich (?:team|person|group)\b|\bwhat (?:team|group)\b",
        r"\b[A-Z][a-z]+ (?:[a-z]{1,4} )?[A-Z][a-z]+|@\w|#\w|\b" + _ROLES + r"\b",
        case=True,
    ),
    _type("address", r"\burl\b|\blink\b|\be?mail address\b", r"https?://|\w@\w|\bwww\.|`/"),
    _type("command", r"\b(?:which|what)(?: \w+)? command\b|\bcommand (?:to|for|gives|that)\b", r"`|^\$|--\w"),
)  # fmt: skip


def expected(question: str) -> AnswerType | None:
    """The kind of answer asked for; None when any text may answer."""
    return next((kind for kind in TYPES if kind.asked.search(question)), None)
