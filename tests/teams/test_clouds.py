"""Teams of the US government: another issuer signs for it, and another authority gives the bot its tokens."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest

from assistant.settings import Settings
from bot.teams.adapter import _credentials
from bot.teams.tokens import Denied, Door, SigningKey, SigningKeys
from tests.teams.double import APP_ID, SECRET, TENANT
from tests.teams.keys import private_key

GOVERNMENT = "https://login.botframework.azure.us/v1/.well-known/openidconfiguration"


def settings(**more: Any) -> Settings:
    known = {"teams_app_id": APP_ID, "teams_app_password": SECRET, "teams_allowed_tenants": ("*",)}
    return Settings(_env_file=None, **{**known, **more})  # type: ignore[call-arg]


class Keys(SigningKeys):
    def __init__(self) -> None: ...

    async def find(self, kid: str) -> SigningKey:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(private_key(1).public_key(), as_dict=True)
        return SigningKey(jwt.PyJWK({**public, "kid": kid, "alg": "RS256"}), ("msteams",))


def bearer(issuer: str) -> str:
    claims = {"iss": issuer, "aud": APP_ID, "exp": int(time.time()) + 3600}
    return "Bearer " + jwt.encode(claims, private_key(1), algorithm="RS256", headers={"kid": "key-1"})


async def test_each_cloud_believes_its_own_issuer_alone() -> None:
    public, government = Door(settings(), Keys()), Door(settings(teams_openid_metadata_url=GOVERNMENT), Keys())
    assert (await government.token(bearer("https://api.botframework.us")))["aud"] == APP_ID
    assert (await public.token(bearer("https://api.botframework.com")))["aud"] == APP_ID
    for door, issuer in ((government, "https://api.botframework.com"), (public, "https://api.botframework.us")):
        with pytest.raises(Denied) as denied:
            await door.token(bearer(issuer))
        assert denied.value.reason == "issuer"


@pytest.mark.parametrize(
    ("more", "endpoint"),
    [
        ({}, "https://login.microsoftonline.us/MicrosoftServices.onmicrosoft.us"),
        (
            {"teams_app_type": "SingleTenant", "teams_app_tenant_id": TENANT},
            f"https://login.microsoftonline.us/{TENANT}",
        ),
        ({"teams_login_url": "https://login.example.us/"}, "https://login.example.us/MicrosoftServices.onmicrosoft.us"),
    ],
)
def test_the_bot_gets_its_tokens_from_the_government(more: dict[str, Any], endpoint: str) -> None:
    credentials = _credentials(settings(teams_openid_metadata_url=GOVERNMENT, **more))
    assert credentials is not None
    assert credentials.oauth_endpoint == endpoint
    assert credentials.oauth_scope == "https://api.botframework.us"


def test_everybody_else_gets_them_where_they_did() -> None:
    credentials = _credentials(settings())
    assert credentials is not None
    assert credentials.oauth_endpoint == "https://login.microsoftonline.com/botframework.com"
    assert credentials.oauth_scope == "https://api.botframework.com"
