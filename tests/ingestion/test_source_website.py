"""A website as a source: sitemaps or links, robots.txt, conditional requests, pages that move and go."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from assistant.database.session import Sessions
from tests.ingestion.source_station import Faults, Station, serving, station
from workers.ingestion.sources import robots, website
from workers.ingestion.sources.links import links_of


class Site:
    """Pages by path, with ETags; what was asked for, and how often without a body."""

    def __init__(self) -> None:
        self.pages: dict[str, str | bytes] = {}
        self.moved: dict[str, str] = {}
        self.asked: list[str] = []
        self.not_modified = 0
        self.faults = Faults()
        self.dates = False  # Last-Modified in the place of ETags

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if (fault := self.faults.take(request)) is not None:
            return fault
        if (target := self.moved.get(request.path)) is not None:
            raise web.HTTPMovedPermanently(target)
        page = self.pages.get(request.path)
        if page is None:
            return web.Response(status=404)
        body = page.encode() if isinstance(page, str) else page
        kind = "application/xml" if ".xml" in request.path else "text/plain" if ".txt" in request.path else "text/html"
        digest = hashlib.sha256(body).hexdigest()[:8]
        date = formatdate(1_700_000_000 + int(digest, 16) % 30_000_000, usegmt=True)
        headers = {"Last-Modified": date} if self.dates else {"ETag": f'"{digest}"'}
        known = request.headers.get("If-Modified-Since" if self.dates else "If-None-Match")
        if known is not None and known in headers.values():
            self.not_modified += 1
            return web.Response(status=304)
        return web.Response(body=body, content_type=kind, headers=headers)

    def page(self, path: str, text: str, *links: str) -> None:
        anchors = "".join(f'<a href="{link}">more</a>' for link in links)
        self.pages[path] = f"<html><head><title>{path}</title></head><body><p>{text}</p>{anchors}</body></html>"

    def sitemap(self, base: str, pages: dict[str, str], path: str = "/sitemap.xml", packed: bool = False) -> None:
        entries = "".join(
            f"<url><loc>{base}{page}</loc>{f'<lastmod>{when}</lastmod>' if when else ''}</url>"
            for page, when in pages.items()
        )
        text = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'
        self.pages[path] = gzip.compress(text.encode()) if packed else text

    def taken(self) -> list[str]:
        """What was asked for since the last time, without what every sync asks for."""
        asked, self.asked = self.asked, []
        return [path for path in asked if "robots" not in path and "sitemap" not in path]


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def base(site: Site) -> AsyncIterator[str]:
    async with serving(site) as base:
        yield base


@pytest.fixture
async def desk(
    database_url: str, sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Station]:
    monkeypatch.setattr(website, "PER_SECOND", 1000.0)
    monkeypatch.setattr(website, "PAGE", 3)
    async with station(database_url, sessions, tmp_path) as desk:
        yield desk


async def test_a_sitemap_index_with_packed_parts_is_followed_and_unchanged_pages_cost_no_body(
    desk: Station, site: Site, base: str
) -> None:
    for n in range(7):
        site.page(f"/docs/{n}", f"Page {n} says deploy.")
    site.page("/other", "Not below the prefix.")
    site.pages["/robots.txt"] = f"User-agent: *\nDisallow: /docs/6\nSitemap: {base}/index.xml\n"
    site.pages["/index.xml"] = (
        f"<sitemapindex><sitemap><loc>{base}/a.xml.gz</loc></sitemap>"
        f"<sitemap><loc>{base}/b.xml</loc></sitemap></sitemapindex>"
    )
    site.sitemap(base, {f"/docs/{n}": "" for n in range(4)} | {"/other": ""}, "/a.xml.gz", packed=True)
    site.sitemap(base, {f"/docs/{n}": "" for n in range(4, 7)}, "/b.xml")
    source = await desk.add("website", f"{base}/docs")
    assert await desk.sync(source) == {"added": 6}
    assert set(await desk.held(source)) == {f"{base}/docs/{n}" for n in range(6)}
    embedded = len(desk.embedder.texts)
    site.taken()
    assert await desk.sync(source) == {"unchanged": 6}
    assert (site.not_modified, len(desk.embedder.texts)) == (6, embedded)
    site.page("/docs/1", "Page 1 says roll back.")
    del site.pages["/docs/2"]
    assert await desk.sync(source) == {"updated": 1, "unchanged": 4, "removed": 1}
    assert "roll back" in (await desk.held(source))[f"{base}/docs/1"]
    assert await desk.finds("Page 2") != []
    assert f"{base}/docs/2" not in await desk.finds("Page 2 says deploy")


async def test_dated_pages_are_asked_for_when_their_date_changes_and_every_night(
    desk: Station, site: Site, base: str
) -> None:
    dates = {f"/{n}": "2024-01-01" for n in range(7)}
    for path in dates:
        site.page(path, f"This is {path}.")
    site.sitemap(base, dates)
    source = await desk.add("website", f"{base}/")
    assert await desk.sync(source) == {"added": 7}
    site.taken()
    assert await desk.sync(source) == {"unchanged": 7}
    assert site.taken() == []
    site.page("/3", "This is new.")
    site.page("/5", "This has changed, and the sitemap does not say so.")
    site.sitemap(base, dates | {"/3": "2024-02-02"})
    assert await desk.sync(source) == {"updated": 1, "unchanged": 6}
    assert site.taken() == ["/3"]
    details = await desk.details(source)
    assert (details[f"{base}/3"], details[f"{base}/4"]) == ({"modified": "2024-02-02"}, {"modified": "2024-01-01"})
    await desk.sync(source, "reconcile")
    assert "sitemap does not" in (await desk.held(source))[f"{base}/5"]
    row = await desk.row(source)
    assert row.drift == {"missing": 0, "changed": 1, "access": 0, "gone": 0}
    sample = desk.services.metrics.registry.get_sample_value(
        "almanac_source_drift", {"source": f"{row.id} {row.name}", "what": "changed"}
    )
    assert sample == 1.0


async def test_without_a_sitemap_links_are_followed_within_the_prefix(desk: Station, site: Site, base: str) -> None:
    site.dates = True
    site.page("/docs/", "The start.", "a", "/docs/b#part", "/elsewhere", f"{base}/docs/c", "/docs/cal?month=1")
    site.page("/docs/a", "About a.", "/docs/deep/d", "mailto:x@y.z", "javascript:alert(1)", "http://10.0.0.1/docs/x")
    site.page("/docs/b", "About b.", "/docs/a")
    site.page("/docs/c", "About c.", "/docs/")
    site.page("/docs/deep/d", "About d.")
    site.page("/elsewhere", "Not ours.")
    site.page("/docs/cal", "A calendar.")
    source = await desk.add("website", f"{base}/docs/")
    assert await desk.sync(source) == {"added": 5}
    names = {address.removeprefix(base) for address in await desk.held(source)}
    assert names == {"/docs/", "/docs/a", "/docs/b", "/docs/c", "/docs/deep/d"}
    assert await desk.sync(source) == {"unchanged": 5}
    assert site.not_modified == 5
    site.page("/docs/b", "About b, again.", "/docs/e")
    site.page("/docs/e", "About e.")
    del site.pages["/docs/c"]
    site.moved["/docs/a"] = "/docs/a2"
    site.page("/docs/a2", "About a, moved.")
    ids = await desk.ids(source)
    result = await desk.sync(source)
    assert (result["added"], result["removed"]) == (1, 1)
    after = await desk.ids(source)
    assert after[f"{base}/docs/a2"] == ids[f"{base}/docs/a"]
    assert f"{base}/docs/c" not in after


async def test_a_page_that_fails_fails_alone_and_is_tried_again(
    desk: Station, site: Site, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ingestion.runs.Client", quick_client())
    for n in range(4):
        site.page(f"/{n}", f"This is {n}.")
    site.sitemap(base, {f"/{n}": "" for n in range(4)})
    site.faults.add("/1", 503, times=99)
    site.faults.add("/2", 403)
    source = await desk.add("website", f"{base}/")
    assert await desk.sync(source) == {"added": 2, "failed": 2}
    failures = await desk.failures(source)
    assert {name.removeprefix(base): row.transient for name, row in failures.items()} == {"/1": True, "/2": False}
    assert failures[f"{base}/1"].next_at is not None
    assert failures[f"{base}/2"].next_at is None
    assert await desk.sync(source) == {"added": 1, "unchanged": 2, "failed": 1}
    assert (await desk.failures(source))[f"{base}/1"].attempts == 2
    site.faults.clear()
    run = await desk.run(source=source, failures="all")
    assert run.result is not None
    assert run.result["added"] == 1
    assert await desk.failures(source) == {}


async def test_a_site_that_is_away_keeps_its_pages_and_is_come_back_to(
    desk: Station, site: Site, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ingestion.runs.Client", quick_client())
    site.page("/", "The start.")
    source = await desk.add("website", f"{base}/")
    await desk.sync(source)
    site.faults.add("robots", 429, Retry_After="90")
    run = await desk.run(source=source)
    assert (run.state, run.error) == ("queued", "the server answered 429 Too Many Requests")
    assert run.not_before is not None
    assert (run.not_before - run.created_at).total_seconds() > 80
    row = await desk.row(source)
    assert (row.documents, row.error, row.failed_syncs) == (1, "the server answered 429 Too Many Requests", 1)
    assert await desk.sync(source) == {"unchanged": 1}
    row = await desk.row(source)
    assert (row.error, row.failed_syncs) == (None, 0)


async def test_a_page_that_fails_at_night_takes_nothing_with_it(
    desk: Station, site: Site, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ingestion.runs.Client", quick_client())
    site.page("/", "The start.", "/hub")
    site.page("/hub", "The hub.", "/leaf", "/other")
    site.page("/leaf", "A leaf.")
    site.page("/other", "Another one.")
    source = await desk.add("website", f"{base}/")
    assert await desk.sync(source) == {"added": 4}
    await desk.sync(source, "reconcile")
    assert (await desk.row(source)).drift == {"missing": 0, "changed": 0, "access": 0, "gone": 0}
    site.faults.add("/hub", 503, times=4)
    del site.pages["/other"]
    await desk.sync(source, "reconcile")
    assert {name.removeprefix(base) for name in await desk.held(source)} == {"/", "/hub", "/leaf"}


async def test_a_part_of_a_sitemap_that_is_broken_takes_no_page_with_it(desk: Station, site: Site, base: str) -> None:
    for name in "abcd":
        site.page(f"/{name}", f"This is {name}.")
    site.pages["/robots.txt"] = "\ufeffUser-agent: *\nDisallow: /d\nSitemap: /index.xml\n"
    site.pages["/index.xml"] = (
        f"<sitemapindex><sitemap><loc>{base}/one.xml</loc></sitemap>"
        f"<sitemap><loc>{base}/two.xml</loc></sitemap></sitemapindex>"
    )
    site.sitemap(base, {"/a": "", "/d": ""}, "/one.xml")
    site.sitemap(base, {"/b": "", "/c": ""}, "/two.xml")
    two = site.pages["/two.xml"]
    assert isinstance(two, str)
    site.pages["/one.xml"] = f"\n{site.pages['/one.xml']}".replace(
        "</urlset>", "<url><loc>http://x:99999/</loc></url></urlset>"
    )
    source = await desk.add("website", f"{base}/")
    assert await desk.sync(source) == {"added": 3}
    for broken in ("<html>Fatal error</html>", two[:-30], None):
        site.pages |= {"/two.xml": broken} if broken else {}
        if broken is None:
            del site.pages["/two.xml"], site.pages["/c"]
        await desk.sync(source)
        left = {"/a", "/b"} if broken is None else {"/a", "/b", "/c"}
        assert {name.removeprefix(base) for name in await desk.held(source)} == left
    site.pages["/two.xml"] = "<urlset></urlset>"
    assert await desk.sync(source) == {"unchanged": 1, "removed": 1}


async def test_an_address_that_leads_elsewhere_says_so(desk: Station, site: Site, base: str) -> None:
    elsewhere = base.replace("127.0.0.1", "localhost")
    site.page("/docs/", "The start.")
    site.moved["/old/"] = f"{base}/docs/"
    site.sitemap(elsewhere, {"/docs/": ""})  # as www.example.com's, for example.com
    run = await desk.run(source=await desk.add("website", f"{base}/old/"))
    assert run.error == f"{base}/old/ leads to {base}/docs/; add that address in its place."
    source = await desk.add("website", f"{base}/docs/")
    assert await desk.sync(source) == {"added": 1}


async def test_a_page_that_failed_and_then_moved_keeps_its_document(
    desk: Station, site: Site, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ingestion.runs.Client", quick_client())
    site.page("/", "The start.", "/a")
    site.page("/a", "This is a.")
    source = await desk.add("website", f"{base}/")
    assert await desk.sync(source) == {"added": 2}
    ids = await desk.ids(source)
    site.faults.add("/a", 503, times=2)
    assert await desk.sync(source) == {"unchanged": 1, "failed": 1}
    site.page("/b", "This is a, moved.")
    site.moved["/a"] = "/b"
    await desk.run(source=source, failures="all")
    assert await desk.ids(source) == ids
    assert "moved" in (await desk.held(source))[f"{base}/a"]


async def test_a_header_may_ask_that_a_page_is_left_out(desk: Station, base: str) -> None:
    async def shy(request: web.Request) -> web.Response:
        if request.path != "/":
            return web.Response(status=404)
        return web.Response(
            text="<p>Do not find me.</p>", content_type="text/html", headers={"X-Robots-Tag": "noarchive, NOINDEX"}
        )

    async with serving(shy) as place:
        assert await desk.sync(await desk.add("website", f"{place}/")) == {}


def quick_client() -> object:
    """The client as it is, but without patience."""
    from functools import partial

    from workers.ingestion.http import Client

    return partial(Client, retries=1, longest_wait=1.0)


def test_robots_rules_fit_as_the_standard_says() -> None:
    rules = robots.read(
        "User-agent: other\nDisallow: /\n\nUser-agent: *\nCrawl-delay: 2\nDisallow: /private\nAllow: /private/open\n"
        "Disallow: /*.pdf$\nDisallow: /search?\n"
    )
    allowed = {path: rules.allows(URL(f"https://x.example{path}")) for path in (
        "/", "/private/x", "/private/open/y", "/a.pdf", "/a.pdf.html", "/search?q=1", "/searching",
    )}  # fmt: skip
    assert list(allowed.values()) == [True, False, True, False, True, False, True]
    assert rules.delay == 2.0
    ours = robots.read("User-agent: almanac\nDisallow: /x\nUser-agent: *\nDisallow: /\n")
    assert ours.allows(URL("https://x.example/y"))
    assert not ours.allows(URL("https://x.example/x"))
    assert robots.read("User-agent: *\nDisallow:\n").allows(URL("https://x.example/"))
    swelling = robots.read(f"User-agent: *\nDisallow: /{'*a' * 30}b$\nDisallow: /\u00fcber*x*y$\n")
    assert swelling.allows(URL(f"https://x.example/{'a' * 3000}"))
    assert not swelling.allows(URL("https://x.example/\u00fcber/x/y"))
    assert swelling.allows(URL("https://x.example/\u00fcber/y/x"))


def test_links_are_absolute_and_pages_may_ask_to_be_left_out() -> None:
    page = b'<base href="/docs/"><a href="a">x</a><a href="a#p">x</a><a rel="nofollow" href="b">x</a><a href="http://[bad">'
    assert links_of(page, "https://x.example/y") == (["https://x.example/docs/a"], True)
    assert links_of(b'<meta name="robots" content="noindex"><a href="/a">', "https://x.example/") == (
        ["https://x.example/a"],
        False,
    )
    assert links_of(b"", "https://x.example/") == ([], True)
    kind = b'<meta name="robots" content="index, max-image-preview:none"><a href="/a">x</a><a href="//x:99999/">x</a>'
    assert links_of(kind, "https://x.example/") == (["https://x.example/a"], True)


async def test_a_sitemap_cannot_lead_inside_or_swell(desk: Station, site: Site, base: str) -> None:
    site.page("/a", "This is a.")
    bomb = gzip.compress(b"<urlset>" + b" " * (60 * 2**20))
    site.pages["/bomb.xml.gz"] = bomb
    laughs = (
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>'
    )
    site.pages["/laughs.xml"] = laughs
    site.pages["/sitemap.xml"] = (
        f"<sitemapindex><sitemap><loc>{base}/bomb.xml.gz</loc></sitemap><sitemap><loc>{base}/laughs.xml</loc></sitemap>"
        f"<sitemap><loc>http://169.254.169.254/x.xml</loc></sitemap><sitemap><loc>{base}/good.xml</loc></sitemap>"
        "</sitemapindex>"
    )
    site.pages["/good.xml"] = (
        f"<urlset><url><loc>{base}/a</loc></url><url><loc>http://169.254.169.254/a</loc></url></urlset>"
    )
    source = await desk.add("website", f"{base}/")
    assert await desk.sync(source) == {"added": 1}
