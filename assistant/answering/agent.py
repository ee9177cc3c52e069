"""The loop of a model that has tools called: it says what it wants to know, is told, and answers in the end.

Steps are bounded and there is one deadline. In the last step, and once time is short, it may call nothing more and has
to answer from what is there. Text is held back until it cites something: what a model says before it calls a
function is no part of an answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from assistant.answering.calling import SEARCH, Calls
from assistant.answering.messages import Progress, Usage
from assistant.answering.prompts import LAST_STEP, NO_ANSWER, agent_messages
from assistant.models.functions import asked_for, result
from assistant.models.port import Brief, Conversing, Said

log = structlog.get_logger()

STEPS = 6
TIME_TO_ANSWER = 0.35  # of the time there is, kept for the answer when calls are slow
_CITED = re.compile(r"[\[【]\d{1,3}")


@dataclass(frozen=True, slots=True)
class Ended:
    """The loop's end. ``text`` holds the numbers of the evidence; ``steps`` counts the model's.

    ``supported`` is False where the model says that nothing answers.
    """

    text: str
    supported: bool
    steps: int


class Agent:
    """``steps``: rounds in which calls may be made; one more is for the answer."""

    def __init__(self, model: Conversing, steps: int = STEPS) -> None:
        self._model = model
        self._steps = steps

    async def run(
        self, brief: Brief, calls: Calls, spend: Callable[[Usage], None], speaker: Conversing | None = None
    ) -> AsyncGenerator[Progress | str | Ended, None]:
        """Progress and pieces of the answer, then ``Ended``; raises ``ModelError``.

        ``spend`` is told what each step took as soon as it is over, so that it counts where a later one fails, too.
        ``speaker``: the version of the model that answers here.
        """
        model = speaker or self._model
        functions = calls.hands.functions()
        conversation = agent_messages(brief, f"{datetime.now(UTC):%A, %Y-%m-%d %H:%M} UTC")
        shown: list[str] = []
        for step in range(1, self._steps + 2):
            may_call = step <= self._steps and asyncio.get_running_loop().time() < calls.close_at
            if not may_call:
                conversation.append({"role": "user", "content": LAST_STEP})
            holding = _Holding(begun=bool(shown))
            said = Said("")
            stream = model.converse(conversation, functions, may_call=may_call, purse=brief.purse)
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Said):
                        said = piece
                    elif ready := holding.feed(piece):
                        shown.append(ready)
                        yield ready
            spend(said.usage)
            if not said.calls:
                break
            if holding.shown and (rest := holding.rest()):  # a part of the answer: it cites something
                shown.append(rest)
                yield rest
            for title in _titles(calls, said):
                yield title
            told = await calls.step(said.calls, step)
            conversation.append(asked_for(said))
            conversation += [result(call, text) for call, text in zip(said.calls, told, strict=True)]
        supported = not said.text.strip().startswith(NO_ANSWER) and bool(said.text.strip())
        rest = holding.rest() if supported else ""
        if rest and holding.shown:
            yield rest
        yield Ended("".join([*shown, rest]).strip(), supported or bool(shown), step)


class _Holding:
    """Keeps the text of a step back until it cites something. ``begun``: an earlier step has shown text already."""

    def __init__(self, begun: bool) -> None:
        self._held = "\n\n" if begun else ""
        self.shown = False

    def feed(self, piece: str) -> str:
        """What can be shown now."""
        self._held += piece
        if not self.shown and not _CITED.search(self._held):
            return ""
        self.shown = True
        return self._take()

    def rest(self) -> str:
        return self._take() if self._held.strip() else ""

    def _take(self) -> str:
        held, self._held = self._held, ""
        return held


def _titles(calls: Calls, said: Said) -> Sequence[Progress]:
    """What is being called, for people; each once."""
    names = dict.fromkeys((call.name, calls.title(call)) for call in said.calls)
    return [Progress("searching") if name == SEARCH else Progress("calling", tool=title) for name, title in names
            if title]  # fmt: skip


def close_at(deadline: float) -> float:
    """When the last call must be over, so that there is time to answer (the event loop's clock)."""
    now = asyncio.get_running_loop().time()
    return now + (deadline - now) * (1 - TIME_TO_ANSWER)


def conversing(model: Any) -> Conversing | None:
    """The model, where it can be given functions."""
    return model if isinstance(model, Conversing) and model.calls_functions else None
