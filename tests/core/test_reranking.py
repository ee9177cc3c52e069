"""Reranking by a real CrossEncoder: a tiny one with random weights, built here from MiniLM's tokenizer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from assistant.database.session import Sessions
from assistant.errors import SettingsError
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import default_model_path
from assistant.knowledge.ranking import HYBRID
from assistant.knowledge.reranking import BATCH, Reranker
from assistant.knowledge.search import Searcher
from tests.core.parts import WordEmbedder
from tests.core.test_search import Page, shelve

PASSAGES = [f"Deploy number {number} of the ledger, with cache and token." for number in range(9)]


def _model(folder: Path, labels: int = 1) -> Path:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(4)
    tokenizer = AutoTokenizer.from_pretrained(str(default_model_path()), local_files_only=True)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        initializer_range=0.5, num_labels=labels,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _model(tmp_path_factory.mktemp("cross-encoder"))


@pytest.fixture
async def reranker(folder: Path) -> AsyncIterator[Reranker]:
    made = Reranker(str(folder), deadline=60)
    await made.load()
    yield made
    await made.close()


def _expected(folder: Path, question: str, passages: list[str]) -> list[int]:
    from sentence_transformers import CrossEncoder

    scores = CrossEncoder(str(folder), device="cpu", local_files_only=True).predict([(question, p) for p in passages])
    assert len(set(scores.round(5).tolist())) > len(passages) // 2  # a model that tells passages apart
    return sorted(range(len(passages)), key=lambda place: -scores[place])


async def test_the_order_is_the_cross_encoders(folder: Path, reranker: Reranker) -> None:
    assert await reranker.order("who deploys?", PASSAGES) == _expected(folder, "who deploys?", PASSAGES)
    assert await reranker.order("who deploys?", []) == []


async def test_what_is_late_leaves_the_order_and_stops_between_batches(folder: Path) -> None:
    late = Reranker(str(folder), deadline=0.2)
    await late.load()
    release, calls = threading.Event(), []
    predict = late._model.predict

    def slow(pairs: list[tuple[str, str]], **options: object) -> object:
        calls.append(len(pairs))
        release.wait(30)
        return predict(pairs, **options)

    late._model.predict = slow
    assert await late.order("who deploys?", PASSAGES) is None
    release.set()
    await late.close()  # waits for the thread
    assert calls == [BATCH]


async def test_a_failure_leaves_the_order(reranker: Reranker) -> None:
    def fail(*_: object, **__: object) -> object:
        raise RuntimeError("no memory")

    reranker._model.predict = fail
    assert await reranker.order("who deploys?", PASSAGES) is None


async def test_the_event_loop_is_free_meanwhile(reranker: Reranker) -> None:
    entered, release = threading.Event(), threading.Event()
    predict = reranker._model.predict

    def held(pairs: list[tuple[str, str]], **options: object) -> object:
        entered.set()
        release.wait(30)
        return predict(pairs, **options)

    reranker._model.predict = held
    work = asyncio.create_task(reranker.order("who deploys?", PASSAGES))
    while not entered.is_set():
        await asyncio.sleep(0.01)  # it would never be reached if the model ran on the loop
    assert not work.done()
    release.set()
    assert sorted(await work or []) == list(range(len(PASSAGES)))


async def test_a_folder_without_a_usable_model_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ALMANAC_RERANKER is wrong: .* holds no model"):
        Reranker(str(tmp_path), deadline=1)
    (tmp_path / "config.json").write_text("{}")
    empty = Reranker(str(tmp_path), deadline=1)
    with pytest.raises(SettingsError, match=r"ALMANAC_RERANKER is wrong: .* holds no cross-encoder"):
        await empty.load()
    await empty.close()
    (tmp_path / "three").mkdir()
    three = Reranker(str(_model(tmp_path / "three", labels=3)), deadline=1)
    with pytest.raises(SettingsError, match="gives 3 numbers"):
        await three.load()
    await three.close()


async def test_search_puts_its_first_hits_in_the_cross_encoders_order(
    sessions: Sessions, folder: Path, reranker: Reranker
) -> None:
    await shelve(sessions, WordEmbedder(), *(Page(f"{n}.md", "Guide", (text,)) for n, text in enumerate(PASSAGES)))
    plain = Searcher(sessions, WordEmbedder())
    read = Searcher(sessions, WordEmbedder(), reranker=reranker)
    everyone = Audience.everyone()
    before = (await plain.search("deploy number 3", audience=everyone, limit=9)).hits
    after = (await read.search("deploy number 3", audience=everyone, limit=9)).hits
    order = _expected(folder, "deploy number 3", [f"Guide\n{hit.text}" for hit in before])
    assert [hit.chunk_id for hit in after] == [before[place].chunk_id for place in order]
    assert order != sorted(order)
    assert [hit.score for hit in after] == [hit.score for hit in before]
    fewer = (await read.search("deploy number 3", audience=everyone, limit=3)).hits
    assert fewer == after[:3]
    # The other arms are measured without it.
    hybrid = (await read.ranked(HYBRID).search("deploy number 3", audience=everyone, limit=9)).hits
    assert hybrid == (await plain.ranked(HYBRID).search("deploy number 3", audience=everyone, limit=9)).hits
