"""What the small models of this week read, and how big they are.

The text is Python's own reference manual as ``help("topics")`` prints it (``pydoc_data.topics``): 465 kB of English
prose, grammar and code that lies on every machine that has Python. A token is a byte, so that no tokenizer stands
between the reader and the model; the loss is in nats per byte.

Two models: the teacher, which gets quantised, served and sped up, and the student, which learns from it
(``distil.py``) and then drafts for it (``speculative.py``).
"""

from __future__ import annotations

import math
from pydoc_data.topics import topics

import torch
from torch import Tensor
from torch.nn import functional

from ml.week04_transformers.decoder import Decoder, DecoderConfig

PIECE = 1000  # bytes: the text is cut into pieces, and every tenth is held out
# 352 is the feed-forward's 8/3 * 128, made a multiple of the 32 weights that share a scale.
TEACHER = DecoderConfig(vocabulary=256, context=384, width=128, layers=4, heads=4, hidden=352)
STUDENT = DecoderConfig(vocabulary=256, context=384, width=96, layers=1, heads=3, hidden=256)


class ByteText:
    """The tokenizer that is none: a text's UTF-8 bytes are its ids."""

    eos_token_id = None  # the text never ends by itself

    def encode(self, text: str) -> list[int]:
        """Ids in 0..255."""
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        """Text; bytes that are no UTF-8 (a cut character) become the replacement sign."""
        return bytes(ids).decode(errors="replace")


def read_text() -> tuple[Tensor, Tensor]:
    """The manual as (training pieces (N, 1000), held-out pieces (M, 1000)), long ids in 0..255."""
    data = "\n\n".join(topics[name] for name in sorted(topics)).encode()
    pieces = torch.tensor(list(data[: len(data) // PIECE * PIECE])).view(-1, PIECE)  # (N + M, 1000)
    held_out = torch.arange(len(pieces)) % 10 == 9  # (N + M,)
    return pieces[~held_out], pieces[held_out]


def batch(pieces: Tensor, rows: int, length: int, generator: torch.Generator) -> Tensor:
    """``rows`` random windows of ``length`` + 1 ids, (rows, length + 1): inputs and, one further on, targets."""
    row = torch.randint(len(pieces), (rows, 1), generator=generator)  # (rows, 1)
    start = torch.randint(pieces.shape[1] - length, (rows, 1), generator=generator)  # (rows, 1)
    return pieces[row, start + torch.arange(length + 1)]  # (rows, length + 1)


@torch.inference_mode()
def loss_on(model: Decoder, windows: Tensor, rows: int = 16) -> float:
    """Mean cross-entropy in nats per token over ``windows`` (N, T + 1); its exponential is the perplexity."""
    total = 0.0
    for part in windows.split(rows):
        logits = model(part[:, :-1])  # (rows, T, V)
        total += functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
    return total / windows[:, 1:].numel()


def perplexity(loss: float) -> float:
    """exp(loss): how many equally likely tokens would be as hard to guess."""
    return math.exp(loss)
