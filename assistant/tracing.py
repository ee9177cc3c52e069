"""Traces of questions and runs, by OpenTelemetry's conventions for generative AI.

Off, and next to free, unless OTEL_EXPORTER_OTLP_ENDPOINT (or the one for traces) names a collector. A span holds names,
numbers and ids; what people and models wrote only where ALMANAC_TRACE_CONTENT=1 says so. The current span is kept in a
variable of our own: an answer is a generator, and OpenTelemetry's tokens do not outlive the step that took them.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from assistant.errors import SettingsError
from assistant.settings import Settings

AGENT = "almanac"
CONTENT_CHARACTERS = 20_000
LAST_SECONDS = 3.0  # for what is left when a process ends; a collector that is away holds nobody up

_current: ContextVar[trace.Span | None] = ContextVar("almanac_span", default=None)
_tracer: trace.Tracer | None = None
_content = False


class Span:
    """A piece of work. Does nothing while tracing is off."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span | None) -> None:
        self._span = span

    def set(self, **attributes: Any) -> None:
        """``a__b`` is the attribute ``a.b``; None is left out."""
        self.put({name.replace("__", "."): value for name, value in attributes.items()})

    def put(self, attributes: Mapping[str, Any]) -> None:
        if self._span is not None:
            self._span.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def content(self, name: str, value: Any) -> None:
        """What somebody wrote, where that is allowed."""
        if self._span is not None and _content:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            self._span.set_attribute(name, text[:CONTENT_CHARACTERS])

    def failed(self, error: BaseException | str) -> None:
        """The kind of error; its message may hold what somebody wrote."""
        if self._span is not None:
            kind = error if isinstance(error, str) else type(error).__name__
            self._span.set_attribute("error.type", kind)
            self._span.set_status(Status(StatusCode.ERROR))


_QUIET = nullcontext(Span(None))


def span(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
) -> AbstractContextManager[Span]:
    """A span around a block, below the current one. ``parent``: below that instead (``restored``)."""
    return _QUIET if _tracer is None else _begun(_tracer, name, attributes or {}, kind, parent)


@contextmanager
def _begun(
    tracer: trace.Tracer, name: str, attributes: Mapping[str, Any], kind: SpanKind, parent: Context | None
) -> Iterator[Span]:
    before = _current.get()
    above = parent or (Context() if before is None else trace.set_span_in_context(before, Context()))
    given = {key: value for key, value in attributes.items() if value is not None}
    begun = tracer.start_span(name, above, kind, given, record_exception=False, set_status_on_exception=False)
    _current.set(begun)
    shown = Span(begun)
    try:
        yield shown
    except GeneratorExit:
        raise  # whoever listened went away
    except BaseException as error:
        shown.failed(error)
        raise
    finally:
        _current.set(before)
        begun.end()


def question(platform: str, conversation: str, answer_id: object) -> AbstractContextManager[Span]:
    """The span of a whole question. The conversation is named by a hash: it may hold people's names."""
    if _tracer is None:
        return _QUIET
    return span(
        f"invoke_agent {AGENT}",
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": AGENT,
            "gen_ai.provider.name": AGENT,
            "gen_ai.conversation.id": hashlib.sha256(f"{platform}:{conversation}".encode()).hexdigest()[:16],
            "almanac.platform": platform,
            "almanac.answer.id": str(answer_id),
        },
        kind=SpanKind.SERVER,
    )


def chat(model: str, provider: str, purpose: str, max_tokens: int) -> AbstractContextManager[Span]:
    """The span of one request to a model. ``gen_ai.system`` is what older tools call the provider."""
    return span(
        f"chat {model}",
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.system": provider,
            "gen_ai.request.model": model,
            "gen_ai.request.max_tokens": max_tokens,
            "almanac.purpose": purpose,
        },
        kind=SpanKind.CLIENT,
    )


def tool(name: str, call_id: str | None = None, *, source: str | None = None) -> AbstractContextManager[Span]:
    """The span of one call of a tool."""
    return span(
        f"execute_tool {name}",
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call_id,
            "almanac.tool.source": source,
        },
    )


def carried() -> str | None:
    """The current span as ``traceparent`` says it, for another process; None while tracing is off."""
    begun = _current.get()
    if _tracer is None or begun is None:
        return None
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(begun, Context()))
    return carrier.get("traceparent")


def restored(traceparent: str | None) -> Context | None:
    """What another process ``carried``, as a ``parent``; None where there is none, or it is not one."""
    if _tracer is None or not traceparent:
        return None
    context = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def stamped(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A processor of structlog's: log lines name their trace."""
    begun = _current.get() if _tracer is not None else None
    if begun is not None:
        context = begun.get_span_context()
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event


def configure_tracing(settings: Settings, service: str) -> Callable[[], None]:
    """Begin to trace where a collector is named; what is returned sends the rest and ends it.

    Everything else is as OpenTelemetry's own variables say: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
    OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_…, OTEL_SDK_DISABLED.
    """
    global _tracer, _content
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if settings.otlp_endpoint and not endpoint:
        endpoint = f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"
    if not endpoint or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return lambda: None
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in (None, "", "http/protobuf"):
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}; traces are sent by http/protobuf.")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named: dict[str, str | int] = {
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or service,
        "service.namespace": AGENT,
        "service.version": version("almanac"),
        "process.pid": os.getpid(),
    }
    provider = TracerProvider(resource=Resource.create({**named}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    _tracer = provider.get_tracer(AGENT, version("almanac"))
    _content = settings.trace_content

    def end() -> None:
        global _tracer
        _tracer = None
        sending = threading.Thread(target=provider.shutdown, name="last-traces", daemon=True)
        sending.start()
        sending.join(LAST_SECONDS)

    return end
