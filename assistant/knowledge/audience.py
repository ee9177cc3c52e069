"""Who can read a reply. Every search needs one; there is no default."""

from __future__ import annotations

from dataclasses import dataclass

EVERYONE = "everyone"


@dataclass(frozen=True, slots=True)
class Audience:
    """The principals whose documents may appear: a document is visible when it names one of them.

    Principals are strings such as ``everyone``, ``user:slack:U123`` or ``group:payments``. For a channel this is
    what *every* member may read; for a direct message what the asker may read.
    """

    principals: frozenset[str]

    @classmethod
    def everyone(cls) -> Audience:
        return cls(frozenset({EVERYONE}))

    @classmethod
    def person(cls, platform: str, person_id: str) -> Audience:
        return cls(frozenset({EVERYONE, f"user:{platform}:{person_id}"}))
