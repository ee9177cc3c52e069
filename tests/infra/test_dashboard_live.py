"""A real Prometheus reads a real bot: each query of the dashboard is answered, and what happened is to be seen."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from assistant.embedded import free_port
from tests.infra.files import INFRA
from tests.infra.programs import program
from tests.infra.test_in_flight import Start, ask, client, start
from tests.infra.test_monitoring import ALERTS, QUERIES, RECORDED, panels

__all__ = ["client", "start"]  # fixtures
SECONDS = 60.0


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[str]:
    """With the rules of ``infra`` and a scrape a second, under the job's own name."""
    said = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(INFRA / "prometheus/rules.yml")],
        "scrape_configs": [{"job_name": "almanac", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(said))
    address = f"127.0.0.1:{free_port()}"
    command = [
        program("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=log, stderr=log)
        try:
            yield f"http://{address}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


class Seen:
    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self._client = client
        self.url = url

    async def query(self, expr: str) -> list[dict[str, Any]]:
        said = {"query": expr.replace("$__rate_interval", "30s")}
        async with self._client.get(f"{self.url}/api/v1/query", params=said) as response:
            body = await response.json()
            assert body["status"] == "success", (expr, body)
            found: list[dict[str, Any]] = body["data"]["result"]
            return found

    async def rules(self) -> list[dict[str, Any]]:
        async with self._client.get(f"{self.url}/api/v1/rules") as response:
            body = await response.json()
            return [rule for group in body["data"]["groups"] for rule in group["rules"]]

    async def until(self, expr: str) -> list[dict[str, Any]]:
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    if found := await self.query(expr):
                        return found
                except aiohttp.ClientError:  # it is only starting
                    pass
                await asyncio.sleep(0.2)


@pytest.fixture
async def seen(start: Start, client: aiohttp.ClientSession, tmp_path: Path) -> AsyncIterator[tuple[Seen, Any]]:
    bot = await start()
    async with prometheus(tmp_path, bot.url.removeprefix("http://")) as url:
        yield Seen(client, url), bot


async def test_the_dashboard_shows_what_happened(
    seen: tuple[Seen, Any],
    client: aiohttp.ClientSession,
) -> None:
    prometheus_, bot = seen
    await prometheus_.until('up{job="almanac"} == 1')
    asking = [asyncio.create_task(ask(client, bot)) for _ in range(3)]
    [flying] = await prometheus_.until("sum(almanac_questions_in_flight) == 3")
    assert flying["value"][1] == "3"
    bot.gate.set()
    await asyncio.gather(*asking)
    # Of the questions: after their end has been read twice.
    await prometheus_.until('sum(rate(almanac_answers_total{outcome="answered"}[30s])) > 0')
    for name, expr in QUERIES.items():
        await prometheus_.query(expr)  # a query that Prometheus cannot take says so
        assert name
    shown = {panel["title"]: await prometheus_.query(panel["targets"][0]["expr"]) for panel in panels()}
    for title in ("Questions by outcome", "Time to the first text", "Whole answer", "Stages, 95 %", "In flight",
                  "Waiting", "Oldest", "Index", "Spent"):  # fmt: skip
        assert shown[title], title
    assert {it["metric"]["platform"] for it in shown["In flight"]} >= {"slack", "teams", "web", "mcp", "terminal"}
    draw = runpy.run_path(str(INFRA / "grafana/draw.py"))["picture"]
    drawn = await asyncio.to_thread(draw, prometheus_.url, 1.0)
    assert {"Questions by outcome", "In flight"} <= {axes.get_title(loc="left") for axes in drawn.axes}
    rules = {rule["name"]: rule for rule in await prometheus_.rules()}
    assert set(rules) == set(ALERTS) | set(RECORDED)
    assert {"ok"} <= {rule["health"] for rule in rules.values()} <= {"ok", "unknown"}  # not evaluated yet
    assert not [name for name, rule in rules.items() if rule.get("state") == "firing"]
