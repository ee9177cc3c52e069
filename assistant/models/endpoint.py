"""One endpoint of chat completions: OpenAI, Azure OpenAI, vLLM, llama.cpp, and all that speak as these do.

Every request is paid for before it is made (``assistant.spending.budget``), and has two deadlines, one to the first
token and one to the last. It is sent again only while nothing of its answer has come.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import openai
import structlog
from openai.types.chat import ChatCompletion

from assistant.answering.messages import Usage
from assistant.errors import ModelError, ModelTimeout
from assistant.models.events import Choice, Chunk, Delta, EndpointError, Thoughts, chunk_of, without_thoughts
from assistant.models.port import Paid, Purse
from assistant.models.pricing import most_tokens, priced
from assistant.models.refusals import INSTEAD, not_taken, refusal
from assistant.settings import Settings

log = structlog.get_logger()

TRIES = 3
TOO_LATE = "The language model did not begin to answer in time."
TRANSIENT = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError, openai.ConflictError)
_END = object()  # of a stream, in which an event may be anything


def create_client(settings: Settings) -> openai.AsyncOpenAI:
    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else "none"
    _, last = settings.model_timeouts
    timeout = openai.Timeout(last, connect=5.0, read=last)
    if settings.llm_azure_endpoint:
        return openai.AsyncAzureOpenAI(
            azure_endpoint=settings.llm_azure_endpoint,
            azure_deployment=settings.llm_azure_deployment,
            api_version=settings.llm_azure_api_version,
            api_key=key,
            timeout=timeout,
            max_retries=0,
        )
    return openai.AsyncOpenAI(base_url=settings.llm_base_url, api_key=key, timeout=timeout, max_retries=0)


class Endpoint:
    """Sends requests. ``body`` is what a request holds beside the model's name: messages, tools, limits.

    ``name`` is that of the model that answers: the settings' one (``base``), or a version of it (``named``).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = create_client(settings)
        self.name = self.base = settings.model_name
        self._not_taken: set[str] = set()  # of INSTEAD; known to all versions

    def named(self, version: str) -> Endpoint:
        """The same endpoint for one question that this version answers, or the base where that is gone meanwhile."""
        other = copy.copy(self)
        other.name = version
        return other

    @property
    def _priced_as(self) -> str:
        return self.name if self.name in self._settings.llm_prices else self.base

    async def stream(
        self, body: Mapping[str, Any], purse: Purse | None, purpose: str = "write"
    ) -> AsyncGenerator[Chunk, None]:
        """The completion's events. No deadline runs while the caller holds one: it would strike the caller."""
        limit = self._settings.answer_tokens
        body = {"max_tokens": limit, **body, "stream": True, "stream_options": {"include_usage": True}}
        async with self._paid(body, purse, purpose) as paid:
            start = asyncio.get_running_loop().time()
            to_first, to_last = self._settings.model_timeouts
            deadline = start + to_last
            first = min(deadline, start + to_first)
            opened = await self._open(body, first, paid)
            async for chunk in self._events(opened, first, deadline):
                if chunk.usage is not None:
                    paid.used(self.usage(chunk) or Usage(), chunk.usage.cached_tokens)
                yield chunk

    async def once(self, body: Mapping[str, Any], purse: Purse | None, purpose: str) -> Chunk:
        """A whole completion, not tried again: for callers that have little time. Raises ``openai``'s own errors, and
        ValueError for what is no completion."""
        async with self._paid(body, purse, purpose) as paid:
            try:
                completion = await self._request(body)
            except openai.APIStatusError:
                paid.unsent()
                raise
            if not isinstance(completion, ChatCompletion):  # the client hands on what is no JSON as it came
                raise ValueError("The endpoint sent no chat completion.")  # noqa: TRY004 - as for JSON that is none
            chunk = chunk_of(completion)
            if chunk.usage is not None:
                paid.used(self.usage(chunk) or Usage(), chunk.usage.cached_tokens)
            return _said(without_thoughts(chunk.text), chunk)

    def usage(self, chunk: Chunk) -> Usage | None:
        """What the endpoint says that it took, with its cost; None while it has not said."""
        if chunk.usage is None:
            return None
        took = chunk.usage
        prices = self._settings.llm_prices
        return priced(prices, self._priced_as, took.prompt_tokens, took.completion_tokens, took.cached_tokens)

    async def close(self) -> None:
        await self._client.close()

    @asynccontextmanager
    async def _paid(self, body: Mapping[str, Any], purse: Purse | None, purpose: str) -> AsyncIterator[Paid]:
        """The most that a request can cost is set aside while it runs; raises ``OverBudget`` before it is made."""
        if purse is None:
            yield _Free()
            return
        functions = [*body.get("tools", ()), *([body["response_format"]] if "response_format" in body else [])]
        most = most_tokens(body["messages"], functions)
        async with purse.call(
            self._priced_as, prompt_tokens=most, completion_tokens=body["max_tokens"], purpose=purpose
        ) as paid:
            yield paid

    async def _events(self, stream: Any, limit: float, deadline: float) -> AsyncGenerator[Chunk, None]:
        """What the model says, without what it thinks aloud first."""
        events = _whole(stream.response) if _is_json(stream.response) else aiter(stream)
        thoughts, began = Thoughts(), False
        try:
            while True:
                async with asyncio.timeout_at(limit):
                    event = await anext(events, _END)
                if event is _END:
                    break
                began, limit = True, deadline
                chunk = chunk_of(event)
                yield _said(thoughts.feed(chunk.text), chunk)
            if rest := thoughts.rest():
                yield Chunk((Choice(Delta(rest)),))
            if not began:
                raise ModelError("The language model answered with nothing.")
        except TimeoutError:
            if limit < deadline:
                raise ModelTimeout(TOO_LATE) from None
            _, seconds = self._settings.model_timeouts
            raise ModelTimeout(f"The language model did not finish within {seconds:g} s.") from None
        except (openai.OpenAIError, ValueError) as error:  # ValueError: an event that is not JSON
            raise ModelError(f"The language model stopped in the middle ({type(error).__name__}).") from error
        finally:
            await stream.close()

    async def _open(self, body: Mapping[str, Any], limit: float, paid: Paid) -> Any:
        """The stream with its headers there; tried again after a transient failure."""
        loop = asyncio.get_running_loop()
        for attempt in range(1, TRIES + 1):
            try:
                async with asyncio.timeout_at(limit):
                    return await self._request(body)
            except TimeoutError:
                raise ModelTimeout(TOO_LATE) from None
            except openai.OpenAIError as error:
                wait = random.uniform(0.1, 0.4) * 2**attempt  # noqa: S311 - jitter
                if (refused := refusal(error, body)) is not None:
                    paid.unsent()
                    raise refused from error
                if not isinstance(error, TRANSIENT):
                    paid.unsent()
                    raise ModelError(f"The language model refused the request ({type(error).__name__}).") from error
                if attempt == TRIES or loop.time() + wait > limit:
                    paid.unsent()
                    raise ModelError(f"The language model is not reachable ({type(error).__name__}).") from error
                log.warning("model.retry", attempt=attempt, error=type(error).__name__)
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _request(self, body: Mapping[str, Any]) -> Any:
        """Sent again without what the endpoint says that it does not take, which is then not sent any more."""
        while True:
            try:
                return await self._sent(body)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                unknown = not_taken(error, {"temperature", *body} - self._not_taken)
                if unknown is None:
                    raise
                log.warning("model.not_taken", model=self.name, parameter=unknown)
                self._not_taken.add(unknown)

    async def _sent(self, body: Mapping[str, Any]) -> Any:
        # As parts of the body they are sent as they are; the client would walk through every string otherwise.
        sent = {name: body[name] for name in ("messages", "tools", "response_format") if name in body}
        rest = {"temperature": 0.0} | {name: value for name, value in body.items() if name not in sent}
        for name in self._not_taken & rest.keys():
            value = rest.pop(name)
            if (instead := INSTEAD[name]) is not None:
                rest[instead] = value
        try:
            return await self._create(sent, rest)
        except openai.NotFoundError:
            if self.name == self.base:
                raise
            log.warning("model.version_gone", version=self.name)
            self.name = self.base
            return await self._create(sent, rest)

    async def _create(self, sent: Mapping[str, Any], rest: Mapping[str, Any]) -> Any:
        return await self._client.chat.completions.create(model=self.name, messages=[], extra_body=dict(sent), **rest)


def _is_json(response: Any) -> bool:
    """Whether it is one document, and no stream of events."""
    kind = str(response.headers.get("content-type", ""))
    return kind.partition(";")[0].strip().lower() == "application/json"


async def _whole(response: Any) -> AsyncGenerator[Any, None]:
    """The one event of a server that streams none: a completion, or an error under status 200."""
    document = json.loads(await response.aread())
    if not isinstance(document, dict) or "choices" not in document:
        raise EndpointError("The endpoint sent no chat completion.")
    yield ChatCompletion.construct(**document)


def _said(text: str, chunk: Chunk) -> Chunk:
    """The chunk with this text in place of its own."""
    if text == chunk.text:
        return chunk
    first, *others = chunk.choices
    return replace(chunk, choices=(replace(first, delta=replace(first.delta, content=text)), *others))


class _Free:
    """Nobody pays, and nothing is counted."""

    def used(self, usage: Usage, cached_tokens: int = 0) -> None: ...

    def unsent(self) -> None: ...
