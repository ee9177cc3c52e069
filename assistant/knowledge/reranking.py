"""A cross-encoder of sentence-transformers puts the first passages in order, where ``ALMANAC_RERANKER`` names one.

It reads question and passage together, which no stored vector can, and costs a forward pass for each. So only the
first few are read, on a thread of its own, and only until the deadline: what is late, or fails, leaves the order as it
was.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from assistant.errors import SettingsError
from assistant.knowledge.loading import LOADING

log = structlog.get_logger()

BATCH = 4  # pairs, after each of which a late one stops


class Reranker:
    """The model in ``folder``. ``deadline``: seconds that a question may wait for it."""

    def __init__(self, folder: str, deadline: float) -> None:
        self._folder = Path(folder)
        if not (self._folder / "config.json").is_file():
            raise SettingsError(f"ALMANAC_RERANKER is wrong: {self._folder} holds no model (no config.json).")
        self._deadline = deadline
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reranker")
        self._model: Any = None

    async def load(self) -> None:
        """Load the model now: the first question could not wait for it. Raises ``SettingsError``."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._load)

    async def order(self, question: str, passages: Sequence[str]) -> list[int] | None:
        """The places of ``passages``, best first; None when there was no answer in time."""
        late = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(self._executor, self._scores, question, passages, late)
        start = time.monotonic()
        try:
            scores = await asyncio.wait_for(work, self._deadline)
        except TimeoutError:
            log.warning("reranking.late", passages=len(passages), deadline_s=self._deadline)
            return None
        except Exception as error:
            log.warning("reranking.failed", error=type(error).__name__)
            return None
        finally:
            late.set()
        log.debug("reranking.done", passages=len(passages), ms=round((time.monotonic() - start) * 1000))
        return sorted(range(len(scores)), key=lambda place: -scores[place])

    async def close(self) -> None:
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)

    def _load(self) -> None:
        if self._model is not None:
            return
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from sentence_transformers import CrossEncoder

        logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
        torch.set_num_threads(1)  # of this thread
        try:
            with LOADING:
                model = CrossEncoder(str(self._folder), device="cpu", local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise SettingsError(
                f"ALMANAC_RERANKER is wrong: {self._folder} holds no cross-encoder ({type(error).__name__})."
            ) from error
        if model.num_labels != 1:
            raise SettingsError(
                f"ALMANAC_RERANKER is wrong: the model in {self._folder} gives {model.num_labels} numbers for a "
                "passage, and one is needed."
            )
        self._model = model

    def _scores(self, question: str, passages: Sequence[str], late: threading.Event) -> list[float]:
        """On the reranker's thread; an empty end of the list when the question no longer waits."""
        self._load()
        scores: list[float] = []
        for start in range(0, len(passages), BATCH):
            if late.is_set():
                break
            pairs = [(question, passage) for passage in passages[start : start + BATCH]]
            scores += map(float, self._model.predict(pairs, batch_size=BATCH, show_progress_bar=False))
        return scores
