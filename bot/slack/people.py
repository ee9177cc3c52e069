"""Who somebody on Slack is: name, locale, and whether the workspace calls them an administrator."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from assistant.database.inbox import storable
from assistant.knowledge.audience import Audience
from assistant.roles import Roles
from bot.inbox import TryLater
from bot.slack.api import Api
from bot.slack.errors import Refused, Unreachable
from bot.slack.events import own_audience, person

log = structlog.get_logger()

FRESH_SECONDS = 3_600.0
RETRY_SECONDS = 60.0  # after a look-up that failed
LOOK_UP_SECONDS = 2.0  # nobody waits longer for a name
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Person:
    """``locale`` is such as ``de-DE``; all of it is empty where Slack does not tell.

    ``email`` is of the workspace's own people only: what another company's Slack says of its people names nobody here.
    """

    name: str = ""
    locale: str | None = None
    admin: bool = False
    email: str = ""
    stranger: bool = False  # of another company: what everyone here may read is not for them


NOBODY = Person()


class People:
    """Looks people up once an hour. An app without the scope knows nobody by name, and answers all the same."""

    def __init__(
        self, api: Api, roles: Roles, workspace_admins: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._roles = roles
        self._workspace_admins = workspace_admins
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[float, Person]] = OrderedDict()
        self._asking: weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock] = weakref.WeakValueDictionary()

    async def get(self, team: str, user: str) -> Person:
        """Somebody as Slack knows them; nothing is raised, and in a rush nobody is looked up."""
        lock = self._asking.setdefault((team, user), asyncio.Lock())
        async with lock:
            until, known = self._known.get((team, user), (0.0, NOBODY))
            if self._clock() < until or not user or not self._api.free("users.info"):
                return known
            return await self._look_up(team, user, known)

    async def _look_up(self, team: str, user: str, known: Person) -> Person:
        fresh = RETRY_SECONDS
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                known, fresh = _person(await self._api.user(user), team), FRESH_SECONDS
        except Refused as error:
            log.info("slack.person_unknown", reason=str(error))
            fresh = FRESH_SECONDS
        except (Unreachable, TryLater, TimeoutError) as error:
            log.info("slack.person_unknown", reason=type(error).__name__)
        now = self._clock()
        self._known[team, user] = (now + fresh, known)
        self._known.move_to_end((team, user))
        while len(self._known) > KEPT:
            self._known.popitem(last=False)
        self._grant(person(team, user), known)
        return known

    async def audience(self, team: str, user: str, outsiders: bool = False) -> Audience:
        """What somebody may read alone."""
        who = await self.get(team, user)
        return own_audience(team, user, outsiders or who.stranger, who.email)

    async def is_admin(self, team: str, user: str) -> bool:
        """Named in the settings, or an administrator of the workspace where those count."""
        name = person(team, user)
        if not self._roles.is_admin(name) and self._workspace_admins:
            await self.get(team, user)
        return self._roles.is_admin(name)

    def _grant(self, name: str, known: Person) -> None:
        if self._workspace_admins and known.admin:
            self._roles.grant(name)
        else:
            self._roles.revoke(name)


def _person(user: dict[str, object], team: str) -> Person:
    profile = user.get("profile")
    profile = profile if isinstance(profile, dict) else {}
    names = (profile.get("display_name"), profile.get("real_name"), user.get("real_name"), user.get("name"))
    name = storable(next((" ".join(str(name).split()) for name in names if name), ""))
    admin = not user.get("deleted") and any(user.get(key) for key in ("is_admin", "is_owner", "is_primary_owner"))
    stranger = _is_of_another_company(user, team)
    nobody = stranger or any(user.get(key) for key in ("is_bot", "deleted"))
    email = "" if nobody else str(profile.get("email") or "")
    return Person(
        name[:80],
        str(user["locale"]) if user.get("locale") else None,
        bool(admin) and not stranger,
        email,
        stranger,
    )


def _is_of_another_company(user: dict[str, object], team: str) -> bool:
    """``is_stranger`` says so only of those who share no channel with us. Whoever does is told by their workspace:
    neither this one, nor (in an organisation of several) one of an organisation that this one is in, too."""
    organisation = user.get("enterprise_user")
    teams = organisation.get("teams") if isinstance(organisation, dict) else None
    ours = user.get("team_id") in (None, "", team) or (isinstance(teams, list) and team in teams)
    return bool(user.get("is_stranger")) or not ours
