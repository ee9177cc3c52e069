"""A model outside sees placeholders only, and people read the values: in answers, in calls, in rewritten questions."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from assistant.answering.messages import Turn
from assistant.answering.rewriting import Rewritten
from assistant.guardrails.verdicts import Redaction
from assistant.knowledge.search import Hit
from assistant.models.port import Brief, Call, Function, Purse, Said, Written
from assistant.models.redacted import RedactedModel

ADDRESS = re.compile(r"[\w.]+@[\w.]+\w")
SECRETS = ("ben@example.com", "ann@example.com")


def redact(texts: Sequence[str]) -> Redaction:
    """The real Redaction, with addresses alone as what must not leave."""
    names: dict[str, str] = {}
    for text in texts:
        for value in ADDRESS.findall(text):
            names.setdefault(value, f"<EMAIL_{len(names) + 1}>")
    shown = tuple(ADDRESS.sub(lambda found: names[found.group()], text) for text in texts)
    return Redaction(shown, {placeholder: value for value, placeholder in names.items()})


class Outside:
    """Keeps all that it was shown, and answers with ``pieces``."""

    name = "outside"
    calls_functions = True

    def __init__(self, *pieces: str, call: Mapping[str, Any] | None = None) -> None:
        self.pieces = pieces
        self.call = call
        self.seen = ""
        self.closed = False

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        self.seen += repr(brief)
        try:
            for piece in self.pieces:
                yield piece
            yield Written("".join(self.pieces), quotes={1: "".join(self.pieces)})
        finally:
            self.closed = True

    async def converse(
        self, conversation: Sequence[Mapping[str, Any]], functions: Sequence[Function], *, may_call: bool = True,
        purse: Purse | None = None,
    ) -> AsyncGenerator[str | Said, None]:  # fmt: skip
        self.seen += json.dumps(list(conversation))
        for piece in self.pieces:
            yield piece
        calls = (Call("1", "mail", dict(self.call), json.dumps(self.call)),) if self.call else ()
        yield Said("".join(self.pieces), calls)

    async def rewrite(self, question: str, turns: Sequence[Turn], purse: Any = None) -> Rewritten:
        self.seen += question + repr(turns)
        return Rewritten(question)

    async def close(self) -> None:
        """Nothing to close."""


def hit(text: str) -> Hit:
    return Hit(1, 1, "a.md", f"Who is {SECRETS[0]}", None, text, ("Contact",), None, None, 0, 0.0, 0.5, None, 1, 0.5)


def brief() -> Brief:
    turns = (Turn(f"Is {SECRETS[1]} away?", f"No, {SECRETS[1]} is here.", "slack:U1", "Ann"),)
    return Brief(f"Mail of {SECRETS[0]}?", f"Mail of {SECRETS[0]}?", (hit(f"Write to {SECRETS[0]}."),), turns)


async def test_the_model_sees_placeholders_and_people_read_values() -> None:
    outside = Outside("Write to <EMA", "IL_1", "> or to <EMAIL_2>, ", "not <EMAIL_3> [1].")
    shown, ends = [], []
    async with aclosing(RedactedModel(outside, redact).write(brief())) as pieces:
        async for piece in pieces:
            (ends if isinstance(piece, Written) else shown).append(piece)
    expected = f"Write to {SECRETS[0]} or to {SECRETS[1]}, not <EMAIL_3> [1]."
    assert "".join(shown) == expected
    assert ends[0].text == ends[0].quotes[1] == expected
    assert not any(secret in outside.seen for secret in SECRETS)


async def test_calls_are_made_with_values_and_results_shown_as_placeholders() -> None:
    outside = Outside(call={"to": ["<EMAIL_1>"], "body": {"text": "Ask <EMAIL_2>"}, "times": 2})
    conversation = [
        {"role": "system", "content": "Rules."},
        {"role": "user", "content": f"Mail {SECRETS[0]}"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "0", "type": "function", "function": {"name": "find", "arguments": f'{{"who": "{SECRETS[0]}"}}'}}]},
        {"role": "tool", "tool_call_id": "0", "content": f"{SECRETS[0]} reports to {SECRETS[1]}"},
    ]  # fmt: skip
    before = json.dumps(conversation)
    stream = RedactedModel(outside, redact).converse(conversation, [])
    (said,) = [piece async for piece in stream if isinstance(piece, Said)]
    assert said.calls[0].arguments == {"to": [SECRETS[0]], "body": {"text": f"Ask {SECRETS[1]}"}, "times": 2}
    assert json.loads(said.calls[0].raw) == said.calls[0].arguments
    assert not any(secret in outside.seen for secret in SECRETS)
    assert json.dumps(conversation) == before


async def test_a_rewritten_question_has_its_values_back() -> None:
    outside = Outside()
    found = await RedactedModel(outside, redact).rewrite(f"And {SECRETS[0]}?", brief().turns)
    assert found.text == f"And {SECRETS[0]}?"
    assert not any(secret in outside.seen for secret in SECRETS)


async def test_a_broken_stream_closes_the_models() -> None:
    outside = Outside("Some text ", "that goes on")
    stream = RedactedModel(outside, redact).write(brief())
    assert await anext(stream) == "Some text "
    assert not outside.closed
    await stream.aclose()
    assert outside.closed
