"""Distillation: train a small model on what a large one *believes*, not only on what the text says.

The idea: the text names one next token; the teacher gives every token a probability, and so says which mistakes are
nearly right. The student's loss mixes both, with logits softened by a temperature T so that small probabilities count:

    L = (1 - a) CE(y, softmax(z)) + a T^2 KL(softmax(t / T) || softmax(z / T)),    t, z the teacher's, student's logits

The gradient of KL in z is (softmax(z / T) - softmax(t / T)) / T, and that difference itself shrinks like 1/T as T
grows: the factor T^2 keeps the teacher's part as strong at every temperature.

A high T helps where there are few classes and few examples. With a vocabulary it gives most of the softened mass to the
tail of tokens that hardly ever come, and a small student spends itself on those: here T = 1 was best by far.

Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015. Left out: matching hidden
states (DistilBERT), and training on text the student wrote itself (on-policy distillation, DistillSpec).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from ml.week04_transformers.decoder import Decoder
from ml.week08_serving.corpus import batch


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) in nats, averaged over the rows of the logits (N, V). Raises ValueError."""
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, not {temperature}.")
    believed = (teacher / temperature).log_softmax(-1)  # (N, V): log p
    learned = (student / temperature).log_softmax(-1)  # (N, V): log q
    divergence = (believed.exp() * (believed - learned)).sum(-1)  # (N,): sum_v p_v (log p_v - log q_v)
    return temperature**2 * divergence.mean()  # ()


def train(
    model: Decoder,
    pieces: Tensor,
    steps: Iterable[int],
    total: int,
    teacher: Decoder | None = None,
    *,
    temperature: float = 1.0,
    share: float = 0.9,
    rate: float = 3e-3,
    rows: int = 16,
    length: int = 128,
    seed: int = 0,
) -> list[float]:
    """Train ``model`` on ``pieces`` (N, L), with a ``teacher`` or from the text alone; returns the loss of each step.

    ``steps`` yields 0 to ``total`` - 1 (under a progress bar, say); ``share`` is the teacher's part a of the loss.
    The returned losses are the cross-entropy alone, in nats per token, so that both kinds of run can be compared.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.01)
    model.train()
    losses = []
    for step in steps:
        # A short warm-up, then a cosine to a tenth: the last steps settle what the first ones found.
        warm, done = min(1.0, (step + 1) / 20), step / total
        for group in optimiser.param_groups:
            group["lr"] = rate * warm * (0.55 + 0.45 * math.cos(math.pi * done))
        window = batch(pieces, rows, length, generator)  # (rows, length + 1)
        logits = model(window[:, :-1]).flatten(0, 1)  # (rows·length, V)
        loss = plain = functional.cross_entropy(logits, window[:, 1:].flatten())  # ()
        if teacher is not None:
            with torch.no_grad():
                soft = teacher(window[:, :-1]).flatten(0, 1)  # (rows·length, V)
            loss = (1 - share) * plain + share * distillation_loss(logits, soft, temperature)  # ()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(plain.item())
    model.eval()
    return losses
