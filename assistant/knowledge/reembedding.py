"""Changing the embedding model: its vectors are made beside the old ones, then it answers, and one can go back.

Nothing here stops a question: until the switch, the old model answers from its own vectors; documents that change
meanwhile get vectors of both (``embed_missing``). After the switch the old model stays in step, so that going back
is one statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import token_vectors, vectors
from assistant.database.session import Sessions
from assistant.database.vectors import Lacking, Model
from assistant.errors import AlmanacError
from assistant.knowledge.documents import Chunk
from assistant.knowledge.embedder_port import embed_with_tokens, gives_tokens
from assistant.knowledge.embedders import embedder_of
from assistant.knowledge.embedding import Embedder, TransformerEmbedder
from assistant.knowledge.overlap import embedded_as

BATCH = 512  # passages in one transaction: what a killed run loses at most
RUN = "reembed"  # the kind of the run

Done = Callable[[AsyncSession, int, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model of the index, how many texts it holds (and of how many the tokens), and how many it lacks."""

    model: Model
    vectors: int
    tokens: int
    lacking: int


async def states(sessions: Sessions) -> list[ModelState]:
    async with sessions.begin() as session:
        registry = await vectors.models(session, hold=True)
        return [
            ModelState(
                model,
                await vectors.count(session, model),
                await token_vectors.count(session, model),
                await vectors.count_lacking(session, model),
            )
            for model in registry
        ]


async def register(sessions: Sessions, folder: str | None, threads: int) -> Model:
    """Put a model into the registry, or find it there; None: the model of the pip package.

    It is loaded and used once, so that one that does not work is refused here and not half-way through.
    """
    place = str(await asyncio.to_thread(lambda: Path(folder).resolve())) if folder else None
    try:
        embedder = TransformerEmbedder(place, threads)
        await embedder.load()
        await embedder.embed_query("Does it work?")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise AlmanacError(
            f"{folder or 'The packaged model'} cannot be loaded as an embedding model: {error}"
        ) from error
    fingerprint = await asyncio.to_thread(embedder.fingerprint)
    await embedder.close()
    async with sessions.begin() as session:
        await vectors.lock(session)  # from its end on, every chunk that is written gets this model's vector, too
        for model in await vectors.models(session):
            if model.name == embedder.name and model.fingerprint not in (None, fingerprint):
                raise AlmanacError(
                    f"The index has another model called {model.name}; rename the folder, or drop that one."
                )
            if model.name == embedder.name:
                await vectors.change(session, model.id, folder=place, fingerprint=fingerprint)
                return model
        return await vectors.add(session, embedder.name, embedder.dimensions, "building", place, fingerprint)


async def fill(sessions: Sessions, embedder: Embedder, name: str, done: Done) -> None:
    """Embed what the model lacks, the vectors of tokens too, where it gives them.

    May be killed and begun again: what is stored is not embedded twice.

    ``done`` is told in the transaction of each batch how many texts have their vectors, and of how many.
    """
    model = await find(sessions, name)
    own = await embedder_of(embedder, model)
    tokens = await gives_tokens(own)
    while not await _complete(sessions, model, tokens):
        async with sessions() as session:
            there = await (token_vectors if tokens else vectors).count(session, model)
            left = await vectors.count_lacking(session, model, tokens)
        total, after = there + left, 0
        while True:
            async with sessions() as session:
                some, after = await vectors.lacking(session, model, after, BATCH, tokens)
            if not some:
                break
            rows, kept = await embed_with_tokens(own, [_embedded(one) for one in some])
            there += len(some)
            async with sessions.begin() as session:
                await vectors.write(session, model, [one.text_hash for one in some], rows, kept)
                await done(session, there, max(there, total))


def _embedded(one: Lacking) -> str:
    return embedded_as(one.text_hash, Chunk(0, one.text, one.heading_path), one.title, one.previous)


async def _complete(sessions: Sessions, model: Model, tokens: bool) -> bool:
    """Whether it lacks nothing; then it has its index and can be switched to."""
    async with sessions() as session:
        if await vectors.count_lacking(session, model, tokens):
            return False
    async with sessions.begin() as session:
        await vectors.index(session, model)
    async with sessions.begin() as session:
        await vectors.lock(session)
        current = next((other for other in await vectors.models(session) if other.id == model.id), None)
        if current is None:
            raise AlmanacError(f"{model.name} was dropped while it was being built.")
        if await vectors.count_lacking(session, model):
            return False
        if current.state == "building":
            await vectors.change(session, model.id, state="standby")
    return True


async def find(sessions: Sessions, name: str) -> Model:
    async with sessions() as session:
        for model in await vectors.models(session):
            if model.name == name:
                return model
    raise AlmanacError(f"The index has no embedding model {name}; `almanac reembed --status` names those it has.")


async def switch(sessions: Sessions, name: str | None = None) -> Model:
    """Let another complete model answer: the one that is named, or the newest that has never answered."""
    async with sessions() as session:
        registry = await vectors.models(session)
    if name is None:
        fresh = [model for model in registry if model.activated_at is None]
        if not fresh:
            raise AlmanacError(
                "There is no new embedding model to switch to; build one with `almanac reembed --model`."
            )
        name = fresh[-1].name
    return await _activate(sessions, await find(sessions, name))


async def back(sessions: Sessions) -> Model:
    """Let the model answer again that did before this one."""
    async with sessions() as session:
        earlier = [model for model in await vectors.models(session) if model.state == "standby" and model.activated_at]
    if not earlier:
        raise AlmanacError("There is no earlier embedding model to go back to.")
    return await _activate(sessions, max(earlier, key=lambda model: model.activated_at))  # type: ignore[arg-type, return-value]


async def _activate(sessions: Sessions, model: Model) -> Model:
    if model.state == "active":
        return model
    async with sessions.begin() as session:
        await vectors.activate(session, model)
    return model


async def drop(sessions: Sessions, name: str) -> None:
    """Remove a model and its vectors for good."""
    model = await find(sessions, name)
    if model.state == "active":
        raise AlmanacError(f"{name} answers the questions; switch to another model first.")
    async with sessions.begin() as session:
        await vectors.drop(session, model)
