"""A model behind OpenAI's chat completions: messages and tools in, text or tool calls out.

Idea.    The API is stateless. Each request carries the whole conversation, so the program owns the history: it may
         count it, cut it, store it and replay it. A reply is text, or calls with an id each; every id must be
         answered by one ``tool`` message before the next request (the endpoint refuses anything else with a 400, see
         ``local_model.py``).
Source.  OpenAI, "Chat completions" reference; vLLM, llama.cpp and Ollama speak the same.
Left out. Streaming, structured outputs by ``response_format`` (``constrained.py`` shows how a server does it).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import openai

Message = dict[str, Any]


class ModelError(Exception):
    """The model cannot be asked: one sentence with the setting to mend."""


@dataclass(frozen=True)
class ToolCall:
    """``arguments`` is the text that the model wrote; nothing promises that it is JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """Text, or calls, or both; tokens as the endpoint counted them."""

    content: str
    calls: tuple[ToolCall, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def as_message(self) -> Message:
        """The reply as it goes back into the conversation."""
        if not self.calls:
            return {"role": "assistant", "content": self.content}
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.calls
        ]
        return {"role": "assistant", "content": self.content or None, "tool_calls": calls}


class ChatModel(Protocol):
    """What the three architectures need of a model."""

    async def reply(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), stop: str | None = None
    ) -> Reply:
        """The next message. ``stop`` ends the text before that string. Raises ModelError."""


@dataclass(frozen=True)
class ChatSettings:
    """``base_url`` None means OpenAI itself; ``timeout`` in seconds for one request (the client's own default is
    600)."""

    api_key: str
    model: str = "gpt-4o-mini"
    base_url: str | None = None
    timeout: float = 60.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ChatSettings | None:
        """The settings under OpenAI's own names, or None where neither a key nor a URL is set."""
        key, url = environment.get("OPENAI_API_KEY"), environment.get("OPENAI_BASE_URL")
        if not key and not url:
            return None
        return cls(key or "none", environment.get("OPENAI_MODEL") or "gpt-4o-mini", url or None)

    def __repr__(self) -> str:
        return f"ChatSettings(model={self.model!r}, base_url={self.base_url!r})"  # the key stays out of tracebacks


class OpenAIModel:
    """A model at any endpoint that speaks the API. Use as ``async with OpenAIModel(settings) as model``."""

    def __init__(self, settings: ChatSettings, retries: int = 2) -> None:
        self.settings = settings
        self._client = openai.AsyncOpenAI(
            api_key=settings.api_key, base_url=settings.base_url, timeout=settings.timeout, max_retries=retries
        )

    async def __aenter__(self) -> OpenAIModel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def reply(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), stop: str | None = None
    ) -> Reply:
        """One request at temperature 0."""
        given: dict[str, Any] = {"tools": list(tools)} if tools else {}
        if stop:
            given["stop"] = [stop]
        place = self.settings.base_url or "OpenAI"
        try:
            answer = await self._client.chat.completions.create(
                model=self.settings.model, messages=list(messages), temperature=0, **given
            )
        except openai.AuthenticationError as error:
            raise ModelError(f"{place} refused the key: OPENAI_API_KEY is wrong.") from error
        except openai.APITimeoutError as error:
            raise ModelError(f"{place} did not answer within {self.settings.timeout:g} s.") from error
        except openai.APIConnectionError as error:
            raise ModelError(f"{place} cannot be reached: is OPENAI_BASE_URL right and the server up?") from error
        except openai.APIError as error:
            raise ModelError(f"{place} failed: {error.message}") from error
        return _reply(answer)


def _reply(answer: Any) -> Reply:
    """The SDK's object as ours; it goes no further than this file."""
    if not answer.choices:
        raise ModelError("The endpoint sent no choice.")
    message, usage = answer.choices[0].message, answer.usage
    calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    used = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    return Reply(message.content or "", tuple(calls), *used)
