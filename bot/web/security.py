"""The guard in front of the page and its API: who may come in, from where, and what browsers may do with it.

With ``ALMANAC_WEB_TOKEN`` everything needs the token: as ``Authorization: Bearer``, or once in the sign-in form, which
sets a cookie. Without it only this machine is served, and only under a loopback name: a page elsewhere whose host name
was re-pointed here (DNS rebinding) still sends its own ``Host``.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from sqlalchemy.exc import SQLAlchemyError

from assistant.errors import AlmanacError, DatabaseUnavailable, NotFound, QuestionRejected
from assistant.settings import Settings
from assistant.telemetry import Metrics
from bot.web.parsing import Refused
from bot.web.people import is_https

log = structlog.get_logger()

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SESSION_COOKIE = "almanac_session"
SESSION_SECONDS = 30 * 24 * 3600
ADMIN_API = "web.api.admin."  # routes that are for administrators
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
STATUS = {NotFound: 404, QuestionRejected: 400, DatabaseUnavailable: 503}
AWAY = "The database cannot be reached just now; try again in a moment."
BROKEN = "Something went wrong here; the log has the details."


class TokenDoor:
    """What a token opens: sent as ``Authorization: Bearer``, or as the cookie of a session made with it."""

    def __init__(self, token: str, cookie: str, purpose: str, seconds: int) -> None:
        self._token = token.encode()
        self._cookie = cookie
        self._purpose = purpose
        self._seconds = seconds

    def knows(self, request: web.Request) -> bool:
        bearer = bearer_of(request)
        if bearer is not None:
            return self.opens(bearer)
        return self._is_session(request.cookies.get(self._cookie, ""))

    def opens(self, token: str) -> bool:
        return hmac.compare_digest(as_sent(token), self._token)

    def remember(self, request: web.Request, response: web.StreamResponse) -> None:
        """A session; its cookie ends with its time, or when the token is changed."""
        # Lax: a link in a chat message must open the page, not the sign-in form. Requests that change anything
        # are checked for their origin.
        response.set_cookie(
            self._cookie, self._session(int(time.time()) + self._seconds), max_age=self._seconds,
            httponly=True, samesite="Lax", secure=is_https(request),
        )  # fmt: skip

    def _session(self, expires: int) -> str:
        signed = hmac.new(self._token, f"{self._purpose} {expires}".encode(), hashlib.sha256)
        return f"{expires}.{signed.hexdigest()}"

    def _is_session(self, value: str) -> bool:
        expires, _, _ = value.partition(".")
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12 or int(expires) < time.time():
            return False
        return hmac.compare_digest(as_sent(value), self._session(int(expires)).encode())


class Door:
    """Decides whether a request comes in."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        token = settings.web_token.get_secret_value() if settings.web_token else None
        self._token = TokenDoor(token, SESSION_COOKIE, "almanac session", SESSION_SECONDS) if token else None
        self._public = origin_of(settings.public_url) if settings.public_url else None
        self._metrics = metrics

    def check(self, request: web.Request) -> None:
        """Raise ``Refused`` unless the request may be served; whether to an administrator is checked apart."""
        name = request.match_info.route.name or ""
        if self._token is None and host_name(request.host) not in LOOPBACK:
            raise self.refused(403, "host", "Without ALMANAC_WEB_TOKEN, Almanac answers only to 127.0.0.1.")
        if name.startswith(("web.api.", "web.login")):
            self._check_origin(request)
        if name.startswith("web.api.") and not name.startswith(ADMIN_API) and not self.knows(request):
            raise self.refused(401, "token", "Sign in, or send the token as Authorization: Bearer.")

    @property
    def is_open(self) -> bool:
        """Whether there is no token, so that this machine comes in without one."""
        return self._token is None

    def knows(self, request: web.Request) -> bool:
        """Whether the request carries the token or a session made with it; always, where there is no token."""
        return self._token is None or self._token.knows(request)

    def sign_in(self, request: web.Request, token: str) -> web.Response:
        """A session for the right token."""
        if self._token is not None and not self._token.opens(token):
            raise self.refused(401, "token", "That is not the token.")
        response = web.json_response({"signed_in": True})
        if self._token is not None:
            self._token.remember(request, response)
        return response

    def _check_origin(self, request: web.Request) -> None:
        """Browsers say where a request comes from; programs say nothing and hold no cookies."""
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        origin = request.headers.get("Origin")
        own = origin is None or _place(origin) == request.host or origin == self._public
        if site not in ("same-origin", "none") or not own:
            raise self.refused(403, "origin", "Only Almanac's own page may ask for this.")

    def refused(self, status: int, reason: str, sentence: str) -> Refused:
        self._metrics.refused.labels("web", reason).inc()
        return Refused(status, sentence)


Check = Callable[[web.Request], Awaitable[None]]


def guard(door: Door, admins: Check) -> Middleware:
    """The middleware: ours are checked and answer errors as JSON, other front ends' routes pass.

    ``admins`` raises ``Refused`` unless the request is an administrator's.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_ours(request):
            return await handler(request)
        try:
            door.check(request)
            if (request.match_info.route.name or "").startswith(ADMIN_API):
                await admins(request)
            return await handler(request)
        except Refused as error:
            return failure(error.status, str(error))
        except AlmanacError as error:
            return failure(STATUS.get(type(error), 500), str(error))
        except (SQLAlchemyError, OSError) as error:
            log.warning("web.database_away", error=type(error).__name__)
            return failure(503, AWAY)
        except web.HTTPException:
            raise
        except Exception:
            log.exception("web.failed", route=request.match_info.route.name)
            return failure(500, BROKEN)

    return middleware


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler: runs before any response begins, streams included."""
    if is_ours(request):
        response.headers.update(HEADERS)
        response.headers.setdefault("Cache-Control", "no-store")


def is_ours(request: web.Request) -> bool:
    return (request.match_info.route.name or "").startswith("web.")


def failure(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


def bearer_of(request: web.Request) -> str | None:
    """What is sent as ``Authorization: Bearer``."""
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    return bearer.strip() if scheme.lower() == "bearer" else None


def as_sent(text: str) -> bytes:
    """A header's value in bytes: aiohttp lets through, in its own way of writing, what is no UTF-8."""
    return text.encode(errors="surrogateescape")


def host_name(host: str) -> str:
    """``Host`` without its port; an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _place(origin: str) -> str:
    """Host and port of an ``Origin``; empty where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
