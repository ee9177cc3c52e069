"""The texts of this week: news as the general text, a developer handbook as the domain. No lesson here.

Where the handbook (``data_folder("govuk_docs")``) is absent, the domain is the stemmed Wikipedia extract that gensim
ships.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml.lesson import LessonError, data_folder
from ml.week06_lora.examples import Batch, make_batch

Page = tuple[str, str]  # title, text


def _gensim(name: str) -> list[str]:
    spec = importlib.util.find_spec("gensim")
    if spec is None or spec.origin is None:
        raise LessonError("This week's general text is part of the gensim package, which is not installed.")
    return (Path(spec.origin).parent / "test" / "test_data" / name).read_text(encoding="utf-8").splitlines()


def news() -> tuple[list[Page], list[Page]]:
    """270 news articles and 30 others, each with its first five words as the title."""
    pages = [_titled(line) for line in _gensim("lee_background.cor")]
    return pages[:270], pages[270:]


def domain() -> tuple[str, list[Page], list[Page]]:
    """The name of the domain, its pages to train on, and every tenth page, held out."""
    folder = data_folder("govuk_docs")
    if folder is None:
        name, pages = (
            "stemmed Wikipedia (the handbook is absent)",
            [_titled(line) for line in _gensim("head500.noblanks.cor")],
        )
    else:
        lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        pages = [(row["title"], row["text"].strip().removeprefix(f"# {row['title']}").strip()) for row in rows]
        name, pages = "developer handbook", [page for page in pages if len(page[1]) > 400]
    return name, [page for place, page in enumerate(pages) if place % 10], pages[::10]


def _titled(line: str) -> Page:
    words = line.split(" ")
    return " ".join(words[:5]), " ".join(words[5:])


def as_bytes(pages: Sequence[Page]) -> Tensor:
    """Titles and texts as one row of bytes (N,) with values below 256, for the tiny model."""
    return torch.frombuffer(bytearray("\n\n".join(map("\n".join, pages)).encode()), dtype=torch.uint8).long()  # (N,)


def byte_batches(data: Tensor, rows: int, length: int, number: int, seed: int) -> Iterator[Batch]:
    """``number`` batches of random pieces of ``data``, (rows, length) each; nothing is masked."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(number):
        starts = torch.randint(len(data) - length, (rows, 1), generator=generator)  # (rows, 1)
        ids = data[starts + torch.arange(length)]  # (rows, length)
        yield Batch(ids, ids)


def page_batches(tokenizer: Any, pages: Sequence[Page], rows: int, length: int) -> list[Batch]:
    """Each page's beginning as an example: the title is the prompt, the text the answer; ``rows`` examples a batch."""
    examples = []
    for title, text in pages:
        prompt = tokenizer(f"# {title}\n\n", add_special_tokens=False)["input_ids"]
        answer = tokenizer(text[: 8 * length], add_special_tokens=False)["input_ids"]
        if len(prompt) < length // 2:
            examples.append((prompt, answer))
    groups = [examples[start : start + rows] for start in range(0, len(examples), rows)]
    return [make_batch(group, tokenizer.pad_token_id, length) for group in groups]
