"""What the pictures show: the product's own rendering of a few answers, a Home tab and a modal."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from assistant.answering.messages import Answer, Citation
from assistant.answering.outcomes import Outcome
from assistant.commands import Confirm, Reply, Table
from assistant.database.channels import ChannelSettings
from assistant.database.overview import AdminView, Asked, PersonView, SourceView
from assistant.settings import Settings
from bot.slack import blocks, modals
from bot.slack.commands import _confirmation, reply_parts
from bot.slack.home import home_blocks
from bot.slack.render import Look, answer_parts
from tests.slack.picture import home, message, modal

NOW = datetime.now(UTC)
BLUE, GREEN, RED = "#1f3a5f", "#2b7a4b", "#8a3b5c"

TEXT = """\
A ledger release must be rolled back **within 10 minutes** of the first failed reconciliation [1]:

```sh
deployctl freeze ledger
deployctl rollback ledger --to previous
```

| step | who | limit |
| --- | --- | --- |
| freeze deploys | release engineer | 1 min |
| roll back | on-call | 10 min |
| reconcile | ledger team | 1 h |

Announce it in the incident channel before you start [2]."""


def citation(n: int, title: str, path: tuple[str, ...], days: int, owner: str) -> Citation:
    updated = (NOW - timedelta(days=days)).date().isoformat()
    url = f"https://handbook.example.com/{title.lower().replace(' ', '-')}"
    return Citation(n, title, url, n, "", n, f"{title}.md", path, owner=owner, updated=updated)


def answer(**changed: Any) -> Answer:
    cited = (
        citation(1, "Ledger runbook", ("Releases", "Roll back"), 24, "Ledger team"),
        citation(2, "Incident process", ("First five minutes",), 96, "Mara Lindqvist"),
    )
    values: dict[str, Any] = {"outcome": Outcome.ANSWERED, "text": TEXT, "citations": cited}
    return Answer(uuid.uuid4(), **{**values, **changed})


def bot_message(given: Answer, look: Look, only_you: bool = False) -> str:
    parts = answer_parts(given, look)
    return "".join(message("Almanac", {"blocks": part.blocks}, BLUE, only_you, app=True) for part in parts)


def pages_of_the_readme() -> dict[str, str]:
    asked = message("Anna", "@Almanac Within how many minutes must a ledger release be rolled back?", GREEN)
    private = answer(text="The freeze ends on 4 January at 08:00 [1].", citations=answer().citations[:1], private=True)
    missing = answer(
        outcome=Outcome.NOT_IN_DOCUMENTS, text="I did not find this in the documents.", citations=(),
        nearest=answer().citations,
    )  # fmt: skip
    others = (
        message("Ben", "@Almanac When does the release freeze end?", RED)
        + bot_message(private, Look(ephemeral=True), only_you=True)
        + message("Anna", "@Almanac Who won the chess cup?", GREEN)
        + bot_message(missing, Look())
    )
    return {
        "slack-answer": asked + bot_message(answer(), Look()),
        "slack-private": others,
        "slack-home": home({"blocks": home_blocks(_person(), _admin(), Settings(_env_file=None), "en", NOW)}),
        "slack-settings": modal(_settings()),
        "slack-commands": _commands(),
    }


def _person() -> PersonView:
    sources = [
        SourceView(1, "handbook", "folder", 212, NOW - timedelta(hours=2), NOW - timedelta(hours=2)),
        SourceView(2, "wiki.example.com", "page", 48, NOW - timedelta(days=3), NOW - timedelta(days=3)),
    ]
    questions = [
        Asked(NOW - timedelta(minutes=4), "Within how many minutes must a ledger release be rolled back?", "answered",
              uuid.uuid4()),
        Asked(NOW - timedelta(days=1), "Who won the chess cup?", "not_in_documents", uuid.uuid4()),
    ]  # fmt: skip
    return PersonView(sources, questions)


def _admin() -> AdminView:
    runs = [{"kind": "ingest", "state": "succeeded", "progress": {"done": 212, "total": 212}, "error": None}]
    failures = [("wiki.example.com", "/old/scan.pdf", "the PDF holds no text")]
    unanswered = [Asked(NOW - timedelta(days=1), "Who won the chess cup?", "not_in_documents", uuid.uuid4())]
    return AdminView(runs, failures, 0.42, 9.71, 57, unanswered, 31, 4, {2: 2})


def _settings() -> dict[str, Any]:
    sources = [blocks.option("handbook", "1"), blocks.option("wiki.example.com", "2")]
    current = ChannelSettings(answer="sure", persona="Be brief, and explain abbreviations.", expert="S0ONCALL")
    fields = modals._settings_fields(current, sources, "en")
    return blocks.modal("x", "Almanac in this channel", fields, close="Cancel", submit="Save")


def _commands() -> str:
    table = Table(
        ("No.", "Name", "Kind", "Documents", "Failures", "Last read"),
        (
            ("1", "handbook", "folder", "212", "0", "2 h ago"),
            ("2", "wiki.example.com", "page", "48", "2", "3 days ago"),
        ),
    )
    listed = reply_parts(Reply("2 sources:", table=table), "en")[0]
    sure = Confirm("Remove the source **wiki.example.com** with its 48 documents? They are gone from answers for good.",
                   "Remove", "sources remove 2")  # fmt: skip
    asked = _confirmation(sure, "en").blocks
    shown = [
        message("Anna", "/almanac sources list", GREEN),
        message("Almanac", {"blocks": listed.blocks}, BLUE, only_you=True, app=True),
        message("Anna", "/almanac sources remove 2", GREEN),
        message("Almanac", {"blocks": asked}, BLUE, only_you=True, app=True),
    ]
    return "".join(shown)
