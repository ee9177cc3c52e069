"""The page and its API: each handler parses, calls one use case, renders."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson
import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from assistant.answering import filtering
from assistant.answering.messages import AnswerEvent, Question, Vote
from assistant.answering.serial import answer_json, event_json, found_json
from assistant.database import answers, passages
from assistant.errors import NotFound
from assistant.services import Services
from bot.web import parsing
from bot.web.admin_door import AdminDoor
from bot.web.assets import BEFORE_SIGN_IN, Assets
from bot.web.parsing import Refused
from bot.web.people import Person, person_of
from bot.web.security import AWAY, BROKEN, Door
from bot.web.stream import AskerGone, EventStream

log = structlog.get_logger()

PLATFORM = "web"
SMALL_BODY = 16 * 1024
STREAM_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "X-Accel-Buffering": "no"}


class Pages:
    """The page, its files, and the sign-in form in front of them."""

    def __init__(self, assets: Assets, door: Door, admins: AdminDoor) -> None:
        self._assets = assets
        self._door = door
        self._admins = admins

    async def page(self, request: web.Request) -> web.Response:
        if not self._door.knows(request):
            return self._assets.respond(request, "login.html", status=401)
        return self._assets.respond(request, "index.html")

    async def static(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if not (name in BEFORE_SIGN_IN or self._door.knows(request) or await self._admins.administrator(request)):
            raise Refused(401, "Sign in first.")
        return self._assets.respond(request, name)

    async def login(self, request: web.Request) -> web.Response:
        body = await parsing.read_object(request, SMALL_BODY)
        return self._door.sign_in(request, parsing.text_field(body, "token", limit=1_000))


class Api:
    """What the page asks for; anything that speaks JSON may use it too."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # Every character may be written as \\uXXXX, or as two of them.
        self._largest_question = SMALL_BODY + 12 * max(20_000, services.settings.question_max_chars)

    async def ask(self, request: web.Request) -> web.StreamResponse:
        """``progress``, ``delta`` and ``done`` events; ``error`` where the answer could not be kept."""
        body = await parsing.read_object(request, self._largest_question)
        person = person_of(request)
        question = _question(body, person)
        async with aclosing(self._services.answering.ask(question)) as events:
            first = await anext(events)  # a question that is rejected is refused before the stream begins
            response = web.StreamResponse(headers=STREAM_HEADERS)
            person.remember(request, response)
            await response.prepare(request)
            await _stream(EventStream(request, response), first, events)
        return response

    async def vote(self, request: web.Request) -> web.Response:
        body = await parsing.read_object(request, SMALL_BODY)
        person = person_of(request)
        answer_id = parsing.uuid_field(body.get("answer_id"), "answer_id")
        vote = Vote(answer_id, person.name, parsing.thumb(body), parsing.reason(body))
        async with self._services.sessions.begin() as session:
            kept = await answers.save_vote(session, vote)
        if not kept:
            raise NotFound("There is no such answer.")
        self._services.metrics.votes.labels(PLATFORM, str(vote.value)).inc()
        response = _json({"answer_id": str(answer_id), "value": vote.value})
        person.remember(request, response)
        return response

    async def conversation(self, request: web.Request) -> web.Response:
        """The person's own questions and answers, oldest first, each with the person's thumb."""
        person = person_of(request)
        name = person.conversation(parsing.uuid_field(request.match_info["id"], "id"))
        async with self._services.sessions() as session:
            turns = await answers.conversation(session, PLATFORM, name)
            thumbs = await answers.votes_of(session, person.name, [answer.id for _, answer in turns])
        if not turns:
            raise NotFound("There is no such conversation.")
        return _json(
            [
                {"question": question, "answer": answer_json(answer), "vote": thumbs.get(answer.id)}
                for question, answer in turns
            ]
        )

    async def passage(self, request: web.Request) -> web.Response:
        chunk_id = parsing.chunk_number(request)
        async with self._services.reading() as session:
            view = await passages.around(session, chunk_id, person_of(request).audience)
        if view is None:
            raise NotFound("This passage is no longer in the documents.")
        return _json(passages.as_json(view))

    async def search(self, request: web.Request) -> web.Response:
        query, count = request.query.get("q", "").replace("\0", " ").strip(), parsing.hit_count(request)
        if not query:
            raise Refused(400, '"q" is empty; say what to search for.')
        if len(query) > self._services.settings.question_max_chars:
            raise Refused(400, f'"q" is longer than {self._services.settings.question_max_chars:,} characters.')
        found = await filtering.search(
            self._services.searcher, query, audience=person_of(request).audience, limit=count,
            given=parsing.query_filters(request),
        )  # fmt: skip
        return _json(found_json(found))


def _question(body: dict[str, object], person: Person) -> Question:
    text = parsing.text_field(body, "question")
    conversation = body.get("conversation")
    conversation_id = uuid.uuid4() if conversation is None else parsing.uuid_field(conversation, "conversation")
    return Question(
        text, person.name, person.audience, PLATFORM, person.conversation(conversation_id),
        filters=parsing.filters_of(body), format=parsing.format_of(body),
    )  # fmt: skip


async def _stream(stream: EventStream, first: AnswerEvent, events: AsyncGenerator[AnswerEvent, None]) -> None:
    """Send every event. An asker who goes away stops the work."""
    try:
        async with stream.attended():
            await stream.send(*event_json(first))
            async for event in events:
                await stream.send(*event_json(event))
    except AskerGone:
        log.info("web.asker_gone")
    except (SQLAlchemyError, OSError) as error:
        log.exception("web.answer_not_kept", error=type(error).__name__)
        await _last_words(stream, AWAY)
    except Exception:
        log.exception("web.stream_failed")
        await _last_words(stream, BROKEN)
    await stream.finish()


async def _last_words(stream: EventStream, sentence: str) -> None:
    try:
        await stream.send("error", {"error": sentence})
    except AskerGone:
        log.info("web.asker_gone")


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json", charset="utf-8")
