"""Fine-tuning on this machine: how fast, beside Hugging Face's Trainer, and what is learned of documents never seen.

``python -m bench.finetuning [--tokens N] [--rounds N] [--json FILE] [--plot FILE]``

Speed: the same base, the same LoRA (rank 8 in all linear layers) and the same texts, in turns: Trainer as it comes
(float32, padded batches of 4), Trainer with ``bf16=True``, and ours. Only real tokens are counted, never padding. CPU
seconds are given beside wall seconds, since others may use the cores, too. Quality: jobs as the product starts them, in
processes of their own, on passages of IBM Cloud's documentation; whole documents are held out.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from assistant.errors import AlmanacError
from bench.places import DATA, HOME, ROOT

HELD_OUT_DOCUMENTS = 0.1
HELD_OUT_CHARACTERS = 24_000
CHARACTERS = 4.0  # a token
BATCH = 4
STEP = 1_024  # tokens of a step
FULL_RATE, LORA_RATE = 1e-4, 2e-3
ROUNDS = 2


def texts(tokens: int, held_out: float = HELD_OUT_CHARACTERS) -> dict[str, list[dict[str, Any]]]:
    """Rows of train and held_out, of different documents, as many documents as there can be; the same ones at every
    run. Passages of one document follow when each has given one. ``held_out``: its most characters."""
    documents: dict[str, list[dict[str, Any]]] = {}
    with (DATA / "mtrag_cloud" / "corpus.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            documents.setdefault(row["id"].split("-")[0], []).append(row)
    order = sorted(documents, key=_hash)
    border = int(len(order) * HELD_OUT_DOCUMENTS)
    parts = (("held_out", order[:border], held_out), ("train", order[border:], int(tokens * CHARACTERS)))
    return {name: list(_rows([documents[one] for one in names], most)) for name, names, most in parts}


def _rows(documents: list[list[dict[str, Any]]], most: int) -> Iterator[dict[str, Any]]:
    used = 0
    shuffled = [sorted(rows, key=lambda row: _hash(row["id"])) for rows in documents]
    for row in (row for turn in itertools.zip_longest(*shuffled) for row in turn if row):
        if used >= most:
            return
        used += len(row["text"])
        yield {"id": row["id"], "kind": "document", "text": row["text"]}


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


class Ours:
    """One optimiser step a call, on the next packed row."""

    def __init__(
        self, model: Path, rows: list[dict[str, Any]], folder: Path, *, device: str = "cpu", step_tokens: int = 2_048,
        **changed: Any,
    ) -> None:  # fmt: skip
        import torch
        from accelerate import Accelerator

        from workers.finetuning import adapting, schedule
        from workers.finetuning.job import Job
        from workers.finetuning.packing import encode
        from workers.finetuning.passes import Passes

        job = Job(model=str(model), base="base", step_tokens=step_tokens, device=device, **changed)
        learner = adapting.learner(job, torch.device(device))
        examples = encode(rows, learner.tokenizer, job.context).examples
        self._steps = schedule.steps(examples, job, device)
        self._trained = list(learner.trained.values())
        self._optimiser = torch.optim.AdamW(self._trained, lr=1e-4, weight_decay=0.0, fused=True)
        processor = Accelerator(cpu=device == "cpu")
        self._passes = Passes(learner, learner.objective, job, self._steps, examples, processor, nullcontext)
        self._at = 0

    def __call__(self) -> int:
        import torch

        step = self._steps[self._at % len(self._steps)]
        self._at += 1
        for pack in step.rows[0]:
            self._passes(pack, step.counted)
        torch.nn.utils.clip_grad_norm_(self._trained, 1.0)
        self._optimiser.step()
        self._passes.zero(self._optimiser)
        self._passes.prepare(self._steps[self._at % len(self._steps)].rows[0][0])
        return step.tokens


class Peer:
    """``transformers.Trainer`` with padded batches; a call trains on the next few of them."""

    def __init__(self, model: Path, rows: list[dict[str, Any]], folder: Path, *, bf16: bool) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from workers.finetuning.job import LINEAR

        self._tokenizer = AutoTokenizer.from_pretrained(str(model))
        ids = [self._tokenizer(row["text"], truncation=True, max_length=1_024)["input_ids"] for row in rows]
        self._ids = [[*one, self._tokenizer.eos_token_id] for one in ids]
        config = LoraConfig(r=8, lora_alpha=16, target_modules=list(LINEAR), bias="none", task_type="CAUSAL_LM")
        self._model = get_peft_model(AutoModelForCausalLM.from_pretrained(str(model)), config)
        self._folder, self._bf16, self._at = folder, bf16, 0

    def __call__(self) -> int:
        from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

        some = [self._ids[(self._at + place) % len(self._ids)] for place in range(BATCH)]
        self._at += BATCH
        rows = [{"input_ids": ids, "labels": ids, "attention_mask": [1] * len(ids)} for ids in some]
        arguments = TrainingArguments(
            str(self._folder), per_device_train_batch_size=BATCH, max_steps=1, use_cpu=True, bf16=self._bf16,
            report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no", learning_rate=1e-4,
        )  # fmt: skip
        pads = DataCollatorForSeq2Seq(self._tokenizer, padding=True)  # prompt and padding get the label -100
        Trainer(model=self._model, args=arguments, train_dataset=rows, data_collator=pads).train()
        return sum(map(len, some))


def speed(model: Path, rows: list[dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Tokens a second of each, in turns; each makes one step that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        arms: dict[str, Callable[[], int]] = {
            "trainer": Peer(model, rows, place, bf16=False),
            "trainer bf16": Peer(model, rows, place, bf16=True),
            "ours": Ours(model, rows, place),
        }
        found = {name: {"tokens": 0, "cpu_seconds": 0.0, "seconds": 0.0} for name in arms}
        for turn in range(rounds + 1):
            for name, arm in arms.items():
                wall, cpu = time.monotonic(), time.process_time()
                tokens = arm()
                if turn:
                    found[name]["tokens"] += tokens
                    found[name]["seconds"] += time.monotonic() - wall
                    found[name]["cpu_seconds"] += time.process_time() - cpu
    for one in found.values():
        one["tokens_per_second"] = one["tokens"] / one["seconds"]
        one["tokens_per_cpu_second"] = one["tokens"] / one["cpu_seconds"]
    return found


def train(model: Path, rows: dict[str, list[dict[str, Any]]], folder: Path, **changed: Any) -> dict[str, Any]:
    """The report of a job in a process of its own."""
    from workers.finetuning.job import REPORT, Job
    from workers.finetuning.process import command

    folder.mkdir(parents=True)
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    job = Job(model=str(model), base=model.name, step_tokens=STEP, device="cpu", evaluations=4, **changed)
    job.write(folder)
    before = _children()
    ended = subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ended.returncode:
        raise AlmanacError(ended.stderr.strip().splitlines()[-1])
    report: dict[str, Any] = json.loads((folder / REPORT).read_text())
    return {**report, "cpu_seconds": _children() - before}


def _children() -> float:
    """CPU seconds of all processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


METHODS: dict[str, dict[str, Any]] = {
    "lora": {"learning_rate": LORA_RATE},
    "full": {"method": "full", "learning_rate": FULL_RATE, "checkpoint_every": 1e9},
}


def measure(tokens: int, rounds: int, parts: Sequence[str]) -> dict[str, Any]:
    """``speed``, and of each method the report of its job on the same rows."""
    from workers.language_model import default_folder

    warnings.simplefilter("ignore")
    model = default_folder(HOME)
    found: dict[str, Any] = {"threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1), "quality": {}}
    if "speed" in parts:
        found["speed"] = speed(model, texts(40_000)["train"], rounds)
    rows = texts(tokens)
    with tempfile.TemporaryDirectory() as folder:
        for name in METHODS:
            if name in parts:
                found["quality"][name] = train(model, rows, Path(folder) / name, **METHODS[name])
    return found


def report(found: dict[str, Any]) -> None:
    print(f"\nTraining SmolLM2-135M-Instruct, {found['threads']} threads\n")
    speeds = found.get("speed", {})
    for name, one in speeds.items():
        ratio = speeds["ours"]["tokens_per_cpu_second"] / one["tokens_per_cpu_second"]
        print(
            f"{name:14} {one['tokens_per_second']:7.0f} tokens/s  {one['tokens_per_cpu_second']:7.0f} tokens/CPU s"
            f"  ours is {ratio:.1f} times as fast"
        )
    for name, one in found["quality"].items():
        held = one["held_out"]
        change = held["perplexity_after"] / held["perplexity_before"] - 1
        share = one["trained_parameters"] / one["parameters"]
        print(
            f"{name:6} {share:7.2%} of the weights  perplexity {held['perplexity_before']:.2f} -> "
            f"{held['perplexity_after']:.2f} ({change:+.1%})  {one['tokens']:,} tokens in {one['seconds']:.0f} s "
            f"({one['cpu_seconds']:.0f} CPU s)  {one['peak_memory_bytes'] / 1e9:.1f} GB"
        )


def plot(found: dict[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    colours = {"trainer": "#b9b9b9", "trainer bf16": "#8c8c8c", "ours": "#2f6f4f", "lora": "#2f6f4f", "full": "#b5542f"}
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    for name, one in found["speed"].items():
        bar = left.barh(name, one["tokens_per_cpu_second"], color=colours[name])
        left.bar_label(bar, fmt="%.0f", padding=4)
    left.invert_yaxis()
    left.margins(x=0.16)
    left.set_xlabel("real tokens a CPU second")
    left.set_title("Speed, the same texts", loc="left", fontsize=11)
    for name, one in found["quality"].items():
        steps, losses = zip(*one["held_out_losses"], strict=True)
        share = one["trained_parameters"] / one["parameters"]
        memory = one["peak_memory_bytes"] / 1e9
        label = f"{name}: {share:.1%} of the weights, {one['cpu_seconds']:.0f} CPU s, {memory:.1f} GB"
        right.plot(steps, [math.exp(loss) for loss in losses], marker="o", color=colours[name], label=label)
    right.set_xlabel("step")
    right.set_title("Perplexity of documents that were held out", loc="left", fontsize=11)
    right.legend(frameon=False, fontsize=9)
    for axis in (left, right):
        axis.grid(color="#e4e4e4", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    given.add_argument("--tokens", type=int, default=100_000, help="to train on")
    given.add_argument("--rounds", type=int, default=ROUNDS)
    given.add_argument("--parts", default="speed,lora,full", help="which of speed, lora and full")
    given.add_argument("--json", type=Path)
    given.add_argument("--plot", type=Path)
    chosen = given.parse_args()
    found = measure(chosen.tokens, chosen.rounds, chosen.parts.split(","))
    report(found)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1))
    if chosen.plot:
        plot(found, chosen.plot)


if __name__ == "__main__":
    sys.exit(main())
