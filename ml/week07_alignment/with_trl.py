"""The same steps with TRL, the library most people use: its losses on our batches, and its trainer on our task.

TRL 1.16 has ``DPOTrainer``, ``GRPOTrainer``, ``RewardTrainer`` and ``RLOOTrainer``; its PPO trainer was moved to the
experimental part and then removed, so PPO has no counterpart here. The trainers take Hugging Face models only. Ours is
therefore a tiny GPT-2 for this file, and ``Logits`` makes it a policy like any other: both sides hold the same weights.

Left out: everything a trainer adds around the loss (distribution, precision, checkpoints, logging).
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ml.week07_alignment.toy import LENGTH, LETTERS, STOP, VOCABULARY, response_mask


class Logits(nn.Module):
    """A Hugging Face causal model as a policy: ids (B, S) -> logits (B, S, V)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits  # (B, S, V)


def tiny_gpt2() -> Any:
    """A GPT-2 of the toy's size with random weights and no dropout (seed torch first)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": VOCABULARY, "n_positions": 1 + LENGTH, "n_embd": 32, "n_layer": 2, "n_head": 4}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    model = GPT2LMHeadModel(GPT2Config(**sizes, **dropout, bos_token_id=STOP, eos_token_id=STOP))
    nn.init.normal_(model.transformer.wte.weight, std=0.3)  # (V, C) as in policy.new_decoder
    return model


def tokenizer() -> Any:
    """The toy's letters as a Hugging Face tokenizer; the full stop ends and pads."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    stop = "."
    inner = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(LETTERS + stop)}, unk_token=stop))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=stop, pad_token=stop)


def rows(pairs: tuple[Tensor, Tensor, Tensor]) -> list[dict[str, list[int]]]:
    """Our pairs (N,), (N, T), (N, T) as the token lists that TRL's collator takes, without padding."""

    def tokens(responses: Tensor) -> list[list[int]]:
        lengths = response_mask(responses).sum(1).long()  # (N,)
        return [row[:length].tolist() for row, length in zip(responses, lengths, strict=True)]

    prompts, better, worse = pairs
    columns = zip(prompts.tolist(), tokens(better), tokens(worse), strict=True)
    return [{"prompt_ids": [prompt], "chosen_ids": b, "rejected_ids": w} for prompt, b, w in columns]


def quiet() -> None:
    """No progress bars for data sets of one line, no warnings about names that TRL itself still uses."""
    import datasets

    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)


def _arguments(folder: str) -> dict[str, Any]:
    return {"output_dir": folder, "use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}


def dpo_trainer(
    model: Any, reference: Any, pairs: tuple[Tensor, Tensor, Tensor], beta: float, steps: int = 1, rate: float = 1e-3
) -> Any:
    """A ``trl.DPOTrainer`` on our token ids; its ``train()`` trains its ``model``, a copy of ours.

    A copy, because TRL replaces ``forward`` on the object that it is given, and a deep copy made of *that* keeps
    answering with the original's weights: trained, it would look as if it had learned nothing.
    """
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    # Its constructor wants text and would end every response with a stop. It gets a line to look at, then our ids.
    line = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    with tempfile.TemporaryDirectory() as folder:
        options = {"beta": beta, "max_steps": steps, "learning_rate": rate, "lr_scheduler_type": "constant"}
        options |= {"per_device_train_batch_size": 64, "bf16": False, "activation_checkpointing": False}
        config = DPOConfig(**_arguments(folder), **options, max_grad_norm=0.0, logging_strategy="no")
        models = copy.deepcopy(model), copy.deepcopy(reference)
        trainer = DPOTrainer(*models, config, train_dataset=line, processing_class=tokenizer())
    trainer.remove_callback(PrinterCallback)
    trainer.train_dataset = Dataset.from_list(rows(pairs))
    return trainer


def trl_dpo_loss(model: Any, reference: Any, pairs: tuple[Tensor, Tensor, Tensor], beta: float) -> Tensor:
    """TRL's DPO loss on one batch, with its gradient graph; -> ()."""
    trainer = dpo_trainer(model, reference, pairs, beta)
    batch = trainer.data_collator(rows(pairs))  # ids and masks (2 B, S): the better ones, then the worse ones
    return trainer.compute_loss(trainer.model, batch)


def trl_grpo_loss(
    model: Any,
    prompts: Tensor,
    responses: Tensor,
    old: Tensor,
    reference: Tensor,
    advantages: Tensor,
    clip: float,
    beta: float,
) -> Tensor:
    """TRL's GRPO loss on one batch: (B,), (B, T), log-probabilities (B, T) twice, advantages (B,) -> ()."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    def no_reward(completions: list[str], **_: Any) -> list[float]:
        return [0.0] * len(completions)  # never asked: the advantages are given

    with tempfile.TemporaryDirectory() as folder:
        # With a beta it would load a reference by the model's hub name. Ours has none; its log-probabilities are given.
        options = {"loss_type": "grpo", "beta": 0.0, "epsilon": clip, "epsilon_high": clip, "bf16": False}
        options |= {"num_generations": 2, "per_device_train_batch_size": 2, "activation_checkpointing": False}
        # By default it multiplies the KL term by pi / pi_old as well, a later correction. Here: the paper's form.
        options |= {"max_completion_length": LENGTH, "use_bias_correction_kl": False}
        config = GRPOConfig(**_arguments(folder), **options)
        data = Dataset.from_list([{"prompt": letter} for letter in LETTERS])
        trainer = GRPOTrainer(copy.deepcopy(model), no_reward, config, data, processing_class=tokenizer())
    trainer.beta = beta
    batch = {
        "prompt_ids": prompts[:, None],  # (B, 1)
        "prompt_mask": torch.ones_like(prompts)[:, None],  # (B, 1)
        "completion_ids": responses,  # (B, T)
        "completion_mask": response_mask(responses).long(),  # (B, T)
        "advantages": advantages,  # (B,)
        "old_per_token_logps": old,  # (B, T)
        "ref_per_token_logps": reference,  # (B, T)
    }
    return trainer.compute_loss(trainer.model.eval(), batch)
