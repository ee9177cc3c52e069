"""A language model as a policy: the prompt is the state, a token is an action, a response is an episode.

Idea. A decoder gives ``log pi(y_t | x, y_<t)`` for every token of a response in one pass. That is all that policy
optimisation needs: PPO and GRPO compare these numbers before and after an update, DPO compares them between two
responses, and the KL to a reference is their difference averaged. Here: a tiny decoder (week 4's, two layers of width
32), sampling from it, its log-probabilities, and its supervised pretraining, which makes the reference policy.

Source: Ziegler et al., "Fine-Tuning Language Models from Human Preferences" (2019). Left out: a KV cache (responses
have five tokens), temperature, prompts of more than one token. Letters in shapes: B responses, T tokens of a response,
V vocabulary; the model reads S = 1 + T tokens, the prompt first.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week07_alignment.toy import LENGTH, STOP, VOCABULARY, pretraining_text, response_mask


def new_decoder(layers: int = 2) -> Decoder:
    """A decoder for the toy task with random weights (seed torch first).

    GPT-2's choices, not Llama's, and larger embeddings than usual: in so small a model five tokens that start alike,
    at rotary positions, stay alike for too long (the log has the numbers).
    """
    choices = {"positions": "learned", "norm": "layer", "feed_forward": "gelu"}
    decoder = Decoder(DecoderConfig(VOCABULARY, context=1 + LENGTH, width=32, layers=layers, heads=4, **choices))
    nn.init.normal_(decoder.embedding.weight, std=0.3)  # (V, C)
    return decoder


def token_log_probs(policy: nn.Module, prompts: Tensor, responses: Tensor) -> Tensor:
    """log pi(y_t | x, y_<t) of every token of ``responses``, 0 after the stop; (B,), (B, T) -> (B, T).

    ``policy`` is any module that maps ids (B, S) to logits (B, S, V).
    """
    ids = torch.cat([prompts[:, None], responses], dim=1)  # (B, S)
    logits = policy(ids[:, :-1])  # (B, T, V) the prompt predicts y_1, and so on; the last token predicts nothing
    log_probs = functional.log_softmax(logits, dim=-1)  # (B, T, V)
    chosen = log_probs.gather(-1, responses[:, :, None]).squeeze(-1)  # (B, T)
    return chosen * response_mask(responses).to(chosen.dtype)  # (B, T)


@torch.no_grad()
def sample(policy: nn.Module, prompts: Tensor, generator: torch.Generator) -> Tensor:
    """One response for each prompt, drawn token by token; (B,) -> (B, T)."""
    ids = prompts[:, None]  # (B, 1)
    going = torch.ones_like(prompts, dtype=torch.bool)  # (B,)
    for _ in range(LENGTH):
        probabilities = policy(ids)[:, -1].softmax(-1)  # (B, V)
        token = torch.multinomial(probabilities, 1, generator=generator).squeeze(1)  # (B,)
        token = torch.where(going, token, STOP)  # (B,) after a stop only padding
        going &= token != STOP
        ids = torch.cat([ids, token[:, None]], dim=1)  # (B, 1 + t)
    return ids[:, 1:]  # (B, T)


def pretrain(policy: nn.Module, steps: int, rng: np.random.Generator, batch: int = 128) -> Iterator[float]:
    """Supervised learning on ``pretraining_text``; yields the loss (nats a token) of each step."""
    optimiser = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    for _ in range(steps):
        prompts, responses = pretraining_text(batch, rng)  # (B,), (B, T)
        mask = response_mask(responses)  # (B, T)
        loss = -token_log_probs(policy, prompts, responses).sum() / mask.sum()  # cross-entropy of the chosen tokens
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield loss.item()
