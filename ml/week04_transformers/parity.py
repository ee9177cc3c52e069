"""Our modules against the libraries', with the same weights: how large is the largest difference?

Idea.    An attention layer with a mistake still trains, and still writes text. Only equal numbers show that it computes
         what it says. So copy the weights, give both the same input, and subtract.
Source.  torch's ``nn.MultiheadAttention``; Hugging Face's ``GPT2LMHeadModel``, ``LlamaForCausalLM`` and ``BertModel``.
Left out. Gradients and single blocks, which the tests compare as well.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from ml.week04_transformers.attention import causal_mask
from ml.week04_transformers.bert import Bert
from ml.week04_transformers.decoder import Decoder
from ml.week04_transformers.heads import MultiHeadAttention
from ml.week04_transformers.pretrained import copy_gpt2, copy_llama, smollm2_file


@torch.no_grad()
def attention_difference() -> float:
    """From ``nn.MultiheadAttention`` with a causal mask, random weights and inputs."""
    ours, theirs = MultiHeadAttention(64, 4, bias=True), nn.MultiheadAttention(64, 4, batch_first=True)
    theirs.in_proj_weight.copy_(torch.cat((ours.query.weight, ours.key.weight, ours.value.weight)))  # (3 C, C)
    theirs.in_proj_bias.copy_(torch.cat((ours.query.bias, ours.key.bias, ours.value.bias)))  # (3 C,)
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    x, mask = torch.randn(2, 20, 64), causal_mask(20, 20)  # (B, T, C), (T, T)
    expected, _ = theirs(x, x, x, attn_mask=~mask)  # (B, T, C); torch's mask says who may NOT look
    return (ours(x, mask=mask) - expected).abs().max().item()


@torch.no_grad()
def decoder_differences() -> dict[str, float]:
    """Of the logits, from GPT-2 and Llama models of six layers with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    ends = {"bos_token_id": None, "eos_token_id": None}
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=500, n_embd=128, n_layer=6, n_head=4, **ends)).eval()
    sizes = {"hidden_size": 128, "intermediate_size": 352, "num_attention_heads": 8, "num_key_value_heads": 2}
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=500, num_hidden_layers=6, **sizes)).eval()
    ids = torch.randint(0, 500, (2, 40))  # (B, T)
    return {
        "GPT2LMHeadModel": (copy_gpt2(gpt2)(ids) - gpt2(ids).logits).abs().max().item(),
        "LlamaForCausalLM": (copy_llama(llama)(ids) - llama(ids).logits).abs().max().item(),
    }


@torch.no_grad()
def bert_difference(ours: Bert, theirs: Any, ids: torch.Tensor) -> float:
    """Of the token vectors of ids (B, T) without padding."""
    return (ours(ids) - theirs(ids).last_hidden_state).abs().max().item()


@torch.no_grad()
def gguf_difference(smollm2: Decoder) -> tuple[bool, float] | None:
    """Our SmolLM2 against the one that transformers reads from the same file, in about 20 s.

    Are all weights equal bit by bit, and the largest difference of the logits as a part of the largest logit. None
    where the model did not come from the package's file.
    """
    from transformers import AutoModelForCausalLM

    file = smollm2_file()
    if file is None or os.environ.get("ALMANAC_SMOLLM2"):
        return None
    theirs = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32).eval()
    pairs = zip(copy_llama(theirs).state_dict().values(), smollm2.state_dict().values(), strict=True)
    ids = torch.randint(0, smollm2.config.vocabulary, (1, 64))  # (B, T)
    expected = theirs(ids).logits  # (B, T, V)
    difference = (smollm2(ids) - expected).abs().max() / expected.abs().max()  # ()
    return all(torch.equal(a, b) for a, b in pairs), difference.item()
