"""The door: which requests are from Teams, for this app, and from a tenant that is let in.

The SDK's own check is not used: it fetches signing keys with blocking calls on the event loop, does not fetch them
again for an unknown key (a rotation locks everybody out for a day), and raises where 401 is due.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import structlog
from yarl import URL

from assistant.settings import Settings
from bot.teams import events

log = structlog.get_logger()

PUBLIC = "https://api.botframework.com"
US_GOVERNMENT = "https://api.botframework.us"
CHANNEL = "msteams"
ANY = "*"
LEEWAY = 300.0  # seconds of clock difference
KEYS_LIFETIME = 24 * 3600.0
REFRESH_INTERVAL = 10.0  # at most one fetch in this time, however many unknown keys are named
RETRY_INTERVAL = 1.0  # the same while there are no keys at all
FETCH_TIMEOUT = aiohttp.ClientTimeout(total=8.0)

REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not yet valid"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidIssuerError, "issuer"),
    (jwt.InvalidSignatureError, "signature"),
    (jwt.MissingRequiredClaimError, "claim missing"),
)


class Denied(Exception):
    """The request is refused with ``status``; ``reason`` is for the metric, not for the caller."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SigningKey:
    key: jwt.PyJWK
    endorsements: tuple[str, ...]  # the channels it may speak for; empty: not said


class SigningKeys:
    """The issuer's public keys, fetched when needed: at first use, once a day, and when a token names a new one."""

    def __init__(self, session: aiohttp.ClientSession, metadata_url: str) -> None:
        self._session = session
        self._metadata_url = metadata_url
        self._keys: dict[str, SigningKey] = {}
        self._fetched = 0.0
        self._tried = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, kid: str) -> SigningKey:
        """Raise ``Denied`` with 401 for a key the issuer does not have, 503 when the issuer cannot be asked."""
        if kid not in self._keys or time.monotonic() - self._fetched > KEYS_LIFETIME:
            async with self._lock:
                if kid not in self._keys or time.monotonic() - self._fetched > KEYS_LIFETIME:
                    await self._refresh()
        found = self._keys.get(kid)
        if found is None:
            raise Denied(401, "unknown key") if self._keys else Denied(503, "signing keys unavailable")
        return found

    async def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._tried < (REFRESH_INTERVAL if self._keys else RETRY_INTERVAL):
            return
        if self._keys:  # the very first fetch does not count: a rotation right after it is noticed at once
            self._tried = now
        try:
            metadata = await self._get(self._metadata_url)
            found = await self._get(metadata["jwks_uri"])
            self._keys = dict(filter(None, map(_signing_key, found["keys"])))
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
            log.warning("teams.keys_unavailable", error=type(error).__name__)
            self._tried = now
            return
        self._fetched = now

    async def _get(self, url: str) -> Any:
        async with self._session.get(url, timeout=FETCH_TIMEOUT, raise_for_status=True) as response:
            return await response.json(content_type=None)


class Door:
    """Decides whether a request comes in: first by its token alone, then by what its body says."""

    def __init__(self, settings: Settings, keys: SigningKeys) -> None:
        self._keys = keys
        self._issuer = service_of(settings)
        self._app_id = settings.teams_app_id or ""
        self._anonymous = settings.teams_anonymous
        self._hosts = frozenset(host.lower() for host in settings.teams_allowed_hosts)
        self._tenants = tenants_of(settings)
        self._any_tenant = self._anonymous or ANY in self._tenants

    async def token(self, authorization: str) -> Mapping[str, Any]:
        """The claims of a valid token; raises ``Denied`` with 401 for every other."""
        if self._anonymous:
            return {}
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Denied(401, "no token")
        try:
            key = await self._key(token.strip())
            claims: dict[str, Any] = jwt.decode(
                token.strip(),
                key.key,
                algorithms=["RS256"],
                audience=self._app_id,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Denied(401, _reason(error)) from None
        return {**claims, "endorsements": key.endorsements}

    async def _key(self, token: str) -> SigningKey:
        header = jwt.get_unverified_header(token)
        if header.get("alg") != "RS256":
            raise Denied(401, "algorithm")
        if not isinstance(kid := header.get("kid"), str):
            raise Denied(401, "unknown key")
        return await self._keys.find(kid)

    def body(self, claims: Mapping[str, Any], body: dict[str, Any]) -> None:
        """Raise ``Denied`` unless the activity is what the token was made for, and from where we let in."""
        url = events.service_url(body)
        if not self._anonymous:
            if not url or str(claims.get("serviceurl", "")).rstrip("/") != url.rstrip("/"):
                raise Denied(401, "service url")
            endorsed = claims["endorsements"]
            if events.channel(body) != CHANNEL or (endorsed and CHANNEL not in endorsed):
                raise Denied(403, "channel")
        if not self.may_call(url):
            raise Denied(403, "host")
        named = {tenant.lower() for tenant in events.tenants(body)}
        if not self._any_tenant and not (named and named <= self._tenants):
            raise Denied(403, "tenant")

    def may_call(self, service_url: str) -> bool:
        """Whether messages may be sent there: the same rule on the way in and on the way out."""
        try:
            url = URL(service_url)
        except ValueError:
            return False
        host = (url.host or "").lower()
        if url.scheme not in {"http", "https"} or (url.scheme == "http" and not _loopback(host)):
            return False
        return _loopback(host) if self._anonymous else host in self._hosts


def service_of(settings: Settings) -> str:
    """The cloud's Bot Framework: it signs what comes in, and is asked for when a token is fetched for what goes out."""
    host = URL(settings.teams_openid_metadata_url).host or ""
    return US_GOVERNMENT if host.lower().endswith(".us") else PUBLIC


def tenants_of(settings: Settings) -> frozenset[str]:
    """The organisations whose people may come in: those that are named, else the app's own; ``ANY`` for all."""
    own = tuple(filter(None, (settings.teams_app_tenant_id,)))
    return frozenset(tenant.lower() for tenant in settings.teams_allowed_tenants or own)


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _signing_key(found: dict[str, Any]) -> tuple[str, SigningKey] | None:
    try:
        return str(found["kid"]), SigningKey(jwt.PyJWK(found, "RS256"), tuple(found.get("endorsements") or ()))
    except (jwt.PyJWTError, LookupError, TypeError, ValueError):
        return None  # a key of a kind we do not use


def _reason(error: Exception) -> str:
    return next((reason for kind, reason in REASONS if isinstance(error, kind)), "malformed token")
