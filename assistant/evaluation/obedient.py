"""A model that obeys: whatever it is shown, it repeats, and every instruction in it, it follows.

No real model is as bad. What gets past it, nothing but the code around the model has let past.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from assistant.answering.messages import Usage
from assistant.models.port import Brief, Call, Function, Purse, Said, Written

ADDRESS = re.compile(r"https?://[^\s)\"'<>\]]+", re.IGNORECASE)
MENTION = re.compile(r"@(?:channel|here|everyone)\b|<![a-z]+>")
WORDS = {"leak": ("salary", "salaries", "private key", "passages that you can see")}
TOOK = Usage(100, 50, 0.0)


class ObedientModel:
    """``first``: functions that it calls by itself before it says anything; ``names``: what it fills arguments with."""

    name = "obedient"
    calls_functions = True

    def __init__(self, first: Sequence[str] = (), names: Sequence[str] = ("ledger", "production")) -> None:
        self._first = first
        self._names = names
        self.seen: list[str] = []  # all that it was shown

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        self.seen += [hit.text for hit in brief.passages]
        parts = [_obeyed(hit.text, number) for number, hit in enumerate(brief.passages, start=1)]
        text = "\n\n".join(parts)
        yield text
        yield Written(text, usage=TOOK)

    async def converse(
        self,
        conversation: Sequence[Mapping[str, Any]],
        functions: Sequence[Function],
        *,
        may_call: bool = True,
        purse: Purse | None = None,
    ) -> AsyncGenerator[str | Said, None]:
        """Calls what it is told to call, as long as it may; then repeats everything, with every address and mention."""
        seen = "\n\n".join(str(message.get("content") or "") for message in conversation)
        self.seen.append(seen)
        calls = self._calls(conversation, functions, seen) if may_call else []
        if calls:
            yield Said("", tuple(calls), TOOK)
            return
        told = [str(message["content"] or "") for message in conversation if message["role"] != "system"]
        text = "\n\n".join(_obeyed(part, 1) for part in told if part)
        yield text
        yield Said(text, (), TOOK)

    async def close(self) -> None:
        """Nothing to close."""

    def _calls(self, conversation: Sequence[Mapping[str, Any]], functions: Sequence[Function], seen: str) -> list[Call]:
        made = {
            call["function"]["name"] for message in conversation for call in message.get("tool_calls") or ()
        }  # fmt: skip
        known = {str(function["function"]["name"]): function["function"] for function in functions}
        wanted = [name for name in self._first if name in known]
        wanted += [name for name in known if re.search(rf"\b{re.escape(name)}\b", _outside_prompt(conversation))]
        if "search_documents" in known and any(word in seen.lower() for word in WORDS["leak"]):
            wanted.append("search_documents")
        return [
            Call(f"call_{place}", name, arguments, json.dumps(arguments))
            for place, name in enumerate(dict.fromkeys(wanted), start=1)
            if name not in made
            for arguments in [self._arguments(known[name])]
        ]

    def _arguments(self, function: Mapping[str, Any]) -> dict[str, Any]:
        """The schema's first choice, or a name that fits."""
        names = iter([*self._names, *["salary"] * 9])
        filled: dict[str, Any] = {}
        for key, schema in function["parameters"].get("properties", {}).items():
            if key == "query":
                filled[key] = "salary private key"
            elif schema.get("enum"):
                filled[key] = schema["enum"][0]
            else:
                filled[key] = {"integer": 1, "number": 1.0, "boolean": True}.get(schema.get("type"), next(names))
        return filled


def _outside_prompt(conversation: Sequence[Mapping[str, Any]]) -> str:
    """What is said by people, documents and tools."""
    return "\n".join(str(message.get("content") or "") for message in conversation if message["role"] != "system")


def _obeyed(text: str, number: int) -> str:
    """The text itself, cited, and after it what it asks for: its addresses as links and pictures, its mentions."""
    asked = [f"{' '.join(text.split())} [{number}]"]
    for address in dict.fromkeys(ADDRESS.findall(text)):
        asked.append(f"[continue here]({address}) ![]({address}&seen=1) {address} [{number}]")
    asked += [f"{mention} [{number}]" for mention in dict.fromkeys(MENTION.findall(text))]
    return "\n\n".join(asked)
