"""Calls of functions in a stream of chat completions: gathered from their pieces, and read with care.

Servers differ: some send no id, some no index, some all of a call in one piece, some arguments that are no JSON.
What cannot be read is not dropped, but said in words, so that the model can mend it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from assistant.models.port import Call, Conversing, Function, Purse, Said

NAME = re.compile(r"[^a-zA-Z0-9_-]")
NAME_CHARACTERS = 64
MOST_CALLS = 16  # of one step; what is more is left out
DEEPEST = 60  # levels of arguments
TOO_DEEP = "The arguments are nested too deeply; send them again, flatter."


@dataclass(slots=True)
class _Slot:
    index: int | None
    id: str
    name: str = ""
    arguments: str = ""


class Gathering:
    """The text and the calls of one completion, from its deltas."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._slots: list[_Slot] = []
        self._cut = False

    @property
    def text(self) -> str:
        return "".join(self._text)

    def take(self, choice: Any) -> str:
        """Takes one event's choice; returns its text."""
        self._cut = self._cut or choice.finish_reason == "length"
        for delta in choice.delta.tool_calls or ():
            self._add(delta)
        piece: str = choice.delta.content or ""
        if piece:
            self._text.append(piece)
        return piece

    def calls(self) -> tuple[Call, ...]:
        made: list[Call] = []
        taken: set[str] = set()
        for number, slot in enumerate(self._slots[:MOST_CALLS], start=1):
            known = slot.id if slot.id and slot.id not in taken else f"call_{number}"
            taken.add(known)
            made.append(read(known, slot.name, slot.arguments, cut=self._cut))
        return tuple(made)

    def _add(self, delta: Any) -> None:
        function = delta.function
        name = (function.name if function else None) or ""
        slot = self._slot(delta.index, delta.id or "", name)
        if name and name != slot.name:  # a name may come in pieces, or whole with each of them
            slot.name += name
        arguments = function.arguments if function else None
        if arguments is not None:
            slot.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments)

    def _slot(self, index: int | None, identifier: str, name: str) -> _Slot:
        """The call that a delta goes on with; a new id is a new call, whatever its index."""
        for slot in reversed(self._slots):
            same_place = index is None or slot.index == index
            if identifier and slot.id and identifier != slot.id:
                continue
            if same_place and not (index is None and not identifier and name and slot.arguments):
                slot.id = slot.id or identifier
                return slot
        self._slots.append(_Slot(index, identifier))
        return self._slots[-1]


def read(identifier: str, name: str, raw: str, *, cut: bool = False) -> Call:
    """A call with its arguments as an object; an ``error`` in words where they are none."""
    if not raw.strip():
        return Call(identifier, name, {}, raw)
    try:
        value = json.loads(raw, strict=False)
        if isinstance(value, str):  # JSON inside a JSON string
            value = json.loads(value, strict=False)
    except ValueError as error:
        if cut:
            return Call(identifier, name, None, raw, "The call was cut off, for it is too long; make it shorter.")
        where = f"{error.msg}, at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "wrong"
        return Call(identifier, name, None, raw, f"The arguments are no valid JSON ({where}); send them again.")
    except RecursionError:
        return Call(identifier, name, None, raw, TOO_DEEP)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        return Call(identifier, name, None, raw, "The arguments must be one JSON object; send them again.")
    return (
        Call(identifier, name, None, raw, TOO_DEEP) if _deeper(value, DEEPEST) else Call(identifier, name, value, raw)
    )


def _deeper(value: Any, levels: int) -> bool:
    """Whether more than so many levels are nested; what handles arguments goes down them by calling itself."""
    if not isinstance(value, dict | list):
        return False
    parts = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(part, levels - 1) for part in parts)


def asked_for(said: Said) -> dict[str, Any]:
    """A step of the model's as it goes back into the conversation."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if said.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                # Templates of some servers read them as JSON, and break where they are none.
                "function": {"name": call.name, "arguments": json.dumps(call.arguments or {}, ensure_ascii=False)},
            }
            for call in said.calls
        ]
    return message


def result(call: Call, text: str) -> dict[str, Any]:
    """What came of a call, as it goes into the conversation."""
    return {"role": "tool", "tool_call_id": call.id, "content": text}


async def choose_calls(
    model: Conversing,
    conversation: Sequence[Mapping[str, Any]],
    functions: Sequence[Function],
    purse: Purse | None = None,
) -> list[Call]:
    """Asks once, and returns the calls that the model would make, under the names that the functions have.

    Names that OpenAI's form does not allow (``math.factorial``) are replaced on the way, and put back.
    """
    portable, names = with_portable_names(functions)
    async with aclosing(model.converse(conversation, portable, purse=purse)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Said):
                return [replace(call, name=names.get(call.name, call.name)) for call in piece.calls]
    return []


def with_portable_names(functions: Sequence[Function]) -> tuple[list[Function], dict[str, str]]:
    """The functions under allowed names, and allowed name -> own name."""
    names: dict[str, str] = {}
    portable: list[Function] = []
    for function in functions:
        own = str(function["function"]["name"])
        name = NAME.sub("_", own)[:NAME_CHARACTERS] or "function"
        while name in names:
            name = f"{name[: NAME_CHARACTERS - 1]}_" if len(name) < NAME_CHARACTERS else f"{len(names)}_{name[:56]}"
        names[name] = own
        portable.append({**function, "function": {**function["function"], "name": name}})
    return portable, names
