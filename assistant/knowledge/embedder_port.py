"""What an embedder gives, and what one may give beside it: the vectors of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from assistant.knowledge.token_vectors import Halves

Vectors = npt.NDArray[np.float32]


class Embedder(Protocol):
    """``name`` identifies the model whose vectors are stored; vectors have shape (n, dimensions) and length 1."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> Vectors: ...

    async def embed_query(self, text: str) -> Vectors: ...

    def count_tokens(self, texts: list[str]) -> list[int]: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Question:
    """``vector``: of length 1, shape (dimensions,). ``tokens``: of its tokens, of length 1, shape (tokens, width);
    None where they are not wanted, or not given."""

    vector: Vectors
    tokens: Halves | None = None


@runtime_checkable
class TokenEmbedder(Protocol):
    """An embedder that may also give the vectors of tokens, passages' as ``token_vectors.packed`` keeps them."""

    async def gives_tokens(self) -> bool: ...

    async def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Vectors, list[bytes]]: ...

    async def ask(self, text: str) -> Question: ...


async def ask(embedder: Embedder, text: str) -> Question:
    """A question's vector, and those of its tokens where the embedder gives them."""
    if isinstance(embedder, TokenEmbedder):
        return await embedder.ask(text)
    return Question(await embedder.embed_query(text))


async def gives_tokens(embedder: Embedder) -> bool:
    return isinstance(embedder, TokenEmbedder) and await embedder.gives_tokens()


async def embed_with_tokens(embedder: Embedder, texts: Sequence[str]) -> tuple[Vectors, list[bytes] | None]:
    """Vectors of passages, and their tokens' where the embedder gives them."""
    if isinstance(embedder, TokenEmbedder) and await embedder.gives_tokens():
        return await embedder.embed_with_tokens(texts)
    return await embedder.embed(texts), None
