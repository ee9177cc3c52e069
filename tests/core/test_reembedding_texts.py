"""A new model is given the very texts that the old one was, with what each chunk repeats of the one before it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from assistant.database import vectors
from assistant.database.folders import folder_source
from assistant.database.session import Sessions
from assistant.knowledge import reembedding
from assistant.knowledge.documents import SourceItem, text_hash
from assistant.knowledge.embedding import Vectors
from tests.core.parts import Page, WordEmbedder, shelve
from workers.ingestion.pipeline import Ingestion
from workers.ingestion.report import Report


class Remembering(WordEmbedder):
    """Keeps what it embeds."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return await super().embed(texts)


async def test_a_new_model_embeds_what_the_old_one_did(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Remembering(), Remembering()
    parts = [f"## Part {n}\n\n{f'Step {n} takes the key out of its vault. ' * 8}\nThen comes {n}.\n" for n in range(9)]
    item = SourceItem("keys.md", "keys.md", "\n".join(["# Keys", *parts]).encode())
    # As an index made by earlier rules has it: nothing repeated.
    await shelve(sessions, first, Page("old.md", "Old", ("Keys live in the vault.", "They expire.")))
    async with sessions.begin() as session:
        source_id, _ = await folder_source(session, "/handbook")
    report = Report()
    await Ingestion(sessions, first, 100_000).ingest_items(source_id, {"keys.md": item}, report)
    assert (report.added, report.failed) == (1, [])
    repeating = [text for text in first.texts if text.startswith("Keys > Part") and text.count("Then comes") == 2]
    assert len(repeating) == 8

    async def embedder_of(given: object, model: vectors.Model) -> Remembering:
        return second

    async def done(*progress: object) -> None:
        return None

    monkeypatch.setattr(reembedding, "embedder_of", embedder_of)
    monkeypatch.setattr(reembedding, "BATCH", 4)  # the chunk before is often of the batch before
    async with sessions.begin() as session:
        model = await vectors.add(session, "second", second.dimensions, "building")
    await reembedding.fill(sessions, second, "second", done)
    assert sorted(second.texts) == sorted(set(first.texts))
    async with sessions() as session:
        rows = await session.execute(model.sql("SELECT text_hash FROM @VECTORS"))
        assert set(rows.scalars()) == {text_hash(text) for text in second.texts}
