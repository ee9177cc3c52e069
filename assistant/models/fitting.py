"""Prompts that fit a small context: turns and passages are left out, and the last passage is cut, where they do not.

Tokens are estimated from characters, for the model's tokenizer is elsewhere. An endpoint that counts more refuses the
prompt, and is sent a shorter one (``assistant.models.client``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from assistant.answering.messages import Turn
from assistant.answering.prompts import messages, passage
from assistant.knowledge.search import Hit
from assistant.models.port import Brief

Asking = Callable[[Brief], Sequence[Mapping[str, Any]]]

CHARACTERS = 3.0  # of ASCII, in a token: English has 4 or more, code and tables around 3
OTHERS = 1.5  # tokens of any other character
FRAME = 8  # tokens around a message
TURNS = 0.25  # of what the rules leave: at most so much is for what was said before
WORTH_CUTTING = 64  # tokens; a shorter part of a passage says too little


def tokens(text: str) -> int:
    """An estimate that is rarely too low."""
    plain = sum(map(str.isascii, text)) if not text.isascii() else len(text)
    return ceil(plain / CHARACTERS + (len(text) - plain) * OTHERS)


def prompt_tokens(conversation: Sequence[Mapping[str, Any]]) -> int:
    return sum(FRAME + tokens(str(message.get("content") or "")) for message in conversation)


def fitted(brief: Brief, room: int | None, beside: str = "", asking: Asking = messages) -> Brief:
    """The brief with what of its turns and passages ``room`` tokens hold, beside the rules, the question, and a text.

    Passages stay in their order, so that their numbers do. ``room`` None: all of it. ``asking`` makes the prompt.
    """
    if room is None:
        return brief
    left = room - prompt_tokens(asking(replace(brief, passages=(), turns=()))) - tokens(beside)
    turns = _turns(brief.turns, int(left * TURNS))
    left -= sum(_turn(turn) for turn in turns)
    return replace(brief, turns=turns, passages=_passages(brief.passages, left))


def _turns(turns: Sequence[Turn], room: int) -> tuple[Turn, ...]:
    """The newest that fit."""
    kept: list[Turn] = []
    for turn in reversed(turns):
        room -= _turn(turn)
        if room < 0:
            break
        kept.append(turn)
    return tuple(reversed(kept))


def _turn(turn: Turn) -> int:
    return 2 * FRAME + tokens(turn.question) + tokens(turn.answer)


def _passages(hits: Sequence[Hit], room: int) -> tuple[Hit, ...]:
    kept: list[Hit] = []
    for number, hit in enumerate(hits, start=1):
        needed = FRAME + tokens(passage(number, hit))
        if needed > room:
            room -= FRAME + tokens(passage(number, replace(hit, text="")))
            if room >= WORTH_CUTTING:
                kept.append(replace(hit, text=_cut(hit.text, room)))
            break
        kept.append(hit)
        room -= needed
    return tuple(kept)


def _cut(text: str, room: int) -> str:
    """The beginning of the text that ``room`` tokens hold, to the end of a word."""
    end = min(len(text), int(room * CHARACTERS))
    while end > 1 and tokens(text[:end]) > room:
        end = int(end * 0.9)
    if end == len(text):
        return text
    return text[:end].rsplit(None, 1)[0] + " …"
