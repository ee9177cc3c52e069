"""Vectors of tokens: what is kept of them, how passages fit by them, and where they come from and go in the index."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from assistant.database import documents, hybrid, token_vectors, vectors
from assistant.database.session import Sessions, admit, create_reading_engine, create_sessions
from assistant.knowledge import pairs, reembedding
from assistant.knowledge.audience import Audience
from assistant.knowledge.documents import SourceItem, text_hash
from assistant.knowledge.embedder_port import Question, ask, embed_with_tokens, gives_tokens
from assistant.knowledge.embedders import embed_missing
from assistant.knowledge.embedding import TransformerEmbedder, Vectors
from assistant.knowledge.lexical import tokens as words_of
from assistant.knowledge.query import Carried
from assistant.knowledge.ranking import FEEDBACK, FIRST, PAIRS, TOKENS
from assistant.knowledge.search import Searcher
from assistant.knowledge.token_vectors import ASKED, Asked, Floats, fits, packed, unit, unpacked
from tests.core.parts import Page, WordEmbedder, shelve, source
from tests.core.small_model import save_small_model
from workers.ingestion.pipeline import Ingestion
from workers.ingestion.report import Report

EVERYONE = Audience.everyone()


def some(seed: int, count: int, width: int = 64) -> Floats:
    """Vectors of any length around one direction, as a model's tokens are."""
    chance = np.random.default_rng(seed)
    return (chance.normal(size=(1, width)) + chance.normal(size=(count, width))).astype(np.float32) * 3


class TokenWords(WordEmbedder):
    """Gives each word a direction of its own; passages and questions share them. Counts what it embeds."""

    width = 64

    def __init__(self, gives: bool = True) -> None:
        self.gives = gives
        self.texts: list[str] = []

    def vectors(self, words: str) -> Floats:
        seeds = [int.from_bytes(word.encode()[:8].ljust(8), "big") for word in words_of(words)] or [0]
        return np.stack([np.random.default_rng(seed).normal(size=self.width) for seed in seeds]).astype(np.float32)

    async def gives_tokens(self) -> bool:
        return self.gives

    async def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Vectors, list[bytes]]:
        self.texts += texts
        return await self.embed(texts), [packed(self.vectors(each)) for each in texts]

    async def ask(self, words: str) -> Question:
        tokens = unit(self.vectors(words)).astype(np.float16) if self.gives else None
        return Question(await self.embed_query(words), tokens)


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_what_is_kept_points_where_the_tokens_did(count: int) -> None:
    tokens = some(count, count, 384)
    kept = packed(tokens)
    assert len(kept) == 4 + 2 * 384 + count * (2 + 384 // 8)
    found = unpacked(kept)
    assert found.shape == tokens.shape
    asked = unit(some(9, 12, 384))
    off = asked @ found.T - asked @ unit(tokens).T
    assert abs(off.mean()) < 0.01  # right on average,
    assert np.abs(off).max() < 0.2  # and near for each
    if count == 1:
        assert np.allclose(found, unit(tokens), atol=1e-3)  # a token that is alone is the mean


def test_a_token_that_is_the_mean_and_one_that_is_nothing_are_kept() -> None:
    same = np.ones((3, 8), np.float32)
    assert np.allclose(unpacked(packed(same)), unit(same), atol=1e-3)
    assert np.isfinite(unpacked(packed(np.zeros((2, 8), np.float32)))).all()
    assert unpacked(packed(np.zeros((0, 8), np.float32))).shape == (0, 8)


def plainly(asked: Sequence[Asked], kept: bytes) -> float:
    """The definition, number by number."""
    passage = unpacked(kept).tolist()
    total, weights = 0.0, 0.0
    for one in asked:
        best = []
        for token in one.vectors.astype(np.float32).tolist():
            best.append(max(sum(a * b for a, b in zip(token, other, strict=True)) for other in passage))
        total += one.weight * sum(best) / len(best)
        weights += one.weight
    return total / weights


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_the_mean_of_the_best_cosines(seed: int) -> None:
    asked = [Asked(unit(some(seed, 5)).astype(np.float16)), Asked(unit(some(seed + 50, 3)).astype(np.float16), 0.3)]
    kept = [packed(some(seed * 10 + n, 4 + n)) for n in range(5)]
    found = fits(asked, kept)
    assert found is not None
    assert np.allclose(found, [plainly(asked, each) for each in kept], atol=1e-4)


def test_what_cannot_be_compared_fits_as_the_others_do() -> None:
    asked = [Asked(unit(some(1, 5)).astype(np.float16))]
    one, two = packed(some(2, 4)), packed(some(3, 9))
    apart = fits(asked, [one, two])
    assert apart is not None
    wider, nothing = packed(some(4, 4, 128)), packed(np.zeros((0, 64), np.float32))
    found = fits(asked, [None, one, wider, two, nothing])
    assert found is not None
    mean = apart.mean()
    assert np.allclose(found, [mean, apart[0], mean, apart[1], mean])
    assert fits(asked, [None, wider]) is None
    assert fits(asked, []) is None
    assert fits([], [one]) is None
    assert fits([Asked(np.zeros((0, 64), np.float16))], [one]) is None


async def stored(sessions: Sessions, name: str = "words") -> dict[uuid.UUID, bytes]:
    model = await reembedding.find(sessions, name)
    async with sessions() as session:
        rows = await session.execute(model.sql("SELECT text_hash, tokens FROM @TOKENS"))
        return {text_hash: bytes(tokens) for text_hash, tokens in rows}


def item(name: str, words: str, title: str = "Guide") -> SourceItem:
    return SourceItem(name, name, f"# {title}\n\n{words}\n".encode())


async def ingest(sessions: Sessions, embedder: WordEmbedder, *items: SourceItem) -> None:
    found = {each.external_id: each for each in items}
    await Ingestion(sessions, embedder, 100_000).ingest_items(await source(sessions, embedder), found, Report())


PAGES = (item("a.md", "The trust store is on the ledger."), item("b.md", "Lunch is at noon in the canteen."))
HASHES = {
    text_hash("Guide\nThe trust store is on the ledger."), text_hash("Guide\nLunch is at noon in the canteen."),
}  # fmt: skip


async def test_ingestion_keeps_them_and_what_goes_takes_them_along(sessions: Sessions) -> None:
    embedder = TokenWords()
    await ingest(sessions, embedder, *PAGES)
    kept = await stored(sessions)
    assert set(kept) == HASHES
    assert kept[text_hash("Guide\nLunch is at noon in the canteen.")] == packed(
        embedder.vectors("Guide\nLunch is at noon in the canteen.")
    )
    source_id = await source(sessions, embedder)
    async with sessions.begin() as session:
        known = await documents.documents_of(session, source_id)
        hashes = await vectors.hashes_of(session, [known["a.md"].id])
        await documents.remove(session, [known["a.md"].id])
        await vectors.purge(session, hashes)
    assert set(await stored(sessions)) == HASHES - set(hashes)
    async with sessions.begin() as session:
        await documents.remove(session, [known["b.md"].id])
        await vectors.sweep(session, keep_days=0)
    assert await stored(sessions) == {}


async def test_what_has_its_vector_already_gets_them_when_it_is_read_again(sessions: Sessions) -> None:
    await ingest(sessions, TokenWords(gives=False), *PAGES)
    assert await stored(sessions) == {}
    embedder = TokenWords()
    texts = {one: words for words in ("Guide\nLunch is at noon in the canteen.", "New.") for one in [text_hash(words)]}
    assert await embed_missing(sessions, embedder, texts) == 2
    assert set(await stored(sessions)) == set(texts)
    assert await embed_missing(sessions, embedder, texts) == 0
    assert sorted(embedder.texts) == sorted(texts.values())
    assert await embed_missing(sessions, WordEmbedder(), texts) == 0  # gives none, and wants none


async def test_reembed_makes_those_of_an_older_index(sessions: Sessions) -> None:
    await ingest(sessions, TokenWords(gives=False), *PAGES)
    embedder, told = TokenWords(), []

    async def done(_session: object, there: int, total: int) -> None:
        told.append((there, total))

    await reembedding.fill(sessions, TokenWords(gives=False), "words", done)
    assert (told, await stored(sessions)) == ([], {})
    await reembedding.fill(sessions, embedder, "words", done)
    assert set(await stored(sessions)) == HASHES
    assert told == [(2, 2)]
    [state] = await reembedding.states(sessions)
    assert (state.vectors, state.tokens, state.lacking) == (2, 2, 0)
    await reembedding.fill(sessions, embedder, "words", done)
    assert len(embedder.texts) == 2  # once each


async def test_a_vector_that_is_gone_takes_no_tokens(sessions: Sessions) -> None:
    await ingest(sessions, TokenWords(), PAGES[0])
    model = await reembedding.find(sessions, "words")
    gone = uuid.uuid4()
    async with sessions.begin() as session:
        await token_vectors.write(session, model, [gone, *HASHES], [packed(some(1, 2))] * 3)
        assert await token_vectors.missing(session, model, [gone]) == [gone]
    assert len(await stored(sessions)) == 1
    async with sessions.begin() as session:
        await vectors.drop(session, model)
    async with sessions() as session:
        left = await session.execute(text("SELECT count(*) FROM pg_class WHERE relname LIKE 'tokens\\_%'"))
        assert left.scalar_one() == 0


async def test_the_reader_sees_those_of_what_it_may_read(sessions: Sessions, database_url: str) -> None:
    embedder = TokenWords()
    pages = [Page("a.md", "A", ("Open.",)), Page("b.md", "B", ("Secret.",), readers=("user:email:ann@example.com",))]
    await shelve(sessions, embedder, *pages)
    model = await reembedding.find(sessions, "words")
    async with sessions.begin() as session:
        for page in pages:
            words = page.chunks[0].embedded_text(page.title)
            await token_vectors.write(session, model, [text_hash(words)], [packed(embedder.vectors(words))])
    engine = create_reading_engine(database_url)
    reading = create_sessions(engine)
    try:
        for audience, seen in ((None, 0), (EVERYONE, 1), (Audience(frozenset({"user:email:ann@example.com"})), 1)):
            async with reading() as session:
                if audience is not None:
                    await admit(session, audience)
                assert (await session.execute(model.sql("SELECT count(*) FROM @TOKENS"))).scalar_one() == seen
        async with reading() as session:
            with pytest.raises(ProgrammingError, match="permission denied"):
                await session.execute(model.sql("DELETE FROM @TOKENS"))
        async with sessions() as session:
            ids = list((await session.execute(text("SELECT id FROM chunks ORDER BY id"))).scalars())
        async with reading() as session:
            await admit(session, EVERYONE)
            found = await hybrid.passages(session, ids, EVERYONE, model)
        assert [row.external_id for row in found.values()] == ["a.md"]
        assert all(row.tokens for row in found.values())
    finally:
        await engine.dispose()


async def test_of_equal_scores_the_nearer_words_come_first_and_scores_keep_falling(sessions: Sessions) -> None:
    embedder = TokenWords()
    pages = [item(f"{n}.md", f"Harbour {'crane' if n == 3 else 'valve'} number{n}.") for n in range(FIRST + 5)]
    await ingest(sessions, embedder, *pages)
    searcher = Searcher(sessions, embedder)
    before = (await searcher.ranked(PAIRS).search("harbour", audience=EVERYONE, limit=25)).hits
    tokens = searcher.ranked(TOKENS)
    after = (await tokens.search("harbour", audience=EVERYONE, limit=25)).hits
    assert {hit.chunk_id for hit in after} == {hit.chunk_id for hit in before}
    assert [hit.score for hit in after] == [hit.score for hit in before]
    assert [hit.chunk_id for hit in after[FIRST:]] == [hit.chunk_id for hit in before[FIRST:]]
    for limit in (1, 5, FIRST):
        few = (await tokens.search("harbour", audience=EVERYONE, limit=limit)).hits
        assert [hit.chunk_id for hit in few] == [hit.chunk_id for hit in after[:limit]]
    follow = await tokens.search("harbour", audience=EVERYONE, carried=[Carried("crane", 0.0, 0.0001)])
    assert len(follow.hits) == 10


async def test_the_stage_is_the_one_that_is_described(sessions: Sessions) -> None:
    """Scores, pairs and fits of the real index, added up here and sorted, are the order that comes out."""
    embedder = TokenWords()
    chance = np.random.default_rng(3)
    names = ["crane", "valve", "rope", "ledger", "store", "trust", "noon", "canteen"]
    pages = [item(f"{n}.md", " ".join(chance.choice(names, 6)) + f" x{n}.") for n in range(18)]
    await ingest(sessions, embedder, *pages)
    searcher = Searcher(sessions, embedder)
    question = "crane rope"
    before = (await searcher.ranked(PAIRS).search(question, audience=EVERYONE, limit=18)).hits
    after = (await searcher.ranked(TOKENS).search(question, audience=EVERYONE, limit=18)).hits
    kept = await stored(sessions)
    one = await ask(embedder, question)
    assert one.tokens is not None
    fit = {hit.external_id: plainly([Asked(one.tokens)], kept[text_hash(f"Guide\n{hit.text}")]) for hit in before}
    plain = (await searcher.ranked(FEEDBACK).search(question, audience=EVERYONE, limit=18)).hits
    score = {hit.external_id: hit.score for hit in plain}
    weights = (await searcher.search(question, audience=EVERYONE)).term_weights
    wanted = pairs.asked(question, weights)
    total = {
        hit.external_id: score[hit.external_id]
        + TOKENS.pairs * pairs.share(wanted, ("Guide", hit.text))
        + TOKENS.tokens * fit[hit.external_id]
        for hit in before
    }
    found = [total[hit.external_id] for hit in after]
    assert found == sorted(found, reverse=True)
    assert [hit.external_id for hit in after] != [hit.external_id for hit in before]


async def test_the_model_gives_both_in_one_pass(embedder: TransformerEmbedder) -> None:
    texts = ["To roll back a deployment, run ferry rollback.", "Lunch."]
    assert await gives_tokens(embedder)
    rows, kept = await embed_with_tokens(embedder, texts)
    assert np.allclose(rows, await embedder.embed(texts), atol=1e-3)
    assert kept is not None
    for words, each, row in zip(texts, kept, rows, strict=True):
        found = unpacked(each)
        assert found.shape == (embedder.count_tokens([words])[0], 384)
        assert float(unit(found.mean(axis=0, keepdims=True))[0] @ row) > 0.8  # the vector is about their mean
    question = await embedder.ask("How do I undo a release?")
    assert np.array_equal(question.vector, await embedder.embed_query("How do I undo a release?"))
    assert question.tokens is not None
    assert question.tokens.shape == (7, 384)  # without the two around it
    assert np.allclose(np.linalg.norm(question.tokens.astype(np.float32), axis=1), 1, atol=1e-2)
    near = fits([Asked(question.tokens)], kept)
    assert near is not None
    assert near[0] > near[1] + 0.1
    long = await embedder.ask("harbour " * 200)
    assert long.tokens is not None
    assert len(long.tokens) == ASKED
    blank = await embedder.ask("")
    assert blank.tokens is not None
    assert len(blank.tokens) == 0
    assert (await embed_with_tokens(embedder, []))[1] == []


async def test_a_model_that_is_not_asked_for_them_gives_none(tmp_path: Path) -> None:
    folder = await asyncio.to_thread(save_small_model, tmp_path / "small", dimensions=64)
    for wanted in (True, False):
        embedder = TransformerEmbedder(str(folder), threads=1, tokens=wanted)
        assert await gives_tokens(embedder) is wanted
        rows, kept = await embed_with_tokens(embedder, ["Lunch."])
        assert rows.shape == (1, 64)  # those of tokens are as wide as the model is
        assert (kept is not None) is wanted
        assert ((await ask(embedder, "Lunch?")).tokens is not None) is wanted
        await embedder.close()
    assert not await gives_tokens(WordEmbedder())
    assert (await ask(WordEmbedder(), "Lunch?")).tokens is None
    assert (await embed_with_tokens(WordEmbedder(), ["Lunch."]))[1] is None


async def test_searching_without_any_is_ranking_without(sessions: Sessions) -> None:
    await ingest(sessions, TokenWords(gives=False), *PAGES)
    for embedder in (TokenWords(), TokenWords(gives=False), WordEmbedder()):
        found = [
            (await Searcher(sessions, embedder, ranking).search("trust store", audience=EVERYONE)).hits
            for ranking in (TOKENS, PAIRS)
        ]
        assert found[0] == found[1]
        assert found[0][0].external_id == "a.md"
