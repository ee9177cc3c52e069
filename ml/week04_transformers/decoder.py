"""The decoder-only transformer: GPT-2 and Llama are the same model with a few choices made differently.

Idea.    Embed the tokens, then per layer: x ← x + attention(norm(x)), x ← x + feed_forward(norm(x)); a last norm, and
         one score per word of the vocabulary. The causal mask makes every position predict its next token at once.
Source.  Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2, 2019); Touvron et al., "LLaMA"
         (2023). The norm before each part ("pre-norm") is from Xiong et al. (2020): deep stacks then train without
         warm-up, because the sum x runs from the first layer to the last untouched.
Left out. Dropout, and everything that only makes it faster: fused projections, FlashAttention, checkpointing.

The choices, GPT-2 / Llama: learned / rotary positions, layer / RMS norm, GELU / SwiGLU, biases / none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml.week04_transformers.attention import causal_mask
from ml.week04_transformers.cache import KVCache
from ml.week04_transformers.heads import MultiHeadAttention
from ml.week04_transformers.layers import GeluFeedForward, LayerNorm, RMSNorm, SwigluFeedForward
from ml.week04_transformers.positions import rotation, sinusoidal

CHOICES = {
    "positions": ("rotary", "learned", "sinusoidal"),
    "norm": ("rms", "layer"),
    "feed_forward": ("swiglu", "gelu"),
}


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and choices. ``context`` is the longest text in tokens, ``width`` C, ``hidden`` the feed-forward's width.

    ``kv_heads`` None means as many as ``heads``; ``hidden`` None means 4 C for gelu and 8/3 C, made a multiple of 8,
    for swiglu. ``tied`` shares the embedding with the head. Raises ValueError for sizes that do not fit each other.
    """

    vocabulary: int
    context: int
    width: int
    layers: int
    heads: int
    kv_heads: int | None = None
    hidden: int | None = None
    positions: str = "rotary"
    norm: str = "rms"
    feed_forward: str = "swiglu"
    bias: bool = False
    tied: bool = True
    rope_base: float = 10000.0
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}.")
        if min(self.vocabulary, self.context, self.width, self.layers, self.heads) < 1:
            raise ValueError("vocabulary, context, width, layers and heads must all be at least 1.")
        if self.width % self.heads or (self.positions == "rotary" and (self.width // self.heads) % 2):
            raise ValueError(f"{self.heads} heads (of even width for rotary) cannot share a width of {self.width}.")

    @property
    def hidden_width(self) -> int:
        """The feed-forward's width, with the default worked out."""
        if self.hidden is not None:
            return self.hidden
        return 4 * self.width if self.feed_forward == "gelu" else 8 * math.ceil(self.width / 3)


class Block(nn.Module):
    """One layer: tokens exchange information, then each works on its own; both are added to the running sum."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = MultiHeadAttention(config.width, config.heads, config.kv_heads, config.bias, layer)
        self.feed_forward_norm = make_norm(config)
        make = SwigluFeedForward if config.feed_forward == "swiglu" else GeluFeedForward
        self.feed_forward = make(config.width, config.hidden_width, config.bias)

    def forward(
        self, x: Tensor, mask: Tensor, angles: tuple[Tensor, Tensor] | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """(B, T, C) to (B, T, C); the mask broadcasts to (B, H, T, S)."""
        # The norm stands on the branch, not on the sum: gradients reach the embedding through additions alone.
        x = x + self.attention(self.attention_norm(x), mask=mask, angles=angles, cache=cache)  # (B, T, C)
        return x + self.feed_forward(self.feed_forward_norm(x))  # (B, T, C)


class Decoder(nn.Module):
    """Token ids (B, T) in, a score for each possible next token (B, T, V) out."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = make_norm(config)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.apply(self._initialise)
        for name, weight in self.named_parameters():
            if name.endswith(("output.weight", "down.weight")):  # 2 · layers of them are added up: keep the variance
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * config.layers))
        # A word that is likely next and a word that was just read are the same word: GPT-2 gives them one vector, and
        # saves V · C weights, a fifth of SmolLM2.
        if config.tied:
            self.head.weight = self.embedding.weight  # (V, C)

    def forward(
        self,
        ids: Tensor,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, T, V) for ids (B, T); the arguments are those of ``hidden``."""
        return self.head(self.hidden(ids, cache, positions, mask))  # (B, T, V)

    def hidden(
        self,
        ids: Tensor,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The vectors (B, T, C) that the head turns into logits, after the last norm.

        ``positions`` (B, T) says where the tokens stand (None: after the cached ones); ``mask`` (B, T, S) bool says who
        may look where, S = cached + T (None: causal). A batch padded on the left needs both. Given positions are taken
        as they are; without them, a text that does not fit the context raises ValueError.
        """
        cached = cache.length if cache is not None else 0
        length = ids.shape[1]
        if positions is None:
            if cached + length > self.config.context:
                raise ValueError(f"{cached + length} tokens do not fit a context of {self.config.context}.")
            positions = torch.arange(cached, cached + length, device=ids.device).expand(ids.shape)  # (B, T)
        # (B, 1, T, S), the same for all heads, or the causal (T, S), the same for all texts too
        mask = causal_mask(length, cached + length, ids.device) if mask is None else mask[:, None]
        x = self._embed(ids, positions)  # (B, T, C)
        angles = None
        if self.config.positions == "rotary":
            angles = rotation(positions, self.config.width // self.config.heads, self.config.rope_base)
        for block in self.blocks:
            x = block(x, mask, angles, cache)  # (B, T, C)
        return self.norm(x)  # (B, T, C)

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """(B, T) to (B, T, C)."""
        x = self.embedding(ids)  # (B, T, C)
        if self.config.positions == "learned":
            return x + self.position_embedding(positions)
        if self.config.positions == "sinusoidal":  # the waves are about 1 high; √C brings the embedding to that size
            return x * math.sqrt(self.config.width) + sinusoidal(positions, self.config.width).to(x.dtype)
        return x

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def make_norm(config: DecoderConfig) -> nn.Module:
    """The norm that the configuration asks for."""
    if config.norm == "rms":
        return RMSNorm(config.width, config.eps)
    return LayerNorm(config.width, config.eps, config.bias)


def count_parameters(model: nn.Module) -> int:
    """Numbers that training can change; a shared matrix counts once."""
    return sum(parameter.numel() for parameter in model.parameters())
