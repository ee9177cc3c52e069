"""A task small enough to know everything: four letters, responses of at most five tokens, 1,365 possible ones.

Idea. RLHF's quantities (expected reward, KL to the reference, the best policy there is at that KL) are sums over all
texts, so with a real model they are only ever estimated. Here the sums have 1,365 terms for each prompt, and we write
them out (``exact.py``): when a method claims a gain we see the gain itself, without sampling noise.

The task. The prompt is a letter; a response should contain it often, but never twice in a row: ``gold`` gives +1 for
each asked letter and -1 for each one that repeats the letter before it ("abaca" for "a": 3; "aaaaa": 1 - 4 = -3). The
"pretrained" text hardly ever repeats a letter. A reward model that is fitted on such text therefore cannot know that
stuttering is bad, and a policy that trusts it too far will stutter: over-optimisation, on purpose and in plain sight.

Letters in shapes: B responses, T = 5 tokens, V = 5 tokens in the vocabulary (a, b, c, d and stop).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LETTERS = "abcd"
STOP = len(LETTERS)  # ends a response, and pads what follows
VOCABULARY = STOP + 1
LENGTH = 5  # tokens of a response; one that long needs no stop


def response_mask(responses: Tensor) -> Tensor:
    """1.0 for every token that was chosen: all up to and including the first stop; (B, T) -> (B, T)."""
    stops = (responses == STOP).long()  # (B, T)
    return ((stops.cumsum(1) - stops) == 0).float()  # (B, T) no stop before this token


def gold(prompts: Tensor, responses: Tensor) -> Tensor:
    """The true reward: + asked letters, - asked letters that repeat the one before; (B,), (B, T) -> (B,)."""
    asked = responses == prompts[:, None]  # (B, T) a stop is no letter, so padding never counts
    fresh = asked.clone()  # (B, T)
    fresh[:, 1:] &= responses[:, 1:] != responses[:, :-1]
    return (2 * fresh.float() - asked.float()).sum(1)  # (B,) a fresh one +1, a repeated one -1


def word_features(prompts: Tensor, responses: Tensor) -> Tensor:
    """What a simple reward model looks at: asked letters, letters; (B,), (B, T) -> (B, 2)."""
    letters = responses < len(LETTERS)  # (B, T)
    return torch.stack([(responses == prompts[:, None]).sum(1), letters.sum(1)], dim=1).double()  # (B, 2)


def pretraining_text(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """What the reference model learns to imitate: prompts (B,) and responses (B, T).

    It follows the prompt a little and hardly ever stutters. After each letter: stop with probability 0.15, the same
    letter again 0.03, the asked letter 0.27 (if that is another), else any of the three others.
    """
    prompts = rng.integers(0, len(LETTERS), count)  # (B,)
    responses = np.full((count, LENGTH), STOP)  # (B, T)
    last = rng.integers(0, len(LETTERS), count)  # (B,) the first letter is any
    going = np.ones(count, dtype=bool)  # (B,)
    for t in range(LENGTH):
        responses[going, t] = last[going]
        draw = rng.random(count)  # (B,)
        going &= draw > 0.15
        other = (last + rng.integers(1, len(LETTERS), count)) % len(LETTERS)  # (B,) one of the three others
        follow = (draw < 0.42) & (last != prompts)  # (B,)
        last = np.where(draw > 0.97, last, np.where(follow, prompts, other))  # (B,)
    return torch.from_numpy(prompts), torch.from_numpy(responses)


def as_text(prompt: int, response: Tensor) -> str:
    """``a: abaca`` for people; a response that ended by itself carries a full stop."""
    written = "".join((LETTERS + ".")[token] for token in response.tolist())
    return f"{LETTERS[prompt]}: {written.rstrip('.')}{'.' if written.endswith('.') else ''}"
