"""How fast documents are ingested, beside the model alone and beside LangChain; memory as the corpus grows.

``python -m bench.ingestion`` takes turns: in each round the same folder is embedded by the model alone, ingested by us,
and by LangChain, each in a fresh process and a fresh database, so that what else the machine does meets all of them.
The ratios are medians over the rounds. ``--memory`` ingests 2,000 and 20,000 generated pages instead.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from assistant.database.migrate import upgrade
from assistant.database.session import create_engine
from assistant.knowledge.embedding import default_model_path
from bench.world import DATA, HOME, ROOT, server

PAGES = 120  # of GOV.UK's 267 in a round
ROUNDS = 3
LANGCHAIN = ("langchain-community==0.4.2", "langchain-huggingface==1.2.3", "langchain-postgres==0.0.19")
CORES = os.cpu_count() or 2

Result = dict[str, Any]


def langchain_python() -> Path:
    """The interpreter of a virtual environment that has LangChain beside what we have: its pins exclude ours."""
    home = HOME / "langchain"
    python = home / "bin" / "python"
    packages = home / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    if not (packages / "langchain_postgres").exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        ours = next(path for path in sys.path if path.endswith("site-packages"))
        (packages / "almanac.pth").write_text(f"{ours}\n")  # torch and the like need not be installed twice
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *LANGCHAIN], check=True)
    return python


def pages(count: int) -> Path:
    """The first pages of GOV.UK's developer documentation."""
    target = HOME / f"pages-{count}"
    if not target.exists():
        source = DATA / "govuk_docs" / "docs"
        for path in sorted(source.rglob("*.md"))[:count]:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    return target


def generated(count: int, seed: int = 7) -> Path:
    """Short pages of sentences from SciFact's abstracts, no two alike."""
    target = HOME / f"generated-{count}"
    if not target.exists():
        with (DATA / "scifact" / "corpus.jsonl").open(encoding="utf-8") as lines:
            sentences = [
                part for line in lines for part in json.loads(line)["text"].split(". ") if 40 < len(part) < 200
            ]
        draw = random.Random(seed)
        for number in range(count):
            folder = target / f"{number // 500:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            body = "\n\n".join(draw.sample(sentences, 3))
            (folder / f"{number}.md").write_text(f"# Page {number}\n\n{body}.\n", encoding="utf-8")
    return target


def database(server_url: str, migrated: bool) -> str:
    name = f"ingest_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
    url = server_url.replace("/postgres?", f"/{name}?", 1)
    if migrated:
        engine = create_engine(url)
        asyncio.run(upgrade(engine))
    return url


def drop(server_url: str, url: str) -> None:
    name = url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[call-overload]


def child(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bench.ingestion_child", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def result(process: subprocess.Popen[bytes]) -> Result:
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"A measured process failed: {' '.join(map(str, process.args))}")  # type: ignore[arg-type]
    found: Result = json.loads(out.splitlines()[-1])
    return found


def ingested(server_url: str, folders: Sequence[Path], threads: int) -> list[Result]:
    """One process a folder, all at once, into one database."""
    url = database(server_url, migrated=True)
    results = [result(process) for process in [child("ours", folder, url, threads) for folder in folders]]
    drop(server_url, url)
    return results


def langchained(server_url: str, folder: Path) -> Result:
    url = database(server_url, migrated=False)
    command = [
        langchain_python(),
        ROOT / "bench" / "langchain_child.py",
        folder,
        default_model_path(),
        _sqlalchemy(url),
    ]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = result(process)
    drop(server_url, url)
    return found


def _sqlalchemy(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def measure(count: int = PAGES, rounds: int = ROUNDS) -> dict[str, list[Result]]:
    folder = pages(count)
    found: dict[str, list[Result]] = {"alone": [], "ours": [], "langchain": []}
    with server() as url:
        for number in range(rounds):
            steps = {
                "alone": lambda: result(child("alone", folder, "-", CORES)),
                "ours": lambda: ingested(url, [folder], CORES)[0],
                "langchain": lambda: langchained(url, folder),
            }
            for name in list(steps) if number % 2 == 0 else reversed(list(steps)):
                found[name].append(steps[name]())
    return found


def measure_workers(count: int = PAGES, rounds: int = ROUNDS) -> list[float]:
    """Chunks a second of two workers with one thread each, over those of one: a round each."""
    halves = [HOME / f"half-{half}-{count}" for half in (0, 1)]
    for half, target in enumerate(halves):
        for place, path in enumerate(sorted(pages(count).rglob("*.md"))):
            if place % 2 == half and not (copy := target / path.relative_to(pages(count))).exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)
    gains = []
    with server() as url:
        for _ in range(rounds):
            one = ingested(url, halves[:1], 1)[0]
            two = ingested(url, halves, 1)
            speed = sum(worker["chunks"] for worker in two) / max(worker["seconds"] for worker in two)
            gains.append(speed / (one["chunks"] / one["seconds"]))
    return gains


def measure_memory(sizes: Sequence[int] = (2_000, 20_000)) -> dict[int, Result]:
    with server() as url:
        return {size: ingested(url, [generated(size)], CORES)[0] for size in sizes}


def report(found: dict[str, list[Result]]) -> None:
    for name, rounds in found.items():
        speeds = [one["chunks"] / one["seconds"] for one in rounds]
        cpu = statistics.median(one["cpu"] / one["chunks"] * 1000 for one in rounds)
        print(
            f"ingestion, {name:9s} {rounds[0]['chunks']:5d} chunks  {statistics.median(speeds):6.1f} chunks/s"
            f"  ({min(speeds):.1f} to {max(speeds):.1f})  {cpu:5.1f} ms of a core a chunk"
        )
    pairs = list(zip(found["alone"], found["ours"], found["langchain"], strict=True))
    speed = statistics.median(alone["seconds"] / ours["seconds"] for alone, ours, _ in pairs)
    effort = statistics.median(alone["cpu"] / ours["cpu"] for alone, ours, _ in pairs)
    print(
        f"ingestion, ours over the model alone: {speed:.2f} by the clock, {effort:.2f} by processor time (target 0.9)"
    )
    gain = statistics.median(theirs["seconds"] / ours["seconds"] for _, ours, theirs in pairs)
    print(f"ingestion, the folder against LangChain: {gain:.1f} times as fast (target 2.5)")
    again = statistics.median(ours["seconds"] / ours["again"] for _, ours, _ in pairs)
    print(f"ingestion, the folder once more, unchanged: {again:.0f} times as fast")


def report_workers(gains: list[float]) -> None:
    print(f"ingestion, two workers of one thread over one: {statistics.median(gains):.2f} on {CORES} cores")


def report_memory(found: dict[int, Result]) -> None:
    for size, one in found.items():
        print(
            f"ingestion, {size:6d} pages: peak {one['rss_mb']:.0f} MiB, {one['documents'] / one['seconds']:.0f} pages/s"
        )
    small, large = (found[size]["rss_mb"] for size in sorted(found))
    print(f"ingestion, peak memory at ten times the pages: {large / small:.2f} times (target 1.2)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--workers", action="store_true")
    parser.add_argument("--pages", type=int, default=PAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    if asked.memory:
        report_memory(measure_memory())
    elif asked.workers:
        report_workers(measure_workers(asked.pages, asked.rounds))
    else:
        report(measure(asked.pages, asked.rounds))
