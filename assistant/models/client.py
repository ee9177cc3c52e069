"""A language model behind an OpenAI-compatible endpoint: it writes, fills in forms, rewrites, and takes part in
conversations that call functions."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import openai
import structlog

from assistant.answering.messages import Turn, Usage
from assistant.answering.prompts import NO_ANSWER, form_messages, messages, rewriting_messages, small_messages
from assistant.answering.rewriting import Rewritten
from assistant.errors import ModelError
from assistant.models import constrained, forms
from assistant.models.choice import Choice
from assistant.models.endpoint import Endpoint
from assistant.models.events import Chunk
from assistant.models.fitting import fitted, prompt_tokens
from assistant.models.functions import Gathering
from assistant.models.port import Again, Brief, Function, Purse, Said, Written
from assistant.models.refusals import FunctionsRefused, PromptTooLong, SchemaRefused
from assistant.settings import Settings

log = structlog.get_logger()

REWRITE_TOKENS = 120
TEMPERATURE = 0.8  # of the answers that are not the likeliest one
SMALL_TOKENS = 96  # of a small model's answer
LEAST_REPEATED = 12  # characters of a sentence
_SENTENCE_END = re.compile(r"[.!?:](?=\s|$)|\n")
SHORTER = 0.6  # a prompt that the endpoint found too long is made so much shorter


def before_repeating(text: str) -> str | None:
    """The text without its last sentence, where it has said that before: a small model would go on for ever."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if len(ends) < 2 or ends[-1] < len(text.rstrip()):
        return None
    start = ends[-2]
    last = text[start:].strip()
    return text[:start].rstrip() if len(last) >= LEAST_REPEATED and last in text[:start] else None


@dataclass
class _Way:
    """How the endpoint is given functions, known to all versions of its model."""

    name: str


class OpenAIModel:
    """Streams from a chat completion.

    ``calls_functions`` is False where the settings say that it must not. An endpoint that refuses functions is spoken
    to in JSON under a schema from then on. A schema that it refuses stands in the prompt alone, then and later.
    ``choice`` says which version of the model answers a conversation, where the endpoint serves several.
    """

    fills = True

    def __init__(self, settings: Settings, choice: Choice | None = None) -> None:
        self._endpoint = Endpoint(settings)
        self._choice = choice
        self._way = _Way(settings.function_calls)
        self._refused = forms.RefusedSchemas()
        self._room = None if settings.context is None else settings.context - settings.answer_tokens
        self._small = settings.llm == "local" and settings.base_model is None  # who names a model has a better one
        self._asking = small_messages if self._small else messages
        # A small model knows no end: what comes after its first line is a question of its own, or the same once more.
        self._ending: dict[str, Any] = {"max_tokens": SMALL_TOKENS, "stop": ["\n"]} if self._small else {}

    @property
    def name(self) -> str:
        """Of the model that answers, or has answered."""
        return self._endpoint.name

    @property
    def calls_functions(self) -> bool:
        return self._way.name != "none"

    async def speaking(self, conversation: str) -> OpenAIModel:
        """The model as it answers one question of this conversation, under the name of the version that does."""
        if self._choice is None:
            return self
        spoken = copy.copy(self)
        spoken._endpoint = self._endpoint.named(await self._choice.name(conversation))
        return spoken

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        parts: list[str] = []
        usage = Usage()
        held = ""  # text not shown yet: while it may still become the refusal word
        async with aclosing(self._written(brief)) as chunks:
            async for chunk in chunks:
                usage = self._endpoint.usage(chunk) or usage
                piece = chunk.text
                if not piece:
                    continue
                parts.append(piece)
                held += piece
                if self._small and (once := before_repeating("".join(parts))) is not None:
                    parts, held = [once], ""
                    break
                if not NO_ANSWER.startswith(held.strip()[: len(NO_ANSWER)]):
                    yield held
                    held = ""
        text = "".join(parts).strip()
        if not text:
            raise ModelError("The language model answered with nothing.")
        if held and not text.startswith(NO_ANSWER):
            yield held
        yield Written(text, supported=not text.startswith(NO_ANSWER), usage=usage)

    async def _written(self, brief: Brief) -> AsyncGenerator[Chunk, None]:
        """The answer's events, from as much as fits; from less where the endpoint finds that too long."""
        asked = self._asking(fitted(brief, self._room, asking=self._asking))
        try:
            async with aclosing(self._endpoint.stream(self._body(asked, brief), brief.purse)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except PromptTooLong:
            log.warning("model.prompt_too_long", model=self.name, tokens=prompt_tokens(asked))
        else:
            return
        room = int(prompt_tokens(asked) * SHORTER)
        asked = self._asking(fitted(brief, room, asking=self._asking))
        async with aclosing(self._endpoint.stream(self._body(asked, brief), brief.purse)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _body(self, asked: Sequence[Mapping[str, Any]], brief: Brief) -> dict[str, Any]:
        return {"messages": asked, **self._ending, **_drawn(brief)}

    async def fill(self, brief: Brief, schema: Mapping[str, Any], again: Again | None = None) -> Written:
        """JSON with a value of this schema; the endpoint lets nothing else be written, where it knows how."""
        beside = json.dumps(schema, ensure_ascii=False) + (again.text + again.instruction if again else "")
        body: dict[str, Any] = {"messages": form_messages(fitted(brief, self._room, beside), schema, again)}
        if schema not in self._refused:
            try:
                return await self._whole(body | {"response_format": forms.response_format(schema)}, brief.purse)
            except SchemaRefused:
                log.warning("model.no_schema", model=self.name)
            written = await self._whole(body, brief.purse)
            self._refused.add(schema)  # it was the schema, and nothing else
            return written
        return await self._whole(body, brief.purse)

    async def _whole(self, body: Mapping[str, Any], purse: Purse | None) -> Written:
        parts: list[str] = []
        usage = Usage()
        async with aclosing(self._endpoint.stream(body, purse, "form")) as chunks:
            async for chunk in chunks:
                usage = self._endpoint.usage(chunk) or usage
                parts.append(chunk.text)
        return Written("".join(parts).strip(), usage=usage)

    async def rewrite(self, question: str, turns: Sequence[Turn], purse: Purse | None = None) -> Rewritten:
        """One call, not tried again: its caller has little time."""
        body = {"messages": rewriting_messages(question, turns), "max_tokens": REWRITE_TOKENS}
        try:
            completion = await self._endpoint.once(body, purse, "rewrite")
        except (openai.OpenAIError, ValueError) as error:
            raise ModelError(f"The language model did not rewrite the question ({type(error).__name__}).") from error
        return Rewritten(completion.text, self._endpoint.usage(completion) or Usage())

    async def converse(
        self,
        conversation: Sequence[Mapping[str, Any]],
        functions: Sequence[Function],
        *,
        may_call: bool = True,
        purse: Purse | None = None,
    ) -> AsyncGenerator[str | Said, None]:
        """One step: pieces of text as they come, then ``Said`` with the whole text and the calls.

        ``conversation`` and ``functions`` are in OpenAI's form. Where it may not call, it has to answer.
        """
        if self._way.name == "functions":
            try:
                async with aclosing(self._with_functions(conversation, functions, may_call, purse)) as pieces:
                    async for piece in pieces:
                        yield piece
            except FunctionsRefused:
                log.warning("model.no_functions", model=self.name)
            else:
                return
        async with aclosing(self._constrained(conversation, functions, may_call, purse)) as pieces:
            async for piece in pieces:
                yield piece
        if self._way.name == "functions":  # it understood this way, and not the other
            self._way.name = "schema"

    async def _with_functions(
        self, conversation: Sequence[Mapping[str, Any]], functions: Sequence[Function], may_call: bool,
        purse: Purse | None,
    ) -> AsyncGenerator[str | Said, None]:  # fmt: skip
        body: dict[str, Any] = {"messages": conversation}
        if functions:
            body |= {"tools": functions, "tool_choice": "auto" if may_call else "none"}
        gathering = Gathering()
        usage = Usage()
        async with aclosing(self._endpoint.stream(body, purse, "step")) as chunks:
            async for chunk in chunks:
                usage = self._endpoint.usage(chunk) or usage
                if chunk.choices and (piece := gathering.take(chunk.choices[0])):
                    yield piece
        yield Said(gathering.text, gathering.calls() if may_call else (), usage)

    async def _constrained(
        self, conversation: Sequence[Mapping[str, Any]], functions: Sequence[Function], may_call: bool,
        purse: Purse | None,
    ) -> AsyncGenerator[str | Said, None]:  # fmt: skip
        offered = functions if may_call else ()
        body = {
            "messages": constrained.conversation(conversation, functions, may_call),
            "response_format": constrained.response_format(offered),
        }
        reading = constrained.Reading()
        usage = Usage()
        async with aclosing(self._endpoint.stream(body, purse, "step")) as chunks:
            async for chunk in chunks:
                usage = self._endpoint.usage(chunk) or usage
                if piece := reading.feed(chunk.text):
                    yield piece
        text, calls = reading.finish()
        if rest := text[len(reading.shown) :]:
            yield rest
        yield Said(text, calls if may_call else (), usage)

    async def close(self) -> None:
        await self._endpoint.close()


def _drawn(brief: Brief) -> dict[str, Any]:
    """What makes the endpoint draw another answer than the likeliest, the same for the same variant."""
    return {"temperature": TEMPERATURE, "seed": brief.variant} if brief.variant else {}
