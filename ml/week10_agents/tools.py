"""A tool: a function, the words that tell a model when to use it, and the schema of its arguments.

Idea.    A language model cannot run anything. It is shown descriptions, it writes a name and arguments as JSON, and
         the program decides whether that becomes a call. Everything the model may do is therefore in this list, and
         everything it may pass is in the schemas.
Source.  OpenAI, "Function calling" (the form of ``described``); Schick et al., "Toolformer" (2023), for models that
         learn it.
Left out. Streaming results, images, tools that ask back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any


class ToolError(Exception):
    """A tool's expected failure, one sentence that a model can act on. ``temporary``: the same call may work later."""

    def __init__(self, sentence: str, temporary: bool = False) -> None:
        super().__init__(sentence)
        self.temporary = temporary


@dataclass(frozen=True)
class Tool:
    """``call`` takes the schema's properties as keyword arguments and returns JSON; it raises ToolError.

    ``writes`` says that a call changes something outside: it then waits for a person's approval, and it is never run
    beside another call.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    call: Callable[..., Awaitable[Any]]
    writes: bool = False

    def described(self) -> dict[str, Any]:
        """The tool as the chat completions API wants it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.schema)}
        return {"type": "function", "function": function}


def canonical(arguments: Any) -> str:
    """JSON with sorted keys and no spaces: two calls are the same when this is."""
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(name: str, arguments: Any) -> str:
    """What an approval is for: this tool with exactly these arguments. Another argument is another fingerprint."""
    return hashlib.sha256(f"{name}\n{canonical(arguments)}".encode()).hexdigest()[:16]
