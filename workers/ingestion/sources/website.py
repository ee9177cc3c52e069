"""Source: the pages of a website below one address, from its sitemap, or by following links where it has none.

Polite: robots.txt is obeyed, one request at a time, at most ``PER_SECOND``, and a page that has not changed costs one
conditional request (ETag, Last-Modified); where the sitemap dates a page, and the date is the known one, not even that,
until the nightly comparison, which asks for every page. Links with a query are not followed: calendars never end.

Options: ``sitemap`` (its address, where it cannot be guessed), ``per_second``, ``credential``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from yarl import URL

from assistant.errors import AlmanacError, DocumentUnreadable
from workers.ingestion.credentials import headers_for
from workers.ingestion.page import NOT_MODIFIED, Fetched, fetch
from workers.ingestion.sources.links import HIDDEN, links_of, wishes_of
from workers.ingestion.sources.page import failing, given
from workers.ingestion.sources.port import Changes, Cursor, Entry, Load, Loaded, Setting, known_of
from workers.ingestion.sources.robots import Robots, robots_of
from workers.ingestion.sources.sitemap import absolute, inside, pages_of, plain, within

PER_SECOND = 5.0
PAGE = 25  # addresses asked for before progress is kept
PAGE_BYTES = 16 * 2**20  # or so many bytes
LOOK_AHEAD = 500  # addresses of the sitemap whose dates are compared at a time
MOST_PAGES = 20_000  # of a site that is crawled
DATED = "dated "


@dataclass(slots=True)
class _Found:
    """What came of asking for some addresses; ``asked`` of them, since a page's worth has its limit."""

    entries: dict[str, Entry] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    moves: list[tuple[str, str]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    asked: int = 0
    bytes: int = 0
    failed: bool = False


class Website:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._client = setting.client
        self._prefix = URL(setting.location).with_fragment(None)
        self._headers = headers_for(setting, setting.location)
        self._robots: Robots | None = None
        self._pages: dict[str, str] | None = None
        self._asked = False
        self._origin = str(self._prefix.origin())
        self._per_second = float(setting.config.get("per_second") or PER_SECOND)
        self._turn = asyncio.Lock()
        self._next = 0.0

    async def list_changes(self, cursor: Cursor | None) -> Changes:
        """A cursor's ``after`` is the last address of the sitemap that was asked for; its ``queue`` is of a crawl."""
        if self._robots is None:
            self._robots = await robots_of(self._client, self._prefix)
        if not self._asked or cursor is None:
            self._pages = await self._sitemap(self._robots)
            self._asked = True
        crawling = cursor if cursor and "queue" in cursor else None
        if self._pages is not None and crawling is None:
            return await self._from_sitemap(self._pages, (cursor or {}).get("after", ""))
        return await self._crawl(crawling)

    async def find(self, external_id: str) -> Entry | None:
        if self._robots is None:
            self._robots = await robots_of(self._client, self._prefix)
        found = await self._ask([external_id], {})
        entry = next(iter(found.entries.values()), None)  # one that has moved keeps its name for now
        return None if entry is None else replace(entry, external_id=external_id)

    async def _sitemap(self, robots: Robots) -> dict[str, str] | None:
        named = self._setting.config.get("sitemap")
        base = self._prefix.with_query(None)
        guesses = [str(named)] if named else [*robots.sitemaps, str(base.origin() / "sitemap.xml")]
        if not named and base.path.rstrip("/"):
            guesses.append(str(base.with_path(base.path.rstrip("/") + "/sitemap.xml")))
        found = await pages_of(self._client, filter(None, (absolute(guess, base) for guess in guesses)), base)
        if found is None or found.whole:
            return None if found is None else found.pages
        return dict.fromkeys((one for one in await self._setting.known_ids() if inside(one, base)), "") | found.pages

    async def _from_sitemap(self, pages: Mapping[str, str], after: str) -> Changes:
        waiting = sorted(address for address in pages if address > after)[:LOOK_AHEAD]
        known = await self._setting.known(waiting)
        entries: list[Entry] = []
        asked: list[str] = []
        for address in waiting:
            version = known.get(address) or ""
            if pages[address] and version.startswith(f"{DATED}{pages[address]} ") and not self._setting.thorough:
                if not asked:
                    entries.append(Entry(address, self._lazy(address, pages[address]), version, url=address))
                    continue
                break
            asked.append(address)
            if len(asked) == PAGE:
                break
        found = await self._ask(asked, pages)
        done = asked[: found.asked] or [entry.external_id for entry in entries]
        last = done[-1] if done else after
        more = any(address > last for address in pages)
        return Changes(
            [*entries, *found.entries.values()], found.gone, {"after": last} if more else None, more,
            whole=True, first=not after, total=len(pages), moves=found.moves,
        )  # fmt: skip

    async def _crawl(self, cursor: Cursor | None) -> Changes:
        """From the first page on. A page that has not changed has no new links, so the known pages are begun with; the
        nightly comparison reads every page, and follows what it finds."""
        if cursor is None:
            known = [] if self._setting.thorough else await self._setting.known_ids()
            queue, seen = list(dict.fromkeys([plain(self._setting.location), *known])), set[str]()
        else:
            queue = [self._origin + path for path in cursor["queue"]]
            seen = {self._origin + path for path in cursor["seen"]}
        found = await self._ask(queue[:PAGE], {}, self._setting.thorough)
        seen |= set(queue[: found.asked])
        queue = queue[found.asked :]
        if found.failed:  # nobody knows what it leads to: what was there before is asked for
            found.links += await self._setting.known_ids()
        waiting = set(queue)
        fresh = dict.fromkeys(link for link in found.links if link not in seen and link not in waiting)
        queue += list(fresh)[: max(0, MOST_PAGES - len(seen) - len(queue))]
        place = {"queue": self._short(queue), "seen": self._short(sorted(seen))}
        return Changes(
            list(found.entries.values()), found.gone, place if queue else None, bool(queue),
            whole=True, first=cursor is None, moves=found.moves,
        )  # fmt: skip

    def _short(self, addresses: Sequence[str]) -> list[str]:
        return [address.removeprefix(self._origin) for address in addresses]

    async def _ask(self, addresses: Sequence[str], dates: Mapping[str, str], whole: bool = False) -> _Found:
        """Fetch each, one after the other, at the site's pace. ``whole``: unchanged ones too, for the links in them."""
        assert self._robots is not None
        known = await self._setting.known(addresses)
        found = _Found()
        for address in addresses:
            if found.bytes > PAGE_BYTES:
                break
            found.asked += 1
            url = URL(address)
            if not within(url, self._prefix) or not self._robots.allows(url):
                found.gone.append(address)
                continue
            version = "" if whole else _validators(known.get(address))
            try:
                page = await self._fetch(address, version)
            except DocumentUnreadable as error:
                found.entries[address] = Entry(address, failing(error))
                found.failed = True
                continue
            await self._sort(found, address, page, dates.get(address, ""), version)
        return found

    def _lazy(self, address: str, dated: str) -> Load:
        async def load(_known: str | None) -> Loaded | None:
            page = await self._fetch(address, "")
            if page is None:
                raise DocumentUnreadable("the page is gone")
            details = known_of(modified=dated or page.modified)
            return Loaded(page.name, page.content, address, _version(dated, page.version), details)

        return load

    async def _fetch(self, address: str, version: str) -> Fetched | None:
        assert self._robots is not None
        async with self._turn:
            await asyncio.sleep(max(0.0, self._next - time.monotonic()))
            self._next = time.monotonic() + (self._robots.delay or 1 / self._per_second)
            return await fetch(self._client, address, version, self._headers)

    async def _sort(self, found: _Found, address: str, page: Fetched | None, dated: str, known: str) -> None:
        if page is None:
            found.gone.append(address)
            return
        if page is NOT_MODIFIED:
            found.entries[address] = Entry(address, _unchanged, _version(dated, known), url=address)
            return
        place = plain(page.url)
        if place != address:
            ours = within(URL(place), self._prefix)
            if not ours and address == plain(self._setting.location):
                raise AlmanacError(f"{address} leads to {place}; add that address in its place.")
            await self._moved(found, address, place)
            if not ours:
                return
        if not wishes_of(page.wishes).isdisjoint(HIDDEN):
            found.gone.append(place)
            return
        if page.name.endswith((".html", ".htm", ".xhtml")):
            links, indexed = await asyncio.to_thread(links_of, page.content, page.url)
            found.links += [link for link in links if within(URL(link), self._prefix) and not URL(link).query_string]
            if not indexed:
                found.gone.append(place)
                return
        found.bytes += len(page.content)
        version = _version(dated, page.version)
        fetched = Fetched(page.name, page.content, place, version, dated or page.modified)
        found.entries[place] = Entry(place, given(fetched), url=place)

    async def _moved(self, found: _Found, old: str, new: str) -> None:
        """The page that an address leads to now: the same document, where it is one of ours and not known itself."""
        known = await self._setting.known([old, new])
        if old in known and new not in known and within(URL(new), self._prefix):
            found.moves.append((old, new))
        else:
            found.gone.append(old)


def _version(dated: str, validators: str) -> str:
    """The sitemap's date, then the server's validators, in one string."""
    return f"{DATED}{dated} {validators}" if dated else validators


def _validators(version: str | None) -> str:
    if version and version.startswith(DATED):
        return version.removeprefix(DATED).partition(" ")[2]
    return version or ""


async def _unchanged(_known: str | None) -> Loaded | None:
    return None
