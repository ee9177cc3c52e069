"""The transformer of 2017: an encoder that reads the source, a decoder that writes the target and looks back at it.

Idea.    The encoder's tokens see each other in both directions. Each decoder layer first attends to the target written
         so far (causally), then to the encoder's output: that cross-attention is the only bridge between the two texts.
Source.  Vaswani et al., "Attention Is All You Need" (2017), section 3.1 and figure 1; GELU for ReLU as in BERT (2018).
Left out. Dropout, label smoothing, shared embeddings, and a cache for ``translate``.

A decoder-only model does the same job with one stack: source and target stand in one text, and causal self-attention is
all the bridge it needs. It won because every text trains every weight and no pairs are needed; encoder-decoders (T5,
Whisper) remain where source and target are different things.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ml.week04_transformers.attention import causal_mask, padding_mask
from ml.week04_transformers.heads import MultiHeadAttention
from ml.week04_transformers.layers import GeluFeedForward, LayerNorm
from ml.week04_transformers.positions import sinusoidal


class EncoderLayer(nn.Module):
    """Self-attention in both directions, then the feed-forward network; the norm comes after each sum ("post-norm").

    BERT is a stack of exactly these (``bert.py``).
    """

    def __init__(self, width: int, heads: int, hidden: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, bias=True)
        self.attention_norm = LayerNorm(width, eps)
        self.feed_forward = GeluFeedForward(width, hidden, bias=True, exact=True)
        self.feed_forward_norm = LayerNorm(width, eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, S, C) to (B, S, C); the mask broadcasts to (B, H, S, S)."""
        x = self.attention_norm(x + self.attention(x, mask=mask))  # (B, S, C)   LayerNorm(x + Sublayer(x))
        return self.feed_forward_norm(x + self.feed_forward(x))  # (B, S, C)


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the encoder's output, then the feed-forward network."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, bias=True)
        self.attention_norm = LayerNorm(width, eps)
        self.cross_attention = MultiHeadAttention(width, heads, bias=True)
        self.cross_norm = LayerNorm(width, eps)
        self.feed_forward = GeluFeedForward(width, hidden, bias=True, exact=True)
        self.feed_forward_norm = LayerNorm(width, eps)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        """x (B, T, C) and the encoder's memory (B, S, C) to (B, T, C)."""
        x = self.attention_norm(x + self.attention(x, mask=mask))  # (B, T, C)
        # Queries from the target, keys and values from the source: "which part of the source do I need now?"
        x = self.cross_norm(x + self.cross_attention(x, memory, memory_mask))  # (B, T, C)
        return self.feed_forward_norm(x + self.feed_forward(x))  # (B, T, C)


class EncoderDecoder(nn.Module):
    """Source ids (B, S) and target ids so far (B, T) in, scores for the next target token (B, T, V) out."""

    def __init__(self, source: int, target: int, width: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.source_embedding = nn.Embedding(source, width)
        self.target_embedding = nn.Embedding(target, width)
        for table in (self.source_embedding, self.target_embedding):
            nn.init.normal_(table.weight, std=width**-0.5)  # times √C in _embed: variance 1, like the waves
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, hidden) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, hidden) for _ in range(layers))
        self.head = nn.Linear(width, target)

    def forward(self, source: Tensor, target: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, T, V). ``lengths`` (B,) says how much of each source row is text; the rest is padding."""
        return self.decode(target, self.encode(source, lengths), lengths)

    def encode(self, source: Tensor, lengths: Tensor) -> Tensor:
        """(B, S) to the memory (B, S, C); computed once, however long the target grows."""
        x = self._embed(self.source_embedding, source)  # (B, S, C)
        mask = padding_mask(lengths, source.shape[1])[:, None]  # (B, 1, 1, S)
        for layer in self.encoder:
            x = layer(x, mask)  # (B, S, C)
        return x

    def decode(self, target: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
        """Target so far (B, T) and memory (B, S, C) to logits (B, T, V)."""
        x = self._embed(self.target_embedding, target)  # (B, T, C)
        mask = causal_mask(target.shape[1], target.shape[1], target.device)  # (T, T)
        memory_mask = padding_mask(lengths, memory.shape[1])[:, None]  # (B, 1, 1, S)
        for layer in self.decoder:
            x = layer(x, memory, mask, memory_mask)  # (B, T, C)
        return self.head(x)  # (B, T, V)

    @staticmethod
    def _embed(table: nn.Embedding, ids: Tensor) -> Tensor:
        """(B, T) to (B, T, C)."""
        positions = torch.arange(ids.shape[1], device=ids.device)[None]  # (1, T)
        x = table(ids) * math.sqrt(table.embedding_dim)  # (B, T, C)
        return x + sinusoidal(positions, table.embedding_dim)  # (B, T, C)


@torch.no_grad()
def translate(model: EncoderDecoder, source: Tensor, lengths: Tensor, start: int, tokens: int) -> Tensor:
    """Greedy targets (B, tokens) for sources (B, S); ``start`` is the id that every target begins with."""
    memory = model.encode(source, lengths)  # (B, S, C)
    target = torch.full((source.shape[0], 1), start, device=source.device)  # (B, 1)
    for _ in range(tokens):
        logits = model.decode(target, memory, lengths)[:, -1]  # (B, V)
        target = torch.cat((target, logits.argmax(dim=-1, keepdim=True)), dim=1)  # (B, T + 1)
    return target[:, 1:]  # (B, tokens)
