"""``python -m workers.finetuning.dpo FOLDER``: preferences between two replies, learned by TRL's trainer (DPO).

It begins with the adapter in force, or a fresh one; the reference is what it begins with, kept as a frozen second
adapter on the same weights. Begun again in its folder, it goes on from the newest whole checkpoint. ``progress.json``
has the form of ``workers.finetuning``'s.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from assistant.errors import AlmanacError
from workers.finetuning.files import STOPPED, Progress, main_of, read_if_there, read_json, write_json
from workers.finetuning.pairs import read_pairs, tokenized
from workers.language_model import LanguageModel, load

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
DEFAULTS: dict[str, Any] = {
    "beta": 0.1, "learning_rate": 5e-5, "epochs": 1, "batch": 2, "accumulate": 4, "max_length": 1024, "rank": 16,
    "save_every": 10, "seed": 0, "warmup": 5,
}  # fmt: skip
LOGIT_BYTES = 32  # of one logit while the loss and its gradient are computed: in 16 bits and, several times, in 32


def train(folder: Path, progress: Progress) -> None:
    """Train on ``pairs.jsonl``; writes ``adapter/`` and then ``report.json`` into the folder.

    ``job.json``: ``model`` (the base's folder), ``start`` (an adapter's folder, or None), ``time_limit`` (seconds, or
    None: all the pairs), and what ``DEFAULTS`` names. Raises AlmanacError where there is nothing to learn from.
    """
    job = read_json(folder / "job.json")
    base = load(job["model"])
    defaults = {**DEFAULTS, **_at_once(base, job.get("max_length", DEFAULTS["max_length"]))}
    hyper = {name: job.get(name, default) for name, default in defaults.items()}
    rows = tokenized(read_pairs(folder / "pairs.jsonl"), base.tokenizer, hyper["max_length"])
    if not rows:
        raise AlmanacError(f"No pair fits into {hyper['max_length']} tokens; there is nothing to learn from.")
    torch.manual_seed(hyper["seed"])
    model = adapted(base, job.get("start"), hyper["rank"])
    trainable, total = model.get_nb_trainable_parameters()
    steps = max(1, math.ceil(len(rows) / (hyper["batch"] * hyper["accumulate"])) * hyper["epochs"])
    watch = _Watch(folder, progress, steps, job.get("time_limit"))
    trainer = _trainer(folder, model, base, rows, hyper, watch)
    checkpoint = newest_checkpoint(folder / "checkpoints")
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if (folder / "stop").exists():
        raise SystemExit(STOPPED)
    _write_adapter(model, folder / "adapter", base.name)
    history = [row for row in trainer.state.log_history if "loss" in row]
    document = {
        "base": base.name, "method": "dpo", "hyper": hyper, "trained_parameters": trainable, "parameters": total,
        "pairs": len(rows), "steps": trainer.state.global_step, "planned_steps": steps, "tokens": watch.tokens,
        "resumed": checkpoint is not None, "seconds": round(watch.seconds(), 2),
        "losses": [[row["step"], row["loss"]] for row in history],
        "accuracies": [[row["step"], row["rewards/accuracies"]] for row in history if "rewards/accuracies" in row],
        "stopped_early": "time_limit" if trainer.state.global_step < steps else None,
        "device": base.device.type, "dtype": str(base.dtype).removeprefix("torch."),
    }  # fmt: skip
    write_json(folder / "report.json", document)


def _at_once(base: LanguageModel, longest: int) -> dict[str, int]:
    """How many of a step's pairs go through a GPU together, as its memory allows, and how many times."""
    if base.device.type != "cuda":
        return {}
    pairs = DEFAULTS["batch"] * DEFAULTS["accumulate"]
    one = 2 * longest * base.model.config.vocab_size * LOGIT_BYTES
    fit = int(torch.cuda.mem_get_info(base.device)[0] / 2 / one)
    batch = max((size for size in range(1, pairs + 1) if size <= fit and pairs % size == 0), default=1)
    return {"batch": batch, "accumulate": pairs // batch}


def adapted(base: LanguageModel, start: str | None, rank: int) -> PeftModel:
    """The base under the adapter to start from, or a fresh one, ready to be trained. Raises AlmanacError."""
    if start is not None:
        try:
            model = PeftModel.from_pretrained(base.model, start, is_trainable=True)
        except (ValueError, RuntimeError, OSError) as error:
            raise AlmanacError(f"The adapter to start from does not fit {base.name}.") from error
        # peft looks at the base's configuration whenever it saves: in this folder, not on the internet.
        model.peft_config["default"].base_model_name_or_path = str(base.folder)
        return model
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    return get_peft_model(base.model, config)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest one that is whole: its state is written last. Those that are not are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
        else:
            return path
    return None


class _Watch(TrainerCallback):
    """Says how far training is, and ends it when its time is up; the last checkpoint is then the state at that step."""

    def __init__(self, folder: Path, progress: Progress, steps: int, limit: float | None) -> None:
        self._folder, self._progress, self._steps, self._limit = folder, progress, steps, limit
        self._spent = float(read_if_there(folder / "spent.json").get("seconds", 0.0))  # by attempts that died
        self._begun = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._loss: float | None = None
        self.tokens = 0

    def seconds(self) -> float:
        return self._spent + time.monotonic() - self._begun

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self._loss = float(logs["loss"])
            self.tokens = int(logs.get("num_tokens", self.tokens))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        now = time.monotonic()
        self._first = self._first or (state.global_step, now)
        taken = state.global_step - self._first[0]
        left = (now - self._first[1]) / taken * (self._steps - state.global_step) if taken else None
        if self._limit is not None:
            rest = self._limit - self.seconds()
            left = rest if left is None else min(left, rest)
            control.should_training_stop = control.should_training_stop or rest <= 0
        if (self._folder / "stop").exists():
            control.should_save = control.should_training_stop = True
        write_json(self._folder / "spent.json", {"seconds": self.seconds()})
        self._progress.tell(
            state="training", step=state.global_step, steps=self._steps, tokens=self.tokens, loss=self._loss,
            seconds=round(self.seconds(), 2), seconds_left=None if left is None else round(max(0.0, left), 1),
        )  # fmt: skip


def _trainer(
    folder: Path, model: PeftModel, base: LanguageModel, rows: Sequence[Mapping[str, Any]], hyper: Mapping[str, Any],
    watch: _Watch,
) -> DPOTrainer:  # fmt: skip
    disable_progress_bars()
    gpu = base.device.type == "cuda"
    config = DPOConfig(
        output_dir=str(folder / "checkpoints"), beta=hyper["beta"], learning_rate=hyper["learning_rate"],
        num_train_epochs=hyper["epochs"], per_device_train_batch_size=hyper["batch"], seed=hyper["seed"],
        gradient_accumulation_steps=hyper["accumulate"], max_length=hyper["max_length"],
        lr_scheduler_type="constant_with_warmup", warmup_steps=hyper["warmup"], logging_steps=1,
        save_strategy="steps", save_steps=hyper["save_every"], save_total_limit=2, report_to="none",
        disable_tqdm=True, use_cpu=not gpu, bf16=gpu, activation_checkpointing=gpu,
    )  # fmt: skip
    # Its constructor wants text, and would put a stop of its own behind it. It gets a line to look at, then our ids.
    line = Dataset.from_list([{"prompt": "1", "chosen": "2", "rejected": "3"}])
    trainer = DPOTrainer(model, None, config, train_dataset=line, processing_class=base.tokenizer, callbacks=[watch])
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    trainer.train_dataset = Dataset.from_list(
        [{"prompt_ids": row["prompt"], "chosen_ids": row["chosen"], "rejected_ids": row["rejected"]} for row in rows]
    )
    return trainer


def _write_adapter(model: PeftModel, folder: Path, base: str) -> None:
    """Only what was trained, not the reference; it names its base as versions do, and no path of this machine."""
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(str(folder), selected_adapters=["default"], save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # the registry writes a card of its own


if __name__ == "__main__":
    sys.exit(main_of(train, sys.argv[1:], "progress.json"))
