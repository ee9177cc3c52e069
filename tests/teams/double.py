"""Teams' cloud as far as a bot sees it: issuer of signed tokens, login service, Bot Connector.

It checks what the real ones check (token, size, citation limits, one Message entity) and keeps what people would see.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import secrets
import ssl
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

APP_ID = "11111111-2222-3333-4444-555555555555"
SECRET = "a-secret-of-the-app"
TENANT = "99999999-8888-7777-6666-555555555555"
BOT = f"28:{APP_ID}"
MAX_BODY = 100 * 1024
ROOT_MESSAGE = "https://schema.org/Message"


@cache
def private_key(number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, which clients trust by ``REQUESTS_CA_BUNDLE``, and its key."""
    key = private_key(0)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "login double")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "login.pem", folder / "login.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


@dataclass
class Fault:
    """What happens to a call: an error status, or the message is taken and the connection dropped.

    ``after`` calls of the method go through before it.
    """

    method: str
    after: int = 0
    status: int = 0
    retry_after: str | None = None
    drop: bool = False


@dataclass
class TeamsDouble:
    key_number: int = 1
    faults: list[Fault] = field(default_factory=list)
    latency: float = 0.0
    visible: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # conversation -> id -> activity
    calls: list[tuple[str, str, float]] = field(default_factory=list)  # method, outcome, time
    key_fetches: int = 0
    token_calls: int = 0
    keys_online: bool = True
    login_online: bool = True
    url: str = ""
    login_url: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _tokens: set[str] = field(default_factory=set)

    # what a test asks and arranges

    @property
    def service_url(self) -> str:
        return f"{self.url}/amer/"

    @property
    def metadata_url(self) -> str:
        return f"{self.url}/v1/.well-known/openidconfiguration"

    def rotate_keys(self) -> None:
        self.key_number += 1

    def revoke_tokens(self) -> None:
        self._tokens.clear()

    def token(self, *, algorithm: str = "RS256", key: Any = None, kid: str | None = None, **claims: Any) -> str:
        """A token as Teams would sign it; a claim that is None is left out."""
        now = int(time.time())
        default = {"iss": "https://api.botframework.com", "aud": APP_ID, "nbf": now, "exp": now + 3600}
        merged = {**default, "serviceurl": self.service_url, **claims}
        payload = {name: value for name, value in merged.items() if value is not None}
        signing_key = private_key(self.key_number) if key is None else key
        headers = {"kid": kid or f"key-{self.key_number}"}
        return jwt.encode(payload, signing_key, algorithm=algorithm, headers=headers)

    def messages(self, conversation: str) -> list[dict[str, Any]]:
        return list(self.visible.get(conversation, {}).values())

    def texts(self, conversation: str) -> list[str]:
        return [message["text"] for message in self.messages(conversation)]

    async def wait_for(self, condition: Any, timeout: float = 15.0) -> None:
        """Wait until ``condition()`` holds; it is looked at after each call."""
        async with asyncio.timeout(timeout):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    # the issuer of tokens for the bot

    async def metadata(self, _request: web.Request) -> web.Response:
        if not self.keys_online:
            raise web.HTTPServiceUnavailable
        algorithms = ["RS256"]
        return web.json_response(
            {"issuer": "https://api.botframework.com", "jwks_uri": f"{self.url}/keys",
             "id_token_signing_alg_values_supported": algorithms}
        )  # fmt: skip

    async def keys(self, _request: web.Request) -> web.Response:
        self.key_fetches += 1
        public = RSAAlgorithm.to_jwk(private_key(self.key_number).public_key(), as_dict=True)
        found = {**public, "kid": f"key-{self.key_number}", "use": "sig", "endorsements": ["msteams"]}
        return web.json_response({"keys": [{"kty": "odd", "kid": "of another kind"}, found]})

    # the login service

    async def authority(self, request: web.Request) -> web.Response:
        if not self.login_online:
            return _last({}, status=503)
        base = f"{self.login_url}/{request.match_info['tenant']}"
        return _last(
            {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            }
        )

    async def issue(self, request: web.Request) -> web.Response:
        self.token_calls += 1
        form = await request.post()
        if form.get("client_id") != APP_ID or form.get("client_secret") != SECRET:
            error = {"error": "invalid_client", "error_description": f"AADSTS7000215 for {form.get('client_secret')!r}"}
            return _last(error, status=401)
        if form.get("scope") != "https://api.botframework.com/.default":
            return _last({"error": "invalid_scope"}, status=400)
        token = secrets.token_urlsafe(24)
        self._tokens.add(token)
        return _last({"token_type": "Bearer", "expires_in": 3600, "access_token": token})

    # the Bot Connector

    async def post(self, request: web.Request) -> web.StreamResponse:
        return await self._call(request, uuid.uuid4().hex[:12])

    async def put(self, request: web.Request) -> web.StreamResponse:
        activity_id = request.match_info["activity"]
        if activity_id not in self.visible.get(request.match_info["conversation"], {}):
            self._note("PUT", "404")
            return _error(404, "ActivityNotFoundInConversation")
        return await self._call(request, activity_id)

    async def _call(self, request: web.Request, activity_id: str) -> web.StreamResponse:
        if self.latency:
            await asyncio.sleep(self.latency)
        fault = next((fault for fault in self.faults if fault.method == request.method), None)
        if fault is not None and fault.after:
            fault.after -= 1
            fault = None
        elif fault is not None:
            self.faults.remove(fault)
        if fault is not None and fault.status:
            self._note(request.method, str(fault.status))
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            return _error(fault.status, "Fault", headers)
        raw = await request.read()
        if refusal := self._refusal(request, raw):
            self._note(request.method, str(refusal.status))
            return refusal
        activity = json.loads(raw)
        self.visible.setdefault(request.match_info["conversation"], {})[activity_id] = activity
        self._note(request.method, "dropped" if fault else "taken")
        if fault is not None and request.transport is not None:
            request.transport.abort()
        return web.json_response({"id": activity_id}, status=201 if request.method == "POST" else 200)

    def _refusal(self, request: web.Request, raw: bytes) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self._tokens and self.login_url:
            return _error(401, "Unauthorized")
        if len(raw) > MAX_BODY:
            return _error(413, "MessageSizeTooBig")
        activity = json.loads(raw)
        if activity.get("type") != "message" or not activity.get("text") or not activity.get("from", {}).get("id"):
            return _error(400, "BadSyntax")
        if problem := _entity_problem(activity.get("entities") or []):
            return _error(400, problem)
        return None

    def _note(self, method: str, outcome: str) -> None:
        self.calls.append((method, outcome, time.monotonic()))
        self.changed.set()


def _entity_problem(entities: list[dict[str, Any]]) -> str | None:
    roots = [entity for entity in entities if entity.get("type") == ROOT_MESSAGE]
    if len(roots) > 1:
        return "TwoMessageEntities"
    for root in roots:
        if root.get("@type") != "Message" or root.get("@context") != "https://schema.org" or "@id" not in root:
            return "BadMessageEntity"
        claims = root.get("citation", [])
        if len(claims) > 20 or any(_claim_problem(claim) for claim in claims):
            return "BadCitation"
    return None


def _claim_problem(claim: dict[str, Any]) -> bool:
    looks = claim.get("appearance", {})
    return (
        claim.get("@type") != "Claim"
        or not isinstance(claim.get("position"), int)
        or looks.get("@type") != "DigitalDocument"
        or not 0 < len(looks.get("name", "")) <= 80
        or not 0 < len(looks.get("abstract", "")) <= 160
        or ("url" in looks and not str(looks["url"]).startswith(("http://", "https://")))
        or len(looks.get("keywords", [])) > 3
    )


def _last(data: dict[str, Any], status: int = 200) -> web.Response:
    """The SDK never closes its login connection, so this end does."""
    response = web.json_response(data, status=status)
    response.force_close()
    return response


def _error(status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"code": code, "message": code}}, status=status, headers=headers)


@asynccontextmanager
async def teams_double(certificate: tuple[Path, Path] | None) -> AsyncIterator[TeamsDouble]:
    """Start it; without a certificate there is no login service, and calls need no token (as in the Playground)."""
    double = TeamsDouble()
    application = web.Application(client_max_size=1024 * 1024)
    conversation = "/amer/v3/conversations/{conversation}/activities"
    application.router.add_get("/v1/.well-known/openidconfiguration", double.metadata)
    application.router.add_get("/keys", double.keys)
    application.router.add_post(conversation, double.post)
    application.router.add_post(conversation + "/{activity}", double.post)
    application.router.add_put(conversation + "/{activity}", double.put)
    application.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", double.authority)
    application.router.add_post("/{tenant}/oauth2/v2.0/token", double.issue)
    runner = web.AppRunner(application, shutdown_timeout=0.2)
    await runner.setup()
    double.url = f"http://127.0.0.1:{await _listen(runner)}"
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        double.login_url = f"https://127.0.0.1:{await _listen(runner, context)}"
    try:
        yield double
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, context: ssl.SSLContext | None = None) -> int:
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    return int(site._server.sockets[0].getsockname()[1])  # type: ignore[union-attr]
