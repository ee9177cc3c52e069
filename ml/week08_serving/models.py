"""Which model to serve: the tiny one of this week or SmolLM2-135M-Instruct, in 32, 8 or 4 bits.

SmolLM2 comes as a file that is already quantised (GGUF's Q4_1: 4 bits in groups of 32, with a scale and a minimum) and
is widened to float32 when it is read. Its own rounding is therefore part of the baseline: what is measured on it is
the loss of quantising once more, not the loss against the model as it was trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from ml.week04_transformers.decoder import Decoder
from ml.week08_serving.corpus import TEACHER, ByteText, read_text
from ml.week08_serving.distil import train
from ml.week08_serving.layers import load, nearest, quantise_model, save


class Text(Protocol):
    """What serving needs of a tokenizer."""

    eos_token_id: int | None

    def encode(self, text: str) -> list[int]:
        """The ids of a prompt."""

    def decode(self, ids: list[int]) -> str:
        """The text of an answer."""


class ChatText:
    """A Hugging Face tokenizer, with each prompt set as a user's turn of a conversation."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.eos_token_id = tokenizer, tokenizer.eos_token_id

    def encode(self, text: str) -> list[int]:
        """The conversation's ids, up to where the assistant begins to speak."""
        turn = [{"role": "user", "content": text}]
        whole = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        return self.tokenizer(whole, add_special_tokens=False)["input_ids"]

    def decode(self, ids: list[int]) -> str:
        """Text without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def train_teacher(checkpoint: Path, steps: int = 150) -> Decoder:
    """Train the tiny model (some 30 s on one core) and keep it at ``checkpoint``."""
    torch.manual_seed(0)
    model = Decoder(TEACHER)
    train(model, read_text()[0], range(steps), steps)
    save(model, checkpoint)
    return model


def load_model(name: str, bits: int, checkpoint: Path) -> tuple[Decoder, Text]:
    """``name`` is tiny or smollm2, ``bits`` 32, 8 (a scale per channel) or 4 (groups of 32 with a zero-point).

    Raises LessonError where SmolLM2 is not installed, ValueError for another name or number of bits.
    """
    if name == "smollm2":
        from ml.week04_transformers.pretrained import load_smollm2

        model, tokenizer = load_smollm2()
        text: Text = ChatText(tokenizer)
    elif name == "tiny":
        model = load(checkpoint) if checkpoint.is_file() else train_teacher(checkpoint)
        text = ByteText()
    else:
        raise ValueError(f"model must be tiny or smollm2, not {name!r}.")
    if bits == 32:
        return model, text
    if bits not in (4, 8):
        raise ValueError(f"bits must be 4, 8 or 32, not {bits}.")
    return quantise_model(model, nearest(8) if bits == 8 else nearest(4, 32, symmetric=False)), text
