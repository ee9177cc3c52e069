"""Who can read a reply. Every search needs one; there is no default."""

from __future__ import annotations

from dataclasses import dataclass

EVERYONE = "everyone"
NAMED_BY_SOURCES = ("user:email:", "user:entra:", "user:confluence:", "user:github:")


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
    def person(cls, platform: str, person_id: str, *known_as: str) -> Audience:
        """Somebody on a platform. ``known_as``: the names that sources use, such as ``user:email:ben@example.com``."""
        return cls(frozenset({EVERYONE, f"user:{platform}:{person_id}", *known_as}))

    @property
    def may_be_in_groups(self) -> bool:
        """Whether it names somebody as sources do, whose groups can then be looked up."""
        return any(principal.startswith(NAMED_BY_SOURCES) for principal in self.principals)


def by_email(address: str | None) -> tuple[str, ...]:
    """The principal of an address, where there is one."""
    return (f"user:email:{address.strip().lower()}",) if address and "@" in address else ()
