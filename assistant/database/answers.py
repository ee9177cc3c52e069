"""Answers, their conversations, and the votes on them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from typing import cast as typed

from sqlalchemy import RowMapping, SmallInteger, Table, Text, cast, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.answering.messages import Answer as AnswerMessage
from assistant.answering.messages import Citation, PendingApproval, Question, ToolUse, Turn, Usage, Vote
from assistant.answering.outcomes import Outcome
from assistant.answering.serial import approval_json
from assistant.database.tables import Answer, Inbox
from assistant.database.tables import Vote as VoteRow
from assistant.knowledge.audience import Audience


async def save(
    session: AsyncSession, question: Question, answer: AnswerMessage, retrieval: list[dict[str, Any]],
    searched: dict[str, Any] | None = None,
) -> bool:  # fmt: skip
    """Store an answer; False when the event it belongs to already has one."""
    values = {
        "id": answer.id,
        "inbox_id": question.inbox_id,
        "platform": question.platform,
        "conversation": question.conversation,
        "asker": question.asker,
        "asker_name": question.asker_name,
        "audience": sorted(_readers(question, answer).principals),
        "question": question.text,
        "outcome": answer.outcome.value,
        "text": answer.text,
        "citations": [asdict(citation) for citation in answer.citations],
        "nearest": [asdict(citation) for citation in answer.nearest],
        "calls": [asdict(call) for call in answer.calls],
        "approvals": [approval_json(approval) for approval in answer.approvals],
        "retrieval": retrieval,
        "searched": searched,
        "timings_ms": dict(answer.timings_ms),
        "model": answer.model,
        "reference": answer.reference,
        "private": answer.private,
        "language": answer.language,
        "confidence": answer.confidence,
        "unprompted": question.unprompted,
        **asdict(answer.usage),
    }
    return (await session.execute(_SAVE, values)).scalar_one_or_none() is not None


# Built once: with its values in it, SQLAlchemy would look through all of them to find what it has compiled already.
_TABLE = typed("Table", Answer.__table__)
_SAVE = insert(_TABLE).on_conflict_do_nothing(index_elements=[_TABLE.c.inbox_id]).returning(_TABLE.c.id)


async def of_event(session: AsyncSession, inbox_id: uuid.UUID) -> AnswerMessage | None:
    """The answer already made for a stored event, if an earlier attempt got that far."""
    row = (await session.execute(select(Answer.__table__).where(Answer.inbox_id == inbox_id))).mappings().first()
    return None if row is None else _message(row)


async def turns(session: AsyncSession, question: Question, limit: int) -> tuple[Turn, ...]:
    """The last turns of the question's conversation that ended in an answer, oldest first.

    Private answers are remembered to their asker alone; those whose question was taken back, to nobody.
    """
    asked = {
        "platform": question.platform, "conversation": question.conversation, "asker": question.asker,
        "replaces": question.replaces, "outcome": Outcome.ANSWERED.value, "most": limit,
    }  # fmt: skip
    return tuple(Turn(*row) for row in reversed((await session.execute(_TURNS, asked)).all()))


_TURNS = text(
    "SELECT question, text, asker, asker_name FROM answers WHERE platform = :platform"
    " AND conversation = :conversation AND outcome = :outcome AND withdrawn_at IS NULL"
    " AND (NOT private OR asker = :asker) AND id IS DISTINCT FROM CAST(:replaces AS uuid)"
    " ORDER BY created_at DESC LIMIT :most"
)


async def asked_before(session: AsyncSession, question: Question, limit: int = 5) -> list[str]:
    """What the asker has asked in this conversation, whatever came of it; the newest first."""
    statement = (
        select(Answer.question)
        .where(
            Answer.platform == question.platform,
            Answer.conversation == question.conversation,
            Answer.asker == question.asker,
            Answer.withdrawn_at.is_(None),
        )
        .order_by(Answer.created_at.desc())
        .limit(limit)
    )
    return list((await session.execute(statement)).scalars())


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer with what it was asked by."""

    question: str
    asker: str
    platform: str
    conversation: str
    answer: AnswerMessage


async def by_id(session: AsyncSession, answer_id: uuid.UUID) -> Stored | None:
    row = (await session.execute(select(Answer.__table__).where(Answer.id == answer_id))).mappings().first()
    if row is None:
        return None
    return Stored(row["question"], row["asker"], row["platform"], row["conversation"], _message(row))


async def withdraw(session: AsyncSession, answer_id: uuid.UUID) -> None:
    """Leave the answer out of the conversation's history: its question was deleted, edited or asked again."""
    statement = update(Answer).where(Answer.id == answer_id, Answer.withdrawn_at.is_(None))
    await session.execute(statement.values(withdrawn_at=func.now()))


async def takes_part(session: AsyncSession, platform: str, conversation: str) -> bool:
    """Whether something was answered in the conversation, so that a follow-up needs no mention."""
    found = select(Answer.id).where(
        Answer.platform == platform,
        Answer.conversation == conversation,
        ~Answer.private,
        or_(~Answer.unprompted, Answer.outcome == Outcome.ANSWERED.value),
    )
    return bool((await session.execute(select(found.exists()))).scalar_one())


async def conversation(session: AsyncSession, platform: str, name: str) -> list[tuple[str, AnswerMessage]]:
    """Every question of a conversation with its answer, oldest first."""
    statement = (
        select(Answer.__table__)
        .where(Answer.platform == platform, Answer.conversation == name, Answer.withdrawn_at.is_(None))
        .order_by(Answer.created_at)
    )
    return [(row["question"], _message(row)) for row in (await session.execute(statement)).mappings()]


async def of_reply(session: AsyncSession, platform: str, conversation: str, message_id: str | None) -> uuid.UUID | None:
    """The answer that a platform's message shows; without a ``message_id``, the newest of the conversation.

    A thread is known by its channel's name, too: Teams names either when somebody votes.
    """
    channel = conversation.partition(";messageid")[0]
    shows = Inbox.reply.contains({"activity_id": message_id}) | Inbox.reply.contains({"more": [message_id]})
    statement = (
        select(Answer.id)
        .join(Inbox, Inbox.id == Answer.inbox_id)
        .where(
            Answer.platform == platform,
            or_(
                Answer.conversation == conversation,
                Answer.conversation == channel,
                Answer.conversation.startswith(f"{channel};messageid", autoescape=True),
            ),
            shows if message_id is not None else Inbox.reply.is_not(None),
        )
        .order_by(Answer.created_at.desc())
        .limit(1)
    )
    return (await session.execute(statement)).scalar_one_or_none()


async def save_vote(session: AsyncSession, vote: Vote) -> bool:
    """Store a vote with the answer's retrieval snapshot; a second one replaces it. False: no such answer."""
    snapshot = select(
        Answer.id, cast(vote.person, Text), cast(vote.value, SmallInteger), cast(vote.reason, Text), Answer.retrieval
    ).where(Answer.id == vote.answer_id)
    new = insert(VoteRow).from_select(["answer_id", "person", "value", "reason", "retrieval"], snapshot)
    statement = new.on_conflict_do_update(
        index_elements=[VoteRow.answer_id, VoteRow.person],
        set_={
            "value": new.excluded.value,
            "reason": func.coalesce(new.excluded.reason, VoteRow.reason),
            "updated_at": func.now(),
        },
    ).returning(VoteRow.answer_id)
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def votes_of(session: AsyncSession, person: str, answer_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """The person's thumbs on these answers, by answer."""
    mine = select(VoteRow.answer_id, VoteRow.value).where(VoteRow.person == person, VoteRow.answer_id.in_(answer_ids))
    return {answer_id: value for answer_id, value in await session.execute(mine)}  # noqa: C416 - rows are not pairs


def _message(row: RowMapping) -> AnswerMessage:
    return AnswerMessage(
        id=row["id"],
        outcome=Outcome(row["outcome"]),
        text=row["text"],
        citations=tuple(_citation(item) for item in row["citations"]),
        nearest=tuple(_citation(item) for item in row["nearest"]),
        timings_ms=row["timings_ms"],
        usage=Usage(row["prompt_tokens"], row["completion_tokens"], row["cost_usd"]),
        model=row["model"],
        reference=row["reference"],
        private=row["private"],
        language=row["language"],
        confidence=row["confidence"],
        calls=tuple(ToolUse(**item) for item in row["calls"]),
        approvals=tuple(_approval(item) for item in row["approvals"]),
    )


def _readers(question: Question, answer: AnswerMessage) -> Audience:
    return question.asker_audience if answer.private and question.asker_audience else question.audience


def _citation(item: dict[str, Any]) -> Citation:
    return Citation(**{**item, "heading_path": tuple(item["heading_path"])})


def _approval(item: dict[str, Any]) -> PendingApproval:
    return PendingApproval(**{**item, "id": uuid.UUID(item["id"]), "approvers": tuple(item["approvers"])})
