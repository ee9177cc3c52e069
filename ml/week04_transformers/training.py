"""Training a small decoder on a small corpus, character by character.

Idea.    Shift the text by one: at every position the next character is the answer. The loss is the mean negative
         log-probability of the answers, in nats; divided by ln 2 it is bits per character, the length to which an
         ideal compressor using the model would squeeze the text.
Source.  Karpathy, nanoGPT's character-level Shakespeare (2022), in spirit; AdamW: Loshchilov & Hutter (2017).
         Corpus: 300 Australian news items of 2000/2001 collected by Lee et al. (2005), packaged with gensim.
Left out. Dropout, mixed precision, gradient accumulation, more than one device. The optimiser is torch's; week 2 has
         its insides.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ml.lesson import LessonError
from ml.week04_transformers.decoder import Decoder


class Corpus(NamedTuple):
    """A text as ids: its alphabet (id order), and the first nine tenths to train on, the last to validate."""

    alphabet: str
    train: Tensor
    validation: Tensor

    def encode(self, text: str) -> Tensor:
        """(T,) ids of a text; a character outside the alphabet raises ValueError."""
        unknown = set(text) - set(self.alphabet)
        if unknown:
            raise ValueError(f"The alphabet has no {', '.join(sorted(map(repr, unknown)))}.")
        return torch.tensor([self.alphabet.index(letter) for letter in text])  # (T,)

    def decode(self, ids: Tensor) -> str:
        """The text of ids (T,)."""
        return "".join(self.alphabet[index] for index in ids.tolist())


def make_corpus(text: str) -> Corpus:
    """Characters to ids in sorted order; the split is by place, so that no news item is on both sides."""
    alphabet = "".join(sorted(set(text)))
    numbers = {letter: index for index, letter in enumerate(alphabet)}
    ids = torch.tensor([numbers[letter] for letter in text])  # (length,)
    cut = len(ids) * 9 // 10
    return Corpus(alphabet, ids[:cut], ids[cut:])


def lee_text() -> str:
    """The Lee corpus: one news item a line, each of them once. Raises LessonError where gensim is not installed."""
    spec = importlib.util.find_spec("gensim")  # finds the folder without importing gensim, which takes seconds
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()
    file = folder / "test" / "test_data" / "lee_background.cor"
    if not file.is_file():
        raise LessonError("The Lee corpus is not here: pip install gensim, whose test data it is.")
    return "\n".join(dict.fromkeys(file.read_text("utf-8").splitlines()))


def draw_batch(ids: Tensor, rows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``rows`` random windows of (length,) ids, and the same windows one character on: (rows, length) each."""
    start = torch.randint(len(ids) - length, (rows, 1), generator=generator)  # (rows, 1)
    window = ids[start + torch.arange(length + 1)]  # (rows, length + 1)
    return window[:, :-1], window[:, 1:]


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of -log p(target) in nats; logits (B, T, V), targets (B, T). -log softmax(z)ₖ = log Σⱼ exp zⱼ - zₖ."""
    chosen = logits.gather(-1, targets[..., None])[..., 0]  # (B, T)
    return (logits.logsumexp(dim=-1) - chosen).mean()  # ()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Up in a straight line for the first twentieth, then down along half a cosine to a tenth of the peak.

    Adam's first steps rest on an estimate of the gradient's scale from a handful of batches: hence the slow start.
    """
    warm = max(1, steps // 20)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def train(
    model: nn.Module,
    loss_of: Callable[[], Tensor],
    steps: Iterable[int],
    total: int,
    peak: float = 3e-3,
) -> list[float]:
    """Take ``total`` AdamW steps on ``loss_of()``; ``steps`` counts them (a progress bar, perhaps). Losses in nats."""
    # Weight decay on the matrices only: pulling gains and biases to zero would switch layers off.
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    model.train()
    losses = []
    for step in steps:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, total, peak)
        loss = loss_of()  # ()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # one odd batch cannot throw the weights far
        optimiser.step()
        losses.append(loss.item())
    model.eval()
    return losses


@torch.no_grad()
def bits_per_character(model: Decoder, ids: Tensor, rows: int = 16) -> float:
    """The model's code length for ids (length,), in bits per character: mean of -log₂ p(character | before).

    The windows overlap by half, and only the second half of each is scored (all of the first one): every character is
    predicted once, from at least half a context. The last characters that fill no window are left out.
    """
    context = model.config.context
    half = context // 2
    if len(ids) <= context:
        raise ValueError(f"{len(ids)} characters are too few for a context of {context}.")
    windows = ids.unfold(0, context + 1, half)  # (windows, context + 1)
    logs = []
    for window in windows.split(rows):
        log_p = model(window[:, :-1]).log_softmax(dim=-1)  # (rows, context, V)
        logs.append(log_p.gather(-1, window[:, 1:, None])[..., 0])  # (rows, context)   log p(next)
    log = torch.cat(logs)  # (windows, context)
    scored = torch.cat((log[0, :-half], log[:, -half:].flatten()))  # (context + (windows - 1) · half,)
    return -scored.mean().item() / math.log(2)
