"""Who signs tokens for the bot, and the login service that gives it its own."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from jwt.algorithms import RSAAlgorithm

from tests.teams.keys import private_key

APP_ID = "11111111-2222-3333-4444-555555555555"
SECRET = "a-secret-of-the-app"
TENANT = "99999999-8888-7777-6666-555555555555"
BOT = f"28:{APP_ID}"


@dataclass
class Issuer:
    key_number: int = 1
    key_fetches: int = 0
    token_calls: int = 0
    keys_online: bool = True
    login_online: bool = True
    url: str = ""
    login_url: str = ""
    tokens: set[str] = field(default_factory=set)  # those that the bot may use

    @property
    def service_url(self) -> str:
        return f"{self.url}/amer/"

    @property
    def metadata_url(self) -> str:
        return f"{self.url}/v1/.well-known/openidconfiguration"

    def rotate_keys(self) -> None:
        self.key_number += 1

    def revoke_tokens(self) -> None:
        self.tokens.clear()

    def token(self, *, algorithm: str = "RS256", key: Any = None, kid: str | None = None, **claims: Any) -> str:
        """A token as Teams would sign it; a claim that is None is left out."""
        now = int(time.time())
        default = {"iss": "https://api.botframework.com", "aud": APP_ID, "nbf": now, "exp": now + 3600}
        merged = {**default, "serviceurl": self.service_url, **claims}
        payload = {name: value for name, value in merged.items() if value is not None}
        signing_key = private_key(self.key_number) if key is None else key
        headers = {"kid": kid or f"key-{self.key_number}"}
        return jwt.encode(payload, signing_key, algorithm=algorithm, headers=headers)

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
        self.tokens.add(token)
        return _last({"token_type": "Bearer", "expires_in": 3600, "access_token": token})


def _last(data: dict[str, Any], status: int = 200) -> web.Response:
    """The SDK never closes its login connection, so this end does."""
    response = web.json_response(data, status=status)
    response.force_close()
    return response
