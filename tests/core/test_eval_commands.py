"""``almanac eval tools|answers|safety|runs|accept|collect``: the commands, their exit codes, and what they leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from assistant.database import answers, evaluations
from assistant.database.evaluations import Open
from assistant.database.session import Sessions
from assistant.database.tables import Answer
from assistant.errors import AlmanacError
from assistant.evaluation.collecting import cases, span, write
from assistant.settings import load_settings
from bot import evaluating_suites
from bot.evaluating import app
from bot.evaluating_runs import Ends, MayCompare
from tests import inside
from tests.core.test_eval_retrieval import schemas
from tests.inside import Ended

COMMAND = [sys.executable, "-m", "bot.terminal", "eval"]
TASKS = [
    {"id": "one", "category": "multiple", "question": [[{"role": "user", "content": "What is the weather in Leeds?"}]],
     "function": [{"name": "weather", "description": "The weather in a city now.",
                   "parameters": {"type": "dict", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
                  {"name": "rate", "description": "The exchange rate of two currencies.",
                   "parameters": {"type": "dict", "properties": {"of": {"type": "string"}}, "required": ["of"]}}],
     "ground_truth": [{"weather": {"city": ["Leeds"]}}]},
    {"id": "two", "category": "irrelevance", "question": [[{"role": "user", "content": "Thank you very much!"}]],
     "function": [{"name": "rate", "description": "The exchange rate of two currencies.",
                   "parameters": {"type": "dict", "properties": {"of": {"type": "string"}}, "required": ["of"]}}],
     "ground_truth": []},
]  # fmt: skip


def process(database_url: str, home: Path, *arguments: str) -> Ended:
    """As people run it; below, what does the same without the seconds that a process takes to load its libraries."""
    environment = os.environ | {"ALMANAC_DATABASE_URL": database_url, "ALMANAC_HOME": str(home), "COLUMNS": "150"}
    return subprocess.run([*COMMAND, *arguments], env=environment, capture_output=True, text=True, timeout=400)


def almanac(database_url: str, home: Path, *arguments: str) -> Ended:
    given = {"ALMANAC_DATABASE_URL": database_url, "ALMANAC_HOME": str(home), "COLUMNS": "150"}
    return inside.almanac("eval", *arguments, cwd=home.parent, **given)


# Runs


@pytest.mark.timeout(600)
def test_a_run_is_kept_accepted_compared_and_fails_by_what_it_lost(database_url: str, tmp_path: Path) -> None:
    home, tasks, report = tmp_path / "home", tmp_path / "tasks.jsonl", tmp_path / "report.html"
    tasks.write_text("".join(json.dumps(task) + "\n" for task in TASKS))
    first = almanac(database_url, home, "tools", str(tasks), "--json", "--html", str(report))
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert (document["suite"], document["subject"], document["compared"]) == ("tools", "tasks", None)
    assert [case["id"] for case in document["cases"]] == ["multiple/one", "irrelevance/two"]
    assert document["metrics"]["route_tool"]["value"] == 1
    assert "router alone" in document["remarks"][0]
    assert report.read_text().startswith("<!doctype html>")

    again = almanac(database_url, home, "tools", str(tasks), "--compare", "--max-loss", "0.02")
    assert again.returncode == 0, again.stderr
    assert "Nothing was accepted yet" in again.stdout
    accepted = almanac(database_url, home, "accept", document["run"][:8], "--json")
    assert (accepted.returncode, json.loads(accepted.stdout)["run"]) == (0, document["run"])
    same = almanac(database_url, home, "tools", str(tasks), "--max-loss", "0.02", "--compare")
    assert same.returncode == 0, same.stderr
    assert "No case changed." in same.stdout

    # An earlier run that was better: the loss is named, and the exit code says it.
    for case in document["cases"]:
        case["counts"] = {name: [pair[1], pair[1]] for name, pair in case["counts"].items()}
    document["cases"][0]["counts"]["route_found"] = [0, 1]  # and worse in one thing
    better = tmp_path / "better.json"
    tasks.write_text("".join(json.dumps(task | {"ground_truth": []}) + "\n" for task in TASKS))
    for case in document["cases"]:
        case["counts"]["route_none"] = [1, 1]
        case["counts"]["route_choice"] = [1, 1]
    better.write_text(json.dumps(document))
    lost = process(database_url, home, "tools", str(tasks), "--compare", str(better), "--max-loss", "0.02")
    assert lost.returncode == 1
    assert lost.stderr.strip().splitlines()[-1].startswith("tools: ")
    assert "which is more than the 0.02 that may be lost" in lost.stderr
    assert "Traceback" not in lost.stderr

    listed = almanac(database_url, home, "runs", "--json")
    found = json.loads(listed.stdout)["runs"]
    assert [run["cases"] for run in found] == [2, 2, 2, 2]
    assert [run["id"] for run in found if run["accepted_at"]] == [document["run"]]


WRONG = {
    "no tasks": (["tools", "{tmp}/none.jsonl"], "none.jsonl cannot be read"),
    "category": (["tools", "--category", "live"], "live is no category; there are simple_python"),
    "no cases": (["answers", "{tmp}/none"], "none does not exist."),
    "part": (["safety", "--part", "everything"], "everything is no part; there are questions"),
    "no folder": (["safety", "{tmp}/none"], "none is no folder."),
    "report": (["tools", "--html", "report.pdf"], "report.pdf must end in .html."),
    "baseline": (["tools", "--compare", "gone.json"], "gone.json does not exist."),
    "run": (["accept", "ffff"], "There is no evaluation run ffff; `almanac eval runs` lists them."),
    "time": (["collect", "--since", "soon", "{tmp}/c.jsonl"], "soon is no length of time such as 12h"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    arguments, sentence = WRONG[case]
    settings = load_settings(database_url=database_url, home=tmp_path / "home")
    monkeypatch.setattr(evaluating_suites, "command_settings", lambda: settings)
    ran = CliRunner().invoke(app, [part.replace("{tmp}", str(tmp_path)) for part in arguments])
    assert isinstance(ran.exception, AlmanacError), ran.output  # which `almanac` prints, and exits with 1
    assert sentence in str(ran.exception)
    assert "\n" not in str(ran.exception)
    assert ran.output == ""


def test_a_wrong_option_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["answers", "--limit", "0"]).exit_code == 2


@pytest.mark.timeout(600)
def test_answers_on_the_sample_read_it_into_a_schema_that_is_gone_and_keep_no_answer(
    database_url: str, tmp_path: Path
) -> None:
    ran = almanac(database_url, tmp_path / "home", "answers", "--limit", "5", "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert (document["suite"], document["subject"], document["model"]) == ("answers", "sample", "extractive")
    assert document["about"]["index"] == "scratch"
    assert len(document["cases"]) == 5
    assert document["metrics"]["groundedness"]["value"] >= 0.9  # it selects, and makes nothing up
    assert document["metrics"]["citation_recall"]["value"] >= 0.9
    assert document["metrics"]["failed"]["value"] == 0
    assert schemas(database_url) == []
    again = almanac(database_url, tmp_path / "home", "answers", "--judge", "--limit", "1")
    assert again.returncode == 1
    assert "ALMANAC_LLM_MODEL names none" in again.stderr


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["--compare"], ["--compare", "accepted"]),
        (["--compare", "--json"], ["--compare", "accepted", "--json"]),
        (["--compare", "data/bfcl"], ["--compare", "accepted", "data/bfcl"]),
        (["--compare", "last", "x"], ["--compare", "last", "x"]),
        (["--compare", "3f2a91c0"], ["--compare", "3f2a91c0"]),
        (["x", "--compare", "base.json"], ["x", "--compare", "base.json"]),
        (["--json"], ["--json"]),
    ],
)
def test_compare_may_stand_alone(monkeypatch: pytest.MonkeyPatch, given: list[str], read: list[str]) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(MayCompare.__mro__[1], "parse_args", lambda _self, _context, args: seen.append(args) or args)
    MayCompare("x").parse_args(None, given)
    assert seen == [read]


def test_the_ends_are_checked_before_anything_is_measured(tmp_path: Path) -> None:
    Ends(html=tmp_path / "r.html").check()
    with pytest.raises(AlmanacError, match="is no folder"):
        Ends(html=tmp_path / "none" / "r.html").check()


# Questions that become cases


def asked(question: str, outcome: str = "not_in_documents", up: int = 0, down: int = 0, cited: Any = ()) -> Open:
    return Open(uuid.uuid4(), question, outcome, tuple(cited), up, down, datetime(2026, 5, 6, 9, tzinfo=UTC))


def test_the_same_question_is_one_case_and_a_file_keeps_what_people_wrote(tmp_path: Path) -> None:
    questions = [asked("Who is  on call?"), asked("who is on call"), asked("Why?", "answered", 1, 3, ["a.md"])]
    found = cases(questions, lambda text: text.replace("on call", "<ON CALL>"))
    assert [(case["question"], case["asked"]) for case in found] == [("Who is <ON CALL>?", 2), ("Why?", 1)]
    assert found[1] == {
        "id": str(questions[2].id), "question": "Why?", "outcome": "answered", "votes": {"up": 1, "down": 3},
        "cited": ["a.md"], "asked_at": "2026-05-06", "asked": 1,
    }  # fmt: skip
    path = tmp_path / "cases.jsonl"
    mine = {"id": "mine", "question": "WHY", "reference": "Because."}
    path.write_text(json.dumps(mine))  # without a line's end
    assert write(found, path) == 1
    assert [json.loads(line)["id"] for line in path.read_text().split("\n") if line] == ["mine", found[0]["id"]]
    assert write(found, path) == 0
    path.write_text("[1]\n")
    with pytest.raises(AlmanacError, match="holds something else than cases"):
        write(found, path)
    assert path.read_text() == "[1]\n"
    with pytest.raises(AlmanacError, match="cannot be written"):
        write(found, tmp_path / "none" / "cases.jsonl")


@pytest.mark.parametrize(
    ("text", "hours"), [("12h", 12), ("30d", 720), (" 2W ", 336), ("1m", 720), ("1y", 8760), ("0d", 0), ("x", 0)]
)
def test_lengths_of_time(text: str, hours: int) -> None:
    if hours:
        assert span(text) == timedelta(hours=hours)
    else:
        with pytest.raises(AlmanacError, match="is no length of time"):
            span(text)


async def put(sessions: Sessions, question: str, outcome: str, days: int = 0, **changed: Any) -> uuid.UUID:
    values: dict[str, Any] = {
        "id": uuid.uuid4(), "platform": "slack", "conversation": "C1", "asker": "slack:T1:UADA", "asker_name": "Ada",
        "audience": ["everyone"], "question": question, "outcome": outcome, "text": "t", "nearest": [],
        "citations": [{"external_id": "a.md"}, {"external_id": "a.md"}, {"external_id": "b.md"}], "retrieval": [],
        "timings_ms": {}, "model": "m", "prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0,
        "created_at": datetime.now(UTC) - timedelta(days=days),
    }  # fmt: skip
    async with sessions.begin() as session:
        await session.execute(insert(Answer).values(**{**values, **changed}))
    return values["id"]


async def vote(sessions: Sessions, answer_id: uuid.UUID, *values: int) -> None:
    async with sessions.begin() as session:
        for place, value in enumerate(values):
            await answers.save_vote(session, answers.Vote(answer_id, f"slack:T1:U{place}", value))


async def test_open_questions_name_nobody_and_leave_private_ones_out(
    sessions: Sessions, database_url: str, tmp_path: Path
) -> None:
    await put(sessions, "Not found?", "not_in_documents", days=2)
    await put(sessions, "Hidden from ada@example.org?", "hidden_by_permissions", days=1)
    disliked = await put(sessions, "Disliked?", "answered")
    await vote(sessions, disliked, -1, -1, 1)
    liked = await put(sessions, "Liked?", "answered")
    await vote(sessions, liked, -1, 1, 1)
    await put(sessions, "Answered?", "answered")
    await put(sessions, "Old?", "not_in_documents", days=40)
    await put(sessions, "Private?", "not_in_documents", private=True)
    await put(sessions, "Overheard?", "not_in_documents", unprompted=True)
    await put(sessions, "Taken back?", "not_in_documents", withdrawn_at=datetime.now(UTC))
    await put(sessions, "Measured?", "not_in_documents", platform=evaluations.PLATFORM)
    async with sessions() as session:
        found = await evaluations.open_questions(session, timedelta(days=30))
        assert [one.question for one in found] == ["Disliked?", "Hidden from ada@example.org?", "Not found?"]
        assert (found[0].up, found[0].down, found[0].cited) == (1, 2, ("a.md", "b.md"))
        assert "Old?" in [one.question for one in await evaluations.open_questions(session, None)]
    path = tmp_path / "cases.jsonl"
    ran = process(database_url, tmp_path / "home", "collect", "--since", "30d", str(path), "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"file": str(path), "found": 3, "added": 3}
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]
    assert [row["outcome"] for row in rows] == ["answered", "hidden_by_permissions", "not_in_documents"]
    assert "Hidden from <" in rows[1]["question"]
    for name in ("UADA", "Ada", "ada@"):
        assert name not in path.read_text()
