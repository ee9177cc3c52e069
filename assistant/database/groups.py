"""Who belongs to the groups that documents' readers name, as their sources say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Text, all_, any_, cast, delete, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database.tables import GroupMember
from assistant.knowledge.audience import Audience


async def replace_members(session: AsyncSession, source_id: int, groups: Mapping[str, Iterable[str]]) -> None:
    """Put the members of each of the groups in the place of what was known of it."""
    for principal, members in groups.items():
        wanted = sorted(set(members))
        array = cast(wanted, ARRAY(Text))
        mine = (GroupMember.source_id == source_id, GroupMember.principal == principal)
        await session.execute(delete(GroupMember).where(*mine, GroupMember.member != all_(array)))
        if wanted:
            rows = [{"source_id": source_id, "principal": principal, "member": member} for member in wanted]
            await session.execute(insert(GroupMember).values(rows).on_conflict_do_nothing())


async def groups_of(session: AsyncSession, principals: Collection[str]) -> set[str]:
    """The groups that any of the principals belongs to, groups within groups included."""
    found: set[str] = set()
    asked = set(principals)
    while asked:
        members = cast(sorted(asked), ARRAY(Text))
        statement = select(GroupMember.principal).where(GroupMember.member == any_(members))
        asked = set((await session.execute(statement)).scalars()) - found
        found |= asked
    return found


async def with_groups(session: AsyncSession, audience: Audience) -> Audience:
    """The audience with the groups that its people belong to."""
    if not audience.may_be_in_groups:
        return audience
    return Audience(audience.principals | await groups_of(session, audience.principals))
