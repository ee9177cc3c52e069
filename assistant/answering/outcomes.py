"""Every question ends in exactly one of these, and the asker sees which."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    ANSWERED = "answered"
    NOT_IN_DOCUMENTS = "not_in_documents"
    HIDDEN_BY_PERMISSIONS = "hidden_by_permissions"
    OVER_LIMIT = "over_limit"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    REFUSED = "refused"  # by the guard
    STOPPED = "stopped"  # by the asker
    FAILED = "failed"
