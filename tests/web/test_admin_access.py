"""Who comes in to the administrators' page: by token, by a link that opens once, and nobody else."""

from __future__ import annotations

import aiohttp
import pytest
from sqlalchemy import text

from assistant.database import admin_links, audit
from assistant.database.admin_links import Invited
from assistant.database.session import Sessions
from tests.web.client import refusal
from tests.web.conftest import Serve
from tests.web.site import Site

WEB, ADMIN = "the page's token", "the administrators' token"
ADA = Invited("slack:T1:U1", "Ada", "slack", granted=False)
READS = ("me", "overview", "gaps", "spending", "spending/person", "sources", "sources/1/failures", "runs", "guard",
         "approvals", "audit", "preferences", "preferences/1")  # fmt: skip
WRITES = ("leave", "gaps/cases", "sources/1/sync", f"runs/{'0' * 8}-0000-0000-0000-{'0' * 12}/retry",
          "preferences/rollback")  # fmt: skip


async def read(client: aiohttp.ClientSession, site: Site, path: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.get(f"{site.url}{path}", headers=named) as response:
        await response.read()
        return response.status


async def link_for(sessions: Sessions, invited: Invited = ADA) -> str:
    async with sessions.begin() as session:
        return await admin_links.create(session, invited)


async def enter(client: aiohttp.ClientSession, site: Site, token: str) -> aiohttp.ClientResponse:
    return await client.post(f"{site.url}/api/admin/enter", json={"token": token})


@pytest.fixture
async def locked(serve: Serve) -> Site:
    return await serve(web_token=WEB, admins=("slack:T1:U1",))


async def test_nothing_is_told_to_who_is_not_signed_in(locked: Site, browser_like: aiohttp.ClientSession) -> None:
    for path in READS:
        async with browser_like.get(f"{locked.url}/api/admin/{path}") as response:
            assert "administrator" in await refusal(response, 401), path
    for path in WRITES:
        async with browser_like.post(f"{locked.url}/api/admin/{path}", json={}) as response:
            await refusal(response, 401)
    assert await read(browser_like, locked, "/static/admin.js") == 401
    async with browser_like.get(f"{locked.url}/admin") as response:
        assert response.status == 401
        page = await response.text()
    assert "/api/admin/login" in page
    assert "sections" not in page
    assert locked.refused("admin") == len(READS) + len(WRITES)


async def test_every_route_of_the_api_is_guarded(locked: Site, serve: Serve) -> None:
    """What is added later must be among those above, or be a way to sign in."""
    from bot.web.security import ADMIN_API
    from tests.web.conftest import application

    names = {}
    for route in application(locked.services).router.routes():
        path = route.resource.canonical if route.resource else ""
        if path.startswith("/api/admin/"):
            names[path] = route.name or ""
    open_to_all = {path for path, name in names.items() if not name.startswith(ADMIN_API)}
    assert open_to_all == {"/api/admin/login", "/api/admin/enter"}
    assert len(names) - 2 == len(READS) + len(WRITES)


async def test_on_this_machine_without_a_token_it_is_open_as_the_page_is(
    serve: Serve, browser_like: aiohttp.ClientSession
) -> None:
    site = await serve()
    assert await read(browser_like, site, "/admin") == 200
    async with browser_like.get(f"{site.url}/api/admin/me") as response:
        assert (await response.json())["how"] == "open"
    assert await read(browser_like, site, "/api/admin/overview", Host="evil.example") == 403
    assert await read(browser_like, site, "/admin", Host="evil.example") == 403


async def test_the_pages_token_opens_it_where_there_is_no_other(
    locked: Site, browser_like: aiohttp.ClientSession
) -> None:
    assert await read(browser_like, locked, "/api/admin/overview", Authorization=f"Bearer {WEB}") == 200
    async with browser_like.post(f"{locked.url}/api/admin/login", json={"token": "wrong"}) as response:
        await refusal(response, 401)
    async with browser_like.post(f"{locked.url}/api/admin/login", json={"token": WEB}) as response:
        assert response.status == 200
    assert await read(browser_like, locked, "/admin") == 200


@pytest.mark.parametrize("web_token", [WEB, None])
async def test_the_administrators_token_takes_its_place(
    serve: Serve, browser_like: aiohttp.ClientSession, web_token: str | None
) -> None:
    site = await serve(web_token=web_token, admin_token=ADMIN)
    assert await read(browser_like, site, "/admin") == 401
    async with browser_like.get(f"{site.url}/api/admin/me", headers={"Authorization": f"Bearer {WEB}"}) as response:
        sentence = await refusal(response, 403 if web_token else 401)
    assert ("ALMANAC_ADMIN_TOKEN" in sentence) is bool(web_token)
    for wrong in (WEB, ADMIN + "x", ""):
        async with browser_like.post(f"{site.url}/api/admin/login", json={"token": wrong}) as response:
            await refusal(response, 401)
    assert await read(browser_like, site, "/api/admin/me", Authorization=f"Bearer {ADMIN}") == 200
    async with browser_like.post(f"{site.url}/api/admin/login", json={"token": ADMIN}) as response:
        cookie = response.cookies["almanac_admin"]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
        assert ADMIN not in cookie.value
    for path in ("/admin", "/api/admin/overview", "/static/admin.js"):
        assert await read(browser_like, site, path) == 200, path
    if web_token:  # an administrator's session is not one of the page
        assert await read(browser_like, site, "/api/search?q=a") == 401


async def test_another_sites_page_is_refused(serve: Serve, browser_like: aiohttp.ClientSession) -> None:
    site = await serve()
    for headers in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        assert await read(browser_like, site, "/api/admin/overview", **headers) == 403
    for path in (*WRITES, "login", "enter"):
        url, headers = f"{site.url}/api/admin/{path}", {"Origin": "https://evil.example"}
        async with browser_like.post(url, json={"token": "x"}, headers=headers) as response:
            await refusal(response, 403)


async def test_what_browsers_may_do_with_it_is_narrow(serve: Serve, browser_like: aiohttp.ClientSession) -> None:
    site = await serve()
    for path in ("/admin", "/admin/enter", "/api/admin/overview"):
        async with browser_like.get(site.url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            cache = response.headers["Cache-Control"]
        assert "default-src 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert cache == "no-store"


async def test_a_link_opens_a_session_once(
    locked: Site, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    token = await link_for(sessions)
    assert await read(browser_like, locked, f"/admin/enter?{token}") == 200  # looking at it opens nothing
    async with await enter(browser_like, locked, token) as response:
        assert response.status == 200
        cookie = response.cookies["almanac_visitor"]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", str(8 * 3600))
    assert token not in cookie.value
    for path in ("/admin", "/api/admin/audit", "/static/admin.js", "/static/style.css"):
        assert await read(browser_like, locked, path) == 200, path
    async with browser_like.get(f"{locked.url}/api/admin/me") as response:
        me = await response.json()
    assert (me["name"], me["how"], me["leaves"]) == ("Ada", "link", True)
    assert await read(browser_like, locked, "/api/search?q=a") == 401
    async with aiohttp.ClientSession() as other, await enter(other, locked, token) as response:
        assert "opened before" in await refusal(response, 403)
    async with sessions() as session:
        assert [(row.person, row.action) for row in await audit.recent(session)] == [("slack:T1:U1", "admin open")]


@pytest.mark.parametrize("column", ["opens_until", "session_until"])
async def test_links_and_sessions_end(
    locked: Site, sessions: Sessions, browser_like: aiohttp.ClientSession, column: str
) -> None:
    token = await link_for(sessions)
    if column == "session_until":
        await enter(browser_like, locked, token)
        assert await read(browser_like, locked, "/api/admin/me") == 200
    async with sessions.begin() as session:
        await session.execute(text(f"UPDATE admin_links SET {column} = now() - interval '1 second'"))
    if column == "opens_until":
        async with await enter(browser_like, locked, token) as response:
            await refusal(response, 403)
    assert await read(browser_like, locked, "/api/admin/me") == 401
    assert await read(browser_like, locked, "/admin") == 401


async def test_who_is_no_administrator_any_more_is_out(
    serve: Serve, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    before = await serve(web_token=WEB, admins=("slack:T1:U1",))
    await enter(browser_like, before, await link_for(sessions))
    assert await read(browser_like, before, "/api/admin/me") == 200
    after = await serve(web_token=WEB, admins=("slack:T1:U2",), slack_workspace_admins=True)
    assert await read(browser_like, after, "/api/admin/me") == 401
    async with await enter(browser_like, after, await link_for(sessions)) as response:
        await refusal(response, 403)


async def test_the_workspaces_own_administrators_are_in_while_the_setting_says_so(
    serve: Serve, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    granted = Invited("slack:T1:U7", "Gus", "slack", granted=True)
    site = await serve(web_token=WEB, slack_workspace_admins=True)
    async with await enter(browser_like, site, await link_for(sessions, granted)) as response:
        assert response.cookies["almanac_visitor"]["max-age"] == "3600"
    assert await read(browser_like, site, "/api/admin/me") == 200
    without = await serve(web_token=WEB)
    assert await read(browser_like, without, "/api/admin/me") == 401


async def test_leaving_ends_the_session_for_every_copy_of_its_cookie(
    locked: Site, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    async with await enter(browser_like, locked, await link_for(sessions)) as response:
        copied = response.cookies["almanac_visitor"].value
    async with browser_like.post(f"{locked.url}/api/admin/leave", json={}) as response:
        assert response.status == 200
    assert await read(browser_like, locked, "/api/admin/me") == 401
    async with aiohttp.ClientSession() as other:
        assert await read(other, locked, "/api/admin/me", Cookie=f"almanac_visitor={copied}") == 401
        for made_up in ("", "x", "é", "a" * 5_000):
            assert await read(other, locked, "/api/admin/me", Cookie=f"almanac_visitor={made_up}") == 401
