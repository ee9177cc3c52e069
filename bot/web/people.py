"""Who asks. A browser is a person: a random secret in a cookie that scripts and other sites cannot read.

A person's name follows from the secret, and not the other way round: who reads names (in the audit, among what answers
cost) can still not be somebody else.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field

from aiohttp import web

from assistant.knowledge.audience import Audience

COOKIE = "almanac_person"
COOKIE_SECONDS = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Person:
    """``secret`` is the cookie's; ``is_new``: the browser does not know it yet."""

    secret: uuid.UUID = field(repr=False)
    is_new: bool

    @property
    def id(self) -> uuid.UUID:
        return uuid.UUID(bytes=hashlib.sha256(self.secret.bytes).digest()[:16], version=4)

    @property
    def name(self) -> str:
        return f"web:{self.id}"

    @property
    def audience(self) -> Audience:
        return Audience.person("web", str(self.id))

    def conversation(self, conversation_id: uuid.UUID) -> str:
        """The conversation's stored name. It begins with the person, so that nobody can join another's."""
        return f"{self.name}:{conversation_id}"

    def remember(self, request: web.Request, response: web.StreamResponse) -> None:
        """Set the cookie on a response that has not begun.

        Only answers to the page's own requests may do this: a Strict cookie does not come with a click on a link
        elsewhere, so the page itself would take everybody who follows one for a new person.
        """
        if self.is_new:
            response.set_cookie(
                COOKIE, str(self.secret), max_age=COOKIE_SECONDS, httponly=True, samesite="Strict",
                secure=is_https(request),
            )  # fmt: skip


def person_of(request: web.Request) -> Person:
    """The person of the cookie, or a new one."""
    try:
        return Person(uuid.UUID(request.cookies.get(COOKIE, "")), is_new=False)
    except ValueError:
        return Person(uuid.uuid4(), is_new=True)


def is_https(request: web.Request) -> bool:
    """Whether the browser speaks HTTPS, to us or to the proxy before us."""
    return request.secure or request.headers.get("X-Forwarded-Proto") == "https"
