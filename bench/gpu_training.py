"""What ``bench.gpu`` measures of training: its speed beside Hugging Face's Trainer, and what is learned."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from bench.finetuning import FULL_RATE, LORA_RATE, Ours, texts

BATCH = 32  # texts of a padded batch
STEP = 16_384  # tokens of a packed step: about as many real ones as are in two such batches
WARM, MEASURED = 3, 12  # steps of a turn
HELD_OUT = 240_000  # characters


class Packed:
    """Ours, a turn at a time."""

    def __init__(self, model: Path, rows: list[dict[str, Any]], folder: Path, **changed: Any) -> None:
        self._by_kernel, graphs = changed.pop("by_kernel", True), changed.pop("graphs", True)
        self._ours = Ours(model, rows, folder, device="cuda", **{"step_tokens": STEP, **changed})
        self._ours._passes._records &= graphs and self._by_kernel

    def __call__(self) -> tuple[int, float]:
        from workers.finetuning import attention

        narrow = attention._narrow
        attention._narrow = narrow if self._by_kernel else lambda query: None  # type: ignore[assignment]
        try:
            for _ in range(WARM):
                self._ours()
            began = now()
            return sum(self._ours() for _ in range(MEASURED)), now() - began
        finally:
            attention._narrow = narrow


class Padded:
    """``transformers.Trainer`` in bfloat16, with padded batches and an adapter of the same rank."""

    def __init__(
        self, model: Path, rows: list[dict[str, Any]], folder: Path, *, weights: torch.dtype, batch: int = BATCH
    ) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from workers.finetuning.job import LINEAR

        self._tokenizer = AutoTokenizer.from_pretrained(str(model))
        ids = [self._tokenizer(row["text"], truncation=True, max_length=1_024)["input_ids"] for row in rows]
        self._ids = [[*one, self._tokenizer.eos_token_id] for one in ids]
        config = LoraConfig(r=8, lora_alpha=16, target_modules=list(LINEAR), bias="none", task_type="CAUSAL_LM")
        base = AutoModelForCausalLM.from_pretrained(str(model), dtype=weights)
        self._model = get_peft_model(base.to("cuda"), config)
        self._folder, self._batch, self._at = folder, batch, 0

    def __call__(self) -> tuple[int, float]:
        from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

        steps = WARM + MEASURED
        some = [self._ids[(self._at + place) % len(self._ids)] for place in range(steps * self._batch)]
        self._at += len(some)
        rows = [{"input_ids": ids, "labels": ids, "attention_mask": [1] * len(ids)} for ids in some]
        times: list[float] = []

        class Watch(TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                if len(times) in (WARM - 1, steps - 1):  # the GPU is waited for at both ends, and never between
                    torch.cuda.synchronize()
                times.append(time.perf_counter())

        arguments = TrainingArguments(
            str(self._folder), per_device_train_batch_size=self._batch, max_steps=steps, bf16=True, report_to=[],
            save_strategy="no", disable_tqdm=True, logging_strategy="no", learning_rate=1e-4,
            train_sampling_strategy="sequential",  # so that it is known which texts were measured
        )  # fmt: skip
        pads = DataCollatorForSeq2Seq(self._tokenizer, padding=True)
        Trainer(model=self._model, args=arguments, train_dataset=rows, data_collator=pads, callbacks=[Watch()]).train()
        return sum(map(len, some[WARM * self._batch :])), times[-1] - times[WARM - 1]


ARMS: dict[str, Callable[..., Any]] = {
    "Trainer, bf16=True": lambda *given: Padded(*given, weights=torch.float32),
    "Trainer, weights in bfloat16": lambda *given: Padded(*given, weights=torch.bfloat16),
    "ours": Packed,
    "ours, steps of 2,048 tokens": lambda *given: Packed(*given, step_tokens=2_048),
    "ours, no graph": lambda *given: Packed(*given, graphs=False),
    "ours, no graph, a kernel for each sequence": lambda *given: Packed(*given, by_kernel=False),
    "ours, layers computed again": lambda *given: Packed(*given, gradient_checkpointing=True),
}


def speed(model: Path, folder: Path, rounds: int, done: Callable[[Any], None]) -> dict[str, Any]:
    """Real tokens a second of each, in turns; ``bytes``: the GPU's memory at most, with the arm's own model."""
    rows = texts(400_000)["train"]
    arms, own, found = {}, {}, {}
    for name, make in ARMS.items():
        before = torch.cuda.memory_allocated()
        arms[name] = make(model, rows, folder)
        own[name] = torch.cuda.memory_allocated() - before
        found[name] = {"tokens_per_second": [], "bytes": 0}
    for turn in range(rounds):
        for name, arm in arms.items():
            free()
            held = torch.cuda.memory_allocated()
            tokens, seconds = arm()
            found[name]["tokens_per_second"].append(tokens / seconds)
            if turn == 0:  # a graph keeps what it took
                found[name]["bytes"] = torch.cuda.max_memory_allocated() - held + own[name]
            done(found)
    return found


JOBS: dict[str, tuple[int, dict[str, Any]]] = {  # tokens to train on, and what the job says beside them
    "lora, 100k tokens": (100_000, {"learning_rate": LORA_RATE}),
    "full, 100k tokens": (100_000, {"learning_rate": FULL_RATE, "method": "full"}),
    "lora, 1M tokens": (1_000_000, {"learning_rate": LORA_RATE}),
    "4bit, 1M tokens": (1_000_000, {"learning_rate": LORA_RATE, "precision": "4bit"}),
    "full, 1M tokens": (1_000_000, {"learning_rate": FULL_RATE, "method": "full"}),
    "lora, 4M tokens": (4_000_000, {"learning_rate": LORA_RATE}),
}


def quality(model: Path, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Jobs as the product runs them, each from its folder to its report, one after the other in this process."""
    for name, (tokens, changed) in JOBS.items():
        free()
        try:
            yield name, train(model, texts(tokens, HELD_OUT), folder / name.replace(" ", "_"), **changed)
        except Exception as error:  # one that cannot run here (4bit without its package) stops no other
            yield name, {"failed": str(error).splitlines()[0][:300]}


def train(model: Path, rows: dict[str, list[dict[str, Any]]], folder: Path, **changed: Any) -> dict[str, Any]:
    """The job's report."""
    from accelerate import Accelerator

    from workers.finetuning.job import Job
    from workers.finetuning.progress import Reporter
    from workers.finetuning.training import Training

    folder.mkdir(parents=True)
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    job = Job(
        model=str(model), base=model.name, evaluations=4, held_out_tokens=65_536, checkpoint_every=1e9, **changed
    )  # fmt: skip
    job.write(folder)
    report = Training(folder, job, Accelerator(), Reporter(folder), lambda: False).run()
    return {name: value for name, value in report.items() if name not in ("losses", "versions", "hyper")}


def free() -> None:
    """Of this process's memory on the GPU, all that nothing holds; its peak is counted anew."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def now() -> float:
    torch.cuda.synchronize()
    return time.perf_counter()
