"""Any OpenAI-compatible endpoint: OpenAI, Azure OpenAI, vLLM, llama.cpp.

Every call has two deadlines, one to the first token and one to the last. A call is tried again only while nothing of
the answer was shown.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import openai
import structlog

from assistant.answering.messages import Turn, Usage
from assistant.answering.prompts import NO_ANSWER, messages, rewriting_messages
from assistant.answering.rewriting import Rewritten
from assistant.errors import ModelError, ModelTimeout
from assistant.models.port import Brief, Written
from assistant.models.pricing import priced
from assistant.settings import Settings

log = structlog.get_logger()

TRIES = 3
REWRITE_TOKENS = 120
TOO_LATE = "The language model did not begin to answer in time."
TRANSIENT = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError, openai.ConflictError)


def create_client(settings: Settings) -> openai.AsyncOpenAI:
    key = settings.llm_api_key.get_secret_value() if settings.llm_api_key else "none"
    timeout = openai.Timeout(settings.llm_timeout, connect=5.0, read=settings.llm_timeout)
    if settings.llm_azure_endpoint:
        return openai.AsyncAzureOpenAI(
            azure_endpoint=settings.llm_azure_endpoint,
            azure_deployment=settings.llm_azure_deployment,
            api_version=settings.llm_azure_api_version,
            api_key=key,
            timeout=timeout,
            max_retries=0,
        )
    return openai.AsyncOpenAI(base_url=settings.llm_base_url, api_key=key, timeout=timeout, max_retries=0)


class OpenAIModel:
    """Streams an answer from a chat completion."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = create_client(settings)
        self.name = settings.llm_model or settings.llm_azure_deployment or ""

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        parts: list[str] = []
        usage = Usage()
        held = ""  # text not shown yet: while it may still become the refusal word
        async with aclosing(self._chunks(brief)) as chunks:
            async for chunk in chunks:
                usage = self._usage(chunk) or usage
                piece = chunk.choices[0].delta.content if chunk.choices else None
                if not piece:
                    continue
                parts.append(piece)
                held += piece
                if not NO_ANSWER.startswith(held.strip()[: len(NO_ANSWER)]):
                    yield held
                    held = ""
        text = "".join(parts).strip()
        if not text:
            raise ModelError("The language model answered with nothing.")
        if held and not text.startswith(NO_ANSWER):
            yield held
        yield Written(text, supported=not text.startswith(NO_ANSWER), usage=usage)

    async def rewrite(self, question: str, turns: Sequence[Turn]) -> Rewritten:
        """One call, not tried again: its caller has little time."""
        try:
            completion = await self._client.chat.completions.create(
                model=self.name,
                messages=[],
                extra_body={"messages": rewriting_messages(question, turns)},
                max_tokens=REWRITE_TOKENS,
                temperature=0.0,
            )
            text = completion.choices[0].message.content if completion.choices else None
        except (openai.OpenAIError, ValueError) as error:
            raise ModelError(f"The language model did not rewrite the question ({type(error).__name__}).") from error
        return Rewritten(text or "", self._usage(completion) or Usage())

    async def close(self) -> None:
        await self._client.close()

    async def _chunks(self, brief: Brief) -> AsyncGenerator[Any, None]:
        """The completion's events. No deadline runs while the caller holds one: it would strike the caller."""
        start = asyncio.get_running_loop().time()
        deadline = start + self._settings.llm_timeout
        limit = min(deadline, start + self._settings.llm_first_token_timeout)
        stream = await self._open(brief, limit)
        events = aiter(stream)
        try:
            while True:
                async with asyncio.timeout_at(limit):
                    chunk = await anext(events, None)
                if chunk is None:
                    return
                limit = deadline
                yield chunk
        except TimeoutError:
            if limit < deadline:
                raise ModelTimeout(TOO_LATE) from None
            raise ModelTimeout(f"The language model did not finish within {self._settings.llm_timeout:g} s.") from None
        except (openai.OpenAIError, ValueError) as error:  # ValueError: an event that is not JSON
            raise ModelError(f"The language model stopped in the middle ({type(error).__name__}).") from error
        finally:
            await stream.close()

    async def _open(self, brief: Brief, limit: float) -> Any:
        """The stream with its headers there; tried again after a transient failure."""
        loop = asyncio.get_running_loop()
        for attempt in range(1, TRIES + 1):
            try:
                async with asyncio.timeout_at(limit):
                    return await self._request(brief)
            except TimeoutError:
                raise ModelTimeout(TOO_LATE) from None
            except TRANSIENT as error:
                wait = random.uniform(0.1, 0.4) * 2**attempt  # noqa: S311 - jitter
                if attempt == TRIES or loop.time() + wait > limit:
                    raise ModelError(f"The language model is not reachable ({type(error).__name__}).") from error
                log.warning("model.retry", attempt=attempt, error=type(error).__name__)
                await asyncio.sleep(wait)
            except openai.OpenAIError as error:
                raise ModelError(f"The language model refused the request ({type(error).__name__}).") from error
        raise AssertionError("unreachable")

    async def _request(self, brief: Brief) -> Any:
        return await self._client.chat.completions.create(
            model=self.name,
            messages=[],
            # As a part of the body they are sent as they are; the client would walk through every string otherwise.
            extra_body={"messages": messages(brief)},
            max_tokens=self._settings.llm_max_tokens,
            temperature=0.0,
            stream=True,
            stream_options={"include_usage": True},
        )

    def _usage(self, chunk: Any) -> Usage | None:
        if chunk.usage is None:
            return None
        return priced(self._settings.llm_prices, self.name, chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
