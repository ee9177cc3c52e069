"""From a request for a chat or a completion to the engine's requests, and from its pieces to OpenAI's answers."""

from __future__ import annotations

import asyncio
import copy
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from workers.serving.api import ChatRequest, CompletionRequest, Sampled
from workers.serving.functions import Call, Plain, Reader, Replying, conversation, functions_of
from workers.serving.limits import too_long, wrong
from workers.serving.requests import Piece, Request, Usage

SEEDS = 2**63


class Prompts:
    """Prompts as token ids. One thread has a tokenizer of its own: fast ones may not be shared."""

    def __init__(self, tokenizer: Any, context: int) -> None:
        self._tokenizer = copy.deepcopy(tokenizer)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prompts")
        self.context = context
        self.size = len(tokenizer)

    async def of_chat(self, request: ChatRequest) -> list[int]:
        """Raises ``ApiError`` where the prompt and its answer have no room, as ``of_text`` does."""
        if not getattr(self._tokenizer, "chat_template", None):
            raise wrong("This model has no chat template; use /v1/completions.", "model")
        messages = conversation(request.messages, functions_of(request))
        ids = await self._run(self._templated, messages)
        return self._fitting(ids, request.limit, "messages")

    async def of_text(self, prompt: str | list[int], limit: int | None) -> list[int]:
        if isinstance(prompt, list):
            if any(not 0 <= token < self.size for token in prompt):
                raise wrong(f"prompt: a token id is below {self.size}, and not negative.", "prompt")
            ids = prompt
        else:
            ids = await self._run(self._encoded, prompt)
        if not ids:
            raise wrong("prompt: at least one token is needed.", "prompt")
        return self._fitting(ids, limit, "prompt")

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _fitting(self, ids: list[int], limit: int | None, param: str) -> list[int]:
        if len(ids) + (limit or 1) > self.context:
            raise too_long(len(ids), limit or 1, self.context, param)
        return ids

    async def _run(self, work: Any, *arguments: Any) -> list[int]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    def _templated(self, messages: list[dict[str, str]]) -> list[int]:
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except TemplateError:  # it raises what its author wrote: roles that do not alternate, a system message, …
            raise wrong("messages: the model's chat template does not take this order of roles.", "messages") from None
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encoded(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])


@dataclass(slots=True)
class Choice:
    """One of the answers to a request, as far as it is there."""

    index: int
    prompt: int  # which of the request's prompts it goes on from
    reader: Reader
    text: list[str] = field(default_factory=list)
    calls: tuple[Call, ...] = ()
    finish: str | None = None
    usage: Usage | None = None

    def take(self, piece: Piece) -> str:
        """The text to show now."""
        shown = self.reader.feed(piece.text)
        if piece.finish_reason is not None:
            rest, self.calls = self.reader.finish()
            shown += rest
            self.finish = "tool_calls" if self.calls else piece.finish_reason
            self.usage = piece.usage
        self.text.append(shown)
        return shown


class Replies:
    """The answers to one request: what the engine is asked, and the documents that go out. ``model`` is the name."""

    prefix, whole_object, part_object = "cmpl", "text_completion", "text_completion"

    def __init__(self, model: str, requests: Sequence[Request], choices: Sequence[Choice]) -> None:
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self.requests = requests
        self.choices = choices

    def begun(self) -> Iterator[dict[str, Any]]:
        """What is sent before any text."""
        return iter(())

    def taken(self, choice: Choice, piece: Piece) -> Iterator[dict[str, Any]]:
        """What is sent for a piece of one answer."""
        text = choice.take(piece)
        if text or choice.finish:
            yield self._part({"index": choice.index, "text": text, "logprobs": None, "finish_reason": choice.finish})

    def ended(self) -> dict[str, Any]:
        """What is sent last, where somebody wants to know what it took."""
        return self._document(self.part_object, []) | {"usage": self.usage()}

    def whole(self) -> dict[str, Any]:
        """The answer as one document."""
        return self._document(self.whole_object, [self._choice(choice) for choice in self.choices]) | {
            "usage": self.usage()
        }

    def usage(self) -> dict[str, Any]:
        """A prompt counts once, however many answers it has."""
        used = [choice.usage for choice in self.choices if choice.usage is not None]
        firsts = {choice.prompt: choice.usage for choice in reversed(self.choices) if choice.usage is not None}
        prompt = sum(usage.prompt_tokens for usage in firsts.values())
        completion = sum(usage.completion_tokens for usage in used)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in firsts.values())},
        }

    def _choice(self, choice: Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        return {"index": choice.index, "text": text, "logprobs": None, "finish_reason": choice.finish}

    def _part(self, choice: dict[str, Any]) -> dict[str, Any]:
        return self._document(self.part_object, [choice])

    def _document(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


class ChatReplies(Replies):
    prefix, whole_object, part_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def begun(self) -> Iterator[dict[str, Any]]:
        for choice in self.choices:
            yield self._delta(choice, {"role": "assistant", "content": ""})

    def taken(self, choice: Choice, piece: Piece) -> Iterator[dict[str, Any]]:
        if text := choice.take(piece):
            yield self._delta(choice, {"content": text})
        if choice.calls:
            calls = [{"index": index, **call.json()} for index, call in enumerate(choice.calls)]
            yield self._delta(choice, {"tool_calls": calls})
        if choice.finish:
            yield self._delta(choice, {}, choice.finish)

    def _delta(self, choice: Choice, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return self._part({"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": finish})

    def _choice(self, choice: Choice) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.text) or None, "refusal": None}
        if choice.calls:
            message["tool_calls"] = [call.json() for call in choice.calls]
        elif message["content"] is None:
            message["content"] = ""
        return {"index": choice.index, "message": message, "logprobs": None, "finish_reason": choice.finish}


async def chat_replies(request: ChatRequest, prompts: Prompts, adapter: str | None) -> Replies:
    """Raises ``ApiError``."""
    ids = await prompts.of_chat(request)
    functions = functions_of(request)
    schema = request.schema_ if functions is None else functions.schema()
    requests = [_asked(request, ids, request.limit, schema, adapter, number) for number in range(request.n)]
    choices = [Choice(number, 0, Plain() if functions is None else Replying()) for number in range(request.n)]
    return ChatReplies(request.model, requests, choices)


async def completion_replies(request: CompletionRequest, prompts: Prompts, adapter: str | None) -> Replies:
    """Each prompt has ``n`` answers, in the prompts' order. Raises ``ApiError``."""
    requests: list[Request] = []
    choices: list[Choice] = []
    for place, prompt in enumerate(request.prompts):
        ids = await prompts.of_text(prompt, request.max_tokens)
        for number in range(request.n):
            requests.append(_asked(request, ids, request.max_tokens, None, adapter, number))
            choices.append(Choice(len(choices), place, Plain()))
    return Replies(request.model, requests, choices)


def _asked(
    request: Sampled, ids: Sequence[int], limit: int | None, schema: dict[str, Any] | None, adapter: str | None,
    number: int,
) -> Request:  # fmt: skip
    """The engine's request for the answer with this number: each has a seed of its own, so that they differ."""
    seed = None if request.seed is None else (request.seed + number) % SEEDS
    return Request(ids, limit, request.temperature, request.top_p, seed, request.stop, schema, adapter)
