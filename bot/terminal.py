"""The command ``almanac``. Each command parses, calls, and renders; an expected failure is one sentence and exit 1."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys

import typer

from assistant.errors import AlmanacError
from bot.later import Entry, group

COMMANDS = (
    Entry(
        "up", "bot.starting:up",
        "Start everything: Postgres, Valkey, the worker and the bot. Ctrl-C stops all of it.",
        "Examples: almanac up  ·  almanac up --port 9000  ·  almanac up --json",
    ),
    Entry("down", "bot.starting:down", "Stop the Almanac that runs in this folder.", "Example: almanac down"),
    Entry(
        "ingest", "bot.ingesting:ingest",
        "Read files or folders into the index, and wait until they can be asked about.",
        "Examples: almanac ingest docs/  ·  almanac ingest handbook.pdf runbooks/ --json",
    ),
    Entry(
        "ask", "bot.asking:ask",
        "Ask one question and get a cited answer. Filters may stand in the question: source:runbooks",
        'Examples: almanac ask "Who is on call for payments?"  ·  almanac ask "..." --source runbooks --json'
        '  ·  almanac ask "..." --format schema.json',
    ),
    Entry(
        "search", "bot.asking:search",
        "Show the passages that a question would be answered from. Filters may stand in the words: title:deploy",
        'Examples: almanac search "rollback payments" --after 30d  ·  almanac search "SEV1 title:log" -k 3 --json',
    ),
    Entry(
        "chat", "bot.asking:chat",
        "Hold a conversation: each question may lean on the ones before. With --json, questions come on standard "
        "input.",
        "Example: almanac chat   (an empty line or Ctrl-D ends it)",
    ),
    Entry(
        "status", "bot.looking:status", "What the index holds, what runs, and whether it is well.",
        "Examples: almanac status  ·  almanac status --json",
    ),
    Entry(
        "check", "bot.looking:check",
        "Check settings, connections, migrations and models; not zero when something is wrong.",
        "Examples: almanac check  ·  almanac check --json",
    ),
    Entry(
        "learn", "bot.learning:app",
        "The twelve weeks of foundations: list them, read one, or run its experiment. Other options are its own.",
    ),
    Entry("sources", "bot.administration:sources_app", "Where documents come from: list, add, read again, remove."),
    Entry("runs", "bot.administration:runs_app", "What the workers did and could not do; try it again."),
    Entry(
        "forget", "bot.administration:forget",
        "Remove one document for good: its passages and vectors, and the words of answers that cite it; no sync brings "
        "it back.",
        "Examples: almanac forget '#12'  ·  almanac forget https://wiki.example/old --yes --json",
    ),
    Entry(
        "reembed", "bot.reembedding:app",
        "Change the embedding model while questions go on: build, switch, and go back.",
    ),
    Entry("tools", "bot.tools_cli:app", "Which tools there are, what each takes, and a call by hand."),
    Entry("approvals", "bot.approvals_cli:app", "Calls of tools that wait for somebody's word."),
    Entry(
        "preferences", "bot.preferences_cli:app",
        "What was learned from votes: learn, see what it changes, promote, try on a share, take back.",
    ),
    Entry(
        "spending", "bot.spending_cli:spending",
        "What model calls cost, by person, channel, model, purpose or day, and how far each cap is used.",
        "Examples: almanac spending  ·  almanac spending --by person --since 30d  ·  "
        "almanac spending --by channel --since 2026-11 --json",
    ),
    Entry("eval", "bot.evaluating:app", "Measure how good Almanac is, on data that comes with the right answers."),
    Entry(
        "guard", "bot.guarding:guard",
        "Say of each prompt in a file whether it reads like an attack on the assistant.",
        "Examples: almanac guard prompts.jsonl  ·  almanac guard prompts.jsonl --json",
    ),
    Entry(
        "finetune", "bot.finetuning_cli:finetune",
        "Train a version of the local model on what the index holds, measure it, and try it if it is better.",
        "Examples: almanac finetune --minutes 30  ·  almanac finetune --estimate  ·  almanac finetune --dpo "
        "--pairs pairs.jsonl  ·  almanac finetune --promote --json  ·  almanac finetune --stop",
    ),
    Entry("models", "bot.finetuning_cli:models_app", "Versions of the local model: list, promote, try, take back."),
    Entry(
        "serve", "bot.serving_cli:serve",
        "Serve the base model and every promoted version of it, over OpenAI's API. Ctrl-C stops it.",
        "Examples: almanac serve  ·  almanac serve --port 9090",
    ),
    Entry(
        "migrate", "bot.migrating:migrate",
        "Bring the database that ALMANAC_DATABASE_URL names up to this version. Doing it twice changes nothing.",
        "Examples: almanac migrate  ·  almanac migrate --json",
    ),
    Entry(
        "backup", "bot.backing_up:backup",
        "Write the database to one file, while questions go on. Keep FILE.json with it.",
        "Example: almanac backup almanac-2026-11-26.dump",
    ),
    Entry(
        "restore", "bot.backing_up:restore",
        "Fill an empty database from a backup: a new ALMANAC_HOME, or the database that ALMANAC_DATABASE_URL names.",
        "Example: ALMANAC_HOME=restored almanac restore almanac-2026-11-26.dump",
    ),
    Entry("slack", "bot.slack.cli:app", "Set the Slack app up."),
    Entry("teams", "bot.teams.cli:teams", "Microsoft Teams: the app package."),
    Entry("playground", "bot.teams.cli:playground", "Try Almanac without an account."),
    Entry(
        "mcp", "bot.mcp.cli:app",
        "Serve search, ask and get_document by the Model Context Protocol on standard input and output.",
    ),
)  # fmt: skip

app = typer.Typer(
    name="almanac",
    cls=group(COMMANDS),
    help="Answers engineering questions from your own documents, with citations.",
    epilog="Start with: almanac up. Then: almanac ask 'How do I roll back a deployment?'",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def almanac() -> None:
    """Its own arguments: there are none."""


def main() -> None:
    """Run the command; turn expected failures into one sentence on standard error."""
    code: object = 0
    try:
        app()
    except AlmanacError as error:
        from rich.text import Text

        from bot.console import error_console  # not for those whose command goes well

        error_console().print(Text(str(error), style="red"))
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


if __name__ == "__main__":
    main()
