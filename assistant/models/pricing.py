"""What a call costs, from the price table in the settings."""

from __future__ import annotations

from collections.abc import Mapping

from assistant.answering.messages import Usage
from assistant.settings import Price


def priced(prices: Mapping[str, Price], model: str, prompt_tokens: int, completion_tokens: int) -> Usage:
    """Tokens with their cost in US dollars; a model without a price costs nothing."""
    price = prices.get(model)
    if price is None:
        return Usage(prompt_tokens, completion_tokens)
    cost = (prompt_tokens * price.prompt + completion_tokens * price.completion) / 1_000_000
    return Usage(prompt_tokens, completion_tokens, round(cost, 8))
