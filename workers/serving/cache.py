"""Keys and values: of running rows in slots, and of what has been read before in blocks that later rows copy.

A block holds the keys and values of BLOCK tokens that follow given tokens under a given adapter. Blocks form chains, so
that a prompt finds the longest beginning that any earlier request has read (a system prompt, a passage, the turns of a
conversation so far), and a beginning that many share is kept once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 16


class Slots:
    """Room for ``slots`` rows of ``context`` positions in every layer. Pages of memory are taken when first written."""

    def __init__(
        self, layers: int, slots: int, heads: int, context: int, size: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (layers, slots, heads, context, size)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    @torch.inference_mode()
    def read(self, slot: int, start: int) -> Tensor:
        """(2, layers, heads, BLOCK, D): a copy of the block from ``start`` on."""
        end = start + BLOCK
        return torch.stack((self.keys[:, slot, :, start:end], self.values[:, slot, :, start:end]))

    @torch.inference_mode()
    def write(self, slot: int, start: int, blocks: Sequence[Tensor]) -> None:
        for number, block in enumerate(blocks):
            begin = start + number * BLOCK
            self.keys[:, slot, :, begin : begin + BLOCK] = block[0]
            self.values[:, slot, :, begin : begin + BLOCK] = block[1]


@dataclass(slots=True, eq=False)
class Block:
    key: tuple[Hashable, tuple[int, ...]]
    states: Tensor  # (2, layers, heads, BLOCK, D)


class Prefixes:
    """Blocks by what they hold and follow; the ones unused for longest give way when ``limit`` bytes are passed."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._blocks: OrderedDict[tuple[Hashable, tuple[int, ...]], Block] = OrderedDict()  # least recently used first

    def find(self, under: Hashable, tokens: Sequence[int], start: int = 0) -> list[Tensor]:
        """The states of whole blocks from ``start`` (a multiple of BLOCK) on; ``under`` is the adapter's identity."""
        chain = list(self._chain(under, tokens))
        self._touch(chain)
        return [block.states for block in chain[start // BLOCK :]]

    def keep(self, under: Hashable, tokens: Sequence[int], slots: Slots, slot: int) -> None:
        """Copy those whole blocks of a row's ``tokens`` (all of them are in the slot) that are not kept yet."""
        if self.limit <= 0:
            return
        chain = list(self._chain(under, tokens))
        for start in range(len(chain) * BLOCK, len(tokens) - BLOCK + 1, BLOCK):
            parent: Hashable = chain[-1] if chain else under
            block = Block((parent, tuple(tokens[start : start + BLOCK])), slots.read(slot, start))
            self._blocks[block.key] = block
            self.bytes += block.states.nbytes
            chain.append(block)
        self._touch(chain)
        self._shrink()

    def forget(self, under: Hashable) -> None:
        """Drop what was read under an adapter that is gone."""
        gone: set[Hashable] = {under}
        while True:  # children after their parents, level by level
            found = [block for block in self._blocks.values() if block.key[0] in gone]
            for block in found:
                self._drop(block)
            if not found:
                return
            gone = set(found)

    def _chain(self, under: Hashable, tokens: Sequence[int]) -> Iterator[Block]:
        parent: Hashable = under
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            block = self._blocks.get((parent, tuple(tokens[start : start + BLOCK])))
            if block is None:
                return
            yield block
            parent = block

    def _touch(self, chain: Sequence[Block]) -> None:
        """A block counts as used later than those that follow it, which therefore go first."""
        for block in reversed(chain):
            self._blocks.move_to_end(block.key)

    def _shrink(self) -> None:
        while self.bytes > self.limit:
            self._drop(next(iter(self._blocks.values())))

    def _drop(self, block: Block) -> None:
        del self._blocks[block.key]
        self.bytes -= block.states.nbytes
