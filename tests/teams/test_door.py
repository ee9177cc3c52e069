"""Who is let in: everything but a valid token of Teams for this app and tenant is refused and leaves no trace."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from assistant.errors import SettingsError
from assistant.knowledge.embedding import TransformerEmbedder
from bot.teams.tokens import REFRESH_INTERVAL
from tests.teams.double import APP_ID, TeamsDouble, private_key
from tests.teams.parts import CHAT, Bot, ScriptedModel, make_services, make_settings, message, running_bot, thumb


def unsigned(double: TeamsDouble) -> str:
    def part(fields: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")

    claims = {
        "iss": "https://api.botframework.com",
        "aud": APP_ID,
        "exp": int(time.time()) + 3600,
        "serviceurl": double.service_url,
    }
    return f"{part({'alg': 'none', 'kid': 'key-1'})}.{part(claims)}."


BAD_TOKENS: dict[str, tuple[str, Callable[[TeamsDouble], str]]] = {
    "missing": ("no token", lambda double: ""),
    "malformed": ("malformed token", lambda double: "not.a.token"),
    "one-word": ("malformed token", lambda double: "token"),
    "not-ascii": ("malformed token", lambda double: "ü.ö.ä"),
    "expired": ("expired", lambda double: double.token(exp=int(time.time()) - 400)),
    "too-early": ("not yet valid", lambda double: double.token(nbf=int(time.time()) + 900)),
    "no-expiry": ("claim missing", lambda double: double.token(exp=None)),
    "audience": ("audience", lambda double: double.token(aud="another-app")),
    "no-audience": ("claim missing", lambda double: double.token(aud=None)),
    "issuer": ("issuer", lambda double: double.token(iss="https://sts.windows.net/x/")),
    "unknown-key": ("unknown key", lambda double: double.token(kid="key-77")),
    "signature": ("signature", lambda double: double.token(key=private_key(99))),
    "none": ("algorithm", unsigned),
    "hs256": ("algorithm", lambda double: double.token(algorithm="HS256", key="x" * 32)),
    "rs512": ("algorithm", lambda double: double.token(algorithm="RS512")),
    "service-url": ("service url", lambda double: double.token(serviceurl="https://smba.trafficmanager.net/amer/")),
    "no-service-url": ("service url", lambda double: double.token(serviceurl=None)),
}


async def nothing_happened(bot: Bot, double: TeamsDouble) -> None:
    assert await bot.events() == []
    assert await bot.answers() == []
    assert double.calls == []


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_is_401_and_leaves_no_trace(bot: Bot, double: TeamsDouble, name: str) -> None:
    reason, make = BAD_TOKENS[name]
    status, body = await bot.deliver(message(double), make(double))
    assert (status, body) == (401, "")
    assert bot.metric("almanac_refused_requests_total", platform="teams", reason=reason) == 1
    await nothing_happened(bot, double)


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "Bearer", "Bearer  ", "bearer,x"])
async def test_another_authorization_is_401(bot: Bot, double: TeamsDouble, header: str) -> None:
    assert (await bot.deliver(message(double), "", Authorization=header))[0] == 401


async def test_a_vote_needs_a_token_too(bot: Bot, double: TeamsDouble) -> None:
    assert (await bot.deliver(thumb(double, "like", ""), ""))[0] == 401


@pytest.mark.parametrize("claims", [{"exp": -200}, {"nbf": 200}, {"aud": ["other", APP_ID]}])
async def test_clocks_may_differ_by_five_minutes(bot: Bot, double: TeamsDouble, claims: dict[str, Any]) -> None:
    now = int(time.time())
    moved = {name: now + value if isinstance(value, int) else value for name, value in claims.items()}
    assert (await bot.deliver(message(double), double.token(**moved)))[0] == 200


FOREIGN = {"id": CHAT, "conversationType": "personal", "tenantId": "another"}


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("tenant", {"channelData": {"tenant": {"id": "another"}}, "conversation": FOREIGN}),
        ("tenant", {"conversation": FOREIGN}),
        ("tenant", {"channelData": {}, "conversation": {"id": CHAT, "conversationType": "personal"}}),
        ("channel", {"channelId": "directline"}),
    ],
)
async def test_another_tenant_or_channel_is_403(
    bot: Bot, double: TeamsDouble, reason: str, change: dict[str, Any]
) -> None:
    assert await bot.deliver(message(double, **change)) == (403, "")
    assert bot.metric("almanac_refused_requests_total", platform="teams", reason=reason) == 1
    await nothing_happened(bot, double)


@pytest.mark.parametrize(
    "url",
    ["https://evil.example/", "http://smba.trafficmanager.net/", "https://127.0.0.1@evil.example/", "ftp://127.0.0.1/"],
)
async def test_a_host_that_is_not_listed_is_403(bot: Bot, double: TeamsDouble, url: str) -> None:
    assert (await bot.deliver(message(double, serviceUrl=url), double.token(serviceurl=url)))[0] == 403
    await nothing_happened(bot, double)


async def test_the_tenant_list_goes_before_the_apps_own(
    double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
) -> None:
    settings = make_settings(double, teams_app_type="MultiTenant", teams_allowed_tenants=("partner",))
    async with running_bot(make_services(settings, filled, embedder, ScriptedModel()), double) as bot:
        assert (await bot.deliver(message(double)))[0] == 403
        conversation = {"id": CHAT, "conversationType": "personal"}
        partner = message(double, channelData={"tenant": {"id": "PARTNER"}}, conversation=conversation)
        assert (await bot.deliver(partner))[0] == 200
        await bot.settled()


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"[" * 100_000, b'{"type": 7}', b'{"type": "message", "id": "1"}', b"\xff\xfe"]
)
async def test_what_is_no_activity_is_400_or_401_never_500(bot: Bot, double: TeamsDouble, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {double.token()}"}
    async with bot.http.post(f"{bot.url}/api/messages", data=body, headers=headers) as response:
        assert response.status in {400, 401}
    await nothing_happened(bot, double)


@pytest.mark.parametrize("missing", ["id", "from", "conversation", "recipient"])
async def test_a_message_without_its_essentials_is_400(bot: Bot, double: TeamsDouble, missing: str) -> None:
    activity = {name: value for name, value in message(double).items() if name != missing}
    assert (await bot.deliver(activity))[0] == 400
    await nothing_happened(bot, double)


@pytest.mark.parametrize(
    "change",
    [{"from": "x"}, {"from": {"id": 7}}, {"timestamp": "yesterday"}, {"entities": "x"}, {"entities": [7, None]},
     {"recipient": []}, {"conversation": {"id": None}}, {"text": {"a": 1}}, {"channelData": "x"}],
)  # fmt: skip
async def test_odd_shapes_never_fail_the_server(bot: Bot, double: TeamsDouble, change: dict[str, Any]) -> None:
    assert (await bot.deliver(message(double, **change)))[0] in {200, 400}


async def test_a_web_page_of_another_origin_cannot_send(bot: Bot, double: TeamsDouble) -> None:
    headers = {"Content-Type": "text/plain", "Authorization": f"Bearer {double.token()}"}
    body = json.dumps(message(double))
    async with bot.http.post(f"{bot.url}/api/messages", data=body, headers=headers) as response:
        assert response.status == 415


async def test_a_key_rotation_is_followed_at_once(bot: Bot, double: TeamsDouble) -> None:
    assert (await bot.deliver(message(double)))[0] == 200
    old = double.token()
    double.rotate_keys()
    assert (await bot.deliver(message(double)))[0] == 200
    assert (await bot.deliver(message(double), old))[0] == 401
    assert double.key_fetches == 2


async def test_unknown_keys_do_not_make_the_bot_hammer_the_issuer(bot: Bot, double: TeamsDouble) -> None:
    results = await asyncio.gather(*(bot.deliver(message(double), double.token(kid=f"x{n}")) for n in range(20)))
    assert {status for status, _ in results} == {401}
    assert double.key_fetches <= 2
    assert REFRESH_INTERVAL >= 5
    assert (await bot.deliver(message(double)))[0] == 200


async def test_an_issuer_that_is_away_asks_teams_to_come_back(bot: Bot, double: TeamsDouble) -> None:
    double.keys_online = False
    assert (await bot.deliver(message(double)))[0] == 503
    double.keys_online = True
    await asyncio.sleep(1.05)
    assert (await bot.deliver(message(double)))[0] == 200
    double.keys_online = False
    assert (await bot.deliver(message(double)))[0] == 200


class TestAnonymous:
    """No app at all: for trying things out on one's own machine."""

    OPEN: dict[str, Any] = {  # noqa: RUF012
        "teams_anonymous": True,
        "teams_app_id": None,
        "teams_app_password": None,
        "teams_app_type": "MultiTenant",
        "teams_app_tenant_id": None,
        "teams_allowed_hosts": ("smba.trafficmanager.net",),
    }

    async def test_loopback_works_without_any_app(
        self, double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
    ) -> None:
        double.login_url = ""  # this connector asks for no token
        services = make_services(make_settings(double, **self.OPEN), filled, embedder, ScriptedModel())
        async with running_bot(services, double) as bot:
            assert (await bot.deliver(message(double), ""))[0] == 200
            await bot.settled()
            assert "on-call engineer" in double.texts(CHAT)[0]
            for url in (
                "https://smba.trafficmanager.net/amer/",
                "http://10.0.0.8/",
                "",
                "http://localhost.evil.example/",
            ):
                assert (await bot.deliver(message(double, serviceUrl=url), ""))[0] == 403
            assert len(await bot.events()) == 1
        assert double.token_calls == 0

    async def test_it_is_not_combined_with_an_app(
        self, double: TeamsDouble, filled: AsyncEngine, embedder: TransformerEmbedder
    ) -> None:
        settings = make_settings(double, teams_anonymous=True)
        with pytest.raises(SettingsError, match="ALMANAC_TEAMS_ANONYMOUS"):
            async with running_bot(make_services(settings, filled, embedder, ScriptedModel()), double):
                pass
