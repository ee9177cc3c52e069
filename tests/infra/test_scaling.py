"""What makes pods more and fewer: the rows that wait, on a real table, and metrics that there are."""

from __future__ import annotations

import re

import promql_parser
import pytest
from sqlalchemy import text

from assistant.database import runs
from assistant.database.session import Sessions
from assistant.metrics import Metrics, names
from assistant.settings import Settings
from tests.infra.overlays import Resource, named, overlay, pods
from workers.settings import create_worker


def scaled(resources: tuple[Resource, ...], name: str) -> Resource:
    spec: Resource = named(resources, "ScaledObject", name)["spec"]
    return spec


@pytest.mark.parametrize("place", ["aws", "aws-vllm", "azure"])
def test_gpus_are_there_only_while_something_trains(place: str) -> None:
    resources = overlay(place)
    spec = scaled(resources, "almanac-worker-gpu")
    assert spec["minReplicaCount"] == 0
    deployment = named(resources, "Deployment", spec["scaleTargetRef"]["name"])["spec"]
    assert deployment["replicas"] == 0
    pod = deployment["template"]["spec"]
    assert pod["nodeSelector"] == {"almanac/pool": "gpu"}
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    kinds = {}
    for name in ("almanac-worker", "almanac-worker-gpu"):
        env = named(resources, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]["env"]
        kinds[name] = next(it["value"] for it in env if it["name"] == "ALMANAC_WORKER_KINDS")
    assert kinds == {"almanac-worker": "!finetune", "almanac-worker-gpu": "finetune"}
    with_gpu = {it["metadata"]["name"] for it, pod in pods(resources)
                if "nvidia.com/gpu" in pod["spec"]["containers"][0]["resources"]["limits"]}  # fmt: skip
    assert with_gpu == {"almanac-worker-gpu"} | ({"almanac-serving"} if place == "aws-vllm" else set())


async def test_workers_follow_the_rows_that_wait_for_them(sessions: Sessions) -> None:
    """KEDA's own queries on a real table of runs."""
    async with sessions.begin() as session:
        for kind in ("ingest", "ingest", "finetune"):
            await runs.create(session, kind, {})
        later = await runs.create(session, "ingest", {})
        await session.execute(text("UPDATE runs SET not_before = now() + interval '1 h' WHERE id = :id"), {"id": later})
        done = await runs.create(session, "finetune", {})
        await session.execute(text("UPDATE runs SET state = 'succeeded' WHERE id = :id"), {"id": done})
    counted = {}
    for name in ("almanac-worker", "almanac-worker-gpu"):
        [trigger] = scaled(overlay("aws"), name)["triggers"]
        assert trigger["authenticationRef"]["name"] == "almanac-database"
        async with sessions() as session:
            counted[name] = (await session.execute(text(trigger["metadata"]["query"]))).scalar_one()
    assert counted == {"almanac-worker": 2, "almanac-worker-gpu": 1}
    worker = create_worker(Settings(_env_file=None), "postgresql://x", "redis://localhost")  # type: ignore[call-arg]
    target = scaled(overlay("aws"), "almanac-worker")["triggers"][0]["metadata"]["targetQueryValue"]
    assert int(target) == worker.max_jobs
    assert scaled(overlay("aws"), "almanac-worker")["minReplicaCount"] >= 1  # the clock is the workers'


@pytest.mark.parametrize("place", ["aws", "azure"])
def test_bots_follow_metrics_that_there_are(place: str) -> None:
    spec = scaled(overlay(place), "almanac-bot")
    [trigger] = spec["triggers"]
    query = trigger["metadata"]["query"]
    promql_parser.parse(query)
    assert set(re.findall(r"almanac_\w+", query)) <= set(names(Metrics()))
    assert trigger["metadata"]["serverAddress"].startswith("https://")
    assert "replicas" not in named(overlay(place), "Deployment", "almanac-bot")["spec"]
