"""A proposal as an answer carries it to the front ends."""

from __future__ import annotations

from assistant.answering.messages import PendingApproval
from assistant.database.approvals import Approval


def pending(approval: Approval) -> PendingApproval:
    return PendingApproval(
        id=approval.id,
        tool=approval.tool,
        title=approval.title,
        arguments=dict(approval.arguments),
        arguments_hash=approval.arguments_hash,
        expires=approval.expires_at.isoformat(),
        approvers=approval.approvers,
    )
