"""Full fine-tuning, LoRA and QLoRA: what they learn, what they forget, and what they cost."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ml.lesson import Run, main
from ml.week04_transformers.decoder import Decoder
from ml.week04_transformers.pretrained import load_smollm2
from ml.week06_lora import data, ecosystem, plots, tiny
from ml.week06_lora.exercises import rank_for
from ml.week06_lora.inject import ATTENTION, EVERYWHERE, inject, merge, unmerge
from ml.week06_lora.memory import Memory
from ml.week06_lora.nf4 import BLOCK, dequantise, in_blocks, int4_values, nf4_values, quantise
from ml.week06_lora.qlora import inject_qlora
from ml.week06_lora.tune import perplexity, tune

RATES = {"full": 2e-3, "lora": 8e-3}  # peaks for the tiny model: the best of a grid, but for twice as much of either


def unchanged(model: Decoder) -> None:
    """Full fine-tuning needs no preparation."""


def compare_methods(run: Run, base: Decoder, domain: tuple[str, Tensor, Tensor], news_held: Tensor) -> None:
    """The tiny model: what is learnt and forgotten, by method, by rank and by place."""
    name, train, held = domain
    steps, every, number = (20, 10, 1) if run.quick else (100, 20, 4)
    texts = tuple(list(data.byte_batches(text, 32, tiny.LENGTH, number, 1)) for text in (held, news_held))
    ranks = (1, 8) if run.quick else (1, 2, 4, 8, 16, 32)
    trials: dict[str, tuple[Callable[[Decoder], object], float]] = {"full": (unchanged, RATES["full"])}
    trials |= {f"LoRA, rank {rank}": (partial(inject, rank=rank, alpha=2 * rank), RATES["lora"]) for rank in ranks}
    trials["QLoRA, rank 8"] = (partial(inject_qlora, rank=8, alpha=16), RATES["lora"])
    if not run.quick:
        trials["full, a fifth of the rate"] = (unchanged, RATES["full"] / 5)
        # As many weights as rank 4 everywhere, but in two layers of seven: where is an adapter best put?
        rank = rank_for(base, ATTENTION, 4 * adapter_size(base))
        trials[f"query and value, rank {rank}"] = (
            partial(inject, names=ATTENTION, rank=rank, alpha=2 * rank),
            RATES["lora"],
        )
    runs = {}
    for label, (prepare, peak) in run.track(list(trials.items()), "fine-tuning the tiny decoder"):
        batches = data.byte_batches(train, tiny.ROWS, tiny.LENGTH, steps, run.seed + 3)
        runs[label] = tiny.try_out(base, prepare, batches, steps, peak, texts, every, run.seed)
    report_methods(run, runs, ranks, name)
    show_spectrum(run, base, runs["full"].model)


def adapter_size(model: Decoder) -> int:
    """Trained weights of rank 1 everywhere."""
    layers = [layer for name, layer in model.named_modules() if name.split(".")[-1] in EVERYWHERE]
    return sum(layer.in_features + layer.out_features for layer in layers)


def report_methods(run: Run, runs: dict[str, tiny.Trial], ranks: tuple[int, ...], name: str) -> None:
    """The table, the paths, and the rank study."""
    before = runs["full"].path[0]
    rows = [["before", 0, *before, 0.0]]
    for label, trial in runs.items():
        rows.append([label, trial.tuned.memory.trained, *trial.path[-1], 1000 * trial.tuned.seconds])
        run.record(f"tiny, {label}: domain, change in bits per byte", trial.path[-1][0] - before[0])
        run.record(f"tiny, {label}: news, change in bits per byte", trial.path[-1][1] - before[1])
    columns = ["method", "trained", f"{name}, bits/byte", "news, bits/byte", "ms a step"]
    run.table("Tiny decoder: what is learnt, and what is forgotten", columns, rows)
    shown = [label for label in runs if "full" in label or label in ("LoRA, rank 1", "LoRA, rank 8", "LoRA, rank 32")]
    run.save(plots.forgetting({label: runs[label].path for label in shown}, name), "forgetting")
    trials = [runs[f"LoRA, rank {rank}"] for rank in ranks]
    sizes = [trial.tuned.memory.trained for trial in trials]
    ends = [trial.path[-1][0] for trial in trials]
    run.save(plots.ranks(ranks, ends, sizes, runs["full"].path[-1][0], before[0]), "ranks")


def show_spectrum(run: Run, base: Decoder, tuned: Decoder) -> None:
    """Is the change that full fine-tuning makes of low rank? Its singular values beside those of the weight."""
    values, shares = {}, []
    for name in ("blocks.1.attention.query", "blocks.1.feed_forward.up"):
        weight = base.get_submodule(name).weight.detach()  # (out, in)
        change = tuned.get_submodule(name).weight.detach() - weight  # (out, in)
        short = name.rsplit(".", 1)[-1]
        values[f"W of {short}"] = torch.linalg.svdvals(weight).numpy()  # (min(out, in),)
        values[f"ΔW of {short}"] = torch.linalg.svdvals(change).numpy()  # (min(out, in),)
        energy = values[f"ΔW of {short}"] ** 2  # (min(out, in),)
        shares.append(energy[:8].sum() / energy.sum())
    run.record("share of ΔW (squared) in its first 8 of 96 directions", float(sum(shares) / len(shares)))
    run.save(plots.spectrum(values), "spectrum")


def compare_codebooks(run: Run, model: Decoder, whose: str) -> None:
    """NF4 against evenly spaced values, on normal numbers and on a trained layer."""
    weight = model.blocks[-1].feed_forward.up.weight.detach()  # (out, in)
    normal = torch.randn(weight.shape, generator=torch.Generator().manual_seed(run.seed))  # (out, in)
    rows = []
    for name, tensor in (("normal numbers", normal), (f"a layer of {whose}", weight)):
        errors = []
        for values, double in ((nf4_values(), False), (nf4_values(), True), (int4_values(), False)):
            back = dequantise(quantise(tensor, double, values), values)  # (out, in)
            errors.append(((back - tensor).norm() / tensor.norm()).item())
        rows.append([name, *errors])
        run.record(f"NF4, relative error, {name}", errors[0])
        run.record(f"evenly spaced, relative error, {name}", errors[2])
    run.table("Relative error of four bits", ["what", "NF4", "NF4, double quantised", "evenly spaced"], rows)
    packed = quantise(weight)
    run.record("bits a weight, double quantised", 8 * packed.size / weight.numel())
    blocks = in_blocks(weight.flatten(), BLOCK)  # (blocks, 64)
    unit = (blocks / blocks.abs().amax(dim=1, keepdim=True)).flatten()  # (blocks x 64,)
    run.save(plots.codebook(nf4_values().tolist(), int4_values().tolist(), unit.tolist(), whose), "codebook")


def tune_smollm2(run: Run, smollm2: Decoder, tokenizer: Any, steps: int = 10) -> None:
    """The real model, a few steps of each method, on held-out pages and on news."""
    name, train, held = data.domain()
    batches = data.page_batches(tokenizer, train[: 2 * steps], rows=2, length=96)
    pages = {name: held[:8], "news": data.news()[1][:8]}
    texts = {kind: data.page_batches(tokenizer, some, rows=8, length=96) for kind, some in pages.items()}
    rows: list[list[Any]] = []
    costs: dict[str, Memory] = {}

    def look(label: str, model: Decoder, seconds: float | str = "") -> None:
        found = {kind: perplexity(model, text) for kind, text in texts.items()}
        rows.append([label, *found.values(), seconds])
        for kind, value in found.items():
            run.record(f"SmolLM2, {label}: {kind}, perplexity", value)

    look("before", smollm2)
    methods = {"full": (unchanged, 1e-4), "LoRA, rank 8": (inject, 1e-3), "QLoRA, rank 8": (inject_qlora, 1e-3)}
    for label, (prepare, peak) in run.track(list(methods.items()), "fine-tuning SmolLM2"):
        model = copy.deepcopy(smollm2)
        torch.manual_seed(run.seed)
        prepare(model)
        if prepare is inject_qlora:
            look("in NF4, before", model)
        tuned = tune(model, batches, steps, peak)
        look(label, model, tuned.seconds)
        costs[label] = tuned.memory
        if prepare is inject:
            time_merging(run, model, batches[0].ids)
    title = f"SmolLM2-135M, {steps} steps of 2 x 96 tokens: perplexity of held-out text"
    run.table(title, ["method", name, "news", "CPU seconds a step"], rows)
    report_memory(run, costs)


def report_memory(run: Run, costs: dict[str, Memory]) -> None:
    """Where the bytes went."""
    parts = ("weights", "gradients", "optimiser", "total")
    rows = [[label, cost.trained, *(getattr(cost, part) / 1e6 for part in parts)] for label, cost in costs.items()]
    run.table("Memory, MB", ["method", "trained weights", *parts], rows)
    run.save(plots.memory(costs, "SmolLM2-135M, float32"), "memory")


def time_merging(run: Run, model: Decoder, ids: Tensor) -> None:
    """What an adapter costs while it is beside the weights, and that merging takes the cost away."""

    def seconds() -> float:
        started = time.process_time()
        with torch.inference_mode():
            model(ids)
        return time.process_time() - started

    seconds()
    beside = min(seconds() for _ in range(3))
    merge(model)
    inside = min(seconds() for _ in range(3))
    unmerge(model)
    run.record("forward pass, adapter beside over merged", beside / inside)


def compare_with_peft(run: Run, smollm2: Decoder, tokenizer: Any) -> None:
    """peft on the same model, the same matrices, the same batches: the same losses?"""
    _, train, _ = data.domain()
    batches = data.page_batches(tokenizer, train[:3], rows=1, length=64)
    ours = copy.deepcopy(smollm2)
    torch.manual_seed(run.seed)
    inject(ours, rank=8, alpha=16)
    theirs = ecosystem.with_peft(ecosystem.load_smollm2(), list(ecosystem.NAMES.values()), rank=8, alpha=16)
    layers = ecosystem.copy_to_peft(ours, theirs)
    first = tune(ours, batches, len(batches), 1e-3).losses
    second = tune(_Logits(theirs), batches, len(batches), 1e-3).losses
    run.record("peft: layers with our matrices", layers)
    run.record(
        "peft: largest difference in loss over 3 steps", max(abs(a - b) for a, b in zip(first, second, strict=True))
    )


class _Logits(torch.nn.Module):
    """A transformers model that returns its logits alone, as ours does."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)."""
        return self.model(input_ids=ids, use_cache=False).logits


def experiment(run: Run) -> None:
    news, news_held = (data.as_bytes(pages) for pages in data.news())
    name, pages, held = data.domain()
    run.say(f"general text: news; domain: {name}, {len(pages)} pages to train on, {len(held)} held out")
    base = tiny.pretrain(news, 60 if run.quick else 500, run.seed)
    domain = (name, data.as_bytes(pages), data.as_bytes(held))
    compare_methods(run, base, domain, news_held)
    if run.quick:
        compare_codebooks(run, base, "the tiny decoder")
        run.say("SmolLM2 and peft are part of the full run.")
        return
    smollm2, tokenizer = load_smollm2()
    compare_codebooks(run, smollm2, "SmolLM2")
    tune_smollm2(run, smollm2, tokenizer)
    compare_with_peft(run, smollm2, tokenizer)


if __name__ == "__main__":
    main(experiment, "Week 6: fine-tuning through a narrow door")
