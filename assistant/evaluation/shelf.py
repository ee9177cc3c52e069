"""Documents put straight into an index, for evaluations that need to know every word and every reader of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assistant.database import documents
from assistant.database.folders import folder_source
from assistant.database.session import Sessions
from assistant.knowledge.documents import Chunk, ParsedDocument, SourceItem
from assistant.knowledge.embedding import Embedder


@dataclass(frozen=True, slots=True)
class ShelvedPage:
    """A document of one passage."""

    external_id: str
    title: str
    text: str
    readers: tuple[str, ...] = ("everyone",)


async def shelve(sessions: Sessions, embedder: Embedder, pages: Sequence[ShelvedPage], folder: str) -> None:
    """Write the pages, each in the place of the one with its id; ``folder`` names their source."""
    async with sessions.begin() as session:
        await documents.ensure_statistics(session, embedder.name)
        source_id, _ = await folder_source(session, folder)
    chunks = [Chunk(0, page.text) for page in pages]
    texts = [chunk.embedded_text(page.title) for page, chunk in zip(pages, chunks, strict=True)]
    vectors = await embedder.embed(texts)
    for page, chunk, vector in zip(pages, chunks, vectors, strict=True):
        item = SourceItem(page.external_id, page.external_id, page.text.encode(), None, page.readers)
        ready = documents.PreparedDocument(item, ParsedDocument(page.title, ()), [chunk], vector[None, :])
        async with sessions.begin() as session:
            await documents.replace(session, source_id, ready)
