"""Who may decide about a call, and what binds a decision to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import fields

from assistant.database import groups
from assistant.database.approvals import Approval
from assistant.database.session import Sessions
from assistant.errors import AlmanacError
from assistant.knowledge.audience import Audience
from assistant.strings import DEFAULT, say
from assistant.tools.model import Tool

ADMINISTRATORS = "administrators"  # a principal of whoever administrates Almanac; who approves, where nobody is named
REQUESTER = "requester"  # among the approvers: whoever asked for the call may also approve of it
_PERSONAL = ("user:email:", "user:entra:")  # names that mean the same human on every platform


class Refusal(AlmanacError):
    """A decision that is not taken: the sentence says why, in English; ``sentence`` in the reader's language."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(say(f"approvals.{key}", DEFAULT, **values))
        self.key = key
        self._values = values

    def sentence(self, language: str) -> str:
        return say(f"approvals.{self.key}", language, **self._values)


def may_decide(approval: Approval, person: str, principals: Collection[str]) -> bool:
    """Only whom the tool names; administrators, where it names nobody.

    Whoever asked may approve only where the tool says so, whatever else they are: a second pair of eyes is the point.
    """
    approvers = set(approval.approvers) or {ADMINISTRATORS}
    if is_requester(approval, person, principals):
        return REQUESTER in approvers
    names = {*principals, person, f"user:{person}"}
    return bool(names & (approvers - {REQUESTER}))


def concerns(approval: Approval, person: str, principals: Collection[str]) -> bool:
    """Whoever may decide, and whoever asked: others do not see it, and whom it concerns may say no to it."""
    return may_decide(approval, person, principals) or is_requester(approval, person, principals)


def refusal(approval: Approval, person: str, principals: Collection[str], approve: bool) -> Refusal | None:
    """Why the person may not decide so; None where they may. To take it back is the asker's right."""
    allowed = may_decide if approve else concerns
    if allowed(approval, person, principals):
        return None
    key = "not_your_own" if is_requester(approval, person, principals) else "no_right"
    return Refusal(key, tool=approval.title)


def is_requester(approval: Approval, person: str, principals: Collection[str]) -> bool:
    """The same account, or the same human by a name that holds on every platform."""
    if person == approval.requester:
        return True
    known_as = approval.caller.get("known_as", ())
    return any(name.startswith(_PERSONAL) and name in known_as for name in principals)


def definition_hash(tool: Tool) -> str:
    """SHA-256 (hex) of all that was known of a tool: what it is called, says, takes, and who approves of it."""
    whole = {field.name: getattr(tool, field.name) for field in fields(tool)}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


async def principals_of(sessions: Sessions, audience: Audience, admin: bool) -> frozenset[str]:
    """All that somebody can be named by among approvers: what they read by alone, their groups, and their office."""
    async with sessions() as session:
        own = await groups.with_groups(session, audience)
    return own.principals | {ADMINISTRATORS} if admin else own.principals
