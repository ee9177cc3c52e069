"""The engine that serves a language model: continuous batching in one thread, asked from an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

import structlog
from tokenizers import Tokenizer

from workers.language_model import LanguageModel
from workers.serving import adapters, quantising
from workers.serving.adapters import Adapter
from workers.serving.batching import Batch, Delivery, Row
from workers.serving.constrained import Grammars
from workers.serving.llama import Llama
from workers.serving.requests import BadRequest, EngineError, Full, NoAdapter, Piece, Request, Stats, Stopped, check
from workers.serving.sampling import Choice
from workers.serving.text import Reader, Stops

log = structlog.get_logger()

Quantisation = Literal["none", "int8", "4bit"]
PREFIX_BYTES = 256 * 2**20


class Engine:
    """Serves one model and its adapters to many requests at once.

    ``slots``: rows in a pass; ``context``: the longest prompt with its answer, in tokens (the model's own limit where
    that is lower); ``waiting``: requests beyond the slots before Full is raised; ``prefix_bytes``: kept keys and values
    of what was read before (0: none). All calls but the constructor are for one event loop, that of ``start``.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        slots: int = 8,
        context: int = 2048,
        quantisation: Quantisation = "none",
        waiting: int = 64,
        prefix_bytes: int = PREFIX_BYTES,
    ) -> None:
        self.slots, self.limit = slots, slots + waiting
        self.context = min(context, model.model.config.max_position_embeddings)
        self.ends = frozenset(end_tokens(model.model, model.tokenizer))
        self.name = model.name
        self._source: LanguageModel | None = model
        self._quantisation, self._prefix_bytes = quantisation, prefix_bytes
        # A copy: a tokenizer that one thread encodes with may not decode in another at the same time.
        self._tokenizer: Any = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
        self._adapters: dict[str, Adapter] = {}
        self._outside: set[Stream] = set()  # handed out and not ended
        self._waiting: deque[Row] = deque()
        self._retired: list[Adapter] = []
        self._wake = threading.Condition()  # guards _waiting, _retired, _closing and the rows' ``cancelled``
        self._closing = False
        self._refused = self._cancelled = 0
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Prepare the weights and start the thread. Idempotent. Raises SettingsError where this model cannot be served,
        or not in this quantisation."""
        if self._thread is not None:
            return
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._prepare)
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)
        self._thread.start()

    def _prepare(self) -> None:
        assert self._source is not None
        self._llama: Llama = quantising.prepare(self._source.model, self.context, self._quantisation)
        self._source = None  # quantised weights replace those of the source, if nobody else holds it
        self._batch = Batch(self._llama, self.slots, self.ends, self._prefix_bytes)
        self._grammars = Grammars(self._tokenizer, self._llama.vocabulary, sorted(self.ends))

    async def close(self) -> None:
        """End running and waiting requests with Stopped, and the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        for stream in list(self._outside):
            stream.put(Stopped("The model server is stopping."))

    def submit(self, request: Request) -> Stream:
        """Raises at once: Full, TooLong, BadRequest, NoAdapter, Stopped. A schema that cannot be followed is found
        while the request waits: the first piece raises BadRequest."""
        if self._thread is None or self._closing or not self._thread.is_alive():
            raise Stopped("The model server is not running.")
        if len(self._outside) >= self.limit:
            self._refused += 1
            raise Full("The model server is busy; try again in a moment.")
        row = self._row(request)
        stream = Stream(self, row)
        self._outside.add(stream)
        if request.schema is None:
            self._enqueue(row)
        else:
            stream.compiling = self._loop.create_task(self._compile(stream, request.schema))
        return stream

    def _row(self, request: Request) -> Row:
        check(request, self.context, self._llama.vocabulary)
        adapter = None
        if request.adapter is not None:
            adapter = self._adapters.get(request.adapter)
            if adapter is None:
                raise NoAdapter(f"The model {request.adapter[:100]} is not loaded.")
        prompt = list(request.prompt_ids)
        most = self.context if request.max_tokens is None else len(prompt) + request.max_tokens
        return Row(
            request,
            adapter,
            prompt,
            limit=min(most, self.context),
            choice=Choice(request.temperature, request.top_p, request.seed),
            reader=Reader(self._tokenizer, prompt),
            stops=Stops(request.stop),
            prompt=len(prompt),
            submitted=time.monotonic(),
        )

    async def _compile(self, stream: Stream, schema: dict[str, Any]) -> None:
        try:
            stream.row.follower = await asyncio.to_thread(self._grammars.follower, schema)
        except EngineError as error:
            stream.put(error)
            return
        except Exception:  # who asked must not wait for ever
            log.exception("serving.schema_failed")
            stream.put(BadRequest("The JSON schema cannot be followed."))
            return
        if not stream.row.cancelled:
            self._enqueue(stream.row)

    def _enqueue(self, row: Row) -> None:
        with self._wake:
            self._waiting.append(row)
            self._wake.notify()

    def _cancel(self, stream: Stream) -> None:
        """A waiting row leaves now, a running one before the next pass."""
        with self._wake:
            stream.row.cancelled = True
            if stream.row in self._waiting:
                self._waiting.remove(stream.row)
                self._cancelled += 1
        self._outside.discard(stream)

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Read a peft adapter (adapter_config.json, adapter_model.safetensors). Raises AdapterUnusable. A name that is
        loaded already is replaced for new requests; those in flight finish with the old one."""
        if self._thread is None:
            raise Stopped("The model server is not running.")
        adapter = await asyncio.to_thread(adapters.read, name, folder, self._llama)
        self._retire(self._adapters.get(name))
        self._adapters[name] = adapter
        log.info("serving.adapter_loaded", adapter=name, bytes=adapter.bytes)

    async def unload_adapter(self, name: str) -> None:
        """New requests may no longer name it; those in flight finish. Raises NoAdapter."""
        if name not in self._adapters:
            raise NoAdapter(f"The model {name[:100]} is not loaded.")
        self._retire(self._adapters.pop(name))
        log.info("serving.adapter_unloaded", adapter=name)

    def _retire(self, adapter: Adapter | None) -> None:
        if adapter is not None:
            with self._wake:
                self._retired.append(adapter)
                self._wake.notify()

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(sorted(self._adapters))

    def stats(self) -> Stats:
        counts, batch = self._batch.counts.copy(), self._batch
        running = len(batch.rows)
        return Stats(
            running=running,
            waiting=max(len(self._outside) - running, 0),
            slots=self.slots,
            finished=counts["finished"],
            cancelled=counts["cancelled"] + self._cancelled,
            refused=self._refused,
            prompt_tokens=counts["prompt_tokens"],
            cached_tokens=counts["cached_tokens"],
            completion_tokens=counts["completion_tokens"],
            steps=counts["steps"],
            step_rows=counts["step_rows"],
            busy=batch.busy,
            prefix_bytes=batch.prefixes.bytes,
            model_bytes=self._llama.bytes,
            adapters=self.adapters,
        )

    def _run(self) -> None:
        while self._take():
            try:
                deliveries = self._batch.step() if self._batch.rows else []
            except Exception:
                log.exception("serving.step_failed", rows=len(self._batch.rows))
                deliveries = self._batch.fail(Stopped("The language model failed; the request can be sent again."))
            if deliveries and not self._deliver(deliveries):
                return

    def _take(self) -> bool:
        """Wait for work and let waiting rows into free slots; False when the engine closes."""
        batch = self._batch
        with self._wake:
            while not (self._closing or self._waiting or self._retired or batch.rows):
                self._wake.wait()
            if self._closing:
                return False
        batch.drop_cancelled()
        with self._wake:
            while self._waiting and batch.free:
                batch.admit(self._waiting.popleft())
            retired, self._retired = self._retired, []
        for adapter in retired:
            adapter.retired = True
            batch.prefixes.forget(adapter)
            batch.sides.forget(adapter)
            batch.graphs.forget(adapter)
        return True

    def _deliver(self, deliveries: Sequence[Delivery]) -> bool:
        try:
            self._loop.call_soon_threadsafe(_hand_out, deliveries)
        except RuntimeError:  # the event loop is closed: nobody is left to serve
            return False
        return True


class Stream:
    """The pieces of one request (``requests.Pieces``)."""

    def __init__(self, engine: Engine, row: Row) -> None:
        self.row = row
        self.compiling: asyncio.Task[None] | None = None
        self._engine = engine
        self._queue: asyncio.Queue[Piece | EngineError] = asyncio.Queue()
        self._open = True
        row.stream = self

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self

    async def __anext__(self) -> Piece:
        if not self._open and self._queue.empty():
            raise StopAsyncIteration
        item = await self._queue.get()
        if isinstance(item, EngineError):
            raise item
        return item

    def put(self, item: Piece | EngineError) -> None:
        """For the engine, in the event loop."""
        if not self._open:
            return
        self._queue.put_nowait(item)
        if isinstance(item, EngineError) or item.finish_reason is not None:
            self._open = False
            self._engine._outside.discard(self)

    def cancel(self) -> None:
        """Free the request's slot, without waiting. Nothing more comes."""
        if self._open:
            self._open = False
            self._queue = asyncio.Queue()
            self._engine._cancel(self)

    async def aclose(self) -> None:
        self.cancel()


def _hand_out(deliveries: Sequence[Delivery]) -> None:
    for row, item in deliveries:
        stream: Stream = row.stream
        stream.put(item)


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a text, by the model's settings for generation and by the tokenizer."""
    named: list[Any] = [tokenizer.eos_token_id]
    for source in (model.config, getattr(model, "generation_config", None)):
        ends = getattr(source, "eos_token_id", None)
        named += ends if isinstance(ends, list) else [ends]
    return {int(end) for end in named if end is not None}
