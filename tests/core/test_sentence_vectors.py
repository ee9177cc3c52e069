"""Vectors of sentences that come again are made once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from assistant.knowledge.embedder_port import Vectors
from assistant.knowledge.sentence_vectors import SentenceVectors
from tests.core.parts import WordEmbedder


class Counting(WordEmbedder):
    def __init__(self) -> None:
        super().__init__()
        self.embedded: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.embedded += texts
        await asyncio.sleep(0)
        return await super().embed(texts)


async def test_a_sentence_is_embedded_once_and_its_vector_stays_the_same() -> None:
    model, vectors = Counting(), SentenceVectors()
    first = await vectors.of(["the ledger", "the gateway", "the ledger"], model)
    again = await vectors.of(["the gateway", "the ledger", "the vault"], model)
    assert model.embedded == ["the ledger", "the gateway", "the vault"]
    np.testing.assert_array_equal(again[:2], first[[1, 0]])
    np.testing.assert_allclose(
        first, await WordEmbedder().embed(["the ledger", "the gateway", "the ledger"]), atol=5e-4
    )


async def test_the_oldest_go_and_another_model_starts_anew() -> None:
    model, vectors = Counting(), SentenceVectors(most=2)
    for text in ("one", "two", "one", "three", "one", "two"):
        await vectors.of([text], model)
    assert model.embedded == ["one", "two", "three", "two"]
    other = Counting()
    await vectors.of(["one"], other)
    assert other.embedded == ["one"]


async def test_more_at_once_than_are_kept_and_none_at_all() -> None:
    model, vectors = Counting(), SentenceVectors(most=2)
    texts = ["one", "two", "three", "four"]
    assert (await vectors.of(texts, model)).shape == (4, model.dimensions)
    assert (await vectors.of([], model)).shape == (0, model.dimensions)


async def test_questions_at_the_same_time_do_not_disturb_each_other() -> None:
    model, vectors = Counting(), SentenceVectors(most=3)
    asked = [[f"sentence {number + place}" for place in range(3)] for number in range(6)]
    found = await asyncio.gather(*(vectors.of(texts, model) for texts in asked))
    for texts, made in zip(asked, found, strict=True):
        np.testing.assert_allclose(made, await WordEmbedder().embed(texts), atol=5e-4)


async def test_many_who_ask_the_same_at_once_have_it_made_once() -> None:
    model, vectors = Counting(), SentenceVectors()
    await asyncio.gather(*(vectors.of(["the ledger", f"question {number}"], model) for number in range(5)))
    assert sorted(model.embedded) == sorted(["the ledger", *(f"question {number}" for number in range(5))])


async def test_one_who_gives_up_does_not_keep_the_others_waiting() -> None:
    model, vectors = Counting(), SentenceVectors()
    first = asyncio.create_task(vectors.of(["the ledger"], model))
    second = asyncio.create_task(vectors.of(["the ledger"], model))
    await asyncio.sleep(0)
    first.cancel()
    assert (await asyncio.wait_for(second, 5)).shape == (1, model.dimensions)


def test_small_matrices_are_multiplied_by_one_thread() -> None:
    look = (
        "import assistant, numpy, threadpoolctl\n"
        "print({pool['num_threads'] for pool in threadpoolctl.threadpool_info() if pool['user_api'] == 'blas'})"
    )
    plain = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, env=plain, check=True)
    assert ended.stdout.strip() == "{1}"
