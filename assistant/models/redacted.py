"""A model outside, behind the redaction: it sees placeholders, and what it writes is read with the values back in.

All texts of one request are redacted together, in their order, so that a value has one placeholder; a conversation only
grows, so that it keeps the one that it had.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from assistant.answering.messages import Turn
from assistant.answering.rewriting import Rewriter, Rewritten
from assistant.guardrails.formats import parsed
from assistant.guardrails.verdicts import Redaction
from assistant.models.port import (
    Again,
    Brief,
    Call,
    Conversing,
    Filling,
    Function,
    Model,
    Purse,
    Said,
    Written,
    speaking,
)

Redact = Callable[[Sequence[str]], Redaction]


class RedactedModel:
    """Stands where ``model`` would. Functions are not redacted: their schemas are ours, not people's."""

    def __init__(self, model: Model, redact: Redact) -> None:
        self._model = model
        self._redact = redact

    @property
    def name(self) -> str:
        return self._model.name

    async def speaking(self, conversation: str) -> RedactedModel:
        return RedactedModel(await speaking(self._model, conversation), self._redact)

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        shown, redaction, _ = _brief(brief, self._redact)
        restoring = redaction.restoring()
        async with aclosing(self._model.write(shown)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Written):
                    if rest := restoring.finish():
                        yield rest
                    quotes = {number: redaction.restore(quote) for number, quote in piece.quotes.items()}
                    yield replace(piece, text=redaction.restore(piece.text), quotes=quotes)
                elif ready := restoring.feed(piece):
                    yield ready

    @property
    def fills(self) -> bool:
        return isinstance(self._model, Filling) and self._model.fills

    async def fill(self, brief: Brief, schema: Mapping[str, Any], again: Again | None = None) -> Written:
        """The schema is somebody's who asks, so that what it says is redacted, too; its fields keep their names."""
        assert isinstance(self._model, Filling)
        more: list[str] = [again.text, again.instruction] if again else []
        _texts(schema, more.append)
        shown, redaction, rest = _brief(brief, self._redact, more)
        left = iter(rest)
        before = Again(next(left), next(left)) if again else None
        written = await self._model.fill(shown, _texts(schema, lambda _text: next(left)), before)
        return replace(written, text=_restored_json(written.text, redaction))

    @property
    def calls_functions(self) -> bool:
        return isinstance(self._model, Conversing) and self._model.calls_functions

    async def converse(
        self,
        conversation: Sequence[Mapping[str, Any]],
        functions: Sequence[Function],
        *,
        may_call: bool = True,
        purse: Purse | None = None,
    ) -> AsyncGenerator[str | Said, None]:
        assert isinstance(self._model, Conversing)
        texts: list[str] = []
        for message in conversation:
            _each(message, texts.append)
        redaction = self._redact(texts)
        left = iter(redaction.texts)
        shown = [_each(message, lambda _text: next(left)) for message in conversation]
        restoring = redaction.restoring()
        stream = self._model.converse(shown, functions, may_call=may_call, purse=purse)
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                if isinstance(piece, Said):
                    if rest := restoring.finish():
                        yield rest
                    calls = tuple(_restored(call, redaction) for call in piece.calls)
                    yield replace(piece, text=redaction.restore(piece.text), calls=calls)
                elif ready := restoring.feed(piece):
                    yield ready

    async def rewrite(self, question: str, turns: Sequence[Turn], purse: Any = None) -> Rewritten:
        """The question alone, with values in the place of placeholders."""
        assert isinstance(self._model, Rewriter)
        said = [text for turn in turns for text in (turn.question, turn.answer)]
        redaction = self._redact([question, *said])
        asked, *rest = redaction.texts
        shown = [
            replace(turn, question=rest[2 * n], answer=rest[2 * n + 1], asker_name="") for n, turn in enumerate(turns)
        ]
        found = await self._model.rewrite(asked, shown, purse)
        return Rewritten(redaction.restore(found.text), found.usage)

    async def close(self) -> None:
        await self._model.close()


def _brief(brief: Brief, redact: Redact, more: Sequence[str] = ()) -> tuple[Brief, Redaction, list[str]]:
    """The brief as a model outside may read it, and ``more`` texts."""
    texts = [brief.question, brief.standalone]
    for turn in brief.turns:
        texts += [turn.question, turn.answer]
    for hit in brief.passages:
        texts += [hit.title, hit.text, *hit.heading_path]
    redaction = redact([*texts, *more])
    left = iter(redaction.texts)
    question, standalone = next(left), next(left)
    turns = tuple(replace(turn, question=next(left), answer=next(left)) for turn in brief.turns)
    hits = tuple(
        replace(hit, title=next(left), text=next(left), heading_path=tuple(next(left) for _ in hit.heading_path))
        for hit in brief.passages
    )
    shown = replace(brief, question=question, standalone=standalone, turns=turns, passages=hits)
    return shown, redaction, list(left)


def _texts(value: Any, change: Callable[[str], Any]) -> Any:
    """A copy with each text put through ``change``, in order; names stay."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _texts(part, change) for name, part in value.items()}
    if isinstance(value, list):
        return [_texts(part, change) for part in value]
    return value


def _each(message: Mapping[str, Any], change: Callable[[str], Any]) -> dict[str, Any]:
    """The message with each of its texts put through ``change``, in order: contents, then arguments of calls."""
    changed = dict(message)
    content = message.get("content")
    if isinstance(content, str) and message.get("role") != "system":  # the rules are ours
        changed["content"] = change(content)
    if message.get("tool_calls"):
        changed["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": change(call["function"]["arguments"])}}
            for call in message["tool_calls"]
        ]
    return changed


def _restored(call: Call, redaction: Redaction) -> Call:
    """The call with values where it names placeholders: they are texts within its arguments."""
    if call.arguments is None:
        return call
    arguments = _put_back(call.arguments, redaction)
    return replace(call, arguments=arguments, raw=json.dumps(arguments, ensure_ascii=False))


def _restored_json(text: str, redaction: Redaction) -> str:
    """JSON with values in its texts: put in as they are, a quotation mark would end one."""
    found = parsed(text)
    return json.dumps(_put_back(found.value, redaction), ensure_ascii=False) if found.fits else redaction.restore(text)


def _put_back(value: Any, redaction: Redaction) -> Any:
    if isinstance(value, str):
        return redaction.restore(value)
    if isinstance(value, Mapping):
        return {redaction.restore(name): _put_back(part, redaction) for name, part in value.items()}
    if isinstance(value, list):
        return [_put_back(part, redaction) for part in value]
    return value
