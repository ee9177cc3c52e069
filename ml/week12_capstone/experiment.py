"""Week 12's experiment: ask the assistant everything in ``questions.jsonl`` and count what came out.

The threshold below which it says "I did not find this" is chosen on one half of the questions and judged on the
other. The pages under ``security/`` are for one group, so every question about them is asked twice: by a member, and by
somebody who must not even learn that they exist.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt

from ml.lesson import LessonError, Run, main
from ml.week12_capstone.assistant import Assistant, Index, Outcome, read_folder, select
from ml.week12_capstone.internal_api import internal_api, make_tools
from ml.week12_capstone.minilm import load_embedder

HERE = Path(__file__).parent
HANDBOOK = HERE.parents[1] / "assistant" / "sample" / "handbook"
READERS = {"security/": {"security"}}
MEMBER = frozenset({"security"})
KINDS = ["answered", "not in the documents", "refused", "waiting for approval"]

Question = dict[str, Any]


def read_questions(path: Path = HERE / "questions.jsonl") -> list[Question]:
    """Each has ``question``, ``expect`` (an outcome's kind), ``split``, and a right answer's ``page`` and ``words``."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def is_right(question: Question, outcome: Outcome) -> bool:
    """The expected kind; for an answer from a document also the words, and the page among its citations."""
    if outcome.kind != question["expect"]:
        return False
    cited = any(citation.startswith(question.get("page", "")) for citation in outcome.citations)
    return all(word in outcome.text for word in question.get("words", ())) and (cited or "page" not in question)


def score(question: Question, index: Index) -> tuple[float, bool]:
    """The best unit's score, and whether that unit answers the question."""
    best = select(question["question"], index.search(question["question"], set(MEMBER)), index)[0]
    return best[0], "words" in question and all(word in best[2] for word in question["words"])


def choose_threshold(scores: list[tuple[float, bool]]) -> float:
    """The threshold with the most right decisions: answered where the best unit is right, refused where it is not.

    Between two scores every threshold decides alike; the middle of the widest best gap is taken.
    """
    values = sorted({0.0, 1.0, *(value for value, _ in scores)})
    middles = [(low + high) / 2 for low, high in pairwise(values)]
    right = [sum((value >= middle) == good for value, good in scores) for middle in middles]
    best = [i for i, count in enumerate(right) if count == max(right)]
    return middles[max(best, key=lambda i: values[i + 1] - values[i])]


def experiment(run: Run) -> None:
    if not run.arguments.folder.is_dir():
        raise LessonError(f"{run.arguments.folder} is not a folder; name one with Markdown pages by --folder.")
    questions = read_questions()
    with run.console.status("reading and embedding the handbook"):
        passages = read_folder(run.arguments.folder, READERS)
        index = Index(passages, load_embedder())
    run.record("passages", len(passages))
    run.record("units", sum(len(passage.units) for passage in passages))

    plain = [question for question in questions if question["expect"] in KINDS[:2] and "tool" not in question]
    scores = [score(question, index) for question in run.track(plain, "scoring")]
    threshold = choose_threshold([found for found, q in zip(scores, plain, strict=True) if q["split"] == "dev"])
    run.record("threshold", round(threshold, 3))
    with internal_api() as (address, _):
        assistant = Assistant(index, make_tools(address), threshold)
        assistant.budget.limit = 10 * len(questions)
        test = [question for question in questions if question["split"] == "test"]
        outcomes = [assistant.ask(question["question"], groups=MEMBER) for question in run.track(test, "asking")]
    report(run, test, outcomes)
    run.record("restricted pages shown to outsiders", count_leaks(assistant, questions))
    run.save(plot_scores(scores, plain, threshold), "scores")
    run.save(plot_outcomes(test, outcomes), "outcomes")
    if not run.quick:
        compare_rankings(run, index, plain)


def report(run: Run, test: list[Question], outcomes: list[Outcome]) -> None:
    """How many of each kind came out right, and how long an answer took."""
    right = [is_right(question, outcome) for question, outcome in zip(test, outcomes, strict=True)]
    groups = {"answered and cited": ("page",), "tool": ("tool",)}
    names = [next((name for name, keys in groups.items() if keys[0] in q), q["expect"]) for q in test]
    names = ["near miss refused" if q.get("near") else name for q, name in zip(test, names, strict=True)]
    for name in dict.fromkeys(names):
        of = [good for good, other in zip(right, names, strict=True) if other == name]
        run.record(f"{name}, right", f"{sum(of)} of {len(of)}")
    spent = [outcome.milliseconds["all"] for outcome in outcomes if "search" in outcome.milliseconds]
    run.record("milliseconds a question, median", round(float(np.median(spent)), 1))
    wrong = [(q["question"], o.kind, o.text) for q, o, good in zip(test, outcomes, right, strict=True) if not good]
    run.table("Wrong", ["question", "outcome", "text"], wrong)


def count_leaks(assistant: Assistant, questions: list[Question]) -> int:
    """Ask as somebody outside the group; count the outcomes that cite or name a page only the group may read."""
    asked = [question["question"] for question in questions if question.get("page", "").startswith("security/")]
    outcomes = [assistant.ask(question, "outsider") for question in asked]
    return sum("security/" in outcome.text + " ".join(outcome.citations) for outcome in outcomes)


def compare_rankings(run: Run, index: Index, plain: list[Question]) -> None:
    """What each ranking alone would have found: the right page in the first place, and among the first four."""
    asked = [question for question in plain if "page" in question]
    pages: dict[str, list[list[str]]] = {"BM25": [], "vectors": [], "fused": []}
    for question in asked:
        lexical, similar = index.rank(question["question"], set(MEMBER))
        pages["BM25"].append([index.passages[i].page for i in lexical[:4]])
        pages["vectors"].append([index.passages[i].page for i in similar[:4]])
        pages["fused"].append([passage.page for passage in index.search(question["question"], set(MEMBER))])
    for name, found in pages.items():
        first = sum(row[0] == question["page"] for row, question in zip(found, asked, strict=True))
        among = sum(question["page"] in row for row, question in zip(found, asked, strict=True))
        run.record(f"right page first, among four: {name}", f"{first}, {among} of {len(asked)}")


def plot_scores(scores: list[tuple[float, bool]], plain: list[Question], threshold: float) -> plt.Figure:
    """Every question's best score, by what should have become of it."""
    figure, axes = plt.subplots(figsize=(7, 3.2))
    rows = {"in the documents": "answered", "near miss": "near", "not in the documents": "not in the documents"}
    for height, kind in enumerate(rows.values()):
        of = [
            found
            for found, question in zip(scores, plain, strict=True)
            if ("near" if question.get("near") else question["expect"]) == kind
        ]
        for good, marker, colour in ((True, "o", "#0072B2"), (False, "x", "#D55E00")):
            values = [value for value, right in of if right == good]
            label = f"the unit {'answers' if good else 'does not answer'}" if height == 0 else None
            axes.plot(values, [height] * len(values), marker, color=colour, alpha=0.8, linestyle="none", label=label)
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label="threshold: answered on its right")
    axes.set(yticks=range(3), ylim=(-0.5, 2.5), xlabel="score of the best unit: mean of cosine and idf coverage")
    axes.set_yticklabels(rows)
    axes.set_title("Where an answer ends and “not found” begins")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def plot_outcomes(test: list[Question], outcomes: list[Outcome]) -> plt.Figure:
    """What was expected against what came out, on the half of the questions that chose nothing."""
    counts = Counter((q["expect"], outcome.kind) for q, outcome in zip(test, outcomes, strict=True))
    table = np.array([[counts[expected, got] for got in KINDS] for expected in KINDS])  # (expected, outcome)
    figure, axes = plt.subplots(figsize=(6, 4.2))
    axes.imshow(table / table.sum(1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(table):
        axes.text(
            column, row, count, ha="center", va="center", color="white" if count > table[row].sum() / 2 else "black"
        )
    labels = [kind.replace("in the ", "in the\n").replace("for ", "for\n") for kind in KINDS]
    axes.set(
        xticks=range(4),
        yticks=range(4),
        xlabel="outcome",
        ylabel="expected",
        title="Every question ends in one outcome",
    )
    axes.set_xticklabels(labels)
    axes.set_yticklabels(labels)
    axes.grid(False)
    return figure


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=Path, default=HANDBOOK, help="Markdown pages; default: Almanac's sample handbook"
    )


if __name__ == "__main__":
    main(experiment, "Week 12: an assistant in one file", arguments)
