"""Who may run the commands that change something."""

from __future__ import annotations

from collections.abc import Iterable


class Roles:
    """Administrators by their stable names, such as ``slack:T123:U456`` or ``teams:<tenant>:<object id>``.

    A front end that knows its platform's own administrators adds them with ``grant`` and takes them back with
    ``revoke``; what the settings name stays.
    """

    def __init__(self, admins: Iterable[str]) -> None:
        self._named = frozenset(admins)
        self._granted: set[str] = set()

    def is_admin(self, person: str) -> bool:
        return person in self._named or person in self._granted

    def grant(self, person: str) -> None:
        self._granted.add(person)

    def revoke(self, person: str) -> None:
        self._granted.discard(person)
