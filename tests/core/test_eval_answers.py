"""``almanac eval answers``: its measures against numbers worked out by hand, its cases, and the asking itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from assistant.answering.answer import Answering
from assistant.answering.messages import Answer, Citation, Turn, Usage
from assistant.answering.outcomes import Outcome
from assistant.database.session import Sessions
from assistant.database.tables import Answer as AnswerRow
from assistant.errors import AlmanacError
from assistant.evaluation import answers
from assistant.evaluation.answers import Asked, ask_all, check, result
from assistant.evaluation.cases import AnswerCase, BadCases, read_file, read_folder
from assistant.evaluation.claims import Claim, claims, judge
from assistant.evaluation.results import CaseResult, ratio
from assistant.evaluation.support import CheckedSupport
from assistant.evaluation.texts import rouge_l, token_f1
from assistant.knowledge.search import Searcher
from assistant.models.port import Brief
from assistant.sample import HANDBOOK, QUESTIONS
from assistant.telemetry import Metrics
from tests.core.parts import FakeModel, Page, WordEmbedder, shelve

# The measures


def test_token_f1_and_rouge_l_are_those_worked_out_by_hand() -> None:
    # said: cat sat on mat; wanted: cat lay on mat: three of four are shared, articles do not count.
    assert token_f1("The cat sat on the mat.", "A cat lay on a mat!") == pytest.approx(3 / 4)
    assert token_f1("ferry ferry ferry", "ferry now") == pytest.approx(2 * 1 / 5)
    assert token_f1("", "") == 1
    assert token_f1("", "word") == 0
    # "police kill the gunman" against "police killed the gunman": police, the, gunman in order (Lin 2004's example).
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(2 / 4)
    assert rouge_l("a b c d e", "a x c y e z") == pytest.approx(2 * 3 / 11)


def test_claims_own_the_markers_behind_them() -> None:
    text = (
        "Press the lever. [1] Wait [2][3].\n\n[4] names four.\n\n```sh\nferry back\n```\n[1]\n\n"
        "## Also\n\n- ring the bell [2]\n- go\n\nSee [5](https://x.example)."
    )
    assert claims(text) == [
        Claim("Press the lever.", (1,)),
        Claim("Wait.", (2, 3)),
        Claim("names four.", (4,)),
        Claim("ferry back", (1,)),
        Claim("ring the bell", (2,)),
        Claim("go", ()),
        Claim("See [5](https://x.example).", ()),
    ]


class Knows:
    """Supports a claim where every one of its words stands in the passages."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        self.asked += 1
        return [float(set(claim.split()) <= set(text.split())) for claim, text in pairs]


async def test_citation_precision_and_recall_follow_alce() -> None:
    passages = {1: "a b", 2: "c d", 3: "a b c d", 4: "z"}
    answer = [
        Claim("a b", (1,)),  # right
        Claim("a c", (1, 2)),  # needs both
        Claim("a b", (1, 4)),  # 4 adds nothing: the rest supports it without
        Claim("c d", (1,)),  # cites the wrong one, but the answer cites what it needs
        Claim("a d", ()),  # cites nothing
        Claim("q", (3,)),  # is made up
        Claim("a b", (1, 3)),  # either would do: both count
        Claim("a", (9,)),  # a source that is not there
    ]
    knows = Knows()
    found = await judge(answer, passages, knows)
    assert [verdict.supported for verdict in found] == [True, True, True, False, False, False, True, False]
    assert [verdict.precise for verdict in found] == [1, 2, 1, 0, 0, 0, 2, 0]
    assert [verdict.grounded for verdict in found] == [True, True, True, True, True, False, True, True]
    assert knows.asked == 1  # one call, so that an embedding model sees one batch


async def test_support_is_that_of_the_check_of_every_answer() -> None:
    passage = "Ledger may be rolled back for 45 minutes after promotion. Finder may be rolled back for 6 hours."
    pairs = [
        ("ledger may be rolled back for **45 minutes** after promotion", passage),
        ("Ledger may be rolled back for 40 minutes after promotion.", passage),
        ("Anything.", ""),
    ]
    assert await CheckedSupport(WordEmbedder())(pairs) == [1, 0, 0]
    assert await CheckedSupport(WordEmbedder())([]) == []


# What a case gives


def asked(case: AnswerCase, outcome: Outcome, text: str = "", cites: Sequence[str] = (), cost: float = 0.0) -> Asked:
    cited = tuple(
        Citation(n, name, None, n, "words", n, name) for n, name in enumerate(cites, start=1)
    )  # fmt: skip
    answer = Answer(answers.uuid.uuid4(), outcome, text, cited, usage=Usage(10, 5, cost))
    return Asked(case, answer, 0.5, {item.n: text for item in cited})


def test_refusals_are_counted_as_precision_recall_and_f1() -> None:
    known, unknown = AnswerCase("k", "K?"), AnswerCase("u", "U?", unanswerable=True)
    refused, answered = Outcome.NOT_IN_DOCUMENTS, Outcome.ANSWERED
    asks = [
        *[asked(unknown, refused)] * 3,  # right
        asked(unknown, answered, "made up"),  # missed
        *[asked(known, refused)] * 2,  # false alarms
        *[asked(known, answered, "right")] * 4,
        asked(known, Outcome.FAILED),
    ]
    rows = [result(one) for one in asks]
    assert ratio(rows, "refusal_precision") == pytest.approx(3 / 5)
    assert ratio(rows, "refusal_recall") == pytest.approx(3 / 4)
    assert ratio(rows, "refusal_f1") == pytest.approx(2 * 0.6 * 0.75 / 1.35)
    assert ratio(rows, "answered") == pytest.approx(4 / 7)
    assert ratio(rows, "failed") == pytest.approx(1 / 11)


def test_expected_sources_and_words_count_for_answerable_questions_alone() -> None:
    case = AnswerCase("a", "Q?", "ferry rollback", ("a.md", "b.md"), ("45 minutes", "Ferry"))
    good = result(asked(case, Outcome.ANSWERED, "Within 45\nminutes [1], use ferry.", ["b.md"], cost=0.25))
    assert good.counts["source_hit"] == (1, 1)
    assert good.counts["words_held"] == (1, 1)
    assert good.counts["cost"] == (0.25, 1)
    bad = result(asked(case, Outcome.ANSWERED, "Within 45 minutes, use ferrying.", ["c.md"]))
    assert (bad.counts["source_hit"], bad.counts["words_held"]) == ((0, 1), (0, 1))
    none = result(asked(case, Outcome.NOT_IN_DOCUMENTS))
    assert (none.counts["source_hit"], none.counts["words_held"]) == ((0, 1), (0, 1))
    assert "reference_f1" not in none.counts
    unanswerable = result(asked(AnswerCase("u", "Q?", unanswerable=True), Outcome.NOT_IN_DOCUMENTS))
    assert {"source_hit", "words_held", "answered"}.isdisjoint(unanswerable.counts)
    json.dumps([row.detail for row in (good, bad, none, unanswerable)])


# The asking


def answering(sessions: Sessions, model: FakeModel) -> Answering:
    searcher = Searcher(sessions, WordEmbedder())
    return Answering(sessions, searcher, model, Metrics(), max_chars=4_000, timeout=30)


async def kept(sessions: Sessions) -> int:
    async with sessions() as session:
        return (await session.execute(select(func.count()).select_from(AnswerRow))).scalar_one()


async def test_cases_are_asked_with_their_turns_measured_and_forgotten(sessions: Sessions) -> None:
    embedder = WordEmbedder()
    pages = [
        Page("rollback.md", "Rolling back", ("Ledger may be rolled back for 45 minutes after promotion.",)),
        Page("oncall.md", "On call", ("The payments primary is Ada.",)),
    ]
    await shelve(sessions, embedder, *pages)
    seen: list[Brief] = []
    text = "Ledger may be rolled back for 45 minutes after promotion [1]. It may be rolled back for 50 days [1]."
    model = FakeModel(text, before=seen.append)
    cases = [
        AnswerCase("one", "How long may ledger be rolled back?", sources=("rollback.md",), words=("45 minutes",)),
        AnswerCase("two", "And how long may ledger be rolled back?", turns=(Turn("Is Ada here?", "Yes."),)),
    ]
    found = await ask_all(answering(sessions, model), sessions, cases)
    assert [turn.question for turn in seen[1].turns] == ["Is Ada here?"]
    assert await kept(sessions) == 0
    [first, second] = await check(found, CheckedSupport(embedder), embedder)
    assert [row.id for row in map(result, (first, second))] == ["one", "two"]
    assert "45 minutes" in first.cited[1]
    assert first.cited[1] in first.context
    counts = result(first).counts
    assert counts["citation_recall"] == (1, 2)
    assert counts["citation_precision"] == (1, 2)
    assert counts["groundedness"] == (1, 2)
    assert counts["source_hit"] == (1, 1)
    assert result(first).detail["unsupported"] == ["It may be rolled back for 50 days."]
    assert first.relevance is not None
    assert 0 < first.relevance <= 1


async def test_a_case_that_fails_is_a_case_and_is_forgotten(sessions: Sessions) -> None:
    await shelve(sessions, WordEmbedder(), Page("a.md", "Ferry", ("Ferry rolls back.",)))
    model = FakeModel(error=RuntimeError("broken"))
    [one] = await ask_all(answering(sessions, model), sessions, [AnswerCase("x", "How does ferry roll back?")])
    assert result(one).counts["failed"] == (1, 1)
    assert await kept(sessions) == 0


# The cases


def test_the_samples_questions_name_pages_of_the_handbook() -> None:
    found = read_file(QUESTIONS)
    assert len(found.cases) >= 30
    assert sum(case.unanswerable for case in found.cases) >= 6
    assert sum(bool(case.turns) for case in found.cases) >= 2
    for case in found.cases:
        assert case.unanswerable != bool(case.sources)
        assert all((HANDBOOK / name).is_file() for name in case.sources), case.id
        if not case.unanswerable:
            text = (HANDBOOK / case.sources[0]).read_text(encoding="utf-8")
            assert all(answers.stands(words, text.replace("**", "")) for words in case.words), case.id


BROKEN = {
    '{"id": "a"}': "line 1: there is no question.",
    '{"question": "Q?"}': "line 1: this is no object with an id.",
    '{"id": "a", "question": "Q?"}\n{"id": "a", "question": "R?"}': "line 2: the id a stands in the file twice.",
    '{"id": "a", "question": "Q?", "sources": "a.md"}': "line 1: sources is no list of texts.",
    '{"id": "a", "question": "Q?", "turns": [{"answer": "x"}]}': "line 1: turns is no list of objects with a question.",
    "nonsense": "line 1: this is not JSON",
    "\n": "holds no cases.",
}


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_file_of_cases_is_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(content)
    with pytest.raises(BadCases) as caught:
        read_file(path)
    assert BROKEN[content] in str(caught.value)
    with pytest.raises(BadCases, match="cannot be read"):
        read_file(tmp_path / "none.jsonl")


def test_both_spellings_of_a_case_are_read_and_a_part_keeps_its_mixture(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [{"id": n, "text": f"Q{n}?", "answer": "A", "answerable": n < 30} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_file(path)
    assert found.subject == "mine"
    assert found.cases[30] == AnswerCase("30", "Q30?", "A", unanswerable=True)
    part = found.first(12)
    assert len(part.cases) == 12
    assert sum(case.unanswerable for case in part.cases) == 3
    assert found.first(500) is found


def test_a_folders_history_becomes_turns_and_its_unanswerable_questions_cases(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "d1", "text": "Ferries sail."}\n{"id": "d2", "text": " "}\n')
    history = "|user|: Hello?\n|agent|: Yes.\nWhat now?\n|user|: And then?"
    query = {"id": "q", "text": "When do ferries sail?", "last_turn": "And then?", "history": history, "answer": "Now."}
    (tmp_path / "queries.jsonl").write_text(json.dumps(query) + "\n")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\n")
    (tmp_path / "unanswerable.jsonl").write_text('{"id": "u", "text": "Why?"}\n')
    found = read_folder(tmp_path)
    assert (found.documents, found.subject) == (1, tmp_path.name)
    assert found.cases == (
        AnswerCase("q", "When do ferries sail?", "Now.", ("d1",)), AnswerCase("u", "Why?", unanswerable=True)
    )  # fmt: skip
    [last, _] = read_folder(tmp_path, field="last_turn").cases
    assert (last.question, last.turns) == ("And then?", (Turn("Hello?", "Yes.\nWhat now?"),))
    assert read_folder(tmp_path, field="last_turn").subject.endswith(".last_turn")
    (tmp_path / "queries_train.jsonl").write_text(json.dumps(query | {"answer": "At noon."}) + "\n")
    (tmp_path / "qrels_train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\n")
    assert read_folder(tmp_path, split="train").cases[0].reference == "At noon."
    (tmp_path / "unanswerable.jsonl").write_text("nonsense\n")
    with pytest.raises(AlmanacError, match="line 1: this is not JSON"):
        read_folder(tmp_path)


def test_percentiles_name_each_stage() -> None:
    assert answers.percentiles([]) == {}
    rows = [CaseResult("a", "a", {})]
    assert ratio(rows, "seconds") is None
    ran = [asked(AnswerCase(str(place), "Q?"), Outcome.ANSWERED) for place in range(3)]
    timed = [
        replace(one, seconds=seconds, answer=replace(one.answer, timings_ms=stages))
        for one, seconds, stages in zip(
            ran, (1.0, 2.0, 3.0), ({"search": 4.0}, {"search": 6.0, "model": 9.0}, {}), strict=True
        )
    ]
    assert answers.percentiles(timed) == {"p50_s": 2.0, "p95_s": 2.9, "model_p50_ms": 9.0, "search_p50_ms": 5.0}
