"""All tables. Alembic migrations bring a database here; a test holds the two equal."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from typing import Any, ClassVar

from pgvector.sqlalchemy import SPARSEVEC
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

TERM_SPACE = 1_000_000_000  # terms are hashed into 1..TERM_SPACE, the most a sparsevec can hold

NOW = text("now()")
NO_ITEMS = text("'[]'::jsonb")


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        list[str]: ARRAY(Text),
        list[int]: ARRAY(Integer),
        uuid.UUID: UUID(as_uuid=True),
    }


def _now() -> Any:
    return mapped_column(server_default=NOW)


def _uuid() -> Any:
    return mapped_column(primary_key=True, server_default=func.gen_random_uuid())


class Source(Base):
    """A place documents come from. ``location`` is unique within its kind: for a folder, its absolute path.

    A ``page`` is one address of the web, an ``upload`` what was shared in one conversation (its principal).
    ``config`` holds the kind's options and the *names* of credentials, never a secret; ``cursor`` where the last
    sync ended; ``error`` why the last one failed, ``failed_syncs`` how many did in a row. ``busy_run`` is the run
    that reads the source now: it counts while that run's lease lasts.
    """

    __tablename__ = "sources"
    __table_args__ = (UniqueConstraint("kind", "location"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[str]
    location: Mapped[str]
    name: Mapped[str]
    readers: Mapped[list[str]] = mapped_column(server_default=text("'{everyone}'::text[]"))
    synced_at: Mapped[datetime | None]
    config: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    cursor: Mapped[dict[str, Any] | None]
    interval_minutes: Mapped[int] = mapped_column(server_default="0")  # 0: read only when asked
    next_sync_at: Mapped[datetime | None]
    busy_run: Mapped[uuid.UUID | None]
    error: Mapped[str | None]
    failed_syncs: Mapped[int] = mapped_column(server_default="0")
    drift: Mapped[dict[str, Any] | None]  # what the last reconciliation found: {"missing": 0, "gone": 0, …}
    reconciled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = _now()


class Document(Base):
    """The version of a document that is in force. Its chunks are replaced with it in one transaction.

    ``version`` is what its source calls this state of it (a blob's hash, a version number, an ETag). ``analysis`` is
    the number of the text analysis that made its chunks (``assistant.knowledge.analysis``); 0: one before there were
    numbers; -1: an older one, and the next listing of its source is of everything, which reads it again. ``day`` is
    what the document says itself (``details``), else what its source says, else when this state of it was first read.
    """

    __tablename__ = "documents"
    __table_args__ = (
        UniqueConstraint("source_id", "external_id"),
        Index("ix_documents_readers", "readers", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        Index("ix_documents_analysis", "source_id", "analysis"),
        Index("ix_documents_day", "day"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"))
    external_id: Mapped[str]
    title: Mapped[str]
    url: Mapped[str | None]
    content_hash: Mapped[str]
    version: Mapped[str | None]
    analysis: Mapped[int] = mapped_column(server_default="0")
    readers: Mapped[list[str]]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    indexed_at: Mapped[datetime] = _now()
    day: Mapped[date] = mapped_column(Computed("document_day(details, indexed_at)", persisted=True))


class Chunk(Base):
    """A passage and its BM25 weights. Its vectors lie in the tables of the embedding models, under ``text_hash``.

    ``terms`` and ``frequencies`` run in parallel; ``weights`` holds each term's saturated frequency (the document's
    side of BM25), so that its inner product with the query's idf vector is the BM25 score. ``heavy`` marks the terms
    that weigh more than usual (``assistant.knowledge.impact``). ``readers`` repeats the document's, so that one index
    scan can filter.
    """

    __tablename__ = "chunks"
    __table_args__ = (
        UniqueConstraint("document_id", "ordinal"),
        Index("ix_chunks_terms", "terms", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        Index("ix_chunks_heavy", "heavy", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        Index("ix_chunks_text_hash", "text_hash"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    document_id: Mapped[int] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    ordinal: Mapped[int]
    text: Mapped[str]
    heading_path: Mapped[list[str]]
    anchor: Mapped[str | None]
    page: Mapped[int | None]
    readers: Mapped[list[str]]
    text_hash: Mapped[uuid.UUID]  # of what is embedded: title, headings and text
    terms: Mapped[list[int]]
    frequencies: Mapped[list[int]]
    length: Mapped[int]
    weights: Mapped[Any] = mapped_column(SPARSEVEC(TERM_SPACE))
    heavy: Mapped[list[int]]


class ReaderCount(Base):
    """How many documents name a reader; under the empty name, how many there are. Kept exact by triggers."""

    __tablename__ = "reader_counts"

    reader: Mapped[str] = mapped_column(primary_key=True)
    documents: Mapped[int] = mapped_column(BigInteger)


class BlockKey(Base):
    """A document holds a block of these words (``assistant.knowledge.boilerplate``), for the same readers: the key is
    the block's, crossed with one of the document's readers. ``source_id`` repeats the document's."""

    __tablename__ = "block_keys"

    source_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    key: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    document_id: Mapped[int] = mapped_column(
        ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True, index=True, autoincrement=False
    )


class DocumentAgain(Base):
    """A document whose chunks are no longer right, since another came or went that holds the same words: the next sync
    prepares it again, unchanged as it is. ``tried``: the last one could not, and no run is started for it alone."""

    __tablename__ = "documents_again"

    document_id: Mapped[int] = mapped_column(
        ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    tried: Mapped[bool] = mapped_column(server_default=false())


class Term(Base):
    """How many chunks hold a term, and how many of them in each tier above the lowest (``assistant.knowledge.impact``);
    kept exact by the transaction that writes chunks."""

    __tablename__ = "terms"

    term: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    chunks: Mapped[int]
    tier_1: Mapped[int]
    tier_2: Mapped[int]
    tier_3: Mapped[int]
    tier_4: Mapped[int]


class CorpusStatistics(Base):
    """One row: what BM25 needs to know of the whole."""

    __tablename__ = "corpus_statistics"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    chunks: Mapped[int] = mapped_column(BigInteger)
    length: Mapped[int] = mapped_column(BigInteger)
    weighted_length: Mapped[float]  # the mean length that the stored weights were computed with


class EmbeddingModel(Base):
    """A model whose vectors the index holds, in a table of their own: ``vectors_<id>`` (text_hash, embedding).

    ``building``: old passages still lack its vectors. ``standby``: none does, and it can be switched to; new passages
    get its vectors, too. ``active``: it answers questions. ``folder`` is null for the model of the pip package;
    ``fingerprint`` tells its files from others of the same name; ``activated_at`` is when it last became active.
    """

    __tablename__ = "embedding_models"
    __table_args__ = (
        CheckConstraint("state IN ('building', 'standby', 'active')", name="state"),
        Index("uq_embedding_models_active", "state", unique=True, postgresql_where=text("state = 'active'")),
    )

    id: Mapped[int] = mapped_column(SmallInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    folder: Mapped[str | None]
    dimensions: Mapped[int]
    fingerprint: Mapped[str | None]
    state: Mapped[str]
    activated_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = _now()


class IdleVector(Base):
    """A text that no chunk holds any more. Its vectors are kept for a while: pages come back, and move."""

    __tablename__ = "idle_vectors"

    text_hash: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    since: Mapped[datetime] = _now()


class Run(Base):
    """A background job. arq carries only its id; losing the queue loses no work.

    ``checkpoint`` says where the next attempt goes on; ``stalled`` counts the attempts since the last one that got
    anywhere. A run that waits for a server is not taken up before ``not_before``.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="state"),
        Index("ix_runs_open", "created_at", postgresql_where=text("state IN ('queued', 'running')")),
    )

    id: Mapped[uuid.UUID] = _uuid()
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="queued")
    arguments: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    stalled: Mapped[int] = mapped_column(server_default="0")
    claimed_by: Mapped[str | None]
    claimed_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    checkpoint: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = _now()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class DocumentFailure(Base):
    """A file that could not be ingested, with its reason; gone when it succeeds or disappears.

    A transient one is tried again at ``next_at``; None: not by itself. ``within``: the document whose member it is; the
    rest of that was read.
    """

    __tablename__ = "document_failures"

    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True)
    content_hash: Mapped[str | None]
    version: Mapped[str | None]
    within: Mapped[str | None]
    reason: Mapped[str]
    transient: Mapped[bool] = mapped_column(server_default=false())
    attempts: Mapped[int] = mapped_column(server_default="1")
    next_at: Mapped[datetime | None]
    failed_at: Mapped[datetime] = _now()


class Sighting(Base):
    """A document that a listing of everything has named so far; what it has not named at its end is gone."""

    __tablename__ = "sightings"

    listing: Mapped[uuid.UUID] = mapped_column(primary_key=True)  # the run's id
    external_id: Mapped[str] = mapped_column(primary_key=True)


class GroupMember(Base):
    """Who belongs to a group that a source's readers name, as the source says."""

    __tablename__ = "group_members"
    __table_args__ = (Index("ix_group_members_member", "member"),)

    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True)
    principal: Mapped[str] = mapped_column(primary_key=True)  # group:confluence:…, group:entra:…
    member: Mapped[str] = mapped_column(primary_key=True)  # user:email:…, user:github:…


class Inbox(Base):
    """An event, stored before it is acknowledged. The same event twice is one row, so one answer.

    ``thread_key`` and ``message_key`` name the conversation and the message on their platform; ``reply`` holds
    what was sent (Teams: the activity id that later updates go to).
    """

    __tablename__ = "inbox"
    __table_args__ = (
        UniqueConstraint("platform", "event_id"),
        UniqueConstraint("platform", "message_key"),
        CheckConstraint("state IN ('received', 'working', 'done', 'failed', 'cancelled')", name="state"),
        Index("ix_inbox_open", "received_at", postgresql_where=text("state IN ('received', 'working')")),
    )

    id: Mapped[uuid.UUID] = _uuid()
    platform: Mapped[str]
    event_id: Mapped[str]
    message_key: Mapped[str]
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(server_default="received")
    attempts: Mapped[int] = mapped_column(server_default="0")
    claimed_by: Mapped[str | None]
    claimed_until: Mapped[datetime | None]
    reply: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    received_at: Mapped[datetime] = _now()
    done_at: Mapped[datetime | None]


class Answer(Base):
    """A question, its one outcome, and what was retrieved for it (chunks, ranks, scores: what learning needs)."""

    __tablename__ = "answers"
    __table_args__ = (
        CheckConstraint(
            "outcome IN ('answered', 'not_in_documents', 'hidden_by_permissions', 'over_limit', "
            "'waiting_for_approval', 'stopped', 'failed', 'refused')",
            name="outcome",
        ),
        Index("ix_answers_conversation", "platform", "conversation", "created_at"),
        Index("ix_answers_asker", "asker", "created_at"),
        Index("ix_answers_created", "created_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    inbox_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("inbox.id", ondelete="SET NULL"), unique=True)
    platform: Mapped[str]
    conversation: Mapped[str]
    asker: Mapped[str]
    audience: Mapped[list[str]]
    question: Mapped[str]
    outcome: Mapped[str]
    text: Mapped[str]
    citations: Mapped[list[Any]]
    nearest: Mapped[list[Any]]
    retrieval: Mapped[list[Any]]
    timings_ms: Mapped[dict[str, Any]]
    model: Mapped[str]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    cost_usd: Mapped[float]
    reference: Mapped[str | None]
    asker_name: Mapped[str] = mapped_column(server_default="")
    private: Mapped[bool] = mapped_column(server_default=false())
    language: Mapped[str] = mapped_column(server_default="en")
    confidence: Mapped[float | None]
    unprompted: Mapped[bool] = mapped_column(server_default=false())
    calls: Mapped[list[Any]] = mapped_column(server_default=NO_ITEMS)  # of tools, as they were made
    approvals: Mapped[list[Any]] = mapped_column(server_default=NO_ITEMS)  # calls that wait, or waited
    withdrawn_at: Mapped[datetime | None]  # its question was deleted, edited or asked again
    searched: Mapped[dict[str, Any] | None]  # what for, and which version of the preferences put it in order
    created_at: Mapped[datetime] = _now()


class Vote(Base):
    """One thumb per person and answer; a second vote replaces the first. The snapshot is the answer's own."""

    __tablename__ = "votes"
    __table_args__ = (CheckConstraint("value IN (-1, 1)", name="value"),)

    answer_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("answers.id", ondelete="CASCADE"), primary_key=True)
    person: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(SmallInteger)
    reason: Mapped[str | None]
    retrieval: Mapped[list[Any]]
    created_at: Mapped[datetime] = _now()
    updated_at: Mapped[datetime] = _now()


class ChannelSettings(Base):
    """What a channel's people chose, as ``assistant.database.channels.ChannelSettings`` reads it."""

    __tablename__ = "channel_settings"

    platform: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    settings: Mapped[dict[str, Any]]
    updated_by: Mapped[str]
    updated_at: Mapped[datetime] = _now()


class Upload(Base):
    """A file that was shared, kept until a worker has read it into the index."""

    __tablename__ = "uploads"

    id: Mapped[uuid.UUID] = _uuid()
    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"))
    external_id: Mapped[str]
    name: Mapped[str]
    url: Mapped[str | None]
    content: Mapped[bytes]
    created_at: Mapped[datetime] = _now()


class Forgotten(Base):
    """A document that somebody had removed: a sync does not bring it back."""

    __tablename__ = "forgotten"

    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"), primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str]
    forgotten_at: Mapped[datetime] = _now()


class Audit(Base):
    """Who did what. Rows are only ever added."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_at", "at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = _now()
    person: Mapped[str]
    platform: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
