"""The run ``finetune``: whatever dies on the way, it ends with one version, measured, kept, and answering or not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from assistant.database import finetuning, runs
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Chunk, Vote
from assistant.errors import AlmanacError
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.models.registry import Registry
from assistant.services import Services, open_services
from assistant.settings import load_settings
from tests.core.parts import Page, shelve
from tests.finetuning.tiny import save_tiny_model
from workers.execution import execute
from workers.finetuning import children

SMALL = {
    "step_tokens": 256, "context": 256, "learning_rate": 5e-3, "evaluations": 2, "held_out_tokens": 1_024,
}  # fmt: skip
ROOT = Path(__file__).parents[2]
STEPS = ("restart the queue", "drain the node", "roll the release back", "page the owner", "read the log of the worker")


def pages(count: int = 60) -> list[Page]:
    def text(n: int) -> str:
        return " ".join(f"Step {k}: {STEPS[(n + k) % 5]}, then wait for {n + k} minutes." for k in range(6))

    return [Page(f"runbook-{n}.md", f"Runbook {n}", (text(n),)) for n in range(count)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def environment(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    given = {
        "ALMANAC_HOME": str(tmp_path), "ALMANAC_BASE_MODEL": str(model), "ALMANAC_LEASE_SECONDS": "2",
        "ALMANAC_EMBEDDING_THREADS": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        "ALMANAC_LOG_LEVEL": "WARNING",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return given


@pytest.fixture
async def services(
    environment: dict[str, str], database_url: str, sessions: Sessions, embedder: TransformerEmbedder
) -> AsyncIterator[Services]:
    await shelve(sessions, embedder, *pages())
    async with open_services(load_settings(_env_file=None), database_url, 1) as services:
        yield services


async def begin(services: Services, **arguments: Any) -> uuid.UUID:
    async with services.sessions.begin() as session:
        run_id, new = await finetuning.request_run(session, arguments)
    assert new
    return run_id


async def found(services: Services, run_id: uuid.UUID) -> runs.RunRow:
    async with services.sessions() as session:
        run = await runs.find(session, run_id)
    assert run is not None
    return run


async def until(services: Services, run_id: uuid.UUID, stage: str, seconds: float = 120.0) -> runs.RunRow:
    deadline = time.monotonic() + seconds
    while True:
        run = await found(services, run_id)
        if run.progress.get("stage") == stage and run.progress.get("done", 0) > 0:
            return run
        assert not run.finished, run
        assert time.monotonic() < deadline, run
        await asyncio.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]


async def test_killed_with_its_worker_it_goes_on_and_ends_with_one_measured_version(
    services: Services, environment: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    run_id = await begin(services, hyper={**SMALL, "checkpoint_every": 0.1})
    folder = tmp_path / "finetuning" / run_id.hex
    settings = {**os.environ, **environment, "ALMANAC_DATABASE_URL": database_url}
    with (tmp_path / "worker.log").open("wb") as log:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workers", "run", str(run_id), env=settings, stdout=log, stderr=log, cwd=tmp_path
        )
        try:
            running = await until(services, run_id, "training")
            child = int((folder / "process.pid").read_text())
            assert alive(child)
            assert running.progress["loss"] > 0
        finally:
            worker.kill()
            await worker.wait()
    for _ in range(100):
        if not alive(child):
            break
        await asyncio.sleep(0.1)
    assert not alive(child)  # it does not train on for nobody
    await asyncio.sleep(2.1)  # the lease of the dead worker
    await execute(services, run_id)
    run = await found(services, run_id)
    assert run.state == "succeeded", (run, (tmp_path / "worker.log").read_text()[-2000:])
    assert run.attempts == 2
    assert run.result is not None
    assert (run.result["version"], run.result["verdict"]) == ("tiny-lora-0001", "gain"), run.result
    assert (run.result["state"], run.result["share"]) == ("canary", 0.1)
    registry = Registry(services.sessions, services.settings.adapters_url)
    (version,) = await registry.versions()
    assert version.run_id == run_id
    assert version.report["training"]["held_out"]["perplexity_after"] < 200
    there = await registry.fetch(version, tmp_path / "served")
    assert {path.name for path in there.iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "README.md", "loss.png", "training.json", "gate.json",
        "data.json",
    }  # fmt: skip
    assert (there / "README.md").read_text().startswith("# tiny-lora-0001\n")
    assert str(tmp_path) not in (there / "adapter_config.json").read_text()
    assert not folder.exists()
    await execute(services, run_id)  # it has ended
    assert len(await registry.versions()) == 1


async def test_dpo_from_votes_is_measured_against_what_is_in_force(services: Services, tmp_path: Path) -> None:
    async with services.sessions() as session:
        chunk = (await session.execute(select(Chunk.id).limit(1))).scalar_one()
    async with services.sessions.begin() as session:
        for n in range(40):
            for value, text in ((1, f"Please restart the queue {n}. [1]"), (-1, f"No! {n}")):
                await vote(session, f"What now, number {n}?", text, value, chunk)
        await vote(session, "Where?", "Here. [1]", 1, chunk, person="web:shy")
        await finetuning.opt_out(session, "web:shy", True)
    hyper = {"learning_rate": 5e-3, "rank": 4, "warmup": 1, "max_length": 4_096}  # a token of this model is a byte
    run_id = await begin(services, kind="dpo", then="promote", hyper=hyper)
    await execute(services, run_id)
    run = await found(services, run_id)
    assert run.state == "succeeded", run.error
    assert run.result is not None
    assert (run.result["version"], run.result["verdict"]) == ("tiny-dpo-0001", "gain"), run.result
    assert run.result["state"] == "promoted"
    (preference,) = [row for row in run.result["measures"] if row["name"] == "preference"]
    assert (preference["before"], preference["gain"]) == (0.5, True)
    version = await Registry(services.sessions, services.settings.adapters_url).get("tiny-dpo-0001")
    assert version.report["data"]["pairs"] + version.report["data"]["held_out_pairs"] == 40
    assert "loss.png" in version.files


async def vote(session: Any, question: str, text: str, value: int, chunk: int, person: str = "web:anna") -> None:
    answer_id = uuid.uuid4()
    cited = [{"n": 1, "chunk_id": chunk, "external_id": "runbook-0.md", "title": "Runbook 0"}]
    await session.execute(
        insert(Answer).values(
            id=answer_id, platform="web", conversation=str(answer_id), asker=person, audience=["everyone"],
            question=question, outcome="answered", text=text, citations=cited, nearest=[], retrieval=[],
            timings_ms={}, model="", prompt_tokens=0, completion_tokens=0, cost_usd=0.0,
        )
    )  # fmt: skip
    await session.execute(insert(Vote).values(answer_id=answer_id, person=person, value=value, retrieval=[]))


async def test_cancelled_it_stops_its_process_and_keeps_nothing(services: Services, tmp_path: Path) -> None:
    run_id = await begin(services, hyper={**SMALL, "epochs": 4_000})
    async with services.sessions.begin() as session:
        assert await finetuning.request_run(session, {}) == (run_id, False)  # one at a time
    working = asyncio.create_task(execute(services, run_id))
    await until(services, run_id, "training")
    child = int((tmp_path / "finetuning" / run_id.hex / "process.pid").read_text())
    async with services.sessions.begin() as session:
        assert await runs.cancel(session, run_id)
    await asyncio.wait_for(working, 60)
    assert not alive(child)
    assert (await found(services, run_id)).state == "cancelled"
    registry = Registry(services.sessions, services.settings.adapters_url)
    assert await registry.versions() == []


async def test_an_estimate_is_measured_and_nothing_is_kept(services: Services, tmp_path: Path) -> None:
    run_id = await begin(services, estimate=True, hyper={**SMALL, "epochs": 4_000})
    await execute(services, run_id)
    run = await found(services, run_id)
    assert run.state == "succeeded", run.error
    assert run.result is not None
    told = run.result["estimate"]
    assert told["seconds"] > 60
    assert told["tokens"] > told["tokens_per_second"] > 0
    assert told["data"]
    assert await Registry(services.sessions, services.settings.adapters_url).versions() == []
    assert not (tmp_path / "finetuning" / run_id.hex).exists()


async def test_too_few_pairs_are_one_sentence(services: Services) -> None:
    run_id = await begin(services, kind="dpo")
    await execute(services, run_id)
    run = await found(services, run_id)
    assert run.state == "failed"
    assert run.error is not None
    assert "There are 0 pairs of up-voted and down-voted answers" in run.error


async def test_a_version_is_asked_for_when_it_is_due(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await finetuning.ask_where_due(session, 0)
        assert await finetuning.open_run(session) is None
        await finetuning.ask_where_due(session, 7)
        run_id = await finetuning.open_run(session)
        assert run_id is not None
        assert await runs.cancel(session, run_id)
        await finetuning.ask_where_due(session, 7)  # one began a moment ago
        assert await finetuning.open_run(session) is None


def script(folder: Path, *lines: str) -> list[str]:
    """A process that keeps a document of its progress, without a second of torch."""
    start = (
        "import json, os, signal, sys, time",
        f"folder = {str(folder)!r}",
        "def tell(**now): open(folder + '/new', 'w').write(json.dumps(now | {'heartbeat': time.time()})); "
        "os.replace(folder + '/new', folder + '/progress.json')",
    )
    return [sys.executable, "-S", "-c", "\n".join([*start, *lines])]


async def ignore(_told: Mapping[str, Any]) -> None:
    return None


async def test_a_child_that_dies_is_begun_again_and_given_up_where_it_gets_no_further(tmp_path: Path) -> None:
    counted = "n = len(os.listdir(folder + '/tries')); os.mkdir(folder + f'/tries/{n}')"
    (tmp_path / "tries").mkdir()
    kill = "os.kill(os.getpid(), 9)"
    seen: list[int] = []

    async def see(told: Mapping[str, Any]) -> None:
        seen.append(told["step"])

    command = script(tmp_path, counted, "tell(step=n)", "time.sleep(0.3)", f"if n < 5: {kill}")
    await children.work(command, tmp_path, "progress.json", see)
    assert len(list((tmp_path / "tries").iterdir())) == 6
    assert max(seen) == 5
    command = script(tmp_path, "print('out of luck', flush=True)", "tell(step=1)", kill)
    with pytest.raises(AlmanacError, match="The process died 3 times: out of luck"):
        await children.work(command, tmp_path, "progress.json", ignore)


async def test_a_childs_own_sentence_is_the_error(tmp_path: Path) -> None:
    command = script(tmp_path, "tell(state='failed', error='There is not enough memory.')", "sys.exit(1)")
    with pytest.raises(AlmanacError, match=r"^There is not enough memory\.$"):
        await children.work(command, tmp_path, "progress.json", ignore)


async def test_a_child_without_a_heartbeat_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "STALE_SECONDS", 0.3)
    monkeypatch.setattr(children, "DEATHS", 1)
    command = script(tmp_path, "tell(step=1)", "time.sleep(600)")
    with pytest.raises(AlmanacError, match="died"):
        await asyncio.wait_for(children.work(command, tmp_path, "progress.json", ignore), 20)


async def test_cancelled_it_asks_the_child_to_stop(tmp_path: Path) -> None:
    stop = "signal.signal(signal.SIGTERM, lambda *_: (open(folder + '/stopped', 'w').close(), sys.exit(3)))"
    command = script(tmp_path, stop, "tell(step=1)", "time.sleep(600)")
    begun = asyncio.Event()

    async def see(_told: Mapping[str, Any]) -> None:
        begun.set()

    working = asyncio.create_task(children.work(command, tmp_path, "progress.json", see))
    await asyncio.wait_for(begun.wait(), 20)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    assert (tmp_path / "stopped").exists()


async def test_an_orphan_in_the_folder_is_ended_first(tmp_path: Path) -> None:
    with children._locked(tmp_path) as lock:
        orphan = subprocess.Popen(
            script(tmp_path, "time.sleep(600)"), pass_fds=(lock,), start_new_session=True, stdin=subprocess.DEVNULL
        )
    (tmp_path / "process.pid").write_text(str(orphan.pid))  # its worker was killed, and nobody reads its pipe
    await asyncio.wait_for(children.work(script(tmp_path, "tell(step=2)"), tmp_path, "progress.json", ignore), 20)
    assert orphan.wait(5) == -signal.SIGKILL
