"""What a tool is, who calls it, and what comes back: frozen data, the same for every kind of source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from assistant.errors import AlmanacError
from assistant.knowledge.audience import EVERYONE

Schema = Mapping[str, Any]
Arguments = Mapping[str, Any]
NO_ARGUMENTS: Schema = MappingProxyType({"type": "object", "properties": {}, "additionalProperties": False})


class ToolError(AlmanacError):
    """A tool could not be called, or did not do what was asked: one sentence, which the model is handed to act on.

    ``status``: of HTTP, where the tool answered at all. ``uncertain``: a write was sent and nobody knows whether it
    was carried out (no answer in time, or a connection that broke); it must not simply be sent again.
    """

    def __init__(self, sentence: str, status: int | None = None, uncertain: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.uncertain = uncertain


def uncertain(words: str) -> ToolError:
    """Of a write that was sent and then heard no more of; ``words`` say what happened."""
    return ToolError(
        f"{words}; whether it was carried out is not known, so look before it is tried again.", uncertain=True
    )


class ToolUnavailable(ToolError):
    """The tool's server cannot be reached now; it may work later."""


class BadArguments(ToolError):
    """The arguments do not fit the tool's schema; the sentence names the field. Nothing was sent."""


class NotAllowed(ToolError):
    """The caller may not use the tool, or nobody has approved of the call. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class ToolCaller:
    """For whom a tool is called.

    ``person`` is a stable name (``slack:T1:U1``). ``principals`` are those of everybody who can read the reply
    (``Question.audience``): a tool is offered where all of them may use it, so that its result goes to nobody else.
    ``alone``: only the person reads the reply; tools that act as the asker are offered nowhere else.
    """

    person: str
    platform: str
    principals: frozenset[str] = frozenset({EVERYONE})
    language: str = "en"
    place: str = ""  # the channel or conversation, for the records
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """One function that the model may call. ``parameters`` is a JSON schema of an object, without references.

    ``writes``: it changes something. ``needs_approval``: a person has to approve of each call (as a rule, of every
    write); ``approvers`` are the principals who may, empty: whoever approvals let by default. ``users``: the
    principals who may use it. ``as_asker``: the call is made in the asker's name.
    """

    name: str  # ^[a-zA-Z0-9_-]{1,64}$, unique among all sources
    description: str
    parameters: Schema = field(default_factory=lambda: NO_ARGUMENTS, repr=False)
    writes: bool = False
    source: str = ""
    title: str = ""  # for people, such as on a card: "Restart a service"
    approvers: tuple[str, ...] = ()
    needs_approval: bool = False
    users: tuple[str, ...] = (EVERYONE,)
    as_asker: bool = False
    call: str = ""  # the exact call for people: "POST /services/{name}/restart"
    before: str = ""  # the read of the same source that tells how things stand before a write
    idempotent: bool = False  # the API keeps idempotency keys: the same key sent again does nothing twice

    def open_to(self, caller: ToolCaller) -> bool:
        return bool(caller.principals.intersection(self.users)) and (caller.alone or not self.as_asker)

    def function(self) -> dict[str, Any]:
        """As OpenAI's chat completions want it: an entry of ``tools``."""
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": dict(self.parameters)},
        }


@dataclass(frozen=True, slots=True)
class ToolResult:
    """``text`` is what the model reads, trimmed; it is as untrusted as a document. ``data``: the same as JSON.

    ``status`` is that of HTTP (None for MCP), ``seconds`` what the call took, ``truncated`` whether ``text`` lacks
    something that was there.
    """

    text: str
    status: int | None = None
    data: Any = None
    seconds: float = 0.0
    truncated: bool = False


def arguments_hash(tool: Tool, arguments: Arguments) -> str:
    """SHA-256 (hex) that binds an approval to one call: the source, the tool, and every argument."""
    document = {"source": tool.source, "tool": tool.name, "arguments": arguments}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
