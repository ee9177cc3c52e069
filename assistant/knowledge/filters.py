"""Filters inside a question: ``source:runbooks -title:draft after:2026-05 author:"Ann Lee" how do I …``. Pure.

Several filters of one name mean any of them, filters of different names mean all of them, and a minus means that none
of these may be. A date counts from its first day: ``after:2026-05`` begins with 1 May, ``before:2026-05`` ends with
30 April. A name counts only with its value directly behind it, at the start of a word and outside of code, so that
``error: foo``, ``https://…`` and ``title: see below`` are ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from assistant.errors import AlmanacError
from assistant.strings import catalogue, say

NAMES = ("source", "title", "author", "after", "before")
MOST = 10  # values of one name
LONGEST = 200  # characters of a value


class FilterError(AlmanacError):
    """A filter that cannot be followed. ``str()`` is English; ``sentence`` speaks the asker's language."""

    def __init__(self, key: str, **values: str) -> None:
        super().__init__(say(f"filters.{key}", **values))
        self.key = key
        self.values = values

    def sentence(self, language: str) -> str:
        return say(f"filters.{self.key}", language, **self.values)


@dataclass(frozen=True, slots=True)
class Filters:
    """What documents are searched. ``after`` is the first day that counts, ``before`` the first that does not."""

    sources: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    after: date | None = None
    before: date | None = None
    not_sources: tuple[str, ...] = ()
    not_titles: tuple[str, ...] = ()
    not_authors: tuple[str, ...] = ()

    @property
    def names_sources(self) -> bool:
        return bool(self.sources or self.not_sources)

    def __bool__(self) -> bool:
        return self != NO_FILTERS

    def __or__(self, other: Filters) -> Filters:
        """The filters of both, as if they stood in one question."""
        return Filters(
            _distinct(*self.sources, *other.sources),
            _distinct(*self.titles, *other.titles),
            _distinct(*self.authors, *other.authors),
            min((day for day in (self.after, other.after) if day), default=None),
            max((day for day in (self.before, other.before) if day), default=None),
            _distinct(*self.not_sources, *other.not_sources),
            _distinct(*self.not_titles, *other.not_titles),
            _distinct(*self.not_authors, *other.not_authors),
        )

    def text(self) -> str:
        """As they are written in a question; ``parse`` reads it back."""
        words = [
            *(f"source:{_quoted(value)}" for value in self.sources),
            *(f"-source:{_quoted(value)}" for value in self.not_sources),
            *(f"title:{_quoted(value)}" for value in self.titles),
            *(f"-title:{_quoted(value)}" for value in self.not_titles),
            *(f"author:{_quoted(value)}" for value in self.authors),
            *(f"-author:{_quoted(value)}" for value in self.not_authors),
        ]
        words += [f"after:{self.after}"] if self.after else []
        return " ".join(words + ([f"before:{self.before}"] if self.before else []))

    def arguments(self) -> dict[str, list[str]]:
        """As the API takes them, which knows no exclusions; ``from_arguments`` reads them back."""
        days = {"after": self.after, "before": self.before}
        given = {"source": list(self.sources), "title": list(self.titles), "author": list(self.authors)}
        given |= {name: [day.isoformat()] for name, day in days.items() if day}
        return {name: values for name, values in given.items() if values}

    def described(self, language: str) -> str:
        """``source runbooks, after 2026-05-01``; values of one name are joined by "or"."""
        joint = f" {say('filters.or', language)} "
        parts = [
            say(f"filters.{name}", language, value=joint.join(values))
            for name, values in (
                ("source", self.sources), ("not_source", self.not_sources), ("title", self.titles),
                ("not_title", self.not_titles), ("author", self.authors), ("not_author", self.not_authors),
                ("after", (str(self.after),) if self.after else ()),
                ("before", (str(self.before),) if self.before else ()),
            )
            if values
        ]  # fmt: skip
        return ", ".join(parts)


NO_FILTERS = Filters()

# Quotes as people and their telephones type them. Code comes first: what stands in it is no filter.
_TOKEN = re.compile(
    r"""
    (?P<code> ```.*?``` | `[^`\n]*` )
    | (?<!\S) (?P<minus> -?) (?P<name> source|title|author|after|before ) :
      (?: (?: "(?P<q1>[^"\n]+)" | [“„”](?P<q2>[^“”„"\n]+)[“”] | «\s*(?P<q3>[^«»"\n]+?)\s*» | '(?P<q4>[^'"\n]+)' )
          [.,;:!?)]*
        | (?P<bare> (?!//)[^\s:"“”„«»'`][^\s"“”„«»`]* ) )
      (?!\S) [ \t]*
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_TRAILING = ".,;:!?)"
_ISO = re.compile(r"(\d{4})(?:[-/.](\d{1,2})(?:[-/.](\d{1,2}))?)?")
_DOTTED = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")


def parse(text: str, today: date | None = None) -> tuple[str, Filters]:
    """The text without its filters, and those. A text without any is left as it is. Raises ``FilterError``."""
    given: list[tuple[str, str]] = []
    parts: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        values = _values(match)
        if not values:
            continue
        prefix = "-" if match["minus"] else ""
        given.extend((prefix + match["name"].lower(), value) for value in values)
        parts.append(text[end : match.start()])
        end = match.end()
    if not given:
        return text, NO_FILTERS
    return ("".join(parts) + text[end:]).strip(), build(given, today)


def build(given: Iterable[tuple[str, str]], today: date | None = None) -> Filters:
    """Filters from names (``source``, ``-source``, ``after``, …) and their values. Raises ``FilterError``."""
    values: dict[str, list[str]] = {}
    for name, value in given:
        if not value.strip():
            raise FilterError("empty", name=name)
        if len(value) > LONGEST:
            raise FilterError("too_long", name=name, limit=str(LONGEST))
        values.setdefault(name, []).append(" ".join(value.split()).lstrip("@") if name != "title" else value.strip())
        if len(values[name]) > MOST:
            raise FilterError("too_many", name=name, limit=str(MOST))
    day = today or datetime.now(UTC).date()
    # Not after a day is before it, and the other way round.
    after = [_day(name, value, day) for name in ("after", "-before") for value in values.get(name, ())]
    before = [_day(name, value, day) for name in ("before", "-after") for value in values.get(name, ())]
    texts = (_distinct(*values.get(f"{sign}{name}", ())) for sign in ("", "-") for name in NAMES[:3])
    sources, titles, authors, not_sources, not_titles, not_authors = texts
    return Filters(
        sources, titles, authors, min(after, default=None), max(before, default=None),
        not_sources, not_titles, not_authors,
    )  # fmt: skip


def from_arguments(arguments: Mapping[str, Sequence[str]], today: date | None = None) -> Filters:
    """Filters that an API or a command line was given: name -> values; other names are passed over."""
    return build(((name, value) for name in NAMES for value in arguments.get(name, ())), today)


def _values(match: re.Match[str]) -> list[str]:
    """A quoted value is one; others may be several, with commas between them."""
    if match["code"]:
        return []
    bare = match["bare"]
    if bare is None:
        quoted = next(match[name] for name in ("q1", "q2", "q3", "q4") if match[name])
        return [quoted] if quoted.strip() else []
    return [value for value in bare.rstrip(_TRAILING).split(",") if value.strip("@")]


def _day(name: str, value: str, today: date) -> date:
    """The day that a date or a span back from today names."""
    words = " ".join(value.casefold().split())
    try:
        if found := _ISO.fullmatch(words):
            return date(int(found[1]), int(found[2] or 1), int(found[3] or 1))
        if found := _DOTTED.fullmatch(words):
            return date(int(found[3]), int(found[2]), int(found[1]))
        known = _spoken(words)
        if known is not None:
            return _back(today, *known)
    except (ValueError, OverflowError):
        pass
    raise FilterError("bad_date", name=name.lstrip("-"), value=value)


def _spoken(words: str) -> tuple[int, str] | None:
    """``7d``, ``2 weeks ago``, ``last month``: how many of which unit; in any of our languages."""
    for texts in catalogue("filters").values():
        for unit in ("day", "week", "month", "year"):
            if words in texts[f"last_{unit}"].split("|"):
                return 1, unit
            names = "|".join(map(re.escape, texts[f"unit_{unit}"].split("|")))
            if found := re.fullmatch(texts["span"].replace("UNIT", names), words):
                return int(found["n"]), unit
        if words in texts["today"].split("|"):
            return 0, "day"
    return None


def _back(today: date, count: int, unit: str) -> date:
    """So many units before today. A month's day that does not exist is the month's last."""
    if unit in ("day", "week"):
        return today - timedelta(days=count * (7 if unit == "week" else 1))
    months = today.year * 12 + today.month - 1 - count * (12 if unit == "year" else 1)
    year, month = months // 12, months % 12 + 1
    last = (date(year + month // 12, month % 12 + 1, 1) - timedelta(days=1)).day
    return date(year, month, min(today.day, last))


def _distinct(*values: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _quoted(value: str) -> str:
    return f'"{value}"' if '"' not in value else f"“{value}”"
