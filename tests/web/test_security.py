"""Who comes in: this machine only, or whoever has the token; and no other site's page."""

from __future__ import annotations

import hashlib
import hmac
import time

import aiohttp
import pytest

from tests.web.client import ROLL_BACK, refusal
from tests.web.conftest import Serve
from tests.web.site import Site

TOKEN = "correct horse battery"
ASK = {"question": ROLL_BACK}


async def status(client: aiohttp.ClientSession, method: str, url: str, **headers: str) -> int:
    body = ASK if method == "POST" else None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, url, headers=named, json=body) as response:
        await response.read()
        return response.status


async def test_another_host_name_is_refused(site: Site, browser_like: aiohttp.ClientSession) -> None:
    hosts = (
        "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.5", "[::2]",
    )  # fmt: skip
    for host in hosts:
        for method, path in (("GET", "/"), ("GET", "/static/app.js"), ("GET", "/api/search?q=a"), ("POST", "/api/ask")):
            assert await status(browser_like, method, site.url + path, Host=host) == 403, host
    assert site.refused("host") == 4 * len(hosts)


async def test_this_machine_by_any_of_its_names_is_served(site: Site, browser_like: aiohttp.ClientSession) -> None:
    for host in ("127.0.0.1", "localhost:9000", "LOCALHOST", "[::1]:8080", "[::1]"):
        assert await status(browser_like, "GET", site.url, Host=host) == 200, host


async def test_another_sites_page_is_refused(site: Site, browser_like: aiohttp.ClientSession) -> None:
    foreign = (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
    )  # fmt: skip
    for headers in foreign:
        for path in ("/api/ask", "/api/votes"):
            assert await status(browser_like, "POST", site.url + path, **headers) == 403, headers
    assert site.refused("origin") == 2 * len(foreign)
    assert site.model.asked == []


async def test_our_own_page_is_served(site: Site, browser_like: aiohttp.ClientSession) -> None:
    headers = {"Origin": site.url, "Sec_Fetch_Site": "same-origin"}
    assert await status(browser_like, "POST", f"{site.url}/api/ask", **headers) == 200


async def test_the_public_address_before_a_proxy_is_our_own(serve: Serve, browser_like: aiohttp.ClientSession) -> None:
    site = await serve(web_token=TOKEN, public_url="https://almanac.example/")
    headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "https://almanac.example"}
    assert await status(browser_like, "POST", f"{site.url}/api/ask", **headers) == 200
    headers["Origin"] = "https://other.example"
    assert await status(browser_like, "POST", f"{site.url}/api/ask", **headers) == 403


async def test_routes_of_others_are_left_alone(serve: Serve, browser_like: aiohttp.ClientSession) -> None:
    site = await serve(web_token=TOKEN)
    headers = {"Host": "almanac.example", "Origin": "https://slack.com"}
    async with browser_like.post(f"{site.url}/slack/events", headers=headers) as response:
        assert response.status == 200
        assert "Content-Security-Policy" not in response.headers


async def test_what_browsers_may_do_with_it_is_narrow(site: Site, browser_like: aiohttp.ClientSession) -> None:
    for path in ("/", "/static/app.js", "/api/search?q=a", "/api/passages/0"):
        async with browser_like.get(site.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
    async with browser_like.post(f"{site.url}/api/ask", json=ASK) as response:
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-store"


async def test_only_the_pages_own_files_are_files(site: Site, browser_like: aiohttp.ClientSession) -> None:
    for name in ("nothing.js", "..%2f..%2fsecurity.py", "%2e%2e%2fassets.py", ".env"):
        assert await status(browser_like, "GET", f"{site.url}/static/{name}") == 404, name


async def test_files_are_sent_once(site: Site, browser_like: aiohttp.ClientSession) -> None:
    async with browser_like.get(f"{site.url}/static/app.js") as response:
        tag = response.headers["ETag"]
        assert response.content_type == "text/javascript"
    assert await status(browser_like, "GET", f"{site.url}/static/app.js", If_None_Match=tag) == 304


@pytest.fixture
async def locked(serve: Serve, shelved: None) -> Site:
    return await serve(web_token=TOKEN)


async def test_with_a_token_everything_needs_it(locked: Site, browser_like: aiohttp.ClientSession) -> None:
    for method, path in (
        ("GET", "/"), ("GET", "/passages/1"), ("GET", "/static/app.js"), ("POST", "/api/ask"), ("POST", "/api/votes"),
        ("GET", "/api/search?q=a"), ("GET", "/api/passages/1"), ("GET", "/api/conversations/1"),
    ):  # fmt: skip
        assert await status(browser_like, method, locked.url + path) == 401, path
    assert locked.model.asked == []


async def test_the_bearer_is_compared_whole(locked: Site, browser_like: aiohttp.ClientSession) -> None:
    url = f"{locked.url}/api/search?q=a"
    assert await status(browser_like, "GET", url, Authorization=f"Bearer {TOKEN}") == 200
    for wrong in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Bearer ", f"Basic {TOKEN}", "Bearer ü"):
        assert await status(browser_like, "GET", url, Authorization=wrong) == 401
    assert locked.refused("token") == 6


async def test_any_host_name_is_served_to_who_has_the_token(locked: Site, browser_like: aiohttp.ClientSession) -> None:
    headers = {"Host": "almanac.example", "Authorization": f"Bearer {TOKEN}"}
    assert await status(browser_like, "GET", f"{locked.url}/api/search?q=a", **headers) == 200


async def test_signing_in_opens_the_page(locked: Site, browser_like: aiohttp.ClientSession) -> None:
    async with browser_like.post(f"{locked.url}/api/login", json={"token": "wrong"}) as response:
        assert "token" in await refusal(response, 401)
        assert not response.cookies
    assert locked.refused("token") == 1
    async with browser_like.post(f"{locked.url}/api/login", json={"token": TOKEN}) as response:
        assert response.status == 200
        cookie = response.cookies["almanac_session"]
        assert cookie["httponly"]
        assert cookie["samesite"] == "Lax"
        assert TOKEN not in cookie.value
    async with browser_like.get(locked.url) as response:
        assert response.status == 200
        assert "composer" in await response.text()
    assert await status(browser_like, "POST", f"{locked.url}/api/ask") == 200


async def test_signing_in_from_another_site_is_refused(locked: Site, browser_like: aiohttp.ClientSession) -> None:
    headers = {"Origin": "https://evil.example"}
    async with browser_like.post(f"{locked.url}/api/login", json={"token": TOKEN}, headers=headers) as response:
        await refusal(response, 403)


def session_cookie(token: str, expires: int) -> str:
    return f"{expires}.{hmac.new(token.encode(), f'almanac session {expires}'.encode(), hashlib.sha256).hexdigest()}"


async def test_a_session_is_good_until_its_time_or_a_new_token(locked: Site) -> None:
    soon = int(time.time()) + 600
    cookies = {
        session_cookie(TOKEN, soon): 200,
        session_cookie(TOKEN, int(time.time()) - 1): 401,
        session_cookie("an older token", soon): 401,
        session_cookie(TOKEN, soon).replace(".", "0."): 401,
        "": 401,
        "9999999999999999999999.aa": 401,
        "²³.aa": 401,
    }
    async with aiohttp.ClientSession() as client:
        for cookie, expected in cookies.items():
            headers = {"Cookie": f"almanac_session={cookie}"}
            assert await status(client, "GET", f"{locked.url}/api/search?q=a", **headers) == expected, cookie
