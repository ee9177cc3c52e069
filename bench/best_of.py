"""What the best of several answers gains: SmolLM2 answers mtrag_cloud's questions from their judged passages.

``python -m bench.best_of [--questions N] [--count N] [--reward FILE]`` prints one JSON document: how much an answer
shares with the reference that a person wrote (F1 of their words), for the likeliest answer, for the mean of all
candidates, for the one that the reward picks, and for the one that is nearest to the reference (what no picking can
beat). The reward does not see the reference. The length is shown, too: F1 grows with it up to the reference's.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assistant.evaluation.measures import intervals
from assistant.knowledge.lexical import plain_terms
from assistant.models.client import TEMPERATURE
from assistant.preferences.reward import Candidate, Reward, load
from bench.world import DATA
from workers import language_model

PASSAGES = 2  # judged ones that the model reads
CHARACTERS = 900  # of each
TOKENS = 90  # of an answer
SEED = 8
ASKED = (
    "Answer the question in two or three sentences, from these passages alone.\n\n{passages}\n\nQuestion: {question}"
)


def questions(folder: Path, count: int) -> list[tuple[str, str, list[str]]]:
    """Question, reference answer, judged passages; evenly spread."""
    texts = {row["id"]: row["text"] for row in _rows(folder / "corpus.jsonl")}
    judged: dict[str, list[str]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, score = line.split("\t")
        if int(score) > 0 and texts.get(document):
            judged.setdefault(query, []).append(texts[document][:CHARACTERS])
    found = [
        (row["text"], row["answer"], judged[row["id"]][:PASSAGES])
        for row in _rows(folder / "queries.jsonl")
        if judged.get(row["id"])
    ]
    return [found[place * len(found) // count] for place in range(min(count, len(found)))]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def f1(text: str, reference: str) -> float:
    one, other = Counter(plain_terms(text)), Counter(plain_terms(reference))
    shared = (one & other).total()
    return 2 * shared / max(one.total() + other.total(), 1)


def candidates(spoken: language_model.LanguageModel, question: str, passages: Sequence[str], count: int) -> list[str]:
    """The likeliest answer, and ``count - 1`` drawn ones."""
    import torch

    asked = ASKED.format(passages="\n\n".join(passages), question=question)
    rendered = spoken.tokenizer.apply_chat_template(
        [{"role": "user", "content": asked}], tokenize=False, add_generation_prompt=True
    )
    prompt = spoken.tokenizer(rendered, return_tensors="pt", add_special_tokens=False)
    torch.manual_seed(SEED)
    ways = [{"do_sample": False}, {"do_sample": True, "temperature": TEMPERATURE, "num_return_sequences": count - 1}]
    texts: list[str] = []
    for way in ways if count > 1 else ways[:1]:
        with torch.inference_mode():
            out = spoken.model.generate(
                **prompt, max_new_tokens=TOKENS, pad_token_id=spoken.tokenizer.eos_token_id, **way
            )
        texts += spoken.tokenizer.batch_decode(out[:, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


def main(count: int, of: int, reward: Reward) -> dict[str, Any]:
    spoken = language_model.load()
    rows, lengths = [], []
    for question, reference, passages in questions(DATA / "mtrag_cloud", count):
        texts = candidates(spoken, question, passages, of)
        scores = [f1(text, reference) for text in texts]
        picked = int(reward.scores([Candidate(question, text, tuple(passages)) for text in texts]).argmax())
        rows.append((scores[0], float(np.mean(scores)), scores[picked], max(scores)))
        lengths.append((len(texts[0]), float(np.mean([len(text) for text in texts])), len(texts[picked])))
    table = np.array(rows)
    gain = intervals({"gain": table[:, 2] - table[:, 0], "over the mean": table[:, 2] - table[:, 1]})
    names = ("likeliest", "mean", "picked", "nearest to the reference")
    return {
        "questions": len(rows), "of": of, "f1": dict(zip(names, table.mean(axis=0).round(4).tolist(), strict=True)),
        "gain_ci95": {name: [round(one.mean, 4), round(one.low, 4), round(one.high, 4)] for name, one in gain.items()},
        "characters": dict(zip(names, np.mean(lengths, axis=0).round(0).tolist(), strict=False)),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--questions", type=int, default=12)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--reward", type=Path)
    given = parser.parse_args()
    print(json.dumps(main(given.questions, given.count, load(given.reward)), indent=1))
