"""The base model made ready to be trained: frozen in a precision that is fast here, with an adapter in float32."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from workers import language_model
from workers.finetuning.attention import attends_at_once, use_packed, usual
from workers.finetuning.fast import fuse_norms, speed_up
from workers.finetuning.job import LINEAR, BadJob, Job
from workers.finetuning.memory import recompute
from workers.finetuning.objective import Objective
from workers.finetuning.writing import write_whole

ADAPTER = "adapter"
CONFIG = "adapter_config.json"
Compute = Callable[[], AbstractContextManager[Any]]  # what a pass forward runs in


@dataclass(frozen=True, slots=True)
class Learner:
    """``trained``: what the optimiser moves, by name, in the model's order. ``autocast``: compute in bfloat16 although
    the weights are float32 (full training, whose small changes bfloat16 weights would lose)."""

    model: Any
    tokenizer: Any
    objective: Objective
    trained: dict[str, nn.Parameter]
    parameters: int  # of the base model
    autocast: bool
    computed: torch.dtype

    @property
    def trained_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.trained.values())


def precision(job: Job, device: torch.device) -> torch.dtype:
    """Of what is computed: bfloat16 on GPUs and on CPUs that multiply it in hardware, else float32."""
    if job.precision is not None:
        return torch.float32 if job.precision == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return torch.float32


def learner(job: Job, device: torch.device) -> Learner:
    """Load the base and put the adapter in. The adapter's first weights depend on ``job.seed`` alone."""
    computed = precision(job, device)
    full = job.method == "full"
    narrow = four_bits(device) if job.precision == "4bit" else None
    kind = torch.float32 if full else computed
    base = language_model.load(job.model, device=device, dtype=kind, quantisation=narrow)
    parameters = base.model.num_parameters()
    torch.manual_seed(job.seed)
    model = base.model if full else _with_adapter(base.model, job)
    if full:
        model.requires_grad_(True)
    use_packed(model)
    speed_up(model)
    fuse_norms(model)
    model.train()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    autocast = full and computed is torch.bfloat16
    return Learner(model, base.tokenizer, Objective(model), trained, parameters, autocast, computed)


def four_bits(device: torch.device) -> Any:
    """How the frozen weights are narrowed to NF4 while they are read (QLoRA). Raises BadJob where they cannot be."""
    if device.type != "cuda":
        raise BadJob("Training over a base in 4bit (the job's precision, or ALMANAC_SERVE_QUANTISATION) needs a GPU.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BadJob("Training over a base in 4bit needs the package bitsandbytes: pip install bitsandbytes.")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip


def save_memory(learner: Learner, job: Job, longest: int, device: torch.device, compute: Compute) -> bool:
    """Let layers compute again what the backward pass needs, where the job says so or rows of ``longest`` tokens would
    not fit on this GPU otherwise; returns whether they do."""
    wanted = job.gradient_checkpointing
    if wanted is None:
        wanted = device.type == "cuda" and recompute(learner.objective, longest, job.context, device, compute)
    if wanted:
        learner.model.activation_checkpointing_enable({"use_reentrant": False})
    return wanted


def recordable(learner: Learner, job: Job, device: torch.device) -> bool:
    """Whether the passes of rows can be one graph of a GPU's work: where one kernel attends to all sequences, and
    nothing is random."""
    config = learner.model.config
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    plain = job.method == "lora" and not job.dropout
    return plain and usual(size) and attends_at_once(device, learner.computed)


def _with_adapter(model: Any, job: Job) -> Any:
    targets: Any = list(job.targets) or "all-linear"
    config = LoraConfig(
        r=job.rank, lora_alpha=job.alpha, lora_dropout=job.dropout, target_modules=targets, bias="none",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a property that was renamed
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            if job.targets != LINEAR:
                raise BadJob(f"The base model has no layers named {', '.join(job.targets)}.") from error
            config.target_modules = "all-linear"  # of another architecture
            adapted = get_peft_model(model, config)
    return adapted


def weights(trained: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """A copy of what is trained, on the CPU."""
    return {name: parameter.detach().to("cpu", copy=True) for name, parameter in trained.items()}


@torch.no_grad()
def put(trained: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
    """Raises BadJob where the values belong to another job."""
    if set(values) != set(trained) or any(values[name].shape != trained[name].shape for name in trained):
        raise BadJob("The checkpoint in this folder belongs to another job; remove its checkpoints to begin anew.")
    for name, parameter in trained.items():
        parameter.copy_(values[name])


def write_adapter(learner: Learner, folder: Path, base: str) -> None:
    """peft's two files (of full training: the whole model), in a folder that is whole when it is there."""
    building = folder.with_name(f".{folder.name}")
    building.mkdir(exist_ok=True)
    with language_model.without_progress():
        if isinstance(learner.model, PeftModel):
            learner.model.save_pretrained(str(building), save_embedding_layers=False)
            config = json.loads((building / CONFIG).read_text())
            config["base_model_name_or_path"] = base  # where it lies on this machine is of no use elsewhere
            write_whole(building / CONFIG, json.dumps(config, indent=2, sort_keys=True).encode())
        else:
            learner.model.save_pretrained(building)
            learner.tokenizer.save_pretrained(building)
    (building / "README.md").unlink(missing_ok=True)  # peft's empty card
    if folder.is_dir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    building.rename(folder)
