"""An index that another text analysis made answers as it is, and the next sync of its sources reads it again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, text

from assistant.database import documents, status
from assistant.database.tables import Document
from assistant.knowledge import lexical
from assistant.knowledge.analysis import analysis
from assistant.knowledge.audience import Audience
from bot.console import outdated_note
from tests.ingestion.source_station import Station

WORDS = ("ferry", "ledger", "kube-proxy", "quokka")


async def filled(desk: Station, docs: Path) -> int:
    docs.mkdir()
    for word in WORDS:
        (docs / f"{word}.md").write_text(f"# The {word}\n\nThe {word} is looked after by the team of the {word}.")
    source = await desk.add("folder", str(docs))
    assert await desk.sync(source) == {"added": len(WORDS)}
    return source


async def as_of_another_version(desk: Station, number: int = 7) -> None:
    """Chunks as an analysis made them that gave words no numbers of ours, and embedded another text."""
    async with desk.sessions.begin() as session:
        await session.execute(text("UPDATE documents SET analysis = :number"), {"number": number})


async def outdated(desk: Station) -> int:
    async with desk.sessions() as session:
        return (await status.counts(session))["outdated"]


async def found(desk: Station, word: str) -> list[str]:
    result = await desk.services.searcher.search(word, audience=Audience.everyone(), limit=1)
    return [hit.external_id for hit in result.hits]


def test_the_number_is_the_same_in_every_process() -> None:
    code = "from assistant.knowledge.analysis import analysis; print(analysis())"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert int(told.stdout) == analysis() > 0


def replace_stemmer(patch: pytest.MonkeyPatch, stem: Callable[[list[str]], list[str]]) -> None:
    """Also for words whose terms are remembered."""
    patch.setattr(lexical, "_stem", stem)
    for remembering in (lexical._known, lexical._stem_of):
        patch.setattr(lexical, remembering.__name__, remembering.__wrapped__)


@pytest.mark.parametrize("change", ["stop word", "stemmer", "title's weight", "k1"])
def test_the_number_follows_what_the_analysis_does(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = analysis()
    module = sys.modules[analysis.__module__]
    if change == "stop word":
        monkeypatch.setattr(module, "STOP_WORDS", lexical.STOP_WORDS - {"the"})
    elif change == "stemmer":
        replace_stemmer(monkeypatch, lambda words: words)
    elif change == "k1":
        monkeypatch.setattr(module, "K1", 1.3)
    else:
        monkeypatch.setattr(lexical, "CONTEXT_WEIGHT", lexical.CONTEXT_WEIGHT + 1)
    assert analysis.__wrapped__() != before


async def test_the_next_sync_reads_again_what_another_analysis_made(desk: Station, tmp_path: Path) -> None:
    source = await filled(desk, tmp_path / "docs")
    async with desk.sessions() as session:
        day = (await session.execute(select(Document.external_id, Document.indexed_at))).all()
    await as_of_another_version(desk)
    assert await outdated(desk) == len(WORDS)
    assert [await found(desk, word) for word in WORDS] == [[f"{word}.md"] for word in WORDS]  # old rows answer
    assert await desk.sync(source) == {"unchanged": len(WORDS)}
    assert await outdated(desk) == 0
    assert [await found(desk, word) for word in WORDS] == [[f"{word}.md"] for word in WORDS]
    async with desk.sessions() as session:  # what has not changed is not of today
        assert sorted((await session.execute(select(Document.external_id, Document.indexed_at))).all()) == sorted(day)
    calls = desk.embedder.calls
    assert await desk.sync(source) == {"unchanged": len(WORDS)}
    assert desk.embedder.calls == calls


async def test_what_comes_out_of_it_is_what_this_version_makes(
    desk: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index made with another stemmer is, after a sync, the one that was never made otherwise."""
    docs = tmp_path / "docs"
    with monkeypatch.context() as other:
        replace_stemmer(other, lambda words: [word[::-1] for word in words])
        other.setattr(documents, "analysis", lambda: 7)
        source = await filled(desk, docs)
    rows = "SELECT d.external_id, c.terms, c.text_hash FROM chunks c JOIN documents d ON d.id = document_id ORDER BY 1"
    async with desk.sessions() as session:
        before = (await session.execute(text(rows))).all()
    assert await desk.sync(source) == {"unchanged": len(WORDS)}
    async with desk.sessions() as session:
        after = (await session.execute(text(rows))).all()
    assert [row.external_id for row in after] == [row.external_id for row in before]
    for row in after:
        assert row.terms == sorted(lexical.frequencies((docs / row.external_id).read_text(), "").keys())
    assert all(row.terms != old.terms for row, old in zip(after, before, strict=True))
    assert [row.text_hash for row in after] == [row.text_hash for row in before]  # so nothing was embedded again


async def test_a_source_of_changes_lists_everything_once(desk: Station, tmp_path: Path) -> None:
    """git would name only what a commit has changed since."""
    docs = tmp_path / "docs"
    docs.mkdir()

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=docs, check=True, capture_output=True)

    for word in WORDS:
        (docs / f"{word}.md").write_text(f"# The {word}\n\nThe {word} is looked after.")
    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "first")
    source = await desk.add("git", str(docs))
    assert await desk.sync(source) == {"added": len(WORDS)}
    assert await desk.sync(source) == {}  # no commit, nothing named
    await as_of_another_version(desk)
    assert await desk.sync(source) == {"unchanged": len(WORDS)}
    assert await outdated(desk) == 0
    assert await desk.sync(source) == {}


async def test_what_cannot_be_read_again_stays_and_holds_up_nothing(desk: Station, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    source = await filled(desk, docs)
    await as_of_another_version(desk)
    (docs / "ledger.md").write_bytes(b"\x00\x01\x02" * 100)
    assert await desk.sync(source) == {"unchanged": len(WORDS) - 1, "failed": 1}
    assert await found(desk, "ledger") == ["ledger.md"]  # as it was
    assert await outdated(desk) == 1
    (docs / "ledger.md").write_text("# The ledger\n\nThe ledger is looked after by nobody.")
    assert await desk.sync(source) == {"unchanged": len(WORDS) - 1, "updated": 1}
    assert await outdated(desk) == 0


async def test_a_sync_that_fails_half_way_is_made_up_for_by_the_next(
    desk: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = await filled(desk, tmp_path / "docs")
    await as_of_another_version(desk)
    with monkeypatch.context() as broken:
        broken.setattr(documents, "replace_all", failing)
        with pytest.raises(RuntimeError, match="gone"):
            await desk.run(source=source)
    assert await outdated(desk) == len(WORDS)
    assert await desk.sync(source) == {"unchanged": len(WORDS)}
    assert await outdated(desk) == 0


async def failing(*_: object) -> None:
    raise RuntimeError("gone")


def test_people_are_told_in_one_sentence() -> None:
    assert outdated_note(0) == ""
    one, many = outdated_note(1), outdated_note(1_234)
    assert one.startswith("1 document was made by another version's text analysis")
    assert many.startswith("1,234 documents were made by another version's text analysis")
    assert "next sync" in many
    assert many.count(".") == 0
