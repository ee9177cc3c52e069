"""The one file that enqueues. arq carries a run's id, as JSON, and where traces are kept that of the asker's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import structlog
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.constants import in_progress_key_prefix
from redis.exceptions import RedisError

from assistant import tracing
from assistant.errors import QueueUnavailable, SettingsError

log = structlog.get_logger()

QUEUE = "almanac:runs"
JOB = "run"


def queue_of(kinds: Sequence[str]) -> str:
    """Where a worker listens. One of a few kinds has a queue of its own, which its own sweep fills from the rows: what
    others ask for goes to the queue of all, where a worker that does not take the kind leaves the run as it is."""
    return QUEUE if not kinds or kinds[0].startswith("!") else f"{QUEUE}:{'+'.join(kinds)}"


def serialize(job: dict[str, Any]) -> bytes:
    return orjson.dumps(job, default=str)


def deserialize(raw: bytes) -> dict[str, Any]:
    job: dict[str, Any] = orjson.loads(raw)
    return job


def redis_settings(url: str) -> RedisSettings:
    """``rediss`` is TLS: the certificate must be the host's, by one of the system's authorities, or by one of those in
    the file that ``?ssl_ca_certs=`` names."""
    try:
        settings = RedisSettings.from_dsn(url)
        named = parse_qs(urlsplit(url).query).get("ssl_ca_certs", [None])
    except (AssertionError, ValueError, RuntimeError):
        raise SettingsError("ALMANAC_REDIS_URL is not a Redis URL (redis://host:6379/0).") from None
    settings.ssl_check_hostname = settings.ssl  # arq by itself is content with the certificate of any host
    settings.ssl_ca_certs = named[0]
    settings.conn_timeout = 5
    settings.conn_retries = 1
    return settings


async def connect(url: str) -> ArqRedis:
    """A pool; raises ``QueueUnavailable`` in one sentence."""
    try:
        return await create_pool(
            redis_settings(url), job_serializer=serialize, job_deserializer=deserialize, default_queue_name=QUEUE
        )
    except (RedisError, OSError) as error:
        raise QueueUnavailable("Valkey or Redis cannot be reached at ALMANAC_REDIS_URL.") from error


class RunQueue:
    """Asks workers to take runs. Never fails: what it cannot ask for, the workers' sweep finds a little later."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._pool: ArqRedis | None = None

    async def enqueue(self, run_id: uuid.UUID) -> None:
        if self._url is None:
            return
        try:
            self._pool = self._pool or await connect(self._url)
            await enqueue(self._pool, run_id)
        except (QueueUnavailable, RedisError, OSError) as error:
            log.warning("queue.away", run=str(run_id), error=type(error).__name__)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()


async def enqueue(pool: ArqRedis, run_id: uuid.UUID) -> None:
    """Ask a worker to take the run. Asking twice is harmless: the row is claimed once, and a sweep asks again.

    Whoever asks knows from the row that nobody works on the run. What arq remembers of a worker that was killed (for
    as long as a job may take) would keep everybody else away, so it is forgotten.
    """
    name = pool.default_queue_name
    job_id = f"run:{run_id}" if name == QUEUE else f"run:{run_id}@{name}"
    await pool.delete(in_progress_key_prefix + job_id)
    trace = tracing.carried()
    await pool.enqueue_job(JOB, str(run_id), *([trace] if trace else []), _job_id=job_id)
