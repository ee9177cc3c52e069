"""What a call costs, from the price table in the settings, and the most that one could cost before it is made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from assistant.answering.messages import Usage
from assistant.settings import Price

ANY = "*"  # the price of models that the table does not name
MESSAGE_TOKENS = 16  # at most what a message's frame takes, whatever the model's template
REPLY_TOKENS = 16


def price_of(prices: Mapping[str, Price], model: str) -> Price | None:
    return prices.get(model) or prices.get(ANY)


def priced(
    prices: Mapping[str, Price], model: str, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0
) -> Usage:
    """Tokens with their cost in US dollars; a model without a price costs nothing.

    ``cached_tokens`` of the prompt's are those that the API read from its cache: they cost ``cached_prompt``.
    """
    price = price_of(prices, model)
    if price is None:
        return Usage(prompt_tokens, completion_tokens)
    cached = min(max(cached_tokens, 0), prompt_tokens)
    of_cached = price.prompt if price.cached_prompt is None else price.cached_prompt
    cost = (prompt_tokens - cached) * price.prompt + cached * of_cached + completion_tokens * price.completion
    return Usage(prompt_tokens, completion_tokens, round(cost / 1_000_000, 8))


def most_tokens(messages: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]] = ()) -> int:
    """No fewer tokens than any tokenizer makes of a prompt.

    A token stands for a byte or more (byte-level BPE, and SentencePiece with bytes to fall back on), so the bytes are
    a bound that no text passes; English takes a quarter of it. ``functions`` are sent as JSON, and so counted.
    """
    of_messages = sum(MESSAGE_TOKENS + _bytes(message) for message in messages)
    return of_messages + sum(MESSAGE_TOKENS + _bytes(function) for function in functions) + REPLY_TOKENS


def _bytes(value: Any) -> int:
    """The bytes of every string, name and number in it, without the punctuation of JSON for plain strings."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace"))
    if isinstance(value, Mapping) and all(isinstance(part, str) for part in value.values()):
        return sum(_bytes(part) for part in value.values())
    return len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace"))
