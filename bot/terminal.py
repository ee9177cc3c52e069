"""The command ``almanac``. Each command parses, calls, and renders; an expected failure is one sentence and exit 1."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Coroutine
from contextlib import aclosing
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from assistant.database import migrate, runs, status
from assistant.errors import AlmanacError, NotRunning
from assistant.guardrails.formats import Format
from assistant.knowledge.filters import NO_FILTERS, Filters, from_arguments
from assistant.settings import Settings
from bot import (
    administration,
    approvals_cli,
    backing_up,
    evaluating,
    finetuning_cli,
    guarding,
    migrating,
    preferences_cli,
    reembedding,
    serving_cli,
    spending_cli,
    state,
    supervisor,
    tools_cli,
)
from bot import console as show
from bot.asking import format_file
from bot.backend import Backend, command_settings, open_backend, open_sessions
from bot.checks import run_checks
from bot.child import STOP_SECONDS
from bot.local_model import health
from bot.mcp.cli import app as mcp
from bot.slack.cli import app as slack
from bot.teams.cli import playground, teams
from bot.worker_process import Watch, work_off

app = typer.Typer(
    name="almanac",
    help="Answers engineering questions from your own documents, with citations.",
    epilog="Start with: almanac up. Then: almanac ask 'How do I roll back a deployment?'",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
T = TypeVar("T")
JsonFlag = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document to standard output.")]
SourceOption = Annotated[
    list[str] | None, typer.Option("--source", help="Only this source (its name, kind or place); several: any of them.")
]
TitleOption = Annotated[list[str] | None, typer.Option("--title", help="Only documents with these words in the title.")]
AuthorOption = Annotated[list[str] | None, typer.Option("--author", help="Only documents by this person, or theirs.")]
AfterOption = Annotated[str | None, typer.Option("--after", help="Changed since 2026-05-01, 2026-05, 7d, …")]
BeforeOption = Annotated[str | None, typer.Option("--before", help="Last changed before that day.")]


def main() -> None:
    """Run the command; turn expected failures into one sentence on standard error."""
    code: object = 0
    try:
        app()
    except AlmanacError as error:
        show.error_console().print(Text(str(error), style="red"))
        code = 1
    except KeyboardInterrupt:
        code = 130
    except SystemExit as ended:
        code = ended.code
    _leave(code)


def _leave(code: object) -> None:
    """End at once, after what was to be done at the end: taking torch apart takes longer than most commands."""
    if isinstance(code, str):  # as Python does it
        sys.stderr.write(f"{code}\n")
    with contextlib.suppress(BrokenPipeError):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@app.command(epilog="Examples: almanac up  ·  almanac up --port 9000  ·  almanac up --json")
def up(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the web page; 0 takes a free one.")
    ] = None,
    sample: Annotated[bool, typer.Option(help="Read the sample handbook when the index is empty.")] = True,
    json: JsonFlag = False,
) -> None:
    """Start everything: Postgres, Valkey, the worker and the bot. Ctrl-C stops all of it."""
    settings = command_settings(**({} if port is None else {"port": port}))
    err = show.error_console()

    def ready(running: state.Running) -> None:
        if json:
            show.print_json(_addresses(running))
        else:
            _greet(Console(highlight=False), running)

    with show.ingest_bar(err) as bar:
        task: Any = None

        def tell(sentence: str) -> None:
            bar.console.print(Text(sentence, style="dim"))

        def watch(run: runs.RunRow) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task("Sample handbook", total=None, detail="")
            show.update_bar(bar, task, run.progress)
            if run.finished:
                bar.stop()

        _run(supervisor.up(settings, tell, watch, ready, sample))


def _addresses(running: state.Running) -> dict[str, Any]:
    return {
        "web": running.web,
        "slack_events": f"{running.web}/slack/events",
        "teams_messages": f"{running.web}/api/messages",
        "pid": running.pid,
        **({"llm": {"url": running.llm.url, "model": running.llm.name}} if running.llm else {}),
    }


def _greet(console: Console, running: state.Running) -> None:
    console.print()
    console.print(Text("Almanac is ready.", style="bold green"))
    console.print(Text.assemble("  Web page   ", (running.web, f"bold link {running.web}")))
    console.print(Text.assemble("  Try        ", ('.venv/bin/almanac ask "How do I roll back a deployment?"', "bold")))
    console.print(Text("  Ctrl-C stops everything it started.", style="dim"))


@app.command(epilog="Example: almanac down")
def down(json: JsonFlag = False) -> None:
    """Stop the Almanac that runs in this folder."""
    settings = command_settings()
    running = state.find(settings.home)
    if running is None:
        raise NotRunning(f"No Almanac runs in {settings.home.resolve()}.")
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + 2 * STOP_SECONDS + 10
    while state.find(settings.home) is not None:
        if time.monotonic() > deadline:
            raise AlmanacError(f"Almanac (pid {running.pid}) did not stop in time.")
        time.sleep(0.1)
    if json:
        show.print_json({"stopped": True, "pid": running.pid})
    else:
        show.error_console().print("Almanac has stopped.")


@app.command(epilog="Examples: almanac ingest docs/  ·  almanac ingest handbook.pdf runbooks/ --json")
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders; a folder's deleted files leave the index.")],
    json: JsonFlag = False,
) -> None:
    """Read files or folders into the index, and wait until they can be asked about."""
    settings = command_settings()
    for path in paths:
        if not path.exists():
            raise AlmanacError(f"{path} does not exist.")
    err = show.error_console()
    with show.ingest_bar(err) as bar:
        task = bar.add_task("Reading", total=None, detail="")
        run = _run(_ingest(settings, paths, lambda run: show.update_bar(bar, task, run.progress)))
    if run.state != "succeeded" or run.result is None:
        raise AlmanacError(run.error or "The run did not finish.")
    if json:
        show.print_json(run.result)
    else:
        show.show_ingested(err, run.result)


async def _ingest(settings: Settings, paths: list[Path], watch: Watch) -> runs.RunRow:
    """A run of its own, worked off beside us by a worker process: the files are on this machine."""
    arguments = {"paths": [str(path.resolve()) for path in paths]}
    async with open_sessions(settings) as (sessions, url):
        async with sessions.begin() as session:
            run_id = await runs.create(session, "ingest", arguments)
        return await work_off(url, sessions, run_id, watch)


@app.command(
    epilog='Examples: almanac ask "Who is on call for payments?"  ·  almanac ask "..." --source runbooks --json'
    '  ·  almanac ask "..." --format schema.json'
)
def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    source: SourceOption = None,
    title: TitleOption = None,
    author: AuthorOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    format: Annotated[
        Path | None, typer.Option(help="A file with a JSON schema: print a JSON value that fits it.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Ask one question and get a cited answer. Filters may stand in the question: source:runbooks"""
    settings = command_settings()
    filters = _filters(source, title, author, after, before)
    form = format_file(format) if format is not None else None
    answer = _run(_ask_once(settings, question, json or form is not None, filters, form))
    if json:
        show.print_json(answer)
    elif form is not None:
        show.print_value(answer)
    without = form is not None and not json and answer["value"] is None
    if answer["outcome"] == "failed" or without:
        raise typer.Exit(1)


def _filters(
    source: list[str] | None, title: list[str] | None, author: list[str] | None, after: str | None, before: str | None
) -> Filters:
    days = {"after": [after] if after is not None else [], "before": [before] if before is not None else []}
    return from_arguments({"source": source or [], "title": title or [], "author": author or [], **days})


async def _ask_once(
    settings: Settings, question: str, quiet: bool, filters: Filters, form: Format | None = None
) -> dict[str, Any]:
    if not question.strip():
        raise AlmanacError("The question is empty.")
    console = None if quiet else Console(highlight=False)
    async with open_backend(settings) as backend:
        return await _answer(backend, question, str(uuid.uuid4()), console, filters, form)


async def _answer(
    backend: Backend, question: str, conversation: str, console: Console | None, filters: Filters = NO_FILTERS,
    form: Format | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The final answer; shown as it comes where there is a console."""
    view = show.AnswerView(console) if console is not None else contextlib.nullcontext()
    answer: dict[str, Any] = {}
    with view as shown:
        async with aclosing(backend.ask(question, conversation, filters, form)) as events:
            async for name, data in events:
                if name == "done":
                    answer = data
                elif shown is not None:
                    shown.event(name, data)
    if not answer:
        raise AlmanacError("The answer broke off.")
    if console is not None:
        show.show_answer(console, answer)
    return answer


@app.command(
    epilog='Examples: almanac search "rollback payments" --after 30d  ·  almanac search "SEV1 title:log" -k 3 --json'
)
def search(
    query: Annotated[str, typer.Argument(help="Words to search for, in quotes.")],
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, max=100, help="How many passages.")] = 10,
    source: SourceOption = None,
    title: TitleOption = None,
    author: AuthorOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    json: JsonFlag = False,
) -> None:
    """Show the passages that a question would be answered from. Filters may stand in the words: title:deploy"""
    settings = command_settings()
    filters = _filters(source, title, author, after, before)

    async def find() -> dict[str, Any]:
        async with open_backend(settings) as backend:
            return await backend.search(query, limit, filters)

    found = _run(find())
    if json:
        show.print_json({"query": query, **found})
    else:
        show.show_hits(Console(highlight=False), found["hits"], found["note"])


@app.command(epilog="Example: almanac chat   (an empty line or Ctrl-D ends it)")
def chat(json: JsonFlag = False) -> None:
    """Hold a conversation: each question may lean on the ones before. With --json, questions come on standard input."""
    settings = command_settings()
    turns = _run(_chat(settings, quiet=json))
    if json:
        show.print_json({"turns": turns})


async def _chat(settings: Settings, quiet: bool) -> list[dict[str, Any]]:
    console = None if quiet else Console(highlight=False)
    conversation = str(uuid.uuid4())
    turns: list[dict[str, Any]] = []
    async with open_backend(settings) as backend:
        if console is not None:
            console.print(Text("Ask away. An empty line or Ctrl-D ends the conversation.", style="dim"))
        while question := await asyncio.to_thread(_read_question, console):
            answer = await _answer(backend, question, conversation, console)
            turns.append({"question": question, **answer})
    return turns


def _read_question(console: Console | None) -> str:
    try:
        if console is None:
            return sys.stdin.readline().strip()
        return console.input("[bold cyan]›[/] ").strip()
    except EOFError:
        return ""


@app.command("status", epilog="Examples: almanac status  ·  almanac status --json")
def show_status(json: JsonFlag = False) -> None:
    """What the index holds, what runs, and whether it is well."""
    document = _run(_status(command_settings()))
    if json:
        show.print_json(document)
    else:
        show.show_status(Console(highlight=False), document)


async def _status(settings: Settings) -> dict[str, Any]:
    running = state.find(settings.home)
    async with open_sessions(settings) as (sessions, _), sessions() as session:
        counts = await status.counts(session)
        recent = await status.recent_runs(session)
    model_health = {"language model": await health(running.llm)} if running and running.llm else {}
    packages = ("almanac", "torch", "transformers", "pgvector")
    return {
        **counts,
        "runs": recent,
        "running": _addresses(running) if running else None,
        "versions": {name: version(name) for name in packages} | {"migration": migrate.head()},
        "health": {"database": "ok"} | model_health,
    }


@app.command(epilog="Examples: almanac check  ·  almanac check --json")
def check(json: JsonFlag = False) -> None:
    """Check settings, connections, migrations and models; not zero when something is wrong."""
    settings = command_settings()
    console = Console(highlight=False)

    async def collect() -> list[dict[str, Any]]:
        checks = []
        async for result in run_checks(settings):
            checks.append(result)
            if not json:
                show.show_checks(console, [result])
        return checks

    checks = _run(collect())
    if json:
        show.print_json({"ok": all(result["ok"] for result in checks), "checks": checks})
    if not all(result["ok"] for result in checks):
        raise typer.Exit(1)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Examples: almanac learn  ·  almanac learn 4 --read  ·  almanac learn 4 --quick",
)
def learn(context: typer.Context) -> None:
    """The twelve weeks of foundations: list them, read one, or run its experiment ([WEEK] [--read | --quick])."""
    # A process of its own: the lessons stand alone (nothing of ours imports ml), and -P keeps the folder that the
    # reader happens to be in from shadowing them.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "ml", *context.args])  # noqa: S606 - the arguments are the reader's


app.command(epilog="Examples: almanac serve  ·  almanac serve --port 9090")(serving_cli.serve)
app.command(epilog="Examples: almanac guard prompts.jsonl  ·  almanac guard prompts.jsonl --json")(guarding.guard)
app.command(epilog="Examples: almanac migrate  ·  almanac migrate --json")(migrating.migrate)
app.command(epilog="Example: almanac backup almanac-2026-11-26.dump")(backing_up.backup)
app.command(epilog="Example: ALMANAC_HOME=restored almanac restore almanac-2026-11-26.dump")(backing_up.restore)
administration.mount(app)
spending_cli.mount(app)
finetuning_cli.mount(app)
app.add_typer(reembedding.app, name="reembed")
app.add_typer(evaluating.app, name="eval")
app.add_typer(tools_cli.app, name="tools")
app.add_typer(approvals_cli.app, name="approvals")
app.add_typer(preferences_cli.app, name="preferences")
for group in (slack, teams, playground, mcp):
    app.add_typer(group)


if __name__ == "__main__":
    main()
