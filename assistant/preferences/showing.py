"""What was learned from votes as JSON: for the terminal, the chat and the administrators' page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import preferences, votes
from assistant.database.preferences import Version
from assistant.database.votes import Arm
from assistant.preferences import deciding
from assistant.settings import Settings

RESAMPLES = 4_000
SEED = 20_261_126


def version_json(version: Version) -> dict[str, Any]:
    """Without the report's list of questions."""
    verdict = version.report.get("verdict") or {}
    return {
        "version": version.id, "state": version.state, "share": version.share, "reason": version.reason,
        "votes": version.votes, "voters": version.voters, "pairs": version.pairs, "embedding": version.embedding,
        "until": version.until, "created_at": version.created_at, "tried_at": version.tried_at,
        "promoted_at": version.promoted_at,
        "ended_at": version.ended_at, "held_out": verdict.get("held_out"), "newest": verdict.get("newest"),
    }  # fmt: skip


async def status(session: AsyncSession, settings: Settings) -> dict[str, Any]:
    """What is in force, the versions there are, and how many votes came since the newest."""
    found = await preferences.versions(session)
    since = found[0].until if found else None
    now = {version.state: version.id for version in found if version.state in ("promoted", "canary")}
    last = last_tried(found)
    return {
        "promoted": now.get("promoted"), "canary": now.get("canary"),
        "trial": None if last is None else await trial_of(session, last),
        "new_votes": await votes.since(session, since),
        "settings": {
            "preferences": settings.preferences, "share": settings.preferences_share,
            "decide": settings.preferences_decide,
            "learn_hours": settings.learn_hours, "half_life_days": settings.votes_half_life_days,
        },
        "versions": [version_json(version) for version in found],
    }  # fmt: skip


async def report(session: AsyncSession, number: int | None) -> dict[str, Any]:
    """One version (None: the newest) with all that it was found to be worth and to change. Raises ``NoSuchVersion``."""
    version = await preferences.find(session, number)
    return {
        **version_json(version), "report": version.report, "canary": await trial_of(session, version),
        "gains": [_gain(one) for one in reversed(await preferences.versions(session))],
    }  # fmt: skip


def last_tried(found: Sequence[Version]) -> Version | None:
    """The canary; else what was tried last."""
    tried = [(version.state == "canary", version.tried_at, version) for version in found if version.tried_at]
    return max(tried, key=lambda one: one[:2])[2] if tried else None


async def trial_of(session: AsyncSession, version: Version) -> dict[str, Any] | None:
    """How people took the answers while a version was tried, and what that proves; None where it never was."""
    tried = trial(await votes.arms(session, version.id, version.tried_at))
    proof = await deciding.standing(session, version)
    if tried is None and proof is None:
        return None
    return {"version": version.id, **(tried or {}), "proof": proof}


def _gain(version: Version) -> dict[str, Any]:
    held_out = (version.report.get("verdict") or {}).get("held_out") or {}
    return {
        "version": version.id, "state": version.state, "created_at": version.created_at,
        "gain": held_out.get("gain"), "interval": held_out.get("interval"), "votes": version.votes,
    }  # fmt: skip


def trial(arms: list[Arm]) -> dict[str, Any] | None:
    """The thumbs up among all thumbs of both parts, and the interval (95 in 100) of the difference; None without."""
    by = {arm.arm: arm for arm in arms}
    if not by:
        return None
    found: dict[str, Any] = {name: {"answers": arm.answers, "up": arm.up, "down": arm.down} for name, arm in by.items()}
    counts = [by.get(name, Arm(name, 0, 0, 0)) for name in ("canary", "control")]
    if all(arm.up + arm.down for arm in counts):
        random = np.random.default_rng(SEED)
        # Jeffreys' posteriors of the two shares: right also where one of them is 0 or 1
        canary, control = (random.beta(arm.up + 0.5, arm.down + 0.5, RESAMPLES) for arm in counts)
        low, high = np.quantile(canary - control, [0.025, 0.975])
        shares = [arm.up / (arm.up + arm.down) for arm in counts]
        found["difference"] = {
            "up_share": round(shares[0] - shares[1], 4), "interval": [round(float(low), 4), round(float(high), 4)],
        }  # fmt: skip
    return found
