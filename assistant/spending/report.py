"""What was spent, by whom and where, and how far each cap is used: for administrators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from assistant.database import spending
from assistant.database.spending import Amount, Spent, Window
from assistant.knowledge.filters import from_arguments
from assistant.spending.budget import Budget
from assistant.spending.caps import SCOPES, Cap, variable

GROUPS = tuple(spending.GROUPS)
SINCE = "7d"
NEAR = 0.8  # of a cap: from here on a person or a channel is listed


@dataclass(frozen=True, slots=True)
class CapUse:
    """How far one window's cap is used. ``name`` is the person or the channel, empty for everybody's."""

    scope: str
    name: str
    usd: Decimal
    cap_usd: Decimal | None
    tokens: int
    cap_tokens: int | None
    frees_at: str

    @property
    def share(self) -> float:
        """Of the cap, 0..1 and above; of the tighter one where there are two."""
        shares = [float(self.usd / self.cap_usd)] if self.cap_usd else []
        shares += [self.tokens / self.cap_tokens] if self.cap_tokens else []
        return max(shares, default=0.0)


@dataclass(frozen=True, slots=True)
class Report:
    since: date
    by: str
    rows: tuple[Spent, ...]
    total: Spent
    caps: tuple[CapUse, ...]
    settings: Mapping[str, str]  # the caps that are set, by their variable

    def as_json(self) -> dict[str, Any]:
        return {
            "since": self.since.isoformat(),
            "by": self.by,
            "rows": [numbers(row) for row in self.rows],
            "total": numbers(self.total),
            "caps": [numbers(use) | {"share": round(use.share, 4)} for use in self.caps],
            "settings": dict(self.settings),
        }


def since_day(budget: Budget, since: str) -> date:
    """The first day of ``7d``, ``2026-11``, …; raises ``FilterError``."""
    after = from_arguments({"after": [since]}, today=budget.today()).after
    assert after is not None
    return after


async def report(session: AsyncSession, budget: Budget, by: str, since: str = SINCE) -> Report:
    """``by`` is one of ``GROUPS``. Raises ``FilterError`` where ``since`` is no date."""
    first, today = since_day(budget, since), budget.today()
    rows = await spending.spent(session, first, by)
    (total, *_) = await spending.spent(session, first) or [Spent("", 0, 0, 0, 0, 0, Decimal(0), 0)]
    sums = await spending.totals(session, today)
    of_all = (Window("day", "", today), Window("month", "", today.replace(day=1)))
    for window in of_all:
        sums.setdefault(window, Amount())
    used = [_use(budget, window, amount) for window, amount in sums.items()]
    shown = [use for use in used if not use.name or use.share >= NEAR]
    shown.sort(key=lambda use: (-SCOPES.index(use.scope), -use.share, use.name))
    return Report(first, by, tuple(rows), total, tuple(shown), caps_set(budget))


def caps_set(budget: Budget) -> dict[str, str]:
    """The variables of the caps that hold, with their values."""
    found: dict[str, str] = {}
    for scope in SCOPES:
        cap = budget.caps.of[scope]
        if cap.usd is not None:
            found[variable(scope, "usd")] = f"{cap.usd:f}"
        if cap.tokens is not None:
            found[variable(scope, "tokens")] = str(cap.tokens)
    return found


def money(usd: Decimal | float) -> str:
    """Dollars with as many digits as say something: $12.30, $0.0042."""
    return f"${usd:,.2f}" if usd >= 1 or not usd else f"${usd:.4f}"


def _use(budget: Budget, window: Window, amount: Amount) -> CapUse:
    cap: Cap = budget.caps.of[window.scope]
    frees_at = budget.frees_at(window).isoformat()
    return CapUse(window.scope, window.name, amount.usd, cap.usd, amount.tokens, cap.tokens, frees_at)


def numbers(row: Spent | CapUse) -> dict[str, Any]:
    """A row as JSON has it."""
    return {name: float(value) if isinstance(value, Decimal) else value for name, value in asdict(row).items()}
