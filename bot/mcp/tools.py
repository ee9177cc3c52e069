"""What programs may ask of Almanac by the Model Context Protocol: search, ask, read a document. All three only read."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from assistant.answering import filtering
from assistant.answering.messages import Answer, Delta, Done, Progress, Question
from assistant.answering.serial import answer_json, found_json
from assistant.database import groups, reading
from assistant.database.access import Holder
from assistant.errors import AlmanacError, NotFound, QuestionRejected
from assistant.knowledge.audience import Audience
from assistant.services import Services
from bot.web import parsing

PLATFORM = "mcp"
PAGE_CHARACTERS = 40_000
NO_DOCUMENT = "There is no such document, or it may not be read by you."

Report = Callable[[str], Awaitable[None]]

_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 20}]}
_FILTERS: dict[str, Any] = {
    "source": {**_TEXTS, "description": "Only these sources: a name, a kind or a place."},
    "title": {**_TEXTS, "description": "Only documents with these words in the title."},
    "author": {**_TEXTS, "description": "Only documents by these people."},
    "after": {"type": "string", "description": "Changed since a day, month or span: 2026-05-01, 2026-05, 7d."},
    "before": {"type": "string", "description": "Last changed before that day."},
}


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as clients see it."""

    name: str
    title: str
    description: str
    schema: dict[str, Any]


def _schema(required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


OFFERS = (
    Offer(
        "search",
        "Search the documents",
        "The passages of the company's documents that fit the words best, as the caller may read them. Filters may"
        " also stand in the words: source:runbooks title:deploy after:2026-05.",
        _schema(
            ["query"],
            query={"type": "string", "description": "What to search for, in words."},
            limit={"type": "integer", "minimum": 1, "maximum": 50, "default": 8},
            **_FILTERS,
        ),
    ),
    Offer(
        "ask",
        "Ask the documents",
        "An answer from the company's documents with numbered citations; where they do not answer, it says so and names"
        " the nearest sources. Give the conversation of an earlier answer to lean on it.",
        _schema(
            ["question"],
            question={"type": "string", "description": "The question, in any language."},
            conversation={"type": "string", "format": "uuid", "description": "As an earlier answer gave it."},
            format={
                "type": "object",
                "description": "A JSON schema (an object at its root): the answer's value will fit it, in `value`.",
            },
            **_FILTERS,
        ),
    ),
    Offer(
        "get_document",
        "Read a document",
        "A document's text, by the document_id of a search hit or a citation, or by its address. Long documents come in"
        " pages: ask again from next_passage.",
        _schema(
            ["document"],
            document={"type": ["integer", "string"], "description": "A document_id, or an address."},
            from_passage={"type": "integer", "minimum": 0, "maximum": 2**31 - 1, "default": 0},
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Given:
    """``text`` is for people and models, ``data`` the same for programs."""

    text: str
    data: dict[str, Any]


class Desk:
    """Serves one call for whoever holds the key."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def call(self, name: str, arguments: dict[str, Any], holder: Holder, report: Report) -> Given:
        """Arguments fit the offer's schema already. Raises ``AlmanacError`` with one sentence."""
        if name == "search":
            return await self._search(arguments, holder)
        if name == "ask":
            return await self._ask(arguments, holder, report)
        return await self._document(arguments, holder)

    async def _search(self, arguments: dict[str, Any], holder: Holder) -> Given:
        query = self._text(arguments["query"], "query")
        found = await filtering.search(
            self._services.searcher, query, audience=await self._audience(holder),
            limit=int(arguments.get("limit", 8)), given=parsing.filters_of(arguments),
        )  # fmt: skip
        lines = [
            f"[{n}] {' > '.join((hit.title, *hit.heading_path))}"
            f" (document_id {hit.document_id}{f', {hit.link}' if hit.link else ''})\n{hit.text}"
            for n, hit in enumerate(found.hits, start=1)
        ]
        note = [found.note] if found.note else []
        return Given("\n\n".join([*note, *lines]) or "Nothing was found.", found_json(found))

    async def _ask(self, arguments: dict[str, Any], holder: Holder, report: Report) -> Given:
        given = arguments.get("conversation")
        conversation = parsing.uuid_field(given, "conversation") if given else uuid.uuid4()
        question = Question(
            self._text(arguments["question"], "question"), holder.person, holder.audience, PLATFORM,
            # It begins with the person, so that nobody can join another's.
            f"{PLATFORM}:{holder.person}:{conversation}",
            locale=holder.language, filters=parsing.filters_of(arguments), format=parsing.format_of(arguments),
        )  # fmt: skip
        answer: Answer | None = None
        async with aclosing(self._services.answering.ask(question)) as events:
            async for event in events:
                if isinstance(event, Done):
                    answer = event.answer
                elif isinstance(event, Progress):
                    await report(event.stage)
                elif isinstance(event, Delta):
                    await report("writing")
        if answer is None:
            raise AlmanacError("The answer broke off.")
        return Given(_as_text(answer), {**answer_json(answer), "conversation": str(conversation)})

    async def _document(self, arguments: dict[str, Any], holder: Holder) -> Given:
        named = _named(arguments["document"])
        audience = await self._audience(holder)
        async with self._services.reading() as session:
            page = await reading.page_of(
                session, named, audience, int(arguments.get("from_passage", 0)), PAGE_CHARACTERS
            )  # fmt: skip
        if page is None:
            raise NotFound(NO_DOCUMENT)
        data = {
            "document_id": page.document_id, "title": page.title, "url": page.url, "external_id": page.external_id,
            "details": page.details, "text": page.text, "next_passage": page.next_passage,
        }  # fmt: skip
        more = f"\n\n(More from from_passage={page.next_passage}.)" if page.next_passage is not None else ""
        return Given(f"# {page.title}\n\n{page.text}{more}", data)

    async def _audience(self, holder: Holder) -> Audience:
        async with self._services.sessions() as session:
            return await groups.with_groups(session, holder.audience)

    def _text(self, value: str, name: str) -> str:
        text = value.replace("\0", " ").strip()
        limit = self._services.settings.question_max_chars
        if not text:
            raise QuestionRejected(f'"{name}" is empty.')
        if len(text) > limit:
            raise QuestionRejected(f'"{name}" is longer than {limit:,} characters.')
        return text


def _named(document: int | float | str) -> int | str:
    """An id or an address that the database can hold; JSON writes a whole number as 12.0, too."""
    if isinstance(document, str):
        return document.replace("\0", " ")
    number = int(document)
    if not 0 <= number < 2**63:
        raise NotFound(NO_DOCUMENT)
    return number


def _as_text(answer: Answer) -> str:
    sources = [
        f"[{item.n}] {' > '.join((item.title, *item.heading_path))}{f' – {item.url}' if item.url else ''}"
        for item in answer.citations or answer.nearest
    ]
    heading = "Sources:" if answer.citations else "Nearest sources:"
    return "\n".join([answer.text, "", heading, *sources]) if sources else answer.text
