"""Rows to token ids and labels, and those to packed batches: whole sequences in one row, with no padding at all.

A label is the id itself where its prediction counts and ``IGNORED`` elsewhere: of a conversation, only what the
assistant says counts, with the token that ends its turn. In a packed row each sequence has positions of its own, and
attention stays inside it (``workers.finetuning.attention``), so packing changes the speed and not the loss.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from assistant.errors import AlmanacError

if TYPE_CHECKING:
    import torch

IGNORED = -100
OPEN = 24  # packs that are filled at the same time


class BadRow(AlmanacError):
    """A row of the data cannot be trained on; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of one sequence and its labels, of equal length; ``counted`` predictions are scored."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def counted(self) -> int:
        return sum(label != IGNORED for label in self.labels[1:])  # nothing predicts the first


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of the rows: their sequences, and how many rows were too long to be used."""

    examples: tuple[Example, ...]
    too_long: int

    @property
    def tokens(self) -> int:
        return sum(len(example.ids) for example in self.examples)


@dataclass(frozen=True, slots=True)
class Packed:
    """Several sequences in one row of T tokens. ``targets[t]`` is the id to be predicted after token t, or IGNORED."""

    ids: torch.Tensor  # (1, T)
    positions: torch.Tensor  # (1, T): from 0 in each sequence
    targets: torch.Tensor  # (T,)
    scored: torch.Tensor  # (counted,): the places whose target is none that is IGNORED
    bounds: torch.Tensor  # (sequences + 1,), int32: where each one begins, and T
    lengths: tuple[int, ...]  # of the sequences; together T
    longest: int  # of them, or more
    filled: bool = False  # some of ``scored`` have no target (``recorded.Shape``)

    @property
    def counted(self) -> int:
        return len(self.scored)

    def to(self, device: torch.device) -> Packed:
        """On a GPU without waiting for what it is computing."""
        gpu = device.type == "cuda"

        def there(tensor: torch.Tensor) -> torch.Tensor:
            return (tensor.pin_memory() if gpu else tensor).to(device, non_blocking=gpu)

        ids, positions, targets = there(self.ids), there(self.positions), there(self.targets)
        scored, bounds = there(self.scored), there(self.bounds)
        return Packed(ids, positions, targets, scored, bounds, self.lengths, self.longest, self.filled)


def encode(rows: Iterable[Mapping[str, Any]], tokenizer: Any, context: int) -> Encoded:
    """The sequences of ``rows``: a document longer than ``context`` tokens is cut, a conversation is left out."""
    examples: list[Example] = []
    too_long = 0
    for row in rows:
        if "messages" in row:
            example = conversation(row["messages"], tokenizer)
            too_long += len(example.ids) > context
            examples += [example] if len(example.ids) <= context else []
        else:
            examples += document(row["text"], tokenizer, context)
    return Encoded(tuple(example for example in examples if example.counted), too_long)


def document(text: str, tokenizer: Any, context: int) -> list[Example]:
    """A text as one sequence or several, every token of which counts; only the last one ends."""
    ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    pieces = [tuple(ids[start : start + context]) for start in range(0, len(ids), context)]
    return [Example(piece, piece) for piece in pieces]


def conversation(messages: Sequence[Mapping[str, str]], tokenizer: Any) -> Example:
    """Turns in the model's own chat template; what the assistant says counts, up to the end of its turn.

    The ids of a prompt and those of its answer are made apart, as they are when the model is asked: a token never
    reaches over the border. Raises BadRow for a template that does not put turns one after the other, or where
    nobody answers.
    """
    ids: list[int] = []
    labels: list[int] = []
    written = ""
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = _rendered(messages[:place], tokenizer, answer=True)
        whole = _rendered(messages[: place + 1], tokenizer, answer=False)
        if not (prompt.startswith(written) and whole.startswith(prompt)):
            raise BadRow("The model's chat template does not put the turns of a conversation one after the other.")
        asked = tokenizer(prompt[len(written) :], add_special_tokens=False)["input_ids"]
        said = tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
        ends = [at for at, token in enumerate(said) if token == tokenizer.eos_token_id]
        scored = ends[0] + 1 if ends else len(said)
        ids += [*asked, *said]
        labels += [*(IGNORED for _ in asked), *said[:scored], *(IGNORED for _ in said[scored:])]
        written = whole
    if not ids:
        raise BadRow("A conversation without an answer cannot be trained on.")
    return Example(tuple(ids), tuple(labels))


def _rendered(messages: Sequence[Mapping[str, str]], tokenizer: Any, *, answer: bool) -> str:
    if not tokenizer.chat_template:
        raise BadRow("The base model has no chat template, so it can be trained on documents only.")
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=answer))


def packs(lengths: Sequence[int], budget: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Indices of sequences in packs of at most ``budget`` tokens (a longer sequence is a pack), in an order that only
    ``seed`` and ``epoch`` decide. Each sequence goes into the first open pack with room."""
    order = list(range(len(lengths)))
    mixed = random.Random(f"{seed}/{epoch}")  # noqa: S311 - an order, not a secret
    mixed.shuffle(order)
    opened: list[tuple[list[int], int]] = []
    closed: list[list[int]] = []
    for index in order:
        size = lengths[index]
        place = next((at for at, (_, used) in enumerate(opened) if used + size <= budget), None)
        if place is None:
            opened.append(([index], size))
        else:
            pack, used = opened[place]
            pack.append(index)
            opened[place] = (pack, used + size)
        if len(opened) > OPEN:  # the fullest has the least use for another
            closed.append(opened.pop(max(range(len(opened)), key=lambda at: opened[at][1]))[0])
    closed += [pack for pack, _ in opened]
    mixed.shuffle(closed)
    return closed


def packed(examples: Sequence[Example]) -> Packed:
    """These sequences in one row, one after the other. Raises ValueError for none."""
    import torch

    if not examples:
        raise ValueError("There is nothing to pack.")
    ids = [token for example in examples for token in example.ids]
    positions = [place for example in examples for place in range(len(example.ids))]
    # What a sequence's last token is followed by belongs to another sequence, so nothing is predicted there.
    targets = [target for example in examples for target in (*example.labels[1:], IGNORED)]
    lengths = tuple(len(example.ids) for example in examples)
    return Packed(
        torch.tensor([ids]),
        torch.tensor([positions]),
        torch.tensor(targets),
        torch.tensor([place for place, target in enumerate(targets) if target != IGNORED], dtype=torch.long),
        torch.tensor([0, *accumulate(lengths)], dtype=torch.int32),
        lengths,
        max(lengths),
    )


def batches(examples: Sequence[Example], budget: int) -> Iterator[Packed]:
    """All sequences in their own order, as many in a row as fit into ``budget`` tokens: for measuring."""
    waiting: list[Example] = []
    used = 0
    for example in examples:
        if waiting and used + len(example.ids) > budget:
            yield packed(waiting)
            waiting, used = [], 0
        waiting.append(example)
        used += len(example.ids)
    if waiting:
        yield packed(waiting)
