"""The embedding models of the index: which one answers, the others beside it, and how one takes over from another.

The registry in the database says which model is active. Every process looks at it every few seconds; when another has
become active it is loaded beside the old one, which answers until then. A question is embedded and searched with one
model from beginning to end (``pinned``), so that vectors of two are never compared.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import structlog
from psycopg.errors import UndefinedTable
from sqlalchemy.exc import ProgrammingError

from assistant.database import documents, token_vectors, vectors
from assistant.database.session import Sessions
from assistant.errors import SettingsError
from assistant.knowledge.embedder_port import Question, TokenEmbedder, embed_with_tokens, gives_tokens
from assistant.knowledge.embedding import DEFAULT_MODEL, Embedder, TransformerEmbedder, Vectors

log = structlog.get_logger()

LOOK_SECONDS = 2.0
CLOSE_AFTER = 90.0  # a question that began with a model that is dropped may still use it


class Embedders:
    """Is itself an ``Embedder``: the active one. ``of`` gives that of any model of the registry."""

    def __init__(self, sessions: Sessions, folder: str | None, threads: int, *, tokens: bool = True) -> None:
        """``folder``: what ALMANAC_EMBEDDING_MODEL says; ``tokens``: ALMANAC_TOKEN_VECTORS."""
        self._sessions = sessions
        self._folder = str(Path(folder).resolve()) if folder else None
        self._threads = threads
        self._tokens = tokens
        self._loaded: dict[int, TransformerEmbedder] = {}
        self._current: TransformerEmbedder | None = None
        self._lock = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Find the active model, or make that of the settings the first; then watch the registry."""
        async with self._sessions() as session:
            registry = await vectors.models(session)
        if not any(model.state == "active" for model in registry) or await self._may_follow_settings(registry):
            await self._begin()
        await self.refresh(load=False)
        self._watch = asyncio.create_task(self._look(), name="embedding-models")

    async def _may_follow_settings(self, registry: Sequence[vectors.Model]) -> bool:
        """An index that holds nothing takes the model of the settings; one that holds something keeps its own."""
        active = next(model for model in registry if model.state == "active")
        named = self._folder.rpartition("/")[2] if self._folder else None
        if named in (None, active.name):
            return False
        async with self._sessions() as session:
            empty = not await documents.holds_chunks(session)
        if not empty:
            log.warning(
                "embedding.setting_not_in_force", ALMANAC_EMBEDDING_MODEL=named, index=active.name,
                change_over="almanac reembed --model FOLDER",
            )  # fmt: skip
        return empty

    async def _begin(self) -> None:
        embedder = TransformerEmbedder(self._folder, self._threads, tokens=self._tokens)
        if not embedder.dimensions:
            await embedder.load()
        fingerprint = await asyncio.to_thread(embedder.fingerprint)
        async with self._sessions.begin() as session:
            await documents.ensure_statistics(session, embedder.name, embedder.dimensions)
            model = next(model for model in await vectors.models(session) if model.name == embedder.name)
            await vectors.change(session, model.id, folder=self._folder, fingerprint=fingerprint)
        self._loaded[model.id] = embedder

    async def refresh(self, *, load: bool = True) -> None:
        """Do as the registry says now; with ``load`` the active model is ready when this returns."""
        async with self._lock:
            async with self._sessions() as session:
                registry = await vectors.models(session)
            active = next((model for model in registry if model.state == "active"), None)
            if active is None:
                raise SettingsError("The index has no embedding model; start `almanac up` once.")
            embedder = await self._find(active)
            if load:
                await embedder.load()
            if self._current is not None and self._current is not embedder:
                log.info("embedding.switched", before=self._current.name, now=embedder.name)
            self._current = embedder
            self._let_go({model.id for model in registry})

    async def of(self, model: vectors.Model) -> Embedder:
        async with self._lock:
            return await self._find(model)

    async def _find(self, model: vectors.Model) -> TransformerEmbedder:
        if model.id not in self._loaded:
            self._loaded[model.id] = await asyncio.to_thread(self._open, model)
        return self._loaded[model.id]

    def _open(self, model: vectors.Model) -> TransformerEmbedder:
        """The embedder of a model of the registry, wherever its folder lies on this machine."""
        folders = [
            folder for folder in (self._folder, model.folder) if folder and Path(folder).resolve().name == model.name
        ]
        changed = None
        for folder in folders if model.name != DEFAULT_MODEL else [*folders, None]:
            try:
                embedder = TransformerEmbedder(folder, self._threads, model.dimensions, tokens=self._tokens)
            except SettingsError:
                continue
            if model.fingerprint in (None, embedder.fingerprint()):
                return embedder
            changed = folder
        if changed:
            raise SettingsError(
                f"The embedding model in {changed} is another one than the index was made with; put {model.name} back."
            )
        raise SettingsError(
            f"The index was made with the embedding model {model.name}, which is not in {model.folder or 'its folder'}"
            " on this machine; set ALMANAC_EMBEDDING_MODEL to where it is."
        )

    def _let_go(self, known: set[int]) -> None:
        """Close what the registry no longer knows, when nothing can use it any more."""
        for model_id in [model_id for model_id in self._loaded if model_id not in known]:
            task = asyncio.create_task(self._close_later(self._loaded.pop(model_id)), name="close-embedder")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _close_later(self, embedder: TransformerEmbedder) -> None:
        try:
            await asyncio.sleep(CLOSE_AFTER)
        finally:
            await embedder.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.refresh(load=self._current is not None and self._current.is_loaded)
            except Exception as error:  # the database is away, a folder, the memory: as before, then, and once more
                log.warning("embedding.registry_not_read", kind=type(error).__name__, error=str(error))

    @property
    def current(self) -> TransformerEmbedder:
        if self._current is None:
            raise RuntimeError("Embedders.open has not been called.")
        return self._current

    @property
    def name(self) -> str:
        return self.current.name

    @property
    def dimensions(self) -> int:
        return self.current.dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return await self.current.embed(texts)

    async def embed_query(self, text: str) -> Vectors:
        return await self.current.embed_query(text)

    async def gives_tokens(self) -> bool:
        return await self.current.gives_tokens()

    async def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Vectors, list[bytes]]:
        return await self.current.embed_with_tokens(texts)

    async def ask(self, text: str) -> Question:
        return await self.current.ask(text)

    def count_tokens(self, texts: list[str]) -> list[int]:
        return self.current.count_tokens(texts)

    async def close(self) -> None:
        for task in (self._watch, *self._closing):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        for embedder in self._loaded.values():
            await embedder.close()


def pinned(embedder: Embedder) -> Embedder:
    """The model that is active now, for work whose vectors are compared with each other."""
    return embedder.current if isinstance(embedder, Embedders) else embedder


async def embedder_of(embedder: Embedder, model: vectors.Model) -> Embedder:
    """The embedder of a model of the registry; raises ``SettingsError`` where there is only another."""
    if isinstance(embedder, Embedders):
        return await embedder.of(model)
    if embedder.name != model.name:
        raise SettingsError(f"The index holds vectors of {model.name}, and only {embedder.name} is here.")
    return embedder


async def embed_missing(sessions: Sessions, embedder: Embedder, texts: Mapping[UUID, str]) -> int:
    """Give every model of the index the vectors that it lacks of these texts (by hash), and of their tokens, where it
    gives them; how many were embedded.

    An index without a model takes this one.
    """
    async with sessions.begin() as session:
        missing = await vectors.missing(session, list(texts), hold=True)
        if not missing:
            await documents.ensure_statistics(session, embedder.name, embedder.dimensions)
            missing = await vectors.missing(session, list(texts), hold=True)
    embedded = 0
    for model, lacking in missing:
        others = list(texts.keys() - set(lacking))
        wanted = lacking + await _without_tokens(sessions, embedder, model, others)
        if not wanted:
            continue
        own = await embedder_of(embedder, model)
        rows, tokens = await embed_with_tokens(own, [texts[text_hash] for text_hash in wanted])
        async with sessions.begin() as session:
            await vectors.write(session, model, wanted, rows, tokens)
        embedded += len(wanted)
    return embedded


async def _without_tokens(
    sessions: Sessions, embedder: Embedder, model: vectors.Model, hashes: Sequence[UUID]
) -> list[UUID]:
    """Those that have their vectors of an older version, or of a time when those of tokens were not wanted."""
    if not hashes or not isinstance(embedder, TokenEmbedder):
        return []
    if not isinstance(embedder, Embedders) and embedder.name != model.name:
        return []
    async with sessions() as session:
        try:
            lacking = await token_vectors.missing(session, model, hashes)
        except ProgrammingError as error:  # the model was dropped in this very moment
            if not isinstance(error.orig, UndefinedTable):
                raise
            return []
    return lacking if lacking and await gives_tokens(await embedder_of(embedder, model)) else []
