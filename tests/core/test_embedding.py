"""The embedding model: batches shared, results as the reference library gives them, nobody harmed by another."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from assistant.errors import SettingsError
from assistant.knowledge.embedding import (
    TransformerEmbedder,
    Vectors,
    batches,
    default_model_path,
    halfvec_literal,
)

TEXTS = [
    "How do I roll back a deployment?",
    "rollback",
    "Die Datenbank antwortet nicht mehr.",
    "`kubectl rollout undo deployment/ledger` returns to the version before. " * 6,
    "| Service | Owner |\n|---|---|\n| ledger | Mia |",
    "🚢 ferry",
    "Lunch is served from noon until two o'clock.",
]


def cosine(left: Vectors, right: Vectors) -> float:
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


async def test_vectors_are_those_of_sentence_transformers(embedder: TransformerEmbedder) -> None:
    reference = await asyncio.to_thread(
        lambda: SentenceTransformer(str(default_model_path()), device="cpu", local_files_only=True).encode(TEXTS)
    )
    ours = await embedder.embed(TEXTS)
    assert ours.shape == (len(TEXTS), embedder.dimensions)
    for text, left, right in zip(TEXTS, ours, reference, strict=True):
        assert cosine(left, right) > 0.995, text
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-3)


async def test_the_order_of_texts_is_the_order_of_vectors(embedder: TransformerEmbedder) -> None:
    together = await embedder.embed(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        assert cosine((await embedder.embed([text]))[0], vector) > 0.999, text
    assert (await embedder.embed([])).shape == (0, embedder.dimensions)


async def test_questions_at_the_same_time_share_batches(
    embedder: TransformerEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = embedder._encode

    def counting(texts: list[str]) -> Vectors:
        sizes.append(len(texts))
        return real(texts)

    monkeypatch.setattr(embedder, "_encode", counting)
    questions = [f"How do I restart service number {n}?" for n in range(40)]
    together = await asyncio.gather(*map(embedder.embed_query, questions))
    assert sum(sizes) == 40
    assert len(sizes) < 20
    single = await embedder.embed(questions)
    for left, right in zip(together, single, strict=True):
        assert cosine(left, right) > 0.999
    sizes.clear()
    again = await embedder.embed_query(questions[3])
    assert sizes == []  # remembered
    assert np.array_equal(again, together[3])


async def test_a_question_that_is_given_up_harms_no_other(embedder: TransformerEmbedder) -> None:
    texts = [f"What about cancelled thing {n}?" for n in range(30)]
    tasks = [asyncio.create_task(embedder.embed_query(text)) for text in texts]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::2])
    expected = await embedder.embed(texts[1::2])
    for result, vector in zip(results[1::2], expected, strict=True):
        assert not isinstance(result, BaseException)
        assert cosine(result, vector) > 0.999
    assert (await embedder.embed_query(texts[0])).shape == (embedder.dimensions,)


async def test_closing_leaves_nobody_waiting() -> None:
    embedder = TransformerEmbedder(None, threads=1)
    tasks = [asyncio.create_task(embedder.embed_query(f"Question {n}?")) for n in range(3)]
    await asyncio.sleep(0)
    await embedder.close()
    async with asyncio.timeout(120):  # a model is loaded
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, (np.ndarray, asyncio.CancelledError)) for result in results)


@pytest.mark.parametrize(
    "text", ["word " * 5_000, "", " ", "\0", "\ud800", "x" * 10_000], ids=["long", "empty", "blank", "nul", "half", "x"]
)
async def test_no_text_fails(embedder: TransformerEmbedder, text: str) -> None:
    vectors = await embedder.embed([text, "How do I roll back?"])
    assert np.isfinite(vectors).all()
    assert cosine(vectors[1], await embedder.embed_query("How do I roll back?")) > 0.999
    assert np.isfinite(await embedder.embed_query(text)).all()
    assert embedder.count_tokens([text])[0] >= 2


async def test_only_the_first_256_tokens_count(embedder: TransformerEmbedder) -> None:
    start = "deploy " * 300
    vectors = await embedder.embed([start, start + "Something else entirely about lunch. " * 50])
    assert cosine(vectors[0], vectors[1]) > 0.9999
    assert embedder.count_tokens([start]) == [302]  # counting does not cut


async def test_near_is_near(embedder: TransformerEmbedder) -> None:
    question = await embedder.embed_query("How do I undo a release?")
    near, far = await embedder.embed(["To roll back a deployment, run ferry rollback.", "Lunch is at noon."])
    assert cosine(question, near) > cosine(question, far) + 0.2


@pytest.mark.parametrize("seed", range(5))
def test_batches_hold_every_text_once_within_the_budget(seed: int) -> None:
    random_ = random.Random(seed)
    lengths = [random_.choice([0, 1, 5, 60, 256, 900]) for _ in range(random_.randint(0, 200))]
    found = list(batches(lengths, budget=512))
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        widest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * widest <= 512
        assert lengths[batch[0]] == widest  # the width of the padded batch is read from its first
    widths = [lengths[batch[0]] for batch in found]
    assert widths == sorted(widths, reverse=True)


def test_a_folder_without_a_model_is_named(tmp_path: object) -> None:
    with pytest.raises(SettingsError, match=r"^ALMANAC_EMBEDDING_MODEL is wrong: .* holds no model"):
        TransformerEmbedder(str(tmp_path), threads=1)


def test_the_literal_is_what_postgres_reads() -> None:
    vector = np.array([0.1, -1.0, 1e-9, 0.0], dtype=np.float32)
    assert halfvec_literal(vector) == "[0.1,-1,1e-09,0]"
