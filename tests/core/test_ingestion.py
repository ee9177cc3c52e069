"""The index follows a folder: what is new, changed, gone or broken, and nothing else."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from assistant.database import failures, sightings
from assistant.database.folders import folder_source
from assistant.database.session import Sessions
from assistant.database.tables import Chunk, Document, DocumentFailure, Source
from assistant.knowledge.documents import ParsedDocument
from assistant.knowledge.embedding import Vectors
from tests.core.parts import WordEmbedder
from tests.core.test_search import exact
from workers.ingestion.parse import parse
from workers.ingestion.pipeline import Ingestion, Report


class CountingEmbedder(WordEmbedder):
    """Says how many texts it was given."""

    def __init__(self) -> None:
        self.texts = 0

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += len(texts)
        return await super().embed(texts)


class Shelf:
    """A folder and the index that follows it."""

    def __init__(self, sessions: Sessions, folder: Path) -> None:
        self.sessions = sessions
        self.folder = folder
        self.embedder = CountingEmbedder()

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    async def ingest(self, path: Path | None = None) -> Report:
        report = Report()
        await Ingestion(self.sessions, self.embedder, 100_000).ingest_path(path or self.folder, report)
        assert report.done == report.total
        await exact(self.sessions)
        return report

    async def held(self) -> dict[str, tuple[str, str]]:
        """External id -> (source's folder name, text)."""
        async with self.sessions() as session:
            rows = await session.execute(
                select(Document.external_id, Source.location, Chunk.text)
                .join(Source, Source.id == Document.source_id)
                .join(Chunk, Chunk.document_id == Document.id)
            )
            found = [(name, (Path(location).name, text)) for name, location, text in rows]
        assert len(found) == len(dict(found))  # one passage each, and no document twice
        return dict(found)

    async def failures(self) -> dict[str, str]:
        async with self.sessions() as session:
            rows = await session.execute(select(DocumentFailure.external_id, DocumentFailure.reason))
            return {name: reason for name, reason in rows}  # noqa: C416 - rows are not pairs

    async def sources(self) -> list[str]:
        async with self.sessions() as session:
            return sorted(Path(path).name for path in (await session.execute(select(Source.location))).scalars())


@pytest.fixture
def shelf(sessions: Sessions, tmp_path: Path) -> Shelf:
    folder = tmp_path / "docs"
    folder.mkdir()
    return Shelf(sessions, folder)


def counts(report: Report) -> tuple[int, int, int, int, int]:
    return report.added, report.updated, report.unchanged, report.removed, len(report.failed)


async def test_the_index_follows_the_folder(shelf: Shelf) -> None:
    shelf.write("a.md", "# A\n\nDeploy with ferry.")
    shelf.write("sub/b.txt", "Roll back with ferry.")
    assert counts(await shelf.ingest()) == (2, 0, 0, 0, 0)
    assert {name: text for name, (_, text) in (await shelf.held()).items()} == {
        "a.md": "Deploy with ferry.",
        "sub/b.txt": "Roll back with ferry.",
    }
    embedded = shelf.embedder.texts
    assert counts(await shelf.ingest()) == (0, 0, 2, 0, 0)
    assert shelf.embedder.texts == embedded  # what is unchanged is not embedded again
    shelf.write("a.md", "# A\n\nDeploy with barge.")
    shelf.write("c.md", "Ask Mia.")
    (shelf.folder / "sub/b.txt").unlink()
    assert counts(await shelf.ingest()) == (1, 1, 0, 1, 0)
    assert {name: text for name, (_, text) in (await shelf.held()).items()} == {
        "a.md": "Deploy with barge.",
        "c.md": "Ask Mia.",
    }


async def test_an_emptied_folder_empties_the_index(shelf: Shelf) -> None:
    shelf.write("a.md", "Deploy.")
    await shelf.ingest()
    (shelf.folder / "a.md").unlink()
    assert counts(await shelf.ingest()) == (0, 0, 0, 1, 0)
    assert await shelf.held() == {}


async def test_a_bad_file_fails_alone_and_is_not_parsed_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.write("good.md", "Deploy with ferry.")
    shelf.write("bad.pdf", b"%PDF-1.7 broken")
    report = await shelf.ingest()
    assert counts(report) == (1, 0, 0, 0, 1)
    [failed] = report.failed
    assert failed["path"] == "bad.pdf"
    assert await shelf.failures() == {"bad.pdf": failed["reason"]}
    parsed: list[str] = []

    def noting(name: str, content: bytes) -> ParsedDocument:
        parsed.append(name)
        return parse(name, content)

    monkeypatch.setattr("workers.ingestion.preparing.parse", noting)
    again = await shelf.ingest()
    assert again.failed == report.failed  # it is still told
    assert parsed == []
    shelf.write("bad.pdf", b"%PDF-1.7 broken in another way")
    await shelf.ingest()
    assert parsed == ["bad.pdf"]


async def test_a_failure_goes_with_its_file(shelf: Shelf) -> None:
    shelf.write("bad.docx", b"broken")
    shelf.write("empty.md", b" ")
    await shelf.ingest()
    assert set(await shelf.failures()) == {"bad.docx", "empty.md"}
    (shelf.folder / "bad.docx").unlink()
    shelf.write("empty.md", "Now it says something.")
    await shelf.ingest()
    assert await shelf.failures() == {}


async def test_a_file_that_breaks_keeps_its_last_good_version_and_mends(shelf: Shelf) -> None:
    shelf.write("a.md", "Deploy with ferry.")
    await shelf.ingest()
    shelf.write("a.md", b"")
    assert counts(await shelf.ingest()) == (0, 0, 0, 0, 1)
    assert set(await shelf.held()) == {"a.md"}
    shelf.write("a.md", "Deploy with ferry.")  # the very bytes that are indexed
    assert counts(await shelf.ingest()) == (0, 0, 1, 0, 0)
    assert await shelf.failures() == {}


async def test_a_single_file_belongs_to_its_folder(shelf: Shelf) -> None:
    path = shelf.write("a.md", "Deploy.")
    shelf.write("b.md", "Roll back.")
    assert counts(await shelf.ingest(path)) == (1, 0, 0, 0, 0)
    assert set(await shelf.held()) == {"a.md"}
    assert counts(await shelf.ingest()) == (1, 0, 1, 0, 0)
    path.write_text("Deploy again.")
    (shelf.folder / "b.md").unlink()
    assert counts(await shelf.ingest(path)) == (0, 1, 0, 0, 0)
    assert set(await shelf.held()) == {"a.md", "b.md"}  # only the one file was asked for
    assert await shelf.sources() == ["docs"]


async def test_a_parent_takes_in_what_its_child_holds(shelf: Shelf) -> None:
    shelf.write("sub/a.md", "Deploy.")
    shelf.write("other/b.md", "Roll back.")
    shelf.write("other/broken.pdf", b"%PDF-1.7")
    await shelf.ingest(shelf.folder / "sub")
    await shelf.ingest(shelf.folder / "other")
    embedded = shelf.embedder.texts
    shelf.write("top.md", "Ask Mia.")
    assert counts(await shelf.ingest()) == (1, 0, 2, 0, 1)
    assert set(await shelf.held()) == {"sub/a.md", "other/b.md", "top.md"}
    assert set(await shelf.failures()) == {"other/broken.pdf"}
    assert await shelf.sources() == ["docs"]
    assert shelf.embedder.texts == embedded + 1


async def test_a_child_after_its_parent_touches_its_part_alone(shelf: Shelf) -> None:
    shelf.write("sub/a.md", "Deploy.")
    shelf.write("sub2/b.md", "Roll back.")
    shelf.write("c.md", "Ask Mia.")
    await shelf.ingest()
    for name in ("sub/a.md", "sub2/b.md", "c.md"):
        (shelf.folder / name).unlink()
    shelf.write("sub/new.md", "Page Tom.")
    assert counts(await shelf.ingest(shelf.folder / "sub")) == (1, 0, 0, 1, 0)
    assert set(await shelf.held()) == {"sub/new.md", "sub2/b.md", "c.md"}
    assert await shelf.sources() == ["docs"]


@pytest.mark.parametrize(("first", "second"), [("a_b", "axb"), ("a%", "a-long-name"), ("team", "team-two")])
async def test_folders_with_like_names_stay_apart(shelf: Shelf, first: str, second: str) -> None:
    shelf.write(f"{first}/x.md", "Deploy.")
    shelf.write(f"{second}/x.md", "Roll back.")
    await shelf.ingest(shelf.folder / first)
    await shelf.ingest(shelf.folder / second)
    assert await shelf.sources() == sorted([first, second])
    (shelf.folder / second / "x.md").unlink()
    assert counts(await shelf.ingest(shelf.folder / second)) == (0, 0, 0, 1, 0)
    assert await shelf.held() == {"x.md": (first, "Deploy.")}


async def test_what_is_hidden_or_no_file_is_left_out(shelf: Shelf) -> None:
    shelf.write("a.md", "Deploy.")
    shelf.write(".secret.md", "No.")
    shelf.write(".git/b.md", "No.")
    shelf.write("node_modules/c.md", "No.")
    (shelf.folder / "loop").symlink_to(shelf.folder, target_is_directory=True)
    (shelf.folder / "dangling.md").symlink_to(shelf.folder / "gone.md")
    (shelf.folder / "self.md").symlink_to(shelf.folder / "self.md")
    os.mkfifo(shelf.folder / "pipe.md")
    report = await shelf.ingest()
    assert counts(report) == (1, 0, 0, 0, 0)
    assert set(await shelf.held()) == {"a.md"}


async def test_a_file_that_is_too_large_is_not_read(shelf: Shelf) -> None:
    shelf.write("big.md", b"word " * 30_000)
    report = await shelf.ingest()
    assert "too large" in report.failed[0]["reason"]
    assert "ALMANAC_FILE_MAX_MB" in report.failed[0]["reason"]


async def test_a_name_that_is_not_utf_8_harms_no_other(shelf: Shelf) -> None:
    shelf.write("a.md", "Deploy.")
    name = os.fsencode(shelf.folder) + b"/caf\xe9.md"
    with open(name, "wb") as file:
        file.write(b"Roll back.")
    with open(name.replace(b".md", b".pdf"), "wb") as file:
        file.write(b"broken")
    assert counts(await shelf.ingest()) == (2, 0, 0, 0, 1)
    assert len(await shelf.held()) == 2
    assert counts(await shelf.ingest()) == (0, 0, 2, 0, 1)


async def test_a_file_that_moves_keeps_its_vectors_only_where_its_name_stays(shelf: Shelf) -> None:
    """The same folder found at another place: only the links change."""
    shelf.write("a.md", "Deploy.")
    await shelf.ingest()
    embedded = shelf.embedder.texts
    async with shelf.sessions.begin() as session:
        document = (await session.execute(select(Document))).scalar_one()
        document.url = "file:///old/a.md"
    assert counts(await shelf.ingest()) == (0, 1, 0, 0, 0)
    assert shelf.embedder.texts == embedded


async def test_many_files_are_more_than_a_statement_has_parameters(sessions: Sessions) -> None:
    listing = uuid.uuid4()
    async with sessions.begin() as session:
        source_id, _ = await folder_source(session, "/handbook")
        await failures.record_failure(session, source_id, "old.md", None, "gone")
        await failures.record_failure(session, source_id, "5.md", None, "broken")
        await sightings.see(session, listing, [f"{n}.md" for n in range(70_000)])
        await failures.forget_unseen_failures(session, source_id, "", listing)
        assert await failures.failures_to_retry(session, source_id, due=False) == ["5.md"]
        assert await sightings.unseen(session, source_id, "", listing, 10) == {}
