"""SmolLM2-135M calling functions: the prompt, with the mask and without it.

Idea.    135 million parameters, 4 bits each, were never trained on tools. Shown functions as JSON they answer in
         prose. With the mask the same weights write nothing but lists of calls that fit the schemas. The experiment
         counts both, and then counts how many of the calls are the right ones, which the mask has no say in.
Source.  Allal et al., "SmolLM2" (2025); week 4 reads the weights from their file.
Left out. Fine-tuning on tool calls, few-shot examples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ml.week04_transformers.pretrained import load_smollm2
from ml.week10_agents.bfcl import Case
from ml.week10_agents.constrained import DecoderScorer, Masks, Vocabulary, Written, decode, decode_freely
from ml.week10_agents.grammar import call_schema, compile_schema

INSTRUCTIONS = """You call functions. The functions, as JSON:
{functions}
Answer with a JSON list of calls and nothing else, such as {example}."""
EXAMPLE = '[{"name": "function", "arguments": {"x": 1}}]'
BUDGET = 80  # tokens of an answer


def calls_schema(functions: Sequence[Mapping[str, Any]], least: int = 1) -> dict[str, Any]:
    """A list of ``least`` or more calls of these functions ({name, parameters} with JSON Schema)."""
    return {"type": "array", "items": call_schema(functions), "minItems": least}


class SmallModel:
    """SmolLM2 with its tokenizer. Raises LessonError where it is not installed."""

    def __init__(self) -> None:
        model, self.tokenizer = load_smollm2()
        self.vocabulary = Vocabulary.of(self.tokenizer)
        self.scorer = DecoderScorer(model)

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, question: str, functions: Sequence[Mapping[str, Any]]) -> list[int]:
        """The conversation up to where the model begins to answer."""
        listed = "\n".join(json.dumps(dict(function), ensure_ascii=False) for function in functions)
        turns = [
            {"role": "system", "content": INSTRUCTIONS.format(functions=listed, example=EXAMPLE)},
            {"role": "user", "content": question},
        ]
        return self.encode(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def constrained(self, prompt: Sequence[int], schema: Mapping[str, Any], budget: int | None = None) -> Written:
        """An answer that is valid against ``schema``, whatever the prompt. Raises grammar.Unsupported."""
        masks = Masks(_compiled(json.dumps(schema)), self.vocabulary)
        return decode(
            self.scorer, prompt, masks, self.encode, budget or budget_for(schema), self.tokenizer.eos_token_id
        )

    def free(self, prompt: Sequence[int], budget: int = BUDGET) -> Written:
        """An answer without a mask."""
        return decode_freely(self.scorer, prompt, self.vocabulary, self.tokenizer.eos_token_id, budget)


def budget_for(schema: Mapping[str, Any]) -> int:
    """Tokens for an answer: the usual number, and more where the shortest valid text is long."""
    return max(BUDGET, 2 * int(_compiled(json.dumps(schema)).distance[0]))


@lru_cache(maxsize=64)
def _compiled(schema: str) -> Any:
    return compile_schema(json.loads(schema))


def own_cases() -> list[Case]:
    """Three questions to this week's own tools, for machines without BFCL's data and for the notebook."""
    codes = {"type": "string", "enum": ["CHF", "EUR", "GBP", "JPY", "USD"]}
    town = {"type": "string", "description": "a town's name", "maxLength": 24}
    functions = (
        {
            "name": "find_place",
            "description": "Coordinates of a town.",
            "parameters": {"type": "dict", "properties": {"name": town}, "required": ["name"]},
        },
        {
            "name": "exchange",
            "description": "Money in another currency.",
            "parameters": {
                "type": "dict",
                "properties": {"amount": {"type": "float"}, "base": codes, "quote": codes},
                "required": ["amount", "base", "quote"],
            },
        },
    )
    asked = (
        ("Find the coordinates of Lisbon.", "find_place", {"name": ["Lisbon"]}),
        ("How many JPY are 40 EUR?", "exchange", {"amount": [40.0], "base": ["EUR"], "quote": ["JPY"]}),
        ("Where on the map is Oslo?", "find_place", {"name": ["Oslo"]}),
    )
    return [
        Case(f"own_{place}", "multiple", question, functions, ((name, options),))
        for place, (question, name, options) in enumerate(asked)
    ]
