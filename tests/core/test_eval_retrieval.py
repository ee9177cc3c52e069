"""``almanac eval retrieval``: its numbers against numbers worked out by hand, its schema, its sentences."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import event, select, text

from assistant.database import documents, vectors
from assistant.database.migrate import head
from assistant.database.scratch import PREFIX, scratch_schema
from assistant.database.session import Sessions, create_engine, create_reading_engine, create_sessions
from assistant.database.tables import Document
from assistant.evaluation.collection import BadCollection, Collection, items, read_collection
from assistant.evaluation.measures import intervals, per_query
from assistant.evaluation.remembered import Remembered
from assistant.evaluation.report import document
from assistant.evaluation.retrieval import best_documents, evaluate
from assistant.knowledge.audience import Audience
from assistant.knowledge.ranking import ARMS, BM25, DENSE, HYBRID
from assistant.knowledge.search import Searcher
from tests.core.parts import Page, WordEmbedder, hit, shelve

TEXTS = {
    "ferry": "Ferries sail from the northern harbour at nine. Tickets are sold on board, in coins only.",
    "bread": "Sourdough needs flour, water, salt and a lively starter; bake it on a hot stone.",
    "owl": "Owls hunt voles at night and hear them under the snow.",
    "bike": "Oil the chain of a bicycle each month and check its brakes before a long descent.",
    "tea": "Green tea is steeped at eighty degrees for two minutes.",
}
QUERIES = {"q1": "When do ferries sail from the harbour?", "q2": "How is sourdough baked?", "q3": "What do owls hunt?"}
JUDGED = {"q1": {"ferry": 1}, "q2": {"bread": 2, "nothing": 1}, "q3": {"owl": 1}}


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(
    folder: Path,
    judged: Mapping[str, Mapping[str, int]] = JUDGED,
    key: str = "id",
    qrels: str = "qrels.tsv",
    header: str = "query-id\tcorpus-id\tscore\n",
) -> Path:
    """A BEIR-style folder; the document ``nothing`` is judged relevant and has no text, so that nobody finds it."""
    rows = [{key: name, "title": name.capitalize(), "text": words} for name, words in TEXTS.items()]
    (folder / "corpus.jsonl").write_text(lines([*rows, {key: "nothing", "title": "", "text": " "}]))
    (folder / "queries.jsonl").write_text(lines([{key: query, "text": words} for query, words in QUERIES.items()]))
    (folder / qrels).parent.mkdir(exist_ok=True)
    pairs = [f"{query}\t{name}\t{score}\n" for query, found in judged.items() for name, score in found.items()]
    (folder / qrels).write_text(header + "".join(pairs))
    return folder


# The numbers


def test_measures_are_those_worked_out_by_hand() -> None:
    judged = {"a": {"d3": 2, "d7": 1}, "b": {"d1": 1}, "c": {f"r{n}": 1 for n in range(4)}}
    far = [
        *(f"x{n}" for n in range(11)),
        "r0",
        *(f"y{n}" for n in range(80)),
        "r1",
        *(f"z{n}" for n in range(20)),
        "r2",
    ]
    ranked = {"a": ["d9", "d7", "d3"], "b": [], "c": far}
    values = per_query(judged, ranked, ["c", "a", "b"])
    ideal = 2 / log2(2) + 1 / log2(3)
    assert values["ndcg@10"] == pytest.approx([0, (1 / log2(3) + 2 / log2(4)) / ideal, 0])
    assert values["ndcg@5"] == pytest.approx(values["ndcg@10"])
    assert values["recall@5"] == pytest.approx([0, 1, 0])
    assert values["recall@10"] == pytest.approx([0, 1, 0])
    assert values["recall@100"] == pytest.approx([2 / 4, 1, 0])  # r2 lies beyond
    assert values["mrr@10"] == pytest.approx([0, 1 / 2, 0])


def test_the_order_of_equal_documents_is_ours_and_not_that_of_their_ids() -> None:
    for ranked in (["z", "a"], ["a", "z"]):
        found = per_query({"q": {"z": 1}}, {"q": ranked}, ["q"])["mrr@10"]
        assert found == pytest.approx([1 / (1 + ranked.index("z"))])


def test_bootstrap_intervals_on_known_cases() -> None:
    random = np.random.default_rng(3)
    normal = random.normal(0.4, 0.2, 2_000)
    coins = np.array([0.0] * 90 + [1.0] * 10)
    same = np.full(100, 0.25)
    found = intervals({"same": same, "coins": coins})
    assert (found["same"].mean, found["same"].low, found["same"].high) == pytest.approx((0.25, 0.25, 0.25))
    assert found["coins"].mean == pytest.approx(0.1)
    # The mean of resampled coins is binomial(100, 0.1) / 100, whose 2.5 % and 97.5 % quantiles are 5 and 16.
    assert (found["coins"].low, found["coins"].high) == pytest.approx((0.05, 0.16), abs=0.0101)
    wide = intervals({"normal": normal})["normal"]
    half = 1.96 * normal.std() / np.sqrt(len(normal))
    assert (wide.low, wide.high) == pytest.approx((normal.mean() - half, normal.mean() + half), abs=0.1 * half)
    assert intervals({"coins": coins}) == intervals({"coins": coins})  # the same input gives the same report


def test_pairing_makes_a_small_but_steady_difference_sure() -> None:
    random = np.random.default_rng(5)
    worse = random.random(200)
    better = worse + 0.02
    found = intervals({"worse": worse, "better": better, "difference": better - worse})
    assert found["better"].low < found["worse"].high  # apart they overlap
    assert found["difference"].low == pytest.approx(0.02)


def test_a_document_ranks_by_its_best_passage() -> None:
    hits = [hit(n, "text", external_id=name) for n, name in enumerate(["b", "a", "b", "c", "a"], start=1)]
    assert best_documents(hits) == ["b", "a", "c"]
    assert best_documents([]) == []


async def test_arms_share_what_they_read_and_find_what_each_finds_alone(sessions: Sessions, database_url: str) -> None:
    """Also under the role that Postgres shows what the audience of its transaction may read."""
    embedder = WordEmbedder()
    pages = [
        Page(f"{name}{n}", name, (f"{words} {n}", f"{name} again")) for n in range(6) for name, words in TEXTS.items()
    ]
    await shelve(sessions, embedder, *pages)
    engine = create_reading_engine(database_url)
    statements: list[str] = []
    event.listen(engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    searcher = Searcher(create_sessions(engine), embedder)
    for query in QUERIES.values():
        once, read = Remembered(), 0
        for name, ranking in ARMS.items():
            for limit in (5, 40):
                alone = await searcher.ranked(ranking).search(query, audience=Audience.everyone(), limit=limit)
                statements.clear()
                shared = await searcher.ranked(ranking, once).search(query, audience=Audience.everyone(), limit=limit)
                read += len([words for words in statements if "readable_lexical_candidates" in words])
                assert shared == alone, (name, limit)
        assert read == 2 * 4  # bm25, dense, hybrid, and one for all others
    await engine.dispose()


async def test_arms_that_do_the_same_here_are_one(sessions: Sessions) -> None:
    embedder = WordEmbedder()
    await shelve(sessions, embedder, *(Page(name, name, (words,)) for name, words in TEXTS.items()))
    collection = Collection(Path("tiny"), 6, 1, QUERIES, JUDGED)
    searcher = Searcher(sessions, embedder)
    found = await evaluate(searcher, embedder, collection)
    assert found.same == {"final": "+ tokens"}
    assert found.arms["final"] is found.arms["+ tokens"]
    result = document(collection, found)
    assert (result["copies"], result["same"]) == ("shown", {"final": "+ tokens"})
    async with sessions.begin() as session:
        await session.execute(
            text("UPDATE documents SET details = '{\"updated\": \"2020-01-01\"}' WHERE title = 'owl'")
        )
    found = await evaluate(searcher, embedder, collection)
    assert found.same == {}
    assert found.arms["final"] is not found.arms["+ tokens"]


async def test_arms_are_the_search_with_other_stages(sessions: Sessions) -> None:
    """One more arm is one more entry; its numbers are those of that searcher, document by document."""
    embedder = WordEmbedder()
    pages = [Page(name, name, (words, f"{name} again")) for name, words in TEXTS.items()]
    await shelve(sessions, embedder, *pages)
    collection = Collection(Path("tiny"), 6, 1, QUERIES, JUDGED)
    rankings = {"bm25": BM25, "dense": DENSE, "bm25 again": BM25, "final": HYBRID}
    found = await evaluate(Searcher(sessions, embedder), embedder, collection, rankings=rankings)
    result = document(collection, found)
    assert list(result["arms"]) == ["bm25", "dense", "bm25 again", "final"]
    assert list(result["final_minus"]) == ["bm25", "dense", "bm25 again"]
    first, again, final = (result["arms"][name] for name in ("bm25", "bm25 again", "final"))
    assert first["intervals"] == again["intervals"]
    # Every query finds its document first, but half of what is relevant to q2 is not in the index.
    half = 2 / (2 + 1 / log2(3))
    assert final["ndcg@10"] == pytest.approx((1 + half + 1) / 3, abs=1e-4)
    assert final["recall@100"] == pytest.approx((1 + 1 / 2 + 1) / 3, abs=1e-4)
    assert final["mrr@10"] == 1
    assert 0 < final["p50_ms"] <= final["p95_ms"]
    assert final["p50_ms"] <= final["p50_ms_with_embedding"]
    assert result["final_minus"]["bm25"]["mrr@10"]["difference"] == pytest.approx(1 - first["mrr@10"], abs=1e-4)


# The folder


@pytest.mark.parametrize(
    ("key", "qrels", "header"),
    [
        ("id", "qrels.tsv", "query-id\tcorpus-id\tscore\n"),
        ("_id", "qrels/test.tsv", "query-id\tcorpus-id\tscore\n"),
        ("_id", "qrels.tsv", ""),
    ],
)
def test_both_layouts_are_read(tmp_path: Path, key: str, qrels: str, header: str) -> None:
    collection = read_collection(write(tmp_path, key=key, qrels=qrels, header=header))
    assert (collection.name, collection.documents, collection.empty) == (tmp_path.name, 6, 1)
    assert collection.queries == QUERIES
    assert collection.judged == JUDGED
    assert collection.remarks == ()
    assert collection.first(2).judged == {"q1": {"ferry": 1}, "q2": {"bread": 2, "nothing": 1}}
    found = list(items(tmp_path))
    assert [item.external_id for item, _ in found] == list(TEXTS)
    assert found[0][0].content.decode() == f'---\ntitle: "Ferry"\n---\n\n{TEXTS["ferry"]}'
    assert [item for item, _ in items(tmp_path, found[1][1])] == [item for item, _ in found[2:]]


def test_a_split_has_judgements_and_perhaps_queries_of_its_own(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "qrels_dev.tsv").write_text("query-id\tcorpus-id\tscore\nq3\towl\t1\nq3\ttea\t0\n")
    assert read_collection(tmp_path, split="dev").judged == {"q3": {"owl": 1}}
    (tmp_path / "queries_dev.jsonl").write_text('{"id": "q3", "text": "Owls?", "last_turn": "And they?"}\n')
    assert read_collection(tmp_path, split="dev").queries == {"q3": "Owls?"}
    assert read_collection(tmp_path, split="dev", text="last_turn").queries == {"q3": "And they?"}
    assert read_collection(tmp_path, qrels=tmp_path / "qrels_dev.tsv").queries == {"q3": QUERIES["q3"]}


def test_judgements_about_what_is_not_there_are_told_and_never_found(tmp_path: Path) -> None:
    judged = {"q1": {"ferry": 1, "gone": 1}, "q9": {"owl": 1}, "q3": {"lost": 1}}
    collection = read_collection(write(tmp_path, judged))
    assert collection.judged == {"q1": {"ferry": 1, "gone": 1}}
    assert collection.remarks == (
        "1 judged query (q9) is not in the queries, and left out.",
        "2 judged documents (the first: gone) are not in the corpus, and count as never found.",
    )


BROKEN = {
    "no corpus": (("corpus.jsonl", None), "corpus.jsonl cannot be read (No such file or directory)."),
    "no queries": (("queries.jsonl", None), "queries.jsonl cannot be read (No such file or directory)."),
    "no qrels": (("qrels.tsv", None), "holds no judgements of a collection: neither qrels.tsv nor qrels/test.tsv is"),
    "corpus line": (("corpus.jsonl", '{"id": "a", "text": "b"}\n{"id": \n'), "corpus.jsonl, line 2: this is not JSON"),
    "bytes": (("corpus.jsonl", b'{"id": "a", "text": "\xff"}\n'), "corpus.jsonl, line 1: this is not JSON"),
    "list": (("queries.jsonl", "[1]\n"), "queries.jsonl, line 1: this is not a JSON object."),
    "no id": (("corpus.jsonl", '{"text": "b"}\n'), "corpus.jsonl, line 1: there is no id (nor _id)."),
    "twice": (("corpus.jsonl", '{"id": 1, "text": "b"}\n\n{"id": "1", "text": "b"}\n'), "line 3: the id 1 stands"),
    "fields": (("corpus.jsonl", '{"id": "a", "body": "b"}\n'), "line 1: there is neither a text nor a title."),
    "empty": (("corpus.jsonl", '{"id": "a", "text": ""}\n'), "corpus.jsonl holds no document with text."),
    "query": (("queries.jsonl", '{"id": "q1", "words": "x"}\n'), "queries.jsonl, line 1: the query has no text."),
    "columns": (("qrels.tsv", "query-id\tcorpus-id\tscore\nq1 ferry 1\n"), "qrels.tsv, line 2: there are not three"),
    "score": (("qrels.tsv", "q\tc\ts\nq1\tferry\thigh\n"), "qrels.tsv, line 2: the score 'high' is no number."),
    "nothing": (("qrels.tsv", "q\tc\ts\nq1\tferry\t0\n"), "qrels.tsv names no relevant document."),
    "strangers": (("qrels.tsv", "q\tc\ts\nq1\tgone\t1\n"), "has a relevant document in the corpus. 1 judged document"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_collection_is_refused_in_one_sentence_that_says_where(tmp_path: Path, case: str) -> None:
    (name, content), sentence = BROKEN[case]
    path = write(tmp_path) / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadCollection) as caught:
        read_collection(tmp_path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# The schema


def schemas(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", (PREFIX,))
        return [name for (name,) in rows]


async def test_a_scratch_schema_is_an_index_of_its_own_and_gone_afterwards(
    sessions: Sessions, database_url: str
) -> None:
    embedder = WordEmbedder()
    await shelve(sessions, embedder, Page("theirs.md", "Theirs", ("What everybody knows.",)))
    async with sessions.begin() as session:
        await vectors.index_all(session, more_than=0)
    async with scratch_schema(database_url) as url:
        [name] = schemas(database_url)
        engine = create_engine(url)
        inside = create_sessions(engine)
        async with inside() as session:
            assert (
                await session.execute(text(f"SELECT version_num FROM {name}.alembic_version"))
            ).scalar_one() == head()
            assert (await session.execute(select(Document.external_id))).all() == []
        await shelve(inside, embedder, Page("ours.md", "Ours", ("What is measured.",)))
        async with inside.begin() as session:
            await vectors.index_all(session, more_than=0)
            [model] = await vectors.models(session)
            indexes = text("SELECT count(*) FROM pg_indexes WHERE schemaname = :name AND indexname = :index")
            parameters = {"name": name, "index": f"vectors_{model.id}_hnsw"}
            assert (await session.execute(indexes, parameters)).scalar_one() == 1  # though public has one of that name
        await engine.dispose()
        async with sessions() as session:
            assert list((await session.execute(select(Document.external_id))).scalars()) == ["theirs.md"]
            assert await documents.holds_chunks(session)
    assert schemas(database_url) == []


async def test_what_a_killed_process_left_is_dropped_by_the_next_and_what_is_in_use_stays(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {PREFIX}dead")
    async with scratch_schema(database_url):
        [alive] = schemas(database_url)
        assert alive != f"{PREFIX}dead"
        async with scratch_schema(database_url):
            assert len(schemas(database_url)) == 2
        assert schemas(database_url) == [alive]
    with pytest.raises(RuntimeError, match="inside"):
        async with scratch_schema(database_url):
            raise RuntimeError("inside")
    assert schemas(database_url) == []


# The command


def environment(database_url: str, home: Path) -> dict[str, str]:
    return os.environ | {"ALMANAC_DATABASE_URL": database_url, "ALMANAC_HOME": str(home), "COLUMNS": "80"}


COMMAND = [sys.executable, "-m", "bot.terminal", "eval", "retrieval"]


@pytest.mark.timeout(400)
def test_the_command_loads_by_the_pipeline_measures_and_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write(folder)
    picture = tmp_path / "ranking.png"
    command = [*COMMAND, str(folder), "--json", "--plot", str(picture)]
    ran = subprocess.run(
        command, env=environment(database_url, tmp_path / "home"), capture_output=True, text=True, timeout=350
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    counted = {key: result[key] for key in ("collection", "documents", "queries", "chunks", "empty_documents")}
    assert counted == {"collection": "tiny", "documents": 6, "queries": 3, "chunks": 5, "empty_documents": 1}
    assert result["failed_documents"] == []
    assert {"bm25", "dense", "hybrid", "final"} <= set(result["arms"])
    keys = {"ndcg@5", "ndcg@10", "recall@5", "recall@10", "recall@100", "mrr@10", "p50_ms", "p95_ms"}
    assert all(keys <= set(arm) for arm in result["arms"].values())
    final = result["arms"]["final"]
    assert final["mrr@10"] == 1
    assert final["ndcg@10"] == pytest.approx((2 + 2 / (2 + 1 / log2(3))) / 3, abs=1e-4)
    assert final["recall@5"] == pytest.approx(2.5 / 3, abs=1e-4)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert schemas(database_url) == []
    with psycopg.connect(database_url) as connection:
        for table in ("documents", "runs", "sources"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_cleans_up_when_it_is_stopped(database_url: str, tmp_path: Path, number: signal.Signals) -> None:
    write(tmp_path)
    process = subprocess.Popen(
        [*COMMAND, str(tmp_path), "--json"], env=environment(database_url, tmp_path / "home"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background takes away
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not schemas(database_url):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert (out, "Traceback" in err) == ("", False)
    assert schemas(database_url) == []


def test_the_command_says_what_is_wrong_and_fails(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        home = {"ALMANAC_HOME": str(tmp_path / "home"), "COLUMNS": "200"}
        return subprocess.run(
            [*COMMAND, *arguments], env=os.environ | home, capture_output=True, text=True, timeout=120
        )

    ran = run(str(tmp_path / "none"), "--json")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"{tmp_path / 'none'} is no folder.\n"
    ran = run(str(write(tmp_path)), "--plot", str(tmp_path / "ranking.gif"))
    assert (ran.returncode, ran.stderr) == (1, f"{tmp_path / 'ranking.gif'} must end in .png, .svg or .pdf.\n")
    assert not (tmp_path / "home").exists()
