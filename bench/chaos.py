"""Fifty people ask in Slack for ten minutes while the bot, the worker, Valkey and Postgres are killed in turn.

``python -m bench.chaos [MINUTES] [PEOPLE] [--calm]``: the whole ``almanac up`` in its own processes on this machine,
over real sockets; Slack's Web API is the tests' double, which delivers an event again after a moment, a minute and five
minutes, as Slack does. Documents are written into a folder and read in all the while. ``--calm`` kills nothing: a soak.

Asserted at the end: each question has exactly one whole answer, and each document is there once, with the newest text.
Reported: times to the answer, times to recover from each kill, and the memory of each process over time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from sqlalchemy import select

from assistant.database import runs
from assistant.database.folders import folder_source
from assistant.database.session import Sessions, create_engine, create_sessions
from assistant.database.tables import Answer, Chunk, Document
from bot import state
from tests.slack.double import BOT, SlackDouble, envelope, send_event
from tests.slack.web_api import Channel
from tests.slack.world import BOT_TOKEN, SECRET

TARGETS = ("bot", "workers", "valkey", "postgres")
KILL_SECONDS = 25.0  # between two kills, from when the one before has recovered
AGAIN = (0.5, 60.0, 300.0)  # seconds after which Slack delivers an event again
THINK = (4.0, 16.0)  # seconds between an answer and the next question of a person
WRITE_SECONDS = 10.0  # between two changes of the documents
SAMPLE_SECONDS = 5.0
PATIENCE = 420.0  # seconds after the last question
QUESTIONS = (
    "Within how many minutes must a ledger release be rolled back?",
    "Who approves a change of the payments database?",
    "How do I rotate the signing key of the gateway?",
    "What do I do when the on-call engineer does not answer?",
    "Where are the dashboards of the ledger?",
)


@dataclass
class Seen:
    """What happened. Times in seconds; ``memory``: megabytes of each process, with when it was looked at; ``spent``:
    seconds of a processor that each had used, with the answers that were there."""

    asked: dict[str, float] = field(default_factory=dict)  # the ts of a question -> when
    answered: dict[str, float] = field(default_factory=dict)
    recovered: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory: defaultdict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    spent: defaultdict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    written: dict[str, int] = field(default_factory=dict)  # document -> its newest edition
    redelivered: int = 0


@dataclass
class Station:
    """A running Almanac and the Slack that it talks to."""

    home: Path
    folder: Path
    slack: SlackDouble
    running: state.Running
    parent: psutil.Process
    sessions: Sessions
    seen: Seen = field(default_factory=Seen)
    began: float = field(default_factory=time.monotonic)

    @property
    def events(self) -> str:
        return f"{self.running.web}/slack/events"

    def process(self, target: str) -> psutil.Process | None:
        """The process of one part, or None while there is none."""
        for process in psutil.process_iter(["name", "cmdline", "cwd"]):
            line = process.info["cmdline"] or []
            with contextlib.suppress(psutil.Error):
                if target in ("bot", "workers"):
                    if process.ppid() == self.parent.pid and line[1:3] == ["-m", target]:
                        return process
                elif target == "valkey":
                    if "valkey" in process.info["name"] and process.info["cwd"] == str(self.home / "valkey"):
                        return process
                elif str(self.home / "postgres") in " ".join(line) and "-D" in line:
                    return process
        return None


@contextlib.asynccontextmanager
async def station(people: int) -> AsyncIterator[Station]:
    home, folder = _folders()
    async with SlackDouble().running() as slack:
        for person in range(people):
            slack.channels[channel(person)] = Channel(members={user(person), BOT})
        environment = os.environ | {
            "ALMANAC_HOME": str(home), "SLACK_BOT_TOKEN": BOT_TOKEN, "SLACK_SIGNING_SECRET": SECRET,
            "SLACK_API_BASE_URL": slack.base_url, "ALMANAC_LOG_LEVEL": "WARNING", "ALMANAC_CACHE_HOURS": "0",
        }  # fmt: skip
        with (home / "up.log").open("w") as log:
            up = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot.terminal", "up", "--port", "0", "--json",
                env=environment, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        try:
            assert up.stdout is not None
            if not await up.stdout.readline():
                raise SystemExit((home / "up.log").read_text())
            running = state.find(home)
            assert running is not None
            engine = create_engine(running.database_url, pool_size=4)
            yield Station(home, folder, slack, running, psutil.Process(up.pid), create_sessions(engine))
            await engine.dispose()
        finally:
            with contextlib.suppress(ProcessLookupError):
                up.terminate()
            await up.wait()
            shutil.rmtree(home, ignore_errors=True)


def _folders() -> tuple[Path, Path]:
    home = Path(tempfile.mkdtemp(prefix="almanac-")).resolve()
    (home / "written").mkdir()
    return home, home / "written"


def channel(person: int) -> str:
    return f"C0P{person:04d}"


def user(person: int) -> str:
    return f"U0P{person:04d}"


async def ask_on(here: Station, person: int, until: float, chance: random.Random) -> None:
    """One person: asks, waits for the answer, thinks, and asks again."""
    await asyncio.sleep(chance.uniform(0, THINK[1]))
    for number in itertools.count():
        if time.monotonic() > until:
            return
        text = f"<@{BOT}> {chance.choice(QUESTIONS)} ({person}-{number})"
        message = here.slack.says(user(person), text, channel=channel(person))
        here.seen.asked[message["ts"]] = time.monotonic()
        await deliver(here, envelope({**message, "type": "app_mention"}))
        await wait_for(lambda asked=message["ts"]: asked in here.seen.answered)
        await asyncio.sleep(chance.uniform(*THINK))


async def deliver(here: Station, event: dict[str, Any]) -> None:
    """As Slack does; what is never acknowledged is lost, and fails the check at the end."""
    for attempt, wait in enumerate((0.0, *AGAIN)):
        await asyncio.sleep(wait)
        here.seen.redelivered += attempt > 0
        if await send_event(here.events, event, attempt) == 200:
            return


async def watch_answers(here: Station) -> None:
    """When each question's answer became whole."""
    while True:
        unfinished = {ts for _, ts in here.slack.open_streams()}
        for message in here.slack.visible:
            asked = about(message)
            if asked in here.seen.asked and message["ts"] not in unfinished:
                here.seen.answered.setdefault(asked, time.monotonic())
        await asyncio.sleep(0.1)


def about(message: dict[str, Any]) -> str:
    """The ts of the question that a message of the bot answers."""
    payload = message.get("metadata", {}).get("event_payload", {})
    return str(payload.get("asked", ""))


async def write_on(here: Station, until: float, chance: random.Random) -> None:
    """Somebody writes documents, changes them, and has them read."""
    source: int | None = None
    for number in itertools.count():
        if time.monotonic() > until:
            return
        name = f"note-{number // 2 if number % 3 else chance.randrange(number // 2 + 1)}.md"
        edition = here.seen.written.get(name, 0) + 1
        (here.folder / name).write_text(f"# {name}\n\nEdition {edition} of {name} says number {number}.\n")
        here.seen.written[name] = edition
        with contextlib.suppress(Exception):  # Postgres may be away; the next round asks again
            source = await read_in(here, source)
        await asyncio.sleep(WRITE_SECONDS)


async def read_in(here: Station, source: int | None) -> int:
    async with here.sessions.begin() as session:
        if source is None:
            source, _ = await folder_source(session, str(here.folder))
        await runs.request(session, "ingest", source)
    return source


async def kill_on(here: Station, until: float) -> None:
    """Each part in its turn, by SIGKILL, and how long until it works again."""
    for target in itertools.cycle(TARGETS):
        await asyncio.sleep(KILL_SECONDS)
        if time.monotonic() > until - KILL_SECONDS:
            return
        process = here.process(target)
        if process is None:
            raise SystemExit(f"There is no {target} to kill.")
        process.send_signal(signal.SIGKILL)
        began = time.monotonic()
        while not await works(here, target, process.pid):
            if time.monotonic() - began > 120:
                raise SystemExit(f"{target} did not come back within two minutes.")
            await asyncio.sleep(0.1)
        here.seen.recovered[target].append(time.monotonic() - began)
        print(f"  killed {target}: back after {here.seen.recovered[target][-1]:.1f} s", flush=True)


async def works(here: Station, target: str, old: int) -> bool:
    """The part is another process, and the bot says that it is ready (which needs Postgres)."""
    process = here.process(target)
    if process is None or process.pid == old:
        return False
    if target in ("workers", "valkey"):
        return True
    timeout = aiohttp.ClientTimeout(total=2)
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{here.running.web}/readyz") as reply:
            return reply.status == 200
    return False


async def look_on(here: Station) -> None:
    while True:
        for target in TARGETS:
            process = here.process(target)
            with contextlib.suppress(psutil.Error):
                if process is not None:
                    look_at(here.seen, target, process, time.monotonic() - here.began)
        await asyncio.sleep(SAMPLE_SECONDS)


def look_at(seen: Seen, target: str, process: psutil.Process, now: float) -> None:
    """Of the memory of Postgres's many processes nothing is said: most of what each has is what they share."""
    family = [process, *process.children(recursive=True)]
    if target != "postgres":
        seen.memory[target].append((now, sum(one.memory_info().rss for one in family) / 1e6))
    ended = process.cpu_times()
    used = ended.children_user + ended.children_system + sum(sum(one.cpu_times()[:2]) for one in family)
    seen.spent[target].append((len(seen.answered), used))


async def measure(minutes: float, people: int, calm: bool, seed: int = 1) -> Seen:
    chance = random.Random(seed)
    async with station(people) as here:
        until = time.monotonic() + 60 * minutes
        watching = [asyncio.create_task(watch_answers(here)), asyncio.create_task(look_on(here))]
        doing = [ask_on(here, person, until, random.Random(f"{seed}/{person}")) for person in range(people)]
        doing.append(write_on(here, until, chance))
        if not calm:
            doing.append(kill_on(here, until))
        try:
            await asyncio.gather(*doing)
            await wait_for(lambda: here.seen.asked.keys() <= here.seen.answered.keys())
            await check(here)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
        return here.seen


async def wait_for(holds: Callable[[], bool]) -> None:
    """Until it holds, or patience ends: the check says then what is missing."""
    for _ in range(round(PATIENCE / 0.2)):
        if holds():
            return
        await asyncio.sleep(0.2)


async def check(here: Station) -> None:
    """Raises SystemExit where something was lost or done twice."""
    missing = here.seen.asked.keys() - here.seen.answered.keys()
    answers = Counter(about(message) for message in here.slack.visible)
    twice = [ts for ts in here.seen.asked if answers[ts] > 1]
    if missing or twice:
        raise SystemExit(f"{len(missing)} questions without an answer, {len(twice)} with more than one message.")
    async with here.sessions() as session:
        stored = Counter((await session.execute(select(Answer.question))).scalars())
    if doubled := [question for question, times in stored.items() if times > 1]:
        raise SystemExit(f"{len(doubled)} questions were answered twice in the database.")
    source = await read_in(here, None)
    await settled(here)
    async with here.sessions() as session:
        rows = await session.execute(
            select(Document.external_id, Chunk.text).join(Chunk, Chunk.document_id == Document.id).where(
                Document.source_id == source
            )
        )  # fmt: skip
        texts = [(Path(name).name, text) for name, text in rows]
    wanted = {name: f"Edition {edition} of {name}" for name, edition in here.seen.written.items()}
    if sorted(name for name, _ in texts) != sorted(wanted) or any(wanted[name] not in text for name, text in texts):
        raise SystemExit(f"{len(wanted)} documents were written; the index holds other ones, or older editions.")


async def settled(here: Station) -> None:
    """Until no run is open."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        async with here.sessions() as session:
            open_ones = [run for run in await runs.recent(session, 20) if not run.finished]
        if not open_ones:
            return
        await asyncio.sleep(1)
    raise SystemExit("The documents were not read within the time.")


def report(seen: Seen) -> None:
    times = sorted(seen.answered[ts] - asked for ts, asked in seen.asked.items())
    cuts = statistics.quantiles(times, n=100)
    print(
        f"chaos: {len(times)} questions, each answered exactly once; {seen.redelivered} deliveries repeated; "
        f"{len(seen.written)} documents in {sum(seen.written.values())} editions, none lost or doubled"
    )
    print(f"to the answer: p50 {cuts[49]:.2f} s, p95 {cuts[94]:.2f} s, p99 {cuts[98]:.2f} s, longest {times[-1]:.1f} s")
    for target, seconds in seen.recovered.items():
        print(f"killed {target}: {len(seconds)} times, back after {min(seconds):.1f} to {max(seconds):.1f} s")
    if not seen.recovered:
        for target, used in seen.spent.items():
            (first, begun), (last, done) = used[len(used) // 6], used[-1]  # what starting cost is left out
            print(f"{target}: {1000 * (done - begun) / max(1, last - first):.0f} ms of a processor for each question")
    for target, samples in seen.memory.items():
        print(f"memory of {target}: " + ", ".join(spread(samples)))


def spread(samples: list[tuple[float, float]]) -> Iterator[str]:
    """The median of each sixth of the time, in megabytes."""
    size = max(1, len(samples) // 6)
    for start in range(0, len(samples) - size + 1, size):
        part = samples[start : start + size]
        yield f"{statistics.median(value for _, value in part):.0f} MB at {part[len(part) // 2][0] / 60:.1f} min"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos")
    parser.add_argument("minutes", nargs="?", type=float, default=10.0)
    parser.add_argument("people", nargs="?", type=int, default=50)
    parser.add_argument("--calm", action="store_true", help="kill nothing")
    parser.add_argument("--json", type=Path, help="where to write what was seen")
    given = parser.parse_args()
    seen = asyncio.run(measure(given.minutes, given.people, given.calm))
    report(seen)
    if given.json:
        given.json.write_text(json.dumps({"memory": seen.memory, "recovered": seen.recovered}, indent=1))


if __name__ == "__main__":
    main()
