"""How calls prove who makes them: with a secret of ours, or with a token of the asker's (RFC 8693 token exchange).

tools.yaml names secrets; they lie in ALMANAC_TOOL_SECRETS, or in ALMANAC_CREDENTIALS, whose entries go to their own
host only.
"""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from yarl import URL

from assistant.bodies import read_up_to
from assistant.settings import Settings
from assistant.tools.config import AsAsker, Auth
from assistant.tools.guard import Gate, is_private
from assistant.tools.model import NotAllowed, ToolCaller, ToolUnavailable
from assistant.tools.text import clean

if TYPE_CHECKING:
    from aiohttp import ClientSession

ASSERTION_SECONDS = 60
LEEWAY = 30.0  # seconds before its end that a token is no longer used
MAX_TOKENS = 2_000
MAX_ANSWER = 100_000  # bytes of a token endpoint's answer
_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_ACCESS = "urn:ietf:params:oauth:token-type:access_token"


class MissingSecret(LookupError):
    """A secret that tools.yaml names and no setting has; the text says which, to go after "names"."""


class Secrets:
    """Secrets by the names that tools.yaml uses."""

    def __init__(self, settings: Settings) -> None:
        self._secrets = settings.tool_secrets
        self._credentials = settings.credentials

    def value(self, name: str, host: str, basic: bool = False) -> str:
        """The secret for the host, ``user:password`` for ``basic``; raises ``MissingSecret``."""
        if name in self._secrets:
            return self._secrets[name].get_secret_value()
        credential = self._credentials.get(name)
        if credential is None:
            raise MissingSecret(f"{name}, which is in neither ALMANAC_TOOL_SECRETS nor ALMANAC_CREDENTIALS")
        if credential.host.lower() != host.lower():
            raise MissingSecret(f"{name}, which ALMANAC_CREDENTIALS has for {credential.host} and not for {host}")
        token = credential.token.get_secret_value()
        return f"{credential.user}:{token}" if basic else token


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes with a request."""

    headers: dict[str, str] = field(default_factory=dict, repr=False)
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)


class Prover:
    """Makes the proof for each call of one source."""

    def __init__(self, auth: Auth | None, secrets: Secrets, host: str) -> None:
        self._exchange = Exchange(auth.as_asker, secrets) if auth and auth.as_asker else None
        self.fixed = _fixed(auth, secrets, host) if auth else Proof()

    async def proof(self, caller: ToolCaller) -> Proof:
        if self._exchange is None:
            return self.fixed
        return Proof({"Authorization": f"Bearer {await self._exchange.token(caller)}"})

    def refused(self, caller: ToolCaller) -> None:
        """The API did not let the caller in: the next call asks for a new token."""
        if self._exchange is not None:
            self._exchange.forget(caller)

    async def close(self) -> None:
        if self._exchange is not None:
            await self._exchange.close()


def _fixed(auth: Auth, secrets: Secrets, host: str) -> Proof:
    if auth.bearer is not None:
        return Proof({"Authorization": f"Bearer {_line(auth.bearer, secrets.value(auth.bearer, host))}"})
    if auth.basic is not None:
        pair = secrets.value(auth.basic, host, basic=True)
        return Proof({"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"})
    assert auth.secret is not None or auth.as_asker is not None
    if auth.header is not None and auth.secret is not None:
        return Proof({auth.header: _line(auth.secret, secrets.value(auth.secret, host))})
    if auth.query is not None and auth.secret is not None:
        return Proof(query=((auth.query, secrets.value(auth.secret, host)),))
    return Proof()


def _line(name: str, secret: str) -> str:
    if not secret.isprintable() or not secret.isascii() or not secret.strip():
        raise MissingSecret(f"{name}, which is not one line of plain ASCII")
    return secret.strip()


class Exchange:
    """Tokens of askers, each kept until it ends. ``key`` signs who asks; nobody else can say so."""

    def __init__(self, config: AsAsker, secrets: Secrets) -> None:
        url = URL(config.token_url)
        self._config = config
        self._gate = Gate(url.host or "", is_private(config.token_url))
        self._key, self._algorithm = _signing_key(config.key, secrets.value(config.key, url.host or ""))
        self._client = secrets.value(config.client, url.host or "", basic=True) if config.client else None
        self._tokens: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}
        self._session: ClientSession | None = None

    async def token(self, caller: ToolCaller) -> str:
        """The caller's access token; raises ``NotAllowed`` or ``ToolUnavailable``."""
        lock = self._locks.setdefault(caller.person, asyncio.Lock())
        try:
            async with lock:  # a person's parallel calls share one exchange
                kept = self._tokens.get(caller.person)
                if kept is not None and kept[1] > time.monotonic():
                    self._tokens.move_to_end(caller.person)
                    return kept[0]
                token, seconds = await self._ask(caller)
                self._tokens[caller.person] = (token, time.monotonic() + max(0.0, seconds - LEEWAY))
                while len(self._tokens) > MAX_TOKENS:
                    self._tokens.popitem(last=False)
                return token
        finally:
            if not lock.locked():
                self._locks.pop(caller.person, None)

    def forget(self, caller: ToolCaller) -> None:
        self._tokens.pop(caller.person, None)

    def assertion(self, caller: ToolCaller) -> str:
        """A signed JWT that says who asks."""
        import jwt  # with cryptography, a tenth of a second to import

        now = int(time.time())
        claims = {
            "iss": self._config.issuer, "sub": caller.person, "aud": self._config.token_url, "iat": now, "nbf": now - 5,
            "exp": now + ASSERTION_SECONDS, "jti": uuid.uuid4().hex, "platform": caller.platform,
        }  # fmt: skip
        headers = {"kid": self._config.key_id} if self._config.key_id else None
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers=headers)

    async def _ask(self, caller: ToolCaller) -> tuple[str, float]:
        form = {"grant_type": _GRANT, "subject_token": self.assertion(caller), "subject_token_type": _JWT,
                "requested_token_type": _ACCESS}  # fmt: skip
        form |= {name: value for name in ("audience", "resource", "scope") if (value := getattr(self._config, name))}
        headers = {"Accept": "application/json"}
        if self._client:
            headers["Authorization"] = f"Basic {base64.b64encode(self._client.encode()).decode()}"
        host = URL(self._config.token_url).host
        try:
            self._gate.check(URL(self._config.token_url))
            async with self._opened().post(
                self._config.token_url, data=form, headers=headers, allow_redirects=False
            ) as response:
                body = _object(await read_up_to(response.content, MAX_ANSWER))
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError):
            raise ToolUnavailable(f"The token service at {host} cannot be reached; try again later.") from None
        if status >= 500:
            raise ToolUnavailable(f"The token service at {host} has a problem of its own ({status}).", status)
        token = body.get("access_token")
        if status != 200 or not isinstance(token, str) or not token.isascii() or not token.isprintable():
            reason = clean(body.get("error_description") or body.get("error") or f"it answered {status}", 200)
            raise NotAllowed(f"The token service at {host} gives no token for the asker: {reason}.", status)
        return token, _seconds(body.get("expires_in"))

    def _opened(self) -> ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=self._gate, limit=8, use_dns_cache=False)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=aiohttp.ClientTimeout(total=10), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(value: object) -> float:
    """A token that does not say how long it lives is used once or twice."""
    return float(value) if isinstance(value, int | float) and value > 0 else LEEWAY + 30


def _signing_key(name: str, secret: str) -> tuple[Any, str]:
    """The key and the algorithm that goes with its kind; raises ``MissingSecret`` for one that is no key."""
    if "-----BEGIN" not in secret:
        if len(secret) < 32:
            raise MissingSecret(f"{name}, which is neither a PEM private key nor a secret of at least 32 characters")
        return secret, "HS256"
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(secret.replace("\\n", "\n").encode(), None)
    except (ValueError, TypeError):
        raise MissingSecret(f"{name}, which is no PEM private key without a password") from None
    if isinstance(key, rsa.RSAPrivateKey):
        return key, "RS256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key, "EdDSA"
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key, "ES256"
    raise MissingSecret(f"{name}, which is neither an RSA, nor a P-256, nor an Ed25519 key")
