"""The end of a canary by what people said of its answers: it is promoted, or taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import audit, preferences, votes
from assistant.database.preferences import Version
from assistant.preferences.trial import Decision, proof
from assistant.settings import Settings

log = structlog.get_logger()

WHO, PLATFORM = "worker:", "worker"  # in the audit


@dataclass(frozen=True, slots=True)
class Ended:
    """A canary that was decided on; ``version`` as it is now."""

    version: Version
    decision: Decision


async def decide(session: AsyncSession, settings: Settings) -> Ended | None:
    """Promote the canary where its good is proven, take it back where its harm is; None where neither is, where the
    settings leave it to people, or where another was faster."""
    if settings.preferences == "off" or settings.preferences_decide == "off":
        return None
    trial = await preferences.trial(session)
    if trial is None:
        return None
    version, since = trial
    found = proof(await votes.first_thumbs(session, version.id, since))
    decision = found.decision
    if decision is None or (decision == "promote" and settings.preferences_decide != "on"):
        return None
    told = found.document() | {"decision": decision, "since": since.isoformat()}
    after = await preferences.decided(session, version, decision == "promote", told)
    if after is None:
        return None
    await audit.record(session, WHO, PLATFORM, f"preferences {decision}", str(version.id), _short(told))
    log.info("preferences.decided", version=version.id, decision=decision, **_short(told))
    return Ended(after, decision)


async def standing(session: AsyncSession, version: Version) -> dict[str, Any] | None:
    """What people have said so far of the canary, or had said when it ended; None for what never was one."""
    trial = await preferences.trial(session)
    if trial is None or trial[0].id != version.id:
        ended: dict[str, Any] | None = version.report.get("trial")
        return ended
    found = proof(await votes.first_thumbs(session, version.id, trial[1]))
    return found.document() | {"decision": None, "since": trial[1].isoformat()}


def _short(told: dict[str, Any]) -> dict[str, Any]:
    """For one line."""
    arms = {f"{arm}_{name}": told[arm][name] for arm in ("canary", "control") for name in ("conversations", "up")}
    return arms | {"good": told["good"], "harm": told["harm"]}
