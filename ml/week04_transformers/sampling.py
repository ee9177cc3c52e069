"""From probabilities to text: greedy, temperature, top-k, top-p, and beam search.

Idea.    A language model gives a distribution; a text needs a choice. Greedy takes the most probable token and soon
         repeats itself; sampling from everything now and then picks nonsense from the long tail. Temperature, top-k and
         top-p cut or thin that tail. Beam search looks for the most probable whole continuation instead.
Source.  Top-k: Fan et al. (2018). Top-p ("nucleus"): Holtzman et al., "The Curious Case of Neural Text Degeneration"
         (2019). Beam search in translation: Sutskever et al. (2014); length penalty: Wu et al. (2016).
Left out. Repetition penalties, min-p, and contrastive methods.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ml.week04_transformers.cache import KVCache
from ml.week04_transformers.decoder import Decoder


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """(B, V) to (B, V): all but the k highest become -inf."""
    if k < 1:
        raise ValueError(f"top_k must be at least 1, not {k}.")
    smallest = logits.topk(min(k, logits.shape[-1])).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < smallest, float("-inf"))  # (B, V)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """(B, V) to (B, V): keep the fewest most probable tokens whose probabilities reach p; the others become -inf."""
    if not 0 < p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, not {p}.")
    ordered, order = logits.sort(descending=True, dim=-1)  # (B, V) each
    probability = ordered.softmax(dim=-1)  # (B, V)
    before = probability.cumsum(dim=-1) - probability  # (B, V)   what the more probable ones already hold
    cut = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before >= p)  # (B, V)   back in token order
    return logits.masked_fill(cut, float("-inf"))  # (B, V)


def distribution(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Logits (B, V) to the probabilities (B, V) that are sampled from: temperature first, then top-k, then top-p.

    A temperature of 0 puts everything on the highest logit. Raises ValueError for a negative one.
    """
    if temperature < 0:
        raise ValueError(f"The temperature must not be negative: {temperature}.")
    if temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(dim=-1, keepdim=True), 1.0)  # (B, V)
    logits = logits.float() / temperature  # (B, V)   pᵢ ∝ exp(zᵢ / τ)
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    return logits.softmax(dim=-1)  # (B, V)


@torch.no_grad()
def generate(
    model: Decoder,
    ids: Tensor,
    tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    stop: int | tuple[int, ...] | None = None,
    cached: bool = True,
) -> Tensor:
    """Continue ids (B, T) by at most ``tokens`` tokens: (B, T + new). Greedy when the temperature is 0.

    A row ends with the first ``stop`` token and is filled up with it while others run on; when all have ended, so does
    the call. Without ``cached`` every step computes the whole text again: the same tokens, later. Raises ValueError
    when prompt and answer do not fit the context.
    """
    if ids.ndim != 2 or ids.shape[1] == 0:
        raise ValueError(f"generate needs ids of shape (B, T) with at least one token, not {tuple(ids.shape)}.")
    if ids.shape[1] + tokens > model.config.context:
        raise ValueError(f"{ids.shape[1]} + {tokens} tokens do not fit a context of {model.config.context}.")
    stops = torch.tensor([] if stop is None else [stop] if isinstance(stop, int) else list(stop), device=ids.device)
    cache = KVCache(model.config.layers) if cached else None
    ended = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)  # (B,)
    for _ in range(tokens):
        new = ids if cache is None else ids[:, cache.length :]  # (B, T) at first, then (B, 1)
        logits = model.head(model.hidden(new, cache)[:, -1])  # (B, V)   the head is wide: only for the last position
        probabilities = distribution(logits, temperature, top_k, top_p)  # (B, V)
        if temperature == 0:
            chosen = probabilities.argmax(dim=-1, keepdim=True)  # (B, 1)
        else:
            chosen = torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)
        chosen = torch.where(ended[:, None], ids[:, -1:], chosen)  # (B, 1)   ended rows repeat their stop token
        ids = torch.cat((ids, chosen), dim=1)  # (B, T + 1)
        ended = ended | torch.isin(chosen[:, 0], stops)  # (B,)
        if ended.all():
            break
    return ids


@torch.no_grad()
def beam_search(
    model: Decoder, ids: Tensor, tokens: int, beams: int = 4, stop: int | None = None, length_penalty: float = 0.0
) -> list[tuple[Tensor, float]]:
    """The ``beams`` best continuations found of ids (1, T): [(ids (T + new,), score)], best first.

    score = Σ log p(token | before) / new^length_penalty, in nats. The sum alone (0) favours short texts, as every token
    costs; 1 gives the mean. A text is complete at ``stop`` or after ``tokens`` tokens.
    """
    if ids.shape[0] != 1 or beams < 1 or tokens < 1:
        raise ValueError("beam_search takes ids of shape (1, T), at least one beam and at least one token.")
    cache = KVCache(model.config.layers)
    total = torch.zeros(1, device=ids.device)  # (beams,)   log-probability of each live text
    done: list[tuple[Tensor, float]] = []
    for step in range(1, tokens + 1):
        logits = model.head(model.hidden(ids[:, cache.length :], cache)[:, -1])  # (beams, V)
        every = total[:, None] + logits.float().log_softmax(dim=-1)  # (beams, V)   all continuations of all beams
        # Twice as many as needed: each beam can end at most once, so `beams` live ones are left over.
        total, place = every.flatten().topk(min(2 * beams, every.numel()))  # (≤ 2 beams,) each
        row, token = place // every.shape[1], place % every.shape[1]  # (≤ 2 beams,) each
        ids = torch.cat((ids[row], token[:, None]), dim=1)  # (≤ 2 beams, T + step)
        ends = torch.full_like(token, step == tokens, dtype=torch.bool)  # (≤ 2 beams,)
        if stop is not None:
            ends |= token == stop
        done += [(ids[i], total[i].item() / step**length_penalty) for i in ends.nonzero()[:, 0].tolist()]
        live = (~ends).nonzero()[:beams, 0]  # (≤ beams,)
        if live.numel() == 0:
            break
        ids, total = ids[live], total[live]  # (beams, T + step), (beams,)
        cache.select(row[live])
        done = sorted(done, key=lambda pair: -pair[1])[:beams]
        # With the plain sum, nothing that is alive can still overtake: tokens only ever lower it.
        if length_penalty == 0 and len(done) == beams and done[-1][1] >= total[0].item():
            break
    return sorted(done, key=lambda pair: -pair[1])[:beams]
