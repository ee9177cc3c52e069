"""A Llama-like GGUF file, such as SmolLM2's, as a folder in Hugging Face's form, with its weights widened to float32.

transformers can read such files, but parses all of it four times over and then cuts text in another way than the model
was trained with: in a third of technical pages SmolLM2 would see other ids. One reading here takes a few seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
CONTROL = 3  # the type of a token that no text contains


def write(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of ``file`` into ``folder``, which exists. Raises ValueError for a file of
    another architecture or with tokens of another kind."""
    import torch
    from gguf import GGUFReader
    from transformers import LlamaForCausalLM

    reader = GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    kinds = (fields["general.architecture"], fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"])
    if kinds != ("llama", "gpt2", "smollm"):
        raise ValueError(f"{file.name} is of the kind {kinds}, which is not read here.")
    weights = _weights(reader, fields)
    config = _config(fields, tied="lm_head.weight" not in weights)
    with torch.device("meta"):  # no random weights, which are replaced anyway
        model = LlamaForCausalLM(config)
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model.load_state_dict(weights, assign=True)
    model.save_pretrained(folder)
    _tokenizer(fields).save_pretrained(folder)


def _weights(reader: Any, fields: dict[str, Any]) -> dict[str, Any]:
    import torch
    from gguf.quants import dequantize

    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    weights = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).float()  # (out, in) or (width,)
        block, _, part = tensor.name.removesuffix(".weight").rpartition(".")
        if part in heads:  # stored for positions that turn neighbours; transformers turns the halves of a head
            out, width = values.shape
            values = values.view(heads[part], out // heads[part] // 2, 2, width).transpose(1, 2).reshape(out, width)
        name = f"model.layers.{block.removeprefix('blk.')}.{LAYER[part]}" if block else WHOLE[part]
        weights[f"{name}.weight"] = values
    return weights


def _config(fields: dict[str, Any], *, tied: bool) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=fields["llama.embedding_length"],
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=fields["llama.block_count"],
        num_attention_heads=fields["llama.attention.head_count"],
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=round(float(fields["llama.attention.layer_norm_rms_epsilon"]), 10),
        rope_parameters={"rope_type": "default", "rope_theta": float(fields["llama.rope.freq_base"])},
        tie_word_embeddings=tied,
        bos_token_id=fields["tokenizer.ggml.bos_token_id"],
        eos_token_id=fields["tokenizer.ggml.eos_token_id"],
        pad_token_id=fields["tokenizer.ggml.padding_token_id"],
    )


def _tokenizer(fields: dict[str, Any]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import PreTrainedTokenizerFast

    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    backend = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    control = zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
    backend.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token, kind in control if kind == CONTROL]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        bos_token=tokens[fields["tokenizer.ggml.bos_token_id"]],
        eos_token=tokens[fields["tokenizer.ggml.eos_token_id"]],
        unk_token=tokens[fields["tokenizer.ggml.unknown_token_id"]],
        pad_token=tokens[fields["tokenizer.ggml.padding_token_id"]],
        chat_template=fields["tokenizer.chat_template"],
        clean_up_tokenization_spaces=False,
        model_max_length=fields["llama.context_length"],
    )
