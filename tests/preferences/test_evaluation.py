"""``almanac eval preferences`` on folders: what it reads, what it says, and that it learns on real votes."""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from assistant.evaluation.collection import BadCollection
from assistant.evaluation.passages import Encoded
from assistant.evaluation.preferences import evaluate
from assistant.evaluation.votes import read_part
from assistant.knowledge.lexical import plain_terms

KINDS = ("payments", "visas", "masks", "schools", "flights", "pensions", "taxes", "buses")
TOPICS = [f"{kind} {place}" for kind in KINDS for place in ("north", "south", "east", "west", "inland")]
DATA = Path(os.environ.get("ALMANAC_DATA", "../shared/data")) / "feedbackqa"


class Words:
    """Embeds a text as the sum of a direction for each of its words."""

    name, dimensions = "words", 64

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.stack([await self.embed_query(text) for text in texts])

    async def embed_query(self, text: str) -> npt.NDArray[np.float32]:
        total = np.full(self.dimensions, 1e-3)
        for word in plain_terms(text):
            total += np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.dimensions)
        vector: npt.NDArray[np.float32] = (total / np.linalg.norm(total)).astype(np.float32)
        return vector

    def count_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def close(self) -> None:
        return None


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def folder(path: Path, asks: str) -> Path:
    """Of two passages on each topic, people prefer the one whose title names it; the other repeats the question."""
    path.mkdir()
    corpus, queries, pairs, feedback, judged = [], [], [], [], ["query-id\tcorpus-id\tscore"]
    for number, topic in enumerate(TOPICS):
        good = {"id": f"g{number}", "title": f"Refunds {topic}", "text": f"Go to the desk for {topic} at noon."}
        bad = {"id": f"b{number}", "title": "Other", "text": f"{asks} {topic}, some wonder, and {asks} {topic} again."}
        corpus += [good, bad]
        question = f"{asks} {topic}?"
        queries.append({"id": f"q{number}", "text": question})
        judged.append(f"q{number}\tg{number}\t1")
        pairs.append({"question": question, "chosen": good["text"], "rejected": bad["text"]})
        for passage, rating in ((good, "Excellent"), (bad, "Bad")):
            feedback.append({"question": question, "passage": passage["text"], "rating": [rating, rating]})
    for name, rows in (("corpus", corpus), ("queries", queries), ("pairs", pairs), ("feedback", feedback)):
        lines(path / f"{name}.jsonl", rows)
    (path / "qrels.tsv").write_text("\n".join(judged) + "\n", encoding="utf-8")
    return path


def test_what_people_prefer_is_learned_and_held_against_questions_not_seen(tmp_path: Path) -> None:
    train, test = folder(tmp_path / "train", "cancel booked"), folder(tmp_path / "test", "refund of")
    found = asyncio.run(evaluate(read_part(train), read_part(test), Encoded(Words()))).document()
    pairs, ndcg = found["pairwise_accuracy"], found["ndcg@10"]
    assert pairs["learned"] > pairs["similarity"]
    assert ndcg["after"] > ndcg["before"]
    assert len(ndcg["ci95"]) == 2


def test_a_question_of_the_test_teaches_nothing(tmp_path: Path) -> None:
    part = read_part(folder(tmp_path / "one", "refund of"))
    with pytest.raises(BadCollection, match="nothing is left to learn from"):
        asyncio.run(evaluate(part, part, Encoded(Words())))


def test_ratings_become_pairs_that_weigh_by_their_distance(tmp_path: Path) -> None:
    path = folder(tmp_path / "one", "refund of")
    rows = [
        {"question": "Who?", "passage": text, "rating": [rating]}
        for text, rating in (("one", "Excellent"), ("two", "Acceptable"), ("three", "Bad"), ("four", "Bad"))
    ]
    lines(path / "feedback.jsonl", rows)
    found = {(vote.better.text, vote.worse.text): vote.weight for vote in read_part(path).rated}
    one_step, most = 0.5, 1.0
    assert found == {
        ("one", "two"): one_step, ("one", "three"): most, ("one", "four"): most,
        ("two", "three"): most, ("two", "four"): most,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"), [("{", "is not JSON"), ("[1]", "not a JSON object"), ('{"question": "a"}', "no chosen")]
)
def test_a_broken_file_of_pairs_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = folder(tmp_path / "one", "refund of")
    (path / "pairs.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(BadCollection, match=says):
        read_part(path)


@pytest.mark.skipif(not DATA.is_dir(), reason="feedbackqa is not here (ALMANAC_DATA)")
def test_real_pairs_and_ratings_are_read() -> None:
    part = read_part(DATA)
    assert len(part.pairs) == 1_175
    assert len(part.rated) > 1_000
    assert all(vote.better.title for vote in part.pairs)


class Crowded(Words):
    """Rounds a question's vector as those that are embedded at the same time let it, as bfloat16 does."""

    waiting = 0

    async def embed_query(self, text: str) -> npt.NDArray[np.float32]:
        self.waiting += 1
        await asyncio.sleep(0)
        vector = await super().embed_query(text)
        crowd, self.waiting = self.waiting, self.waiting - 1
        return vector.round(3) if crowd > 1 else vector


async def test_a_questions_vector_does_not_depend_on_what_else_is_asked() -> None:
    alone = await Encoded(Crowded()).questions(TOPICS[:1])
    beside = await Encoded(Crowded()).questions(TOPICS)
    assert (alone[0].vector == beside[0].vector).all()
