"""Which documents a search may find, beside whom they are for: a condition in SQL, and the sources that it names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, Text, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.session import admit
from assistant.database.tables import Document, Source
from assistant.knowledge.audience import Audience
from assistant.knowledge.filters import NO_FILTERS, FilterError, Filters

NAMED = 12  # sources, in a sentence that says which there are

_PEOPLE = "concat_ws(' ', d.details->>'author', d.details->>'owner', d.details->>'last_edited_by')"


@dataclass(frozen=True, slots=True)
class Condition:
    """``sql`` holds of ``documents d``; empty: of every one. ``parameters`` are those that it names."""

    sql: str = ""
    parameters: tuple[tuple[str, Any], ...] = ()


EVERY = Condition()


def condition(filters: Filters = NO_FILTERS, *, within: Sequence[int] = (), sources: Sequence[int] | None = None,
              not_sources: Sequence[int] = ()) -> Condition:  # fmt: skip
    """The condition of ``filters``, whose sources have been looked up. ``within``: the only sources that count."""
    clauses: list[str] = []
    parameters: dict[str, Any] = {}

    def clause(sql: str, **values: Any) -> None:
        clauses.append(sql)
        parameters.update(values)

    if within:
        clause("d.source_id = ANY(CAST(:within AS bigint[]))", within=list(within))
    if sources is not None:
        clause("d.source_id = ANY(CAST(:sources AS bigint[]))", sources=list(sources))
    if not_sources:
        clause("d.source_id <> ALL(CAST(:not_sources AS bigint[]))", not_sources=list(not_sources))
    for name, field, wanted, unwanted in (
        ("title", "d.title", filters.titles, filters.not_titles),
        ("author", _PEOPLE, filters.authors, filters.not_authors),
    ):
        if wanted:
            sql, values = _any_of(name, field, wanted)
            clause(sql, **values)
        if unwanted:
            sql, values = _any_of(f"not_{name}", field, unwanted)
            clause(f"NOT {sql}", **values)
    if filters.after:
        clause("d.day >= CAST(:after AS date)", after=filters.after)
    if filters.before:
        clause("d.day < CAST(:before AS date)", before=filters.before)
    return Condition(" AND ".join(clauses), tuple(parameters.items()))


def _any_of(name: str, field: str, values: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """One of the values, of which every word begins a word of the field."""
    tests = [f"{field} ~* ALL(CAST(:{name}_{n} AS text[]))" for n in range(len(values))]
    return f"({' OR '.join(tests)})", {f"{name}_{n}": _patterns(value) for n, value in enumerate(values)}


def _patterns(value: str) -> list[str]:
    words = value.split()
    return [(r"\m" if word[0].isalnum() else "") + re.sub(r"([^\w\s])", r"\\\1", word) for word in words]


@dataclass(frozen=True, slots=True)
class _Known:
    id: int
    kind: str
    location: str
    name: str

    def is_called(self, value: str) -> bool:
        return value in (self.name.casefold(), self.kind, self.location.casefold())

    def is_like(self, value: str) -> bool:
        return value in self.name.casefold() or value in self.location.casefold()


async def look_up(session: AsyncSession, filters: Filters, audience: Audience, within: Sequence[int] = ()) -> Condition:
    """The condition, with the sources that the filters name. Raises ``FilterError`` for one that is none here.

    A source is named by its name, kind or location, or by a part of its name or location. Only those count that hold
    something for the audience: of others, nobody learns that they exist.
    """
    await admit(session, audience)
    known = await _searchable(session, audience, within)
    ids = sorted({source for value in filters.sources for source in _named(known, "source", value)})
    others = sorted({source for value in filters.not_sources for source in _named(known, "-source", value)})
    return condition(filters, within=within, sources=ids if filters.sources else None, not_sources=others)


async def _searchable(session: AsyncSession, audience: Audience, within: Sequence[int]) -> list[_Known]:
    readers = cast(sorted(audience.principals), ARRAY(Text))
    holds = select(Document.id).where(Document.source_id == Source.id, Document.readers.overlap(readers)).exists()
    statement = select(Source.id, Source.kind, Source.location, Source.name).where(holds).order_by(Source.name)
    if within:
        statement = statement.where(Source.id.in_(within))
    return [_Known(*row) for row in await session.execute(statement)]


def _named(known: Sequence[_Known], name: str, value: str) -> list[int]:
    folded = value.casefold()
    found = [source.id for source in known if source.is_called(folded)]
    found = found or [source.id for source in known if source.is_like(folded)]
    if found:
        return found
    if not known:
        raise FilterError("no_sources", name=name, value=value)
    names = list(dict.fromkeys(source.name for source in known))
    listed = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    raise FilterError("unknown_source", name=name, value=value, sources=listed)
