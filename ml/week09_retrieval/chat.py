"""One chat completion from any endpoint that speaks OpenAI's API: OpenAI, Azure, vLLM, llama.cpp, Ollama.

Three settings, the first two under the names that OpenAI's own tools read: ``OPENAI_API_KEY``, ``OPENAI_BASE_URL`` and
``OPENAI_MODEL``. A local server usually wants no key; then the URL alone is enough. Every failure that a user can mend
is one sentence. Left out: streaming and tools (week 10).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import openai
from openai.types.chat import ChatCompletionMessageParam

from ml.lesson import LessonError

DEFAULT_MODEL = "gpt-4o-mini"


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """``base_url`` None means OpenAI itself; ``timeout`` in seconds for a whole call (the client's own is 600)."""

    api_key: str
    model: str = DEFAULT_MODEL
    base_url: str | None = None
    timeout: float = 60.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ChatSettings | None:
        """The settings, or None where neither a key nor a URL is set: then there is no model to ask."""
        key, url = environment.get("OPENAI_API_KEY"), environment.get("OPENAI_BASE_URL")
        if not key and not url:
            return None
        return cls(key or "none", environment.get("OPENAI_MODEL") or DEFAULT_MODEL, url or None)

    def __repr__(self) -> str:
        return f"ChatSettings(model={self.model!r}, base_url={self.base_url!r})"  # the key stays out of tracebacks


def complete(messages: list[ChatCompletionMessageParam], settings: ChatSettings) -> str:
    """The model's reply at temperature 0. Raises LessonError, one sentence, where there is none."""
    place = settings.base_url or "OpenAI"
    try:
        with openai.OpenAI(
            api_key=settings.api_key, base_url=settings.base_url, timeout=settings.timeout, max_retries=2
        ) as client:
            reply = client.chat.completions.create(model=settings.model, messages=messages, temperature=0)
    except openai.AuthenticationError as error:
        raise LessonError(f"{place} refused the key: OPENAI_API_KEY is wrong.") from error
    except openai.NotFoundError as error:
        raise LessonError(f"{place} has no model {settings.model!r}: set OPENAI_MODEL or OPENAI_BASE_URL.") from error
    except openai.RateLimitError as error:
        raise LessonError(f"{place} is out of quota or too busy: {error.message}") from error
    except openai.APITimeoutError as error:
        raise LessonError(f"{place} did not answer within {settings.timeout:g} s.") from error
    except openai.APIConnectionError as error:
        raise LessonError(f"{place} cannot be reached: is OPENAI_BASE_URL right and the server up?") from error
    except openai.APIError as error:
        raise LessonError(f"{place} failed: {error.message}") from error
    text = reply.choices[0].message.content if reply.choices else None
    if not text:
        raise LessonError(f"{place} sent an empty answer.")
    return text
