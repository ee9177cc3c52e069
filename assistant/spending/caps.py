"""The caps as the settings give them, and which channel a question counts to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from assistant.database.spending import Amount
from assistant.settings import Settings

SCOPES = ("answer", "person", "channel", "day", "month")
_SETTINGS = dict(zip(SCOPES, ("answer", "person_day", "channel_day", "day", "month"), strict=True))


@dataclass(frozen=True, slots=True)
class Cap:
    """The most of one window; None: no cap."""

    usd: Decimal | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Caps:
    """A cap for each of ``SCOPES``; false where none is set."""

    of: Mapping[str, Cap]

    def __bool__(self) -> bool:
        return any(cap != Cap() for cap in self.of.values())

    def passed(self, scope: str, amount: Amount) -> bool:
        cap = self.of[scope]
        return (cap.usd is not None and amount.usd > cap.usd) or (cap.tokens is not None and amount.tokens > cap.tokens)


def caps_of(settings: Settings) -> Caps:
    return Caps({scope: _cap(settings, name) for scope, name in _SETTINGS.items()})


def variable(scope: str, unit: str) -> str:
    """The setting behind a cap, such as ALMANAC_CAP_DAY_USD."""
    return f"ALMANAC_CAP_{_SETTINGS[scope].upper()}_{unit.upper()}"


def channel_of(platform: str, conversation: str) -> str:
    """The channel that a conversation belongs to: without its thread. Empty where there are no channels."""
    if platform == "slack":  # team:channel:thread, or team:channel:ask:person:time
        return "slack:" + ":".join(conversation.split(":")[:2])
    if platform == "teams":
        return "teams:" + conversation.partition(";messageid")[0]
    return ""


def _cap(settings: Settings, name: str) -> Cap:
    usd: float | None = getattr(settings, f"cap_{name}_usd")
    tokens: int | None = getattr(settings, f"cap_{name}_tokens")
    return Cap(None if usd is None else Decimal(str(usd)), tokens)
