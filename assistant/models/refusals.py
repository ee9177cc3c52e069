"""What an endpoint says that it does not take: functions, a schema, a prompt so long, a parameter."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import openai

from assistant.errors import ModelError

# What servers say that know no functions: vLLM without a tool parser, llama.cpp without templates, Ollama, …
NO_FUNCTIONS = re.compile(r"\btools?\b|tool[_ -](?:choice|call)|\bfunctions?\b|function[_ -]call", re.IGNORECASE)
# And of those that let no schema bind what is written, or not this one.
NO_SCHEMA = re.compile(r"response_?format|json_?object|schema|structured|guided|grammar", re.IGNORECASE)
# And of a prompt that is longer than the model can read.
TOO_LONG = re.compile(r"context[_ ](?:length|size|window)|maximum context|too many tokens", re.IGNORECASE)
# And of what is asked for beside the prompt: it is then sent under another name (OpenAI's models that think want
# another one for the limit), or not at all.
NOT_TAKEN = re.compile(r"unsupported|not supported|unrecogni[sz]ed|unknown|unexpected|not permitted|extra|not allowed",
                       re.IGNORECASE)  # fmt: skip
INSTEAD = {"max_tokens": "max_completion_tokens", "stream_options": None, "temperature": None, "seed": None}
NOT_THAT = frozenset({"invalid_function_parameters", "rate_limit_exceeded"})
REFUSING = frozenset({400, 404, 405, 415, 422, 500, 501})


class FunctionsRefused(ModelError):
    """The endpoint does not take functions."""


class SchemaRefused(ModelError):
    """The endpoint does not take a JSON schema for what is written, or not this one."""


class PromptTooLong(ModelError):
    """The endpoint says that the prompt and its answer are longer than the model's context."""


def refusal(error: openai.OpenAIError, body: Mapping[str, Any]) -> ModelError | None:
    """What the endpoint says that it cannot do with the request, where it says that."""
    if not isinstance(error, openai.APIStatusError) or error.status_code not in REFUSING:
        return None
    words = _words(error)
    if error.code == "context_length_exceeded" or TOO_LONG.search(words):
        return PromptTooLong("The language model refused the prompt, which is too long for it.")
    if error.code in NOT_THAT:
        return None
    if "tools" in body and NO_FUNCTIONS.search(words):
        return FunctionsRefused("The language model's endpoint takes no functions.")
    if "response_format" in body and NO_SCHEMA.search(words):
        return SchemaRefused("The language model refused the request for its JSON schema.")
    return None


def not_taken(error: openai.APIStatusError, sent: Collection[str]) -> str | None:
    """Which of what was sent the endpoint does not take at all, where it says that."""
    words = _words(error)
    if TOO_LONG.search(words) or not NOT_TAKEN.search(f"{error.code} {words}"):
        return None
    named = [name for name in INSTEAD if name in sent]
    return next((name for name in named if error.param == name or re.search(rf"\b{name}\b", words)), None)


def _words(error: openai.APIStatusError) -> str:
    """What it says: as OpenAI has it, or where other servers say it. What they repeat of the request is left out."""
    body = error.body
    said = [body.get(name) for name in ("message", "detail", "error")] if isinstance(body, Mapping) else [body]
    return " ".join([error.message, *(text for one in said for text in _told(one))])


def _told(said: Any) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    elif isinstance(said, list):  # of a server that checks every name
        for one in said:
            if isinstance(one, Mapping):
                yield f"{one.get('type')} {one.get('loc')} {one.get('msg')}"
