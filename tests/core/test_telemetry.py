"""Traces reach a real collector, by OpenTelemetry's conventions, and hold no text unless that is asked for."""

from __future__ import annotations

import asyncio
import gzip
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncGenerator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from prometheus_client import generate_latest

from assistant import tracing
from assistant.answering.messages import Question, Usage
from assistant.database import runs
from assistant.database.session import Sessions
from assistant.errors import ModelError, SettingsError
from assistant.knowledge.audience import Audience
from assistant.queue import connect, enqueue
from assistant.settings import load_settings
from assistant.spending.budget import Budget
from assistant.telemetry import Metrics, Stopwatch

SECRET = "What is the salary of Ben?"
ROOT = Path(__file__).parents[2]


class Collector:
    """Takes OTLP over HTTP, as a collector does."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], ExportTraceServiceRequest]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                message = ExportTraceServiceRequest.FromString(body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector.requests.append((self.path, headers, message))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def resources(self) -> list[dict[str, Any]]:
        return [attributes(part.resource) for _, _, message in self.requests for part in message.resource_spans]

    def spans(self) -> dict[str, Sent]:
        """By name; a name that was sent twice gives the last one."""
        found = {}
        for _, _, message in self.requests:
            for resource in message.resource_spans:
                for scope in resource.scope_spans:
                    found |= {span.name: span for span in scope.spans}
        return found


def attributes(holder: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in holder.attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def traced(collector: Collector) -> Iterator[Collector]:
    end = tracing.configure_tracing(load_settings(_env_file=None, otlp_endpoint=collector.url), "almanac-bot")
    yield collector
    end()


def asked(platform: str = "slack") -> Question:
    return Question(SECRET, "slack:T1:U1", Audience.everyone(), platform, "T1:C1:17.1")


async def one_answer(sessions: Sessions, metrics: Metrics, answer_id: uuid.UUID) -> None:
    """The stages of an answer as ``assistant.answering`` goes through them, with one call of each kind."""
    purse = Budget(sessions, load_settings(_env_file=None), metrics).purse(asked(), answer_id)
    watch = Stopwatch(metrics)
    with tracing.question("slack", "T1:C1:17.1", answer_id) as span:
        with watch.stage("search") as search:
            search.set(almanac__hits=3)
        async with purse.call("m-1", prompt_tokens=500, completion_tokens=100, purpose="step") as call:
            call.used(Usage(400, 20, 0.01), cached_tokens=128)
        with tracing.tool("on_call", "call-1", source="internal") as tool:
            tool.content("gen_ai.tool.call.arguments", {"who": SECRET})
        with watch.stage("check"):
            pass
        span.set(almanac__outcome="answered")
        span.content("gen_ai.input.messages", SECRET)


async def sent_by(collector: Collector, content: bool, work: Any) -> dict[str, Sent]:
    settings = load_settings(_env_file=None, otlp_endpoint=collector.url, trace_content=content)
    end = tracing.configure_tracing(settings, "almanac-bot")
    try:
        await work
    finally:
        await asyncio.to_thread(end)
    return collector.spans()


async def test_an_answer_is_one_trace_by_the_conventions(collector: Collector, sessions: Sessions) -> None:
    answer_id = uuid.uuid4()
    spans = await sent_by(collector, False, one_answer(sessions, Metrics(), answer_id))
    assert set(spans) == {"invoke_agent almanac", "search", "chat m-1", "execute_tool on_call", "check"}
    whole = spans.pop("invoke_agent almanac")
    assert whole.kind == Sent.SPAN_KIND_SERVER
    assert not whole.parent_span_id
    for span in spans.values():
        assert (span.trace_id, span.parent_span_id) == (whole.trace_id, whole.span_id)
        assert whole.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= whole.end_time_unix_nano
    chat = spans["chat m-1"]
    assert chat.kind == Sent.SPAN_KIND_CLIENT
    assert attributes(chat) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "m-1",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.usage.input_tokens": 400,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 128,
        "almanac.cost_usd": 0.01,
        "almanac.purpose": "step",
    }
    assert attributes(spans["execute_tool on_call"]) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "on_call",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": "call-1",
        "almanac.tool.source": "internal",
    }
    said = attributes(whole)
    assert (said["gen_ai.operation.name"], said["almanac.outcome"]) == ("invoke_agent", "answered")
    assert said["almanac.answer.id"] == str(answer_id)
    (resource, *_) = collector.resources()
    assert resource["service.name"] == "almanac-bot"
    assert resource["service.version"]
    assert collector.requests[0][0] == "/v1/traces"
    assert collector.requests[0][1]["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize("content", [False, True])
async def test_text_is_sent_only_where_it_is_asked_for(collector: Collector, sessions: Sessions, content: bool) -> None:
    await sent_by(collector, content, one_answer(sessions, Metrics(), uuid.uuid4()))
    everything = b"".join(message.SerializeToString() for _, _, message in collector.requests)
    assert everything
    assert (SECRET.encode() in everything) is content
    for identity in (b"U1", b"C1", b"T1"):  # people and channels are named by nothing but a hash
        assert identity not in everything


async def test_an_error_is_named_and_its_message_is_not_sent(collector: Collector) -> None:
    async def fails() -> None:
        with pytest.raises(ModelError), tracing.span("outer"), tracing.span("inner"):
            raise ModelError(SECRET)

    spans = await sent_by(collector, False, fails())
    for name in ("inner", "outer"):
        assert attributes(spans[name])["error.type"] == "ModelError"
        assert spans[name].status.code == 2
        assert spans[name].status.message == ""
        assert not spans[name].events
    assert SECRET not in str(spans)


async def test_questions_at_once_do_not_mix(collector: Collector) -> None:
    """Answers are generators, followed step by step in tasks of their own."""

    async def steps(number: int) -> AsyncGenerator[int, None]:
        with tracing.question("web", str(number), number):
            for step in range(3):
                with tracing.span(f"{number}.{step}"):
                    await asyncio.sleep(0.001 * (number % 3))
                yield step

    async def follow(number: int) -> None:
        stream = steps(number)
        async for step in stream:
            await asyncio.sleep(0)
            if number % 4 == 0 and step == 1:
                break  # the asker goes away
        await stream.aclose()

    await sent_by(collector, False, asyncio.gather(*map(follow, range(20))))
    by_id: dict[bytes, Sent] = {}
    for _, _, message in collector.requests:
        by_id |= {span.span_id: span for part in message.resource_spans for it in part.scope_spans for span in it.spans}
    for span in by_id.values():
        if "." in span.name:
            parent = by_id[span.parent_span_id]
            assert attributes(parent)["almanac.answer.id"] == span.name.partition(".")[0]
    assert sum("." not in span.name for span in by_id.values()) == 20


async def test_a_run_goes_on_in_the_trace_of_whoever_asked_for_it(
    collector: Collector, sessions: Sessions, database_url: str, redis_url: str
) -> None:
    """The bot's process enqueues, a real worker in a process of its own takes the run."""
    async with sessions.begin() as session:
        run_id = await runs.create(session, "ingest", {"paths": ["/nowhere"]})

    async def ask() -> None:
        pool = await connect(redis_url)
        with tracing.span("command"):
            await enqueue(pool, run_id)
        await pool.aclose()

    bot = (await sent_by(collector, False, ask()))["command"]
    environment = {
        **os.environ, "ALMANAC_DATABASE_URL": database_url, "ALMANAC_REDIS_URL": redis_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    worker = subprocess.Popen([sys.executable, "-m", "workers"], env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1_200):
            if "run" in collector.spans():
                break
            await asyncio.sleep(0.1)
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.wait, 60)
    run_span = collector.spans()["run"]
    assert (run_span.trace_id, run_span.parent_span_id) == (bot.trace_id, bot.span_id)
    assert attributes(run_span)["almanac.run.id"] == str(run_id)
    assert {"almanac-bot", "almanac-worker"} <= {resource["service.name"] for resource in collector.resources()}


def test_without_a_collector_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    tracing.configure_tracing(load_settings(_env_file=None), "almanac-bot")()
    with tracing.span("anything") as span:
        span.set(a=1)
        span.content("b", SECRET)
        assert tracing.carried() is None
        assert tracing.stamped(None, "info", {"event": "x"}) == {"event": "x"}
    assert tracing.restored("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") is None
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing.configure_tracing(load_settings(_env_file=None, otlp_endpoint="http://127.0.0.1:1"), "almanac-bot")()
    assert tracing.span("a") is tracing.span("b")


def test_the_sdk_is_not_even_imported_while_tracing_is_off() -> None:
    code = (
        "import sys; from assistant import tracing; from assistant.settings import load_settings\n"
        "tracing.configure_tracing(load_settings(_env_file=None), 'x')\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_a_protocol_that_is_not_spoken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_PROTOCOL is grpc"):
        tracing.configure_tracing(load_settings(_env_file=None, otlp_endpoint="http://127.0.0.1:1"), "almanac-bot")


def test_a_collector_that_is_away_holds_nobody_up(unused_tcp_port: int) -> None:
    """Neither the work nor the end of the process."""
    endpoint = f"http://127.0.0.1:{unused_tcp_port}"
    code = (
        "import time; from assistant import tracing; from assistant.settings import load_settings\n"
        f"end = tracing.configure_tracing(load_settings(_env_file=None, otlp_endpoint='{endpoint}'), 'x')\n"
        "with tracing.span('a'): pass\n"
        "begun = time.monotonic(); end(); print(time.monotonic() - begun)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    assert float(done.stdout) < 6


def test_log_lines_name_their_trace(traced: Collector) -> None:
    with tracing.span("work"):
        line = tracing.stamped(None, "info", {"event": "x"})
        assert str(tracing.carried()).startswith(f"00-{line['trace_id']}-{line['span_id']}-")
    assert tracing.stamped(None, "info", {"event": "x"}) == {"event": "x"}


def test_what_is_no_traceparent_is_passed_over(traced: Collector) -> None:
    for carried in (None, "", "nonsense", "00-00000000000000000000000000000000-0000000000000000-00"):
        assert tracing.restored(carried) is None


def test_metrics_keep_to_prometheus_conventions() -> None:
    """Counters end in _total, times are seconds, and every label set is small: no ids, no people."""
    metrics = Metrics()
    for family in metrics.registry.collect():
        assert family.name.startswith("almanac_")
        assert not family.name.endswith(("_ms", "_milliseconds", "_percent"))
        assert family.documentation.endswith(".")
    for collector in metrics.registry._collector_to_names:
        labels = set(getattr(collector, "_labelnames", ()))
        assert not labels & {"person", "channel", "conversation", "answer", "id", "question"}, collector
    assert generate_latest(metrics.registry)
