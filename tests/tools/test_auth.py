"""How calls prove who makes them, against servers that check it; and tokens of askers from a real issuer."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from assistant.errors import SettingsError
from assistant.tools.model import NotAllowed, ToolCaller, ToolError, ToolUnavailable
from tests.tools.api import ME, Api, document, get, only, serving, toolbox, write_file

SECRET = "s3cret-of-the-api"
ANN = ToolCaller("slack:T1:UA", "slack", alone=True)
BEN = ToolCaller("teams:T:B", "teams", alone=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    query = [{"name": "q", "in": "query", "schema": {"type": "string"}}]
    write_file(tmp_path, "api.yaml", document({"/x": get(parameters=query)}))
    return tmp_path


def source(api: Api, auth: Any, **more: Any) -> dict[str, Any]:
    return {"name": "api", "openapi": "api.yaml", "base_url": api.url, "operations": ["read"], "auth": auth, **more}


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"bearer": "k"}, "Authorization", f"Bearer {SECRET}"),
        ({"basic": "k"}, "Authorization", "Basic " + base64.b64encode(SECRET.encode()).decode()),
        ({"header": "X-Api-Key", "secret": "k"}, "X-Api-Key", SECRET),
    ],
)
async def test_a_secret_goes_where_it_belongs(folder: Path, auth: Any, header: str, value: str) -> None:
    async with serving() as api, toolbox(folder, source(api, auth), secrets={"k": SECRET}) as box:
        tool = await only(box)
        await box.call(tool, {"q": "1"}, ME)
        assert api.last.headers[header] == value
        assert SECRET not in str(tool)
        assert SECRET not in repr(box.__dict__)


async def test_a_secret_of_the_query_stands_beside_the_arguments_and_in_no_sentence(folder: Path) -> None:
    async with serving() as api:

        async def answer(_: web.Request) -> web.Response:
            return web.json_response({}, status=404)

        auth = {"query": "api_key", "secret": "k"}
        async with toolbox(folder, source(api, auth), secrets={"k": "a b&c"}) as box:
            tool = await only(box)
            await box.call(tool, {"q": "1"}, ME)
            assert api.last.path == "/x?q=1&api_key=a%20b%26c"
            await box.call(tool, {}, ME)
            assert api.last.path == "/x?api_key=a%20b%26c"
            api.answer = answer
            with pytest.raises(ToolError) as caught:
                await box.call(tool, {}, ME)
            assert "a b" not in str(caught.value)


async def test_credentials_of_sources_go_to_their_own_host_only(folder: Path) -> None:
    async with serving() as api:
        mine = {"docs": {"host": "127.0.0.1", "user": "ann", "token": "t"}}
        async with toolbox(folder, source(api, {"basic": "docs"}), credentials=mine) as box:
            await box.call(await only(box), {}, ME)
            assert api.last.headers["Authorization"] == "Basic " + base64.b64encode(b"ann:t").decode()
        other = {"docs": {"host": "git.example.com", "user": "ann", "token": "t"}}
        with pytest.raises(SettingsError, match=r"has for git\.example\.com and not for 127\.0\.0\.1"):
            async with toolbox(folder, source(api, {"bearer": "docs"}), credentials=other):
                pass


async def test_a_secret_is_not_sent_in_the_clear_or_where_a_document_says(folder: Path) -> None:
    plain = {"name": "api", "openapi": "api.yaml", "base_url": "http://api.example.com", "operations": ["read"],
             "auth": {"bearer": "k"}}  # fmt: skip
    with pytest.raises(SettingsError, match=r"line \d+: sources\.api\.auth would send a secret to api\.example\.com"):
        async with toolbox(folder, plain, secrets={"k": "x"}):
            pass
    far = {
        "name": "api",
        "openapi": "https://docs.example.com/openapi.json",
        "operations": ["*"],
        "auth": {"bearer": "k"},
    }
    with pytest.raises(SettingsError, match="base_url is missing: where a secret goes is not for a document to say"):
        async with toolbox(folder, far, secrets={"k": "x"}):
            pass


# the asker's own token


@dataclass
class Issuer:
    """An OAuth 2.0 authorisation server that does RFC 8693, as strictly as one does."""

    key: Any
    algorithm: str
    url: str = ""
    lives: float | None = 3600
    fail: int | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)  # token -> whose
    seen: set[str] = field(default_factory=set)

    async def token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.requests.append(form)
        if self.fail is not None:
            return web.json_response({"error": "server_error"}, status=self.fail)
        if request.headers.get("Authorization") != "Basic " + base64.b64encode(b"almanac:client-secret").decode():
            return web.json_response({"error": "invalid_client"}, status=401)
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:token-exchange":
            return web.json_response({"error": "unsupported_grant_type"}, status=400)
        if form["subject_token_type"] != "urn:ietf:params:oauth:token-type:jwt":
            return web.json_response({"error": "invalid_request"}, status=400)
        claims = jwt.decode(form["subject_token"], self.key, algorithms=[self.algorithm], audience=self.url,
                            issuer="almanac", options={"require": ["exp", "iat", "sub", "jti"]})  # fmt: skip
        if claims["jti"] in self.seen or claims["exp"] - claims["iat"] > 300:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.seen.add(claims["jti"])
        if claims["sub"].endswith("nobody"):
            return web.json_response({"error": "invalid_grant", "error_description": "unknown person"}, status=400)
        token = f"token-{len(self.tokens)}"
        self.tokens[token] = claims["sub"]
        answer = {"access_token": token, "token_type": "Bearer",
                  "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}  # fmt: skip
        return web.json_response(answer | ({} if self.lives is None else {"expires_in": self.lives}))


@asynccontextmanager
async def issuing(key: Any, algorithm: str) -> AsyncIterator[Issuer]:
    issuer = Issuer(key, algorithm)
    async with serving(issuer.token) as api:
        issuer.url = f"{api.url}/oauth/token"
        yield issuer


def pem(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()  # fmt: skip


KEYS = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
SHARED = "a shared secret of more than thirty-two characters"


def as_asker(issuer: Issuer, **more: Any) -> dict[str, Any]:
    return {"as_asker": {"token_url": issuer.url, "key": "key", "client": "client", "audience": "catalogue", **more}}


@asynccontextmanager
async def everything(folder: Path, **more: Any) -> AsyncIterator[tuple[Issuer, Api, Any]]:
    async with issuing(SHARED, "HS256") as issuer, serving() as api:

        async def answer(request: web.Request) -> web.Response:
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token not in issuer.tokens:
                return web.json_response({"error": "invalid_token"}, status=401)
            return web.json_response({"you": issuer.tokens[token]})

        api.answer = answer
        secrets = {"key": SHARED, "client": "almanac:client-secret"}
        async with toolbox(folder, source(api, as_asker(issuer, **more)), secrets=secrets) as box:
            yield issuer, api, box


async def test_the_api_sees_who_asks_and_the_token_is_kept(folder: Path) -> None:
    async with everything(folder, scope="read") as (issuer, _, box):
        tool = await only(box, ANN)
        for caller in (ANN, BEN, ANN, ANN):
            assert (await box.call(tool, {}, caller)).data == {"you": caller.person}
        assert len(issuer.requests) == 2
        assert issuer.requests[0]["audience"] == "catalogue"
        assert issuer.requests[0]["scope"] == "read"
        assert "resource" not in issuer.requests[0]


async def test_calls_at_once_share_one_exchange_a_person(folder: Path) -> None:
    async with everything(folder) as (issuer, _, box):
        tool = await only(box, ANN)
        results = await asyncio.gather(*(box.call(tool, {}, caller) for _ in range(20) for caller in (ANN, BEN)))
        assert [result.data["you"] for result in results] == [ANN.person, BEN.person] * 20
        assert len(issuer.requests) == 2


async def test_a_token_is_used_no_longer_than_it_lives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with everything(folder) as (issuer, _, box):
        tool = await only(box, ANN)
        await box.call(tool, {}, ANN)
        now = time.monotonic()
        monkeypatch.setattr("assistant.tools.auth.time.monotonic", lambda: now + 3600 - 31)
        await box.call(tool, {}, ANN)
        assert len(issuer.requests) == 1
        monkeypatch.setattr("assistant.tools.auth.time.monotonic", lambda: now + 3600 - 29)
        await box.call(tool, {}, ANN)
        assert len(issuer.requests) == 2


async def test_a_token_that_was_revoked_is_asked_for_again_the_next_time(folder: Path) -> None:
    async with everything(folder) as (issuer, _, box):
        tool = await only(box, ANN)
        await box.call(tool, {}, ANN)
        issuer.tokens.clear()
        with pytest.raises(ToolError, match="does not allow"):
            await box.call(tool, {}, ANN)
        assert (await box.call(tool, {}, ANN)).data == {"you": ANN.person}


async def test_an_issuer_that_says_no_or_is_away_stops_the_call(folder: Path) -> None:
    async with everything(folder) as (issuer, api, box):
        tool = await only(box, ANN)
        with pytest.raises(NotAllowed, match="gives no token for the asker: unknown person"):
            await box.call(tool, {}, ToolCaller("slack:T1:nobody", "slack", alone=True))
        issuer.fail = 500
        with pytest.raises(ToolUnavailable, match="problem of its own"):
            await box.call(tool, {}, ANN)
        assert api.received == []


async def test_what_is_the_askers_is_offered_only_where_nobody_else_reads_it(folder: Path) -> None:
    in_channel = ToolCaller(ANN.person, "slack")
    async with everything(folder) as (_, _, box):
        assert list(await box.tools_for(in_channel)) == []
        tool = await only(box, ANN)
        with pytest.raises(NotAllowed):
            await box.call(tool, {}, in_channel)
    async with everything(folder, in_channels=True) as (_, _, box):
        assert (await box.call(await only(box, in_channel), {}, in_channel)).data == {"you": ANN.person}


@pytest.mark.parametrize("algorithm", KEYS)
async def test_the_assertion_is_signed_by_the_kind_of_key_there_is(folder: Path, algorithm: str) -> None:
    key = KEYS[algorithm]()
    async with issuing(key.public_key(), algorithm) as issuer, serving() as api:
        secrets = {"key": pem(key), "client": "almanac:client-secret"}
        auth = as_asker(issuer, key_id="k7")
        async with toolbox(folder, source(api, auth), secrets=secrets) as box:
            await box.call(await only(box, ANN), {}, ANN)
        assert jwt.get_unverified_header(issuer.requests[0]["subject_token"])["kid"] == "k7"
        assert api.last.headers["Authorization"] == "Bearer token-0"


@pytest.mark.parametrize("bad", ["short", "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----"])
async def test_a_key_that_is_none_stops_the_start(folder: Path, bad: str) -> None:
    async with issuing(SHARED, "HS256") as issuer, serving() as api:
        with pytest.raises(SettingsError, match="names key, which is") as caught:
            async with toolbox(folder, source(api, as_asker(issuer)), secrets={"key": bad, "client": "a:b"}):
                pass
        assert bad not in str(caught.value)
