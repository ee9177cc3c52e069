"""Output that a JSON schema accepts: before each token, those that would break the schema are masked.

The grammar and the walk over the vocabulary are llguidance's. What follows without a choice (braces, names of required
fields) is not asked of the model at all: ``Follower.forced`` gives those tokens, and they are read in one pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from tokenizers import Tokenizer
from torch import Tensor

from workers.serving.requests import BadRequest

# A weak model given the choice fills its answer with spaces; without it the text is compact JSON.
OPTIONS: Any = {"whitespace_flexible": False}


class Grammars:
    """Makes followers of schemas for one vocabulary. Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, ends: Sequence[int]) -> None:
        self._vocabulary = vocabulary
        self._tokenizer = LLTokenizer(tokenizer.to_str(), n_vocab=vocabulary, eos_token=list(ends))

    def follower(self, schema: Mapping[str, Any]) -> Follower:
        """Raises BadRequest with the reason for a schema that cannot be followed."""
        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=OPTIONS)
        except (ValueError, TypeError) as error:
            raise BadRequest("The JSON schema is not valid.") from error
        wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar, self._tokenizer)
        if wrong:
            raise BadRequest(f"The JSON schema cannot be followed: {_sentence(messages)}.")
        matcher = LLMatcher(self._tokenizer, grammar)
        if matcher.is_error():
            raise BadRequest(f"The JSON schema cannot be followed: {_sentence([matcher.get_error()])}.")
        return Follower(matcher, self._vocabulary)


class Follower:
    """Where one text stands in its schema."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    def allowed(self) -> Tensor:
        """(V,) bool: the tokens that may come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._vocabulary].astype(np.bool_))

    def take(self, tokens: Sequence[int]) -> None:
        """Raises BadRequest where the grammar has become too complex to follow."""
        if not self._matcher.consume_tokens(list(tokens)):
            raise BadRequest(f"The JSON schema cannot be followed further: {_sentence([self._matcher.get_error()])}.")

    def forced(self) -> list[int]:
        """The tokens that must follow; empty where there is a choice."""
        return self._matcher.compute_ff_tokens()

    @property
    def done(self) -> bool:
        """Nothing but an end may follow."""
        return self._matcher.is_stopped()


def _sentence(messages: Sequence[str]) -> str:
    text = " ".join(messages[0].split()) if messages else "it is too complex"
    return text[:200].rstrip(".")
