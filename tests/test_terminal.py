"""The command as people run it: a process, its streams, its exit code; what it says beyond that, without a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from typer.core import TyperGroup
from typer.testing import CliRunner

from bot import learning
from bot.later import Entry, Later
from bot.terminal import COMMANDS, app
from tests.inside import Ended
from tests.inside import almanac as inside_almanac

ALMANAC = [sys.executable, "-m", "bot.terminal"]


def almanac(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ALMANAC, *arguments],
        env=os.environ | {"ALMANAC_HOME": str(home), "COLUMNS": "120"} | environment,
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )


def inside(*arguments: str, home: Path, given: str | None = None, **environment: str) -> Ended:
    return inside_almanac(*arguments, cwd=home.parent, given=given, ALMANAC_HOME=str(home), **environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages, one of them broken."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "rollback.md").write_text(
        "# Rolling back\n\nRun `ferry rollback payments` within 45 minutes of the release.\n\n"
        "After that, ask the payments team to roll forward.\n"
    )
    (folder / "oncall.md").write_text("# On call\n\nThe payments rotation is led by Tomasz Wierzbicki.\n")
    (folder / "gone.md").write_text("# Later\n\nA page that will go.\n")
    (folder / "empty.md").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def home(folder: Path, home: Path) -> Path:
    """A home whose index holds the pages; ingested by the command itself, and once more when a page was deleted."""
    own = home / "terminal" / ".almanac"
    own.mkdir(parents=True)
    result = almanac("ingest", str(folder), "--json", home=own)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["documents"] == {"added": 3, "updated": 0, "unchanged": 0, "removed": 0}
    assert document["failed"] == [{"path": "empty.md", "reason": "the file is empty"}]
    assert document["chunks"] == 3
    (folder / "gone.md").unlink()
    again = inside("ingest", str(folder), "--json", home=own)
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert document["documents"] == {"added": 0, "updated": 0, "unchanged": 2, "removed": 1}
    return own


def test_ask_prints_one_document_with_a_cited_answer(home: Path) -> None:
    result = almanac("ask", "How do I roll back payments, and within how many minutes?", "--json", home=home)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert {"answer_id", "outcome", "text", "citations", "timings_ms", "usage", "model"} <= set(answer)
    assert answer["outcome"] == "answered"
    assert "45 minutes" in answer["text"]
    assert "[1]" in answer["text"]
    citation = answer["citations"][0]
    assert citation["n"] == 1
    assert citation["title"] == "Rolling back"
    assert citation["url"].endswith("/rollback.md")
    assert citation["quote"] in (
        "Run `ferry rollback payments` within 45 minutes of the release.",
        "After that, ask the payments team to roll forward.",
    )
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0.0}


SCHEMA = {
    "type": "object",
    "properties": {"minutes": {"type": "integer"}, "command": {"type": "string"}},
    "required": ["minutes"],
}


class Filling(BaseHTTPRequestHandler):
    """A language model that fills in every form with the value that its path holds."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        value = json.loads(unquote(self.path.split("/")[1]))
        delta = {"content": json.dumps({"sources": [1, 2], "value": value})}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        events = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events))
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def filling() -> Iterator[Callable[[object], dict[str, str]]]:
    """The environment of a command whose model gives a value."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Filling)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def environment(value: object) -> dict[str, str]:
        base = f"http://127.0.0.1:{server.server_port}/{quote(json.dumps(value), safe='')}/v1"
        return {"ALMANAC_LLM_BASE_URL": base, "ALMANAC_LLM_MODEL": "small-1"}

    yield environment
    server.shutdown()
    server.server_close()


def test_ask_in_a_format_prints_the_value_alone(
    home: Path, tmp_path: Path, filling: Callable[[object], dict[str, str]]
) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(SCHEMA))
    asked = ("ask", "How do I roll back payments, and within how many minutes?", "--format", str(file))
    value = {"minutes": 45, "command": "ferry rollback payments"}
    result = inside(*asked, home=home, **filling(value))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == value
    whole = inside(*asked, "--json", home=home, **filling(value))
    answer = json.loads(whole.stdout)
    assert (answer["outcome"], answer["value"]) == ("answered", value)
    assert "rollback.md" in [citation["external_id"] for citation in answer["citations"]]
    wrong = inside(*asked, home=home, **filling({"minutes": 44}))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "none that supports an answer" in wrong.stderr
    assert "rollback.md" in wrong.stderr


def test_a_format_needs_a_model_and_a_schema(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    for written, sentence in (
        (json.dumps(SCHEMA), "An answer in a format needs a language model, and none is set up here."),
        ("{", "is no JSON."),
        ("[]", "The format must be a JSON schema: an object."),
    ):
        file.write_text(written)
        result = inside("ask", "How do I roll back payments?", "--format", str(file), home=home)
        assert (result.returncode, result.stdout) == (1, "")
        assert sentence in " ".join(result.stderr.split())
    missing = inside("ask", "How?", "--format", str(tmp_path / "none.json"), home=home)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "cannot be read" in missing.stderr


def test_ask_shows_a_person_the_answer_and_its_source(home: Path) -> None:
    result = inside("ask", "Who leads the payments rotation?", home=home)
    assert result.returncode == 0, result.stderr
    assert "Tomasz Wierzbicki" in result.stdout
    assert "oncall.md" in result.stdout


def test_what_is_not_there_is_refused_with_the_nearest_pages(home: Path) -> None:
    answer = json.loads(inside("ask", "What is the capital of Mongolia?", "--json", home=home).stdout)
    assert answer["outcome"] == "not_in_documents"
    assert answer["citations"] == []
    assert len(answer["nearest"]) == 2


def test_search_names_both_ranks(home: Path) -> None:
    document = json.loads(inside("search", "roll back payments", "-k", "1", "--json", home=home).stdout)
    (hit,) = document["hits"]
    assert hit["external_id"] == "rollback.md"
    assert (hit["bm25_rank"], hit["vector_rank"]) == (1, 1)
    assert 0 <= hit["score"] <= 1


def test_filters_are_options_or_stand_in_the_words(home: Path) -> None:
    for arguments in (
        ["roll back payments title:rolling"],
        ["roll back payments", "--title", "rolling", "--after", "2000"],
    ):
        document = json.loads(inside("search", *arguments, "--json", home=home).stdout)
        assert {hit["external_id"] for hit in document["hits"]} == {"rollback.md"}
        assert document["note"].startswith("Filtered: title rolling")
    shown = inside("search", "payments", "--before", "2000", home=home)
    assert "Nothing was found with the filters: before 2000-01-01." in shown.stdout
    asked = inside("ask", "Who leads the payments rotation?", "--title", "call", home=home)
    assert "Filtered: title call" in asked.stdout


def test_chat_reads_questions_and_remembers_the_conversation(home: Path) -> None:
    asked = "How do I roll back payments?\nwho do I ask after that?\n"
    result = inside("chat", "--json", home=home, given=asked)
    first, second = json.loads(result.stdout)["turns"]
    assert first["outcome"] == "answered"
    assert "ask the payments team" in second["text"]


def test_status_and_check_tell_the_truth(home: Path) -> None:
    status = json.loads(inside("status", "--json", home=home).stdout)
    assert (status["documents"], status["chunks"], status["failures"], status["running"]) == (2, 2, 1, None)
    assert status["runs"][0]["state"] == "succeeded"
    checked = inside("check", "--json", home=home)
    assert checked.returncode == 0, checked.stdout
    assert {check["name"] for check in json.loads(checked.stdout)["checks"]} == {
        "settings", "database", "queue", "embedding model", "language model", "tools",
    }  # fmt: skip


def test_check_fails_for_a_model_that_is_away(home: Path) -> None:
    away = {"ALMANAC_LLM_BASE_URL": "http://127.0.0.1:9/v1", "ALMANAC_LLM_MODEL": "none"}
    checked = inside("check", "--json", home=home, **away)
    assert checked.returncode == 1
    document = json.loads(checked.stdout)
    assert [check["name"] for check in document["checks"] if not check["ok"]] == ["language model"]


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "words"),
    [
        (["ingest", "/nowhere"], {}, 1, "/nowhere does not exist."),
        (["ask", " "], {}, 1, "The question is empty."),
        (["search", " "], {}, 1, "The question is empty; say what to search for."),
        (["search", "x", "--after", "soon"], {}, 1, "`after:soon` is no date that I understand"),
        (["search", "x", "--source", "nowhere"], {}, 1, "`source:nowhere` names no source"),
        (["down"], {}, 1, "No Almanac runs in"),
        (["ask"], {}, 2, "Missing argument"),
        (["search", "x", "-k", "0"], {}, 2, "Invalid value"),
        (["nonsense"], {}, 2, "No such command"),
        (["learn", "13"], {}, 2, "There is no week 13; the weeks are 1, 2"),
        (["status"], {"ALMANAC_PORT": "many"}, 1, "ALMANAC_PORT is wrong"),
        (["status"], {"ALMANAC_DATABASE_URL": "postgresql://u:secret@127.0.0.1:9/x"}, 1, "Postgres cannot be reached"),
        (["status"], {"ALMANAC_DATABASE_URL": "mysql://u:secret@h/x"}, 1, "ALMANAC_DATABASE_URL is not a Postgres URL"),
        (["status"], {"ALMANAC_DATABASE_URL": "nonsense"}, 1, "ALMANAC_DATABASE_URL is not a Postgres URL"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_an_honest_code(
    home: Path, arguments: list[str], environment: dict[str, str], code: int, words: str
) -> None:
    result = almanac(*arguments, home=home, **environment)
    assert result.returncode == code
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr
    assert "secret" not in result.stderr
    assert result.stdout == ""


def test_a_home_that_cannot_be_written_to_is_one_sentence() -> None:
    result = almanac("up", home=Path("/proc/nowhere"))
    assert result.returncode == 1
    assert "ALMANAC_HOME: /proc/nowhere cannot be written to" in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_ingest_fails_where_nothing_at_all_could_be_read(home: Path, tmp_path: Path) -> None:
    for name in ("empty.md", "odd.xyz"):
        (tmp_path / name).write_bytes(b"")
    result = inside("ingest", str(tmp_path), "--json", home=home)
    assert result.returncode == 1
    assert {failure["path"] for failure in json.loads(result.stdout)["failed"]} == {"empty.md", "odd.xyz"}
    (tmp_path / "good.md").write_text("# Good\n\nLunch is at noon.")
    assert inside("ingest", str(tmp_path), "--json", home=home).returncode == 0


def test_learn_tells_its_week_and_its_options() -> None:
    shown = CliRunner().invoke(learning.app, ["--help"]).output.lower()
    assert all(word in shown for word in ("[week]", "--read", "--quick"))


@pytest.mark.parametrize("entry", COMMANDS, ids=[entry.name for entry in COMMANDS])
def test_each_command_is_listed_as_it_describes_itself_and_shows_an_example(entry: Entry) -> None:
    command = Later(entry).load()
    assert command.name == entry.name
    assert " ".join((command.help or "").split("\n\n")[0].split()) == entry.help
    shown = CliRunner().invoke(app, [entry.name, "--help"])
    assert shown.exit_code == 0
    assert f"almanac {entry.name}" in shown.stdout
    if not isinstance(command, TyperGroup):
        assert "Example" in shown.stdout


def test_the_list_of_commands_loads_none_of_them() -> None:
    listed = (
        "import sys; from typer.testing import CliRunner; from bot.terminal import app\n"
        "print(CliRunner().invoke(app, ['--help'], env={'COLUMNS': '200'}).stdout)\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'aiohttp', 'numpy', 'pydantic', 'sqlalchemy'}))"
    )
    shown = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True).stdout
    assert shown.rstrip().endswith("[]")
    for entry in COMMANDS:
        assert f" {entry.name} " in shown
