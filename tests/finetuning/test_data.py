"""What a model is trained on: only what everybody may read, voted for by people who take part, each text once."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from assistant.answering.prompts import SYSTEM
from assistant.database import finetuning
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Chunk, Document, Vote
from tests.core.parts import Page, WordEmbedder, document_ids, shelve
from workers.finetuning import data
from workers.finetuning.duplicates import Seen

WORDS = (
    "ferry harbour ledger rollback canary shard replica gateway token quota worker queue pager cluster volume".split()
)
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


def prose(seed: int, sentences: int = 12) -> str:
    """Text of its own for each seed."""
    return " ".join(
        f"The {WORDS[(seed * 7 + at) % 15]} {seed}-{at} restarts {WORDS[(seed * 3 + at * 5) % 15]} after {seed + at} s."
        for at in range(sentences)
    )


def page(n: int, **changed: Any) -> Page:
    return Page(**{"external_id": f"p{n}.md", "title": f"Page {n}", "passages": (prose(n), prose(n + 1000)), **changed})


async def answer(sessions: Sessions, passages: list[tuple[int, str, int]], **changed: Any) -> uuid.UUID:
    """An answer with an up-vote; ``passages``: (number, external id, chunk id)."""
    votes = changed.pop("votes", {"slack:T1:U9": 1})
    cited = [
        {"n": n, "external_id": name, "chunk_id": chunk, "title": "Page", "heading_path": ["How"], "quote": "x"}
        for n, name, chunk in passages
    ]
    row = {
        "id": uuid.uuid4(), "platform": "slack", "conversation": "c", "asker": "slack:T1:U1", "audience": ["everyone"],
        "question": "How do I roll back?", "outcome": "answered", "text": "Run it [1].", "citations": cited,
        "nearest": [], "retrieval": [], "timings_ms": {}, "model": "m", "prompt_tokens": 0, "completion_tokens": 0,
        "cost_usd": 0.0, **changed,
    }  # fmt: skip
    async with sessions.begin() as session:
        await session.execute(insert(Answer).values(**row))
        for person, value in votes.items():
            vote = {"answer_id": row["id"], "person": person, "value": value, "retrieval": []}
            await session.execute(insert(Vote).values(**vote))
    return row["id"]


async def chunk_ids(sessions: Sessions) -> dict[str, int]:
    """External id -> its first chunk."""
    from sqlalchemy import select

    async with sessions() as session:
        statement = select(Document.external_id, Chunk.id).join(Document).where(Chunk.ordinal == 0)
        return {name: chunk for name, chunk in await session.execute(statement)}  # noqa: C416


async def test_only_whole_documents_that_everybody_may_read_are_taken_once(sessions: Sessions, tmp_path: Path) -> None:
    source = await shelve(
        sessions, WordEmbedder(),
        *(page(n) for n in range(40)),
        page(50, readers=("group:payments",)),
        page(51, passages=("Too short.",)),
        page(52, passages=(prose(3), prose(1003)), title="Page 3"),  # again, under another name
        page(53, passages=(prose(4) + " One more sentence.", prose(1004)), title="Page 4"),
        page(54),
    )  # fmt: skip
    ids = await document_ids(sessions, source)
    async with sessions.begin() as session:
        labelled = update(Document).where(Document.id == ids["p54.md"]).values(details={"sensitivity": "Confidential"})
        await session.execute(labelled)
    found = await data.collect(sessions, "documents", held_out=0.25)
    assert dict(found.left_out) == {
        "documents that not everybody may read": 1,
        "documents shorter than 200 characters": 1,
        "documents that repeat another (exact)": 1,
        "documents that repeat another (near)": 1,
        "documents with a label that narrows them": 1,
    }
    names = [{row["id"] for row in part} for part in (found.train, found.held_out)]
    assert not names[0] & names[1]
    assert names[0] | names[1] == {f"folder:p{n}.md" for n in range(40)}
    assert 3 <= len(names[1]) <= 20
    text = next(row["text"] for row in found.train if row["id"] == min(names[0]))
    assert text.startswith("# Page ")
    assert "The " in text
    wider = await data.collect(sessions, "documents", readers=("everyone", "group:payments"))
    assert "folder:p50.md" in {row["id"] for row in wider.train + wider.held_out}
    card = data.write(found, tmp_path)
    (kept,) = card["sources"]
    assert (kept["kind"], kept["documents"]) == ("folder", 40)
    assert card["parts"]["train"]["documents"] + card["parts"]["held_out"]["documents"] == 40
    words = (tmp_path / "DATA.md").read_text()
    assert "documents that not everybody may read (1)" in words
    assert "not stated" in words


async def test_the_same_index_makes_the_same_bytes_and_a_document_stays_on_its_side(
    sessions: Sessions, tmp_path: Path
) -> None:
    await shelve(sessions, WordEmbedder(), *(page(n) for n in range(30)))
    first = await data.collect(sessions)
    data.write(first, tmp_path / "a")
    data.write(await data.collect(sessions), tmp_path / "b")
    for name in ("train.jsonl", "held_out.jsonl", "data_card.json", "DATA.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "a" / "train.jsonl").read_text().splitlines()]
    assert rows == first.train
    await shelve(sessions, WordEmbedder(), *(page(n) for n in range(100, 130)))
    later = await data.collect(sessions)
    before = {row["id"] for row in first.held_out}
    assert before == {row["id"] for row in later.held_out} & {row["id"] for row in first.train + first.held_out}
    part = await data.collect(sessions, max_tokens=2_000)
    size = sum(len(row["text"]) for row in part.train + part.held_out)
    assert 4_000 < size <= 8_000
    assert part.left_out["documents beyond 2,000 tokens"] > 40


async def test_an_upvoted_answer_becomes_a_conversation_and_all_others_are_accounted_for(sessions: Sessions) -> None:
    await shelve(sessions, WordEmbedder(), *(page(n) for n in range(4)), page(9, readers=("group:payments",)))
    chunks = await chunk_ids(sessions)
    secret, gone = ("p9.md", chunks["p9.md"]), ("p0.md", 10**9)
    async with sessions.begin() as session:
        await finetuning.opt_out(session, "slack:T1:U7", True)
    good = await answer(
        sessions, [(4, "p1.md", chunks["p1.md"]), (2, "p0.md", chunks["p0.md"])],
        question="How is the ferry taken back? I am bo@example.com",
        text=f"With `ferry back` [4], and the token {SECRET} [2][7].",
    )  # fmt: skip
    one = [(1, "p2.md", chunks["p2.md"])]
    older = await answer(sessions, one, question="Where is the ledger?", text="Old [1].")
    newer = await answer(sessions, one, question="where is  the LEDGER?", text="New [1].")
    await answer(sessions, one, question="down?", votes={"slack:T1:U9": -1})
    await answer(sessions, one, question="even?", votes={"slack:T1:U9": -1, "slack:T1:U8": 1})
    await answer(sessions, one, question="by one who takes no part?", votes={"slack:T1:U7": 1})
    await answer(sessions, one, question="asked by one?", asker="slack:T1:U7")
    await answer(sessions, one, question="private?", private=True)
    await answer(sessions, [(1, *secret)], question="salaries?")
    await answer(sessions, [(1, *gone)], question="gone?")
    await answer(sessions, [], question="cites nothing?")
    await answer(sessions, one, question="measured?", platform="evaluation")
    found = await data.collect(sessions, "answers")
    rows = {row["id"]: row for row in found.train + found.held_out}
    assert set(rows) == {f"answer:{good}", f"answer:{newer}"}
    assert f"answer:{older}" not in rows
    assert dict(found.left_out) == {
        "older answers to the same question": 1,
        "answers to people who do not take part": 1,
        "private answers": 1,
        "answers that rest on what not everybody may read": 1,
        "answers whose passages are gone, or are a tool's": 1,
        "answers that cite nothing": 1,
    }
    row = rows[f"answer:{good}"]
    system, user, said = row["messages"]
    assert (system["role"], user["role"], said["role"]) == ("system", "user", "assistant")
    assert system["content"] == SYSTEM
    assert user["content"].index(prose(0)) < user["content"].index(prose(1))  # by number
    assert re.fullmatch(r"With `ferry back` \[2\], and the token <[A-Z_]+_1> \[1\]\.", said["content"])
    assert row["question"] == "How is the ferry taken back? I am <EMAIL_1>"
    assert row["passages"] == [prose(0), prose(1)]
    assert found.redacted.total() == 2
    assert not any(SECRET in json.dumps(one) or "bo@example.com" in json.dumps(one) for one in rows.values())
    assert data.messages("q?", ["text"])[1]["content"].endswith("Question: q?")


async def test_an_answer_is_held_out_with_its_document(sessions: Sessions) -> None:
    await shelve(sessions, WordEmbedder(), *(page(n) for n in range(30)))
    chunks = await chunk_ids(sessions)
    for name, chunk in chunks.items():
        await answer(sessions, [(1, name, chunk)], question=f"What of {name}?")
    found = await data.collect(sessions, "both", held_out=0.3)
    held = {row["id"].removeprefix("folder:") for row in found.held_out if row["kind"] == "document"}
    asked = {row["question"][8:-1] for row in found.held_out if row["kind"] == "answer"}
    assert held == asked
    assert 2 <= len(held) < 20


async def test_without_texts_there_is_a_sentence(sessions: Sessions) -> None:
    with pytest.raises(data.NothingToLearn, match=r"^There is nothing to train on: 0 texts are usable\.$"):
        await data.collect(sessions)
    await shelve(sessions, WordEmbedder(), page(1), page(2, readers=("group:x",)))
    with pytest.raises(data.NothingToLearn, match=r"left out: 1 documents that not everybody may read"):
        await data.collect(sessions)
    await shelve(sessions, WordEmbedder(), page(3))
    found = await data.collect(sessions, held_out=0.0)
    assert (len(found.train), len(found.held_out)) == (1, 1)


def test_near_copies_are_found_and_other_texts_are_not() -> None:
    seen = Seen()
    long = prose(1, 40)
    assert seen.is_new(long) is None
    assert seen.is_new(long.upper().replace(".", " .")) == "exact"
    assert seen.is_new(long.replace("after 20 s", "after ninety s")) == "near"
    assert seen.is_new(prose(2, 40)) is None
    half = prose(1, 20) + prose(5, 20)
    assert seen.is_new(half) is None
    assert [seen.is_new(""), seen.is_new("")] == [None, "exact"]
