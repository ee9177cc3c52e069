"""``python -m workers.finetuning.measuring FOLDER``: two versions of one base model, measured for the gate.

``measure.json`` in the folder says what with (``measure``); ``measured.json`` is written when everything is measured,
and ``measuring.json`` says meanwhile how far it is. One process and one copy of the weights: the version in force and
the new one take turns on every question, so that a machine that gets slower is slower for both.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.finetuning.files import Progress, main_of, read_json, write_json
from workers.finetuning.pairs import tokenized

if TYPE_CHECKING:
    from workers.language_model import LanguageModel

ARMS = ("before", "after")
BATCH_TOKENS = 1024  # scored at once; their logits are the largest thing in memory
WINDOW = 512  # tokens of a text that are scored together
Scored = tuple[list[int], int]  # ids, and the first of them that counts
Tell = Callable[[str, int, int], None]


def general() -> tuple[list[dict[str, Any]], list[str]]:
    """The guard against forgetting: questions (question, right, wrong) and texts of no domain, written for this."""
    lines = resources.files("workers.finetuning").joinpath("general.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if "question" in row], [row["text"] for row in rows if "text" in row]


class Arms:
    """One base model under two adapters, either of which may be none. ``with arms.turn("after") as model: …``"""

    def __init__(self, base: LanguageModel, adapters: Mapping[str, Path | None]) -> None:
        from peft import PeftModel

        self.base = base
        self.tokenizer = base.tokenizer
        self._adapters = {arm: folder for arm, folder in adapters.items() if folder is not None}
        self._model: Any = base.model
        for arm, folder in self._adapters.items():
            if self._model is base.model:
                self._model = PeftModel.from_pretrained(base.model, str(folder), adapter_name=arm)
            else:
                self._model.load_adapter(str(folder), adapter_name=arm)
        self._model.eval()

    @contextlib.contextmanager
    def turn(self, arm: str) -> Iterator[Any]:
        if arm in self._adapters:
            self._model.set_adapter(arm)
            yield self._model
        elif self._adapters:
            with self._model.disable_adapter():
                yield self._model
        else:
            yield self._model


def score(
    model: Any, rows: Sequence[Scored], tell: Callable[[int], None] = lambda done: None
) -> list[tuple[float, int]]:
    """(sum of the log-probabilities in nats, how many tokens count) of each row; what comes first counts never."""
    import torch

    found: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
    place = next(model.parameters()).device
    done = 0
    for batch in _batches(rows):
        longest = max(len(rows[i][0]) for i in batch)
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, i in enumerate(batch):
            ids[row, : len(rows[i][0])] = torch.tensor(rows[i][0])
            mask[row, : len(rows[i][0])] = 1
        ids, mask = ids.to(place), mask.to(place)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]  # (B, S - 1, V)
            losses = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), ids[:, 1:], reduction="none")
        for row, i in enumerate(batch):
            first, last = max(rows[i][1], 1) - 1, len(rows[i][0]) - 1
            found[i] = (-float(losses[row, first:last].double().sum()), max(0, last - first))
        done += len(batch)
        tell(done)
    return found


def _batches(rows: Sequence[Scored]) -> Iterator[list[int]]:
    """Numbers of rows of nearly one length, at most BATCH_TOKENS with their padding; at least one row."""
    batch: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: len(rows[i][0])):
        if batch and (len(batch) + 1) * len(rows[i][0]) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def windows(tokenizer: Any, text: str, most: int) -> list[Scored]:
    """The text as rows of up to WINDOW tokens, at most ``most`` of them."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][: most * WINDOW]
    return [(ids[at : at + WINDOW], 1) for at in range(0, len(ids), WINDOW) if len(ids) - at > 1]


def perplexity_cases(
    model: Any, tokenizer: Any, texts: Sequence[Mapping[str, Any]], most: int, tell: Tell
) -> list[Any]:
    """[id, sum of the negative log-probabilities, tokens] of each text."""
    rows = [(place, row) for place, text in enumerate(texts) for row in windows(tokenizer, text["text"], most)]
    scored = score(model, [row for _, row in rows], lambda done: tell("texts", done, len(rows)))
    sums = [[text["id"], 0.0, 0] for text in texts]
    for (place, _), (log_probability, tokens) in zip(rows, scored, strict=True):
        sums[place][1] -= log_probability
        sums[place][2] += tokens
    return [row for row in sums if row[2]]


def choice_cases(model: Any, tokenizer: Any, questions: Sequence[Mapping[str, Any]]) -> list[Any]:
    """[question, whether the right answer is the likeliest a token, its share among the choices] of each question."""
    import numpy as np

    rows: list[Scored] = []
    for row in questions:
        prompt = tokenizer(f"Question: {row['question']}\nAnswer:", add_special_tokens=False)["input_ids"]
        for choice in (row["right"], *row["wrong"]):
            rows.append((prompt + tokenizer(f" {choice}", add_special_tokens=False)["input_ids"], len(prompt)))
    scored = score(model, rows)
    found, at = [], 0
    for row in questions:
        several = scored[at : at + 1 + len(row["wrong"])]
        at += len(several)
        mean = np.array([total / max(1, tokens) for total, tokens in several])
        shares = np.exp(mean - mean.max())
        found.append([row["question"], int(mean.argmax() == 0), float(shares[0] / shares.sum())])
    return found


def pair_cases(model: Any, pairs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """[id, log-probability of the chosen reply, of the rejected one] of each pair, given as ids."""
    rows = [(pair["prompt"] + pair[which], len(pair["prompt"])) for pair in pairs for which in ("chosen", "rejected")]
    scored = score(model, rows)
    return [[pair["id"], scored[2 * i][0], scored[2 * i + 1][0]] for i, pair in enumerate(pairs)]


def answer(model: Any, tokenizer: Any, messages: Sequence[Mapping[str, str]], most: int) -> dict[str, Any]:
    """A greedy answer: its text, how many tokens, and seconds in all."""
    import torch

    place = next(model.parameters()).device
    text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]], device=place)
    ends = [end for end in {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")} if end is not None]
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False,
            eos_token_id=ends, pad_token_id=ends[0],
        )  # fmt: skip
    seconds = time.perf_counter() - start
    new = out[0, ids.shape[1] :].tolist()
    return {"text": tokenizer.decode(new, skip_special_tokens=True).strip(), "tokens": len(new), "seconds": seconds}


def measure(arms: Arms, wanted: Mapping[str, Any], tell: Tell = lambda stage, done, total: None) -> dict[str, Any]:
    """``wanted``: ``texts`` [{id, text}], ``questions`` [{id, messages}], ``pairs`` [{id, messages, chosen, rejected}];
    ``windows`` of each text; ``max_tokens`` of an answer, ``pair_tokens`` of a pair. Returns what each arm did."""
    questions, texts = general()
    texts_of_no_domain = [{"id": f"general-{place}", "text": text} for place, text in enumerate(texts)]
    tokenizer, found = arms.tokenizer, {}
    most = wanted.get("pair_tokens", 2 * WINDOW)
    pairs = tokenized(wanted.get("pairs", ()), tokenizer, most)
    for place, arm in enumerate(ARMS):
        with arms.turn(arm) as model:
            found[arm] = {
                "domain": perplexity_cases(model, tokenizer, wanted["texts"], wanted.get("windows", 1), tell),
                "general_text": perplexity_cases(model, tokenizer, texts_of_no_domain, 1, tell),
                "general": choice_cases(model, tokenizer, questions),
                "pairs": pair_cases(model, pairs),
                "answers": [],
            }
        tell("versions", place + 1, len(ARMS))
    asked = wanted.get("questions", ())
    for place, question in enumerate(asked):
        for arm in ARMS if place % 2 else ARMS[::-1]:
            with arms.turn(arm) as model:
                said = answer(model, tokenizer, question["messages"], wanted.get("max_tokens", 64))
            found[arm]["answers"].append({"id": question["id"], **said})
        tell("questions", place + 1, len(asked))
    return found


def main(folder: Path, progress: Progress) -> None:
    """Raises SettingsError where the base model cannot be read."""
    from workers.language_model import load

    wanted = read_json(folder / "measure.json")
    adapters = {arm: None if wanted[arm] is None else Path(wanted[arm]) for arm in ARMS}
    arms = Arms(load(wanted["model"]), adapters)

    def tell(stage: str, done: int, total: int) -> None:
        progress.tell(state="measuring", stage=stage, done=done, total=total)

    write_json(folder / "measured.json", measure(arms, wanted, tell))


if __name__ == "__main__":
    sys.exit(main_of(main, sys.argv[1:], "measuring.json"))
