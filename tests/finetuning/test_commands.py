"""The commands ``finetune``, ``models`` and ``training`` in chat and in the terminal: who may, what is asked again."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from assistant.commands.finetuning import run_line
from assistant.database import audit, finetuning, runs
from assistant.database.runs import RunRow
from assistant.database.session import Sessions
from assistant.models.registry import Registry
from bot.finetuning_cli import show_result
from bot.terminal import app
from tests.core.test_commands import ANNA, Desk

MEASURE = {
    "name": "perplexity", "title": "Perplexity of held-out documents", "better": "lower", "cases": 20, "before": 12.0,
    "after": 8.0, "change": -0.333, "low": -0.36, "high": -0.3, "relative": True, "limit": 0.02, "judged": True,
    "gain": True, "loss": -0.333, "lost": False,
}  # fmt: skip
GATE = {"verdict": "gain", "reasons": ["It got better."], "measures": [MEASURE], "answers": []}


@pytest.fixture
def desk(database_url: str, sessions: Sessions, tmp_path: Path) -> Desk:
    return Desk(database_url, sessions, home=tmp_path)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    folder = tmp_path / "trained"
    folder.mkdir()
    save_file({"lora_A": np.ones((2, 2), dtype=np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    return folder


async def version(desk: Desk, trained: Path, **gate: Any) -> str:
    registry = Registry(desk.sessions, desk.services.settings.adapters_url)
    report = {"gate": {**GATE, **gate}}
    made = await registry.add(trained, base="tiny", kind="lora", run_id=None, report=report, card="# {name}\n")
    return made.name


async def state(desk: Desk, name: str) -> tuple[str, float]:
    found = await Registry(desk.sessions, desk.services.settings.adapters_url).get(name)
    return found.state, found.share


async def actions(desk: Desk) -> list[tuple[str, str, str]]:
    async with desk.sessions() as session:
        return [(entry.person, entry.action, entry.target) for entry in await audit.recent(session)]


@pytest.mark.parametrize("text", ["finetune", "finetune stop", "models promote x", "models rollback"])
async def test_only_administrators_may(desk: Desk, text: str) -> None:
    reply = await desk.say(text, admin=False, confirmed=True)
    assert reply.failed
    assert "Only an administrator" in reply.text


async def test_training_is_confirmed_then_begun_once_and_written_down(desk: Desk) -> None:
    asked = await desk.say("finetune dpo minutes=30 keep")
    assert asked.confirm is not None
    assert "30 minutes" in asked.confirm.sentence
    assert asked.confirm.command == "finetune dpo minutes=30 keep"
    async with desk.sessions() as session:
        assert await finetuning.open_run(session) is None
    begun = await desk.say(asked.confirm.command, confirmed=True)
    assert begun.run_id is not None
    async with desk.sessions() as session:
        run = await runs.find(session, begun.run_id)
    assert run is not None
    assert (run.kind, run.arguments) == ("finetune", {"kind": "dpo", "minutes": 30.0, "then": "keep"})
    again = await desk.say("finetune", confirmed=True)
    assert again.run_id == begun.run_id
    assert "already" in again.text
    stopped = await desk.say("finetune stop")
    assert not stopped.failed
    assert (await desk.say("finetune stop")).failed
    assert await actions(desk) == [
        (ANNA, "finetune stop", str(begun.run_id)), (ANNA, "finetune", str(begun.run_id)),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["finetune fast", "finetune minutes=0", "finetune minutes=9999", "finetune minutes=x"])
async def test_what_it_does_not_know_is_named(desk: Desk, text: str) -> None:
    reply = await desk.say(text)
    assert reply.failed
    assert text.split()[1] in reply.text


async def test_a_version_is_listed_tried_promoted_and_taken_back(desk: Desk, trained: Path) -> None:
    one, two = await version(desk, trained), await version(desk, trained, verdict="no gain")
    listed = await desk.say("models")
    assert listed.table is not None
    assert [row[:3] for row in listed.table.rows] == [(two, "candidate", "no gain"), (one, "candidate", "better")]
    shown = await desk.say(f"models show {one}")
    assert shown.table is not None
    assert shown.table.rows[0] == ("Perplexity of held-out documents", "12.000", "8.000", "-33.3 % [-36.0, -30.0]")
    asked = await desk.say(f"models canary {one} 20")
    assert asked.confirm is not None
    assert "20 %" in asked.confirm.sentence
    assert await state(desk, one) == ("candidate", 0.0)
    assert not (await desk.say(asked.confirm.command, confirmed=True)).failed
    assert await state(desk, one) == ("canary", 0.2)
    asked = await desk.say(f"models promote {two}")
    assert asked.confirm is not None
    assert "found no gain" in asked.confirm.sentence
    await desk.say(f"models promote {one}", confirmed=True)
    await desk.say(f"models promote {two}", confirmed=True)
    assert [await state(desk, name) for name in (one, two)] == [("retired", 0.0), ("promoted", 1.0)]
    asked = await desk.say("models rollback")
    assert asked.confirm is not None
    assert two in asked.confirm.sentence
    back = await desk.say(asked.confirm.command, confirmed=True)
    assert one in back.text
    assert [await state(desk, name) for name in (one, two)] == [("promoted", 1.0), ("retired", 0.0)]
    refused = await desk.say(f"models remove {one}", confirmed=True)
    assert refused.failed
    await desk.say(f"models remove {two}", confirmed=True)
    assert (await desk.say(f"models show {two}")).failed
    told = [action for _, action, _ in await actions(desk)]
    assert told == ["models remove", "models rollback", "models promote", "models promote", "models canary"]


@pytest.mark.parametrize("share", ["0", "100", "x", "-5"])
async def test_a_canary_takes_a_share(desk: Desk, trained: Path, share: str) -> None:
    reply = await desk.say(f"models canary {await version(desk, trained)} {share}", confirmed=True)
    assert reply.failed
    assert "above 0 and below 100" in reply.text


async def test_a_tampered_version_is_not_promoted_and_nothing_is_written_down(
    desk: Desk, trained: Path, tmp_path: Path
) -> None:
    name = await version(desk, trained)
    (tmp_path / "adapters" / name / "adapter_config.json").write_text('{"r": 1}')
    reply = await desk.say(f"models promote {name}", confirmed=True)
    assert reply.failed
    assert "adapter_config.json is not the file that was registered" in reply.text
    assert await state(desk, name) == ("candidate", 0.0)
    assert await actions(desk) == []


async def test_everybody_says_for_themselves_whether_they_are_trained_on(desk: Desk) -> None:
    assert "may be trained" in (await desk.say("training", admin=False)).text
    assert "No model is trained" in (await desk.say("training out", admin=False)).text
    async with desk.sessions() as session:
        assert await finetuning.opted_out(session, ANNA)
    assert "may be trained" in (await desk.say("training in", admin=False)).text
    assert (await desk.say("training perhaps", admin=False)).failed


def row(state: str, progress: dict[str, Any], result: dict[str, Any] | None = None) -> RunRow:
    now: Any = None
    return RunRow(uuid.uuid4(), "finetune", state, {}, progress, result, None, 1, now)


def test_the_line_of_a_run_says_what_it_does_and_what_came_of_it() -> None:
    going = {"stage": "training", "done": 5, "total": 60, "seconds_left": 180.0}
    assert run_line(row("running", going), "en") == "Training, 5/60, 3 min left"
    assert run_line(row("running", {"stage": "measuring texts", "done": 1, "total": 2}), "de") == "Messung läuft, 1/2"
    assert run_line(row("running", {}), "en") == "Collecting what it is trained on"
    done = {"version": "tiny-lora-0001", "state": "refused", "verdict": "no gain"}
    text = run_line(row("succeeded", {}, done), "en")
    assert text is not None
    assert "tiny-lora-0001" in text
    assert "no gain" in text
    assert run_line(row("failed", {}), "en") is None


def cli(*arguments: str, database_url: str, home: Path) -> Any:
    environment = {"ALMANAC_DATABASE_URL": database_url, "ALMANAC_HOME": str(home)}
    return CliRunner().invoke(app, list(arguments), env=environment)


async def test_the_terminal_does_the_same(desk: Desk, trained: Path, tmp_path: Path, database_url: str) -> None:
    import asyncio

    name = await version(desk, trained)

    async def run(*arguments: str) -> dict[str, Any]:
        found = await asyncio.to_thread(cli, *arguments, database_url=database_url, home=tmp_path)
        assert found.exit_code == 0, (found.output, found.exception)
        document: dict[str, Any] = json.loads(found.stdout)
        return document

    (listed,) = (await run("models", "list", "--json"))["versions"]
    assert (listed["name"], listed["verdict"], listed["state"]) == (name, "gain", "candidate")
    assert (await run("models", "show", name, "--json"))["report"]["gate"]["measures"][0]["after"] == 8.0
    assert (await run("models", "canary", name, "--share", "5", "--yes", "--json"))["share"] == 0.05
    assert (await run("models", "promote", name, "--yes", "--json"))["state"] == "promoted"
    assert await run("models", "rollback", "--yes", "--json") == {"withdrawn": name, "in_force": None, "base": "tiny"}
    assert await run("models", "remove", name, "--yes", "--json") == {"removed": name}
    refused = await asyncio.to_thread(cli, "models", "show", name, database_url=database_url, home=tmp_path)
    assert refused.exit_code == 1
    assert name in str(refused.exception)


def test_a_result_is_shown_with_its_measures(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    result = {"version": "v", "state": "promoted", "share": 1.0, "compared_with": None, **GATE}
    show_result(Console(width=120), result)
    shown = capsys.readouterr().out
    assert "v: gain, promoted" in shown
    assert "-33.3 % [-36.0, -30.0]" in shown
    estimate = {"seconds": 600.0, "steps": 12, "tokens": 24_000, "tokens_per_second": 40.0, "cost_usd": 0.0}
    show_result(Console(width=120), {"estimate": estimate})
    assert "About 10.0 minutes: 24,000 tokens at 40 tokens a second." in capsys.readouterr().out
