"""The administrators' page in a real Chromium, over a month of questions: nothing here reaches into the page's code."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect
from sqlalchemy import text, update

from assistant.database import admin_links, audit
from assistant.database.admin_links import Invited
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Source
from tests.web.conftest import Serve
from tests.web.month import fill
from tests.web.test_page_for_everybody import FAINT_TEXTS, PHONE
from tests.web.watching import DESKTOP, Watched, background, brightness, sideways

SECTIONS = ("questions", "satisfaction", "latency", "cost", "gaps", "cited", "votes", "sources", "runs", "guard",
            "approvals", "audit")  # fmt: skip
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> " + "long" * 60
SLOW = 30_000  # milliseconds that a loaded machine may take


@pytest.fixture
async def month(chromium: Browser, serve: Serve, sessions: Sessions) -> AsyncIterator[Watched]:
    await fill(sessions)
    async for watched in _watched(chromium, serve):
        yield watched


@pytest.fixture
async def empty(chromium: Browser, serve: Serve) -> AsyncIterator[Watched]:
    async for watched in _watched(chromium, serve):
        yield watched


async def _watched(chromium: Browser, serve: Serve) -> AsyncIterator[Watched]:
    context = await chromium.new_context(viewport=DESKTOP, timezone_id="Asia/Tokyo")  # type: ignore[arg-type]
    watched = Watched(context, await serve(cap_day_usd=1.0, cap_month_usd=2.0))
    yield watched
    await context.close()
    assert watched.faults == []


async def opened(watched: Watched, path: str = "/admin") -> Page:
    page = await watched.context.new_page()
    await page.goto(watched.site.url + path)
    await read(page)
    return page


async def read(page: Page) -> None:
    """Every section has been read."""
    await expect(page.locator("#read")).to_contain_text("Read at", timeout=SLOW)
    await expect(page.locator('.body[aria-busy="true"]')).to_have_count(0, timeout=SLOW)


async def told(page: Page, path: str) -> dict[str, object]:
    """What the API says, asked by the page itself."""
    found: dict[str, object] = await page.evaluate(f"async () => (await fetch('/api/admin/{path}')).json()")
    return found


async def test_every_section_shows_what_the_api_tells(month: Watched) -> None:
    page = await opened(month)
    overview = await told(page, "overview?days=30&zone=Asia/Tokyo")
    total = overview["total"]
    assert isinstance(total, dict)
    await expect(page.locator(".tile").first).to_contain_text(f"{total['questions']:,}")
    for section in SECTIONS:
        body = page.locator(f"#{section} .body")
        await expect(body.locator(":is(table, svg.columns, .gap, .asked)").first).to_be_visible()
        await expect(body.locator(".outcome.failed")).to_have_count(0)
        await expect(page.locator(f'#contents a[href="#{section}"]')).to_be_visible()
    await expect(page.locator("#latency tbody tr").first).to_contain_text("Whole answer")
    await expect(page.locator("#cost .caps li.full")).to_contain_text("Everybody, this month")
    await expect(page.locator("#cost")).to_contain_text("Ada Lind")
    await expect(page.locator("#sources")).to_contain_text("12 changed there")
    await expect(page.locator("#approvals")).to_contain_text("POST /services/parcel-tracker/restart")
    await expect(page.locator("#read")).to_contain_text("Asia/Tokyo")
    for name in ("Ada Lind", "Ben Okafor"):  # questions are told without who asked them
        assert name not in await page.locator("#gaps").inner_text()
        assert name not in await page.locator("#guard .asked").inner_text()


async def test_the_days_are_chosen_and_kept_in_the_address(month: Watched) -> None:
    page = await opened(month, "/admin?days=90")
    await expect(page.get_by_role("radio", name="90 days")).to_be_checked()
    many = await page.locator(".tile dd").first.inner_text()
    await page.get_by_role("radio", name="7 days").focus()
    await page.keyboard.press("Space")
    await expect(page.locator(".tile dd").first).not_to_have_text(many, timeout=SLOW)
    await read(page)
    assert page.url.endswith("?days=7")
    await page.locator("#questions summary").click()
    await expect(page.locator("#questions .as-table tbody tr")).to_have_count(7)
    await page.reload()
    await expect(page.get_by_role("radio", name="7 days")).to_be_checked()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")  # the skip link
    await page.get_by_role("radio", name="7 days").focus()
    await page.keyboard.press("ArrowLeft")
    await expect(page.get_by_role("radio", name="Today")).to_be_checked()
    await read(page)
    assert "?days=1#" in page.url


async def test_a_chart_is_read_by_keyboard_and_as_a_table(month: Watched) -> None:
    page = await opened(month)
    chart = page.locator("#questions .plot")
    image = chart.get_by_role("img")
    await expect(image).to_have_accessible_name("Questions by the day, by outcome")
    await expect(image).to_have_accessible_description(re.compile(r"[\d,]+ questions; \d+% were answered\."))
    await chart.focus()
    await page.keyboard.press("End")
    said = page.locator("#questions [aria-live]")
    await expect(said).to_contain_text(re.compile(r"(Answered \d+|nothing)"))
    last = await said.inner_text()
    await page.keyboard.press("ArrowLeft")
    await expect(said).not_to_have_text(last)
    await expect(page.locator("#questions .tip")).to_be_visible()
    box, tip = await chart.bounding_box(), await page.locator("#questions .tip").bounding_box()
    assert box is not None
    assert tip is not None
    assert tip["x"] >= box["x"] - 1
    assert tip["x"] + tip["width"] <= box["x"] + box["width"] + 1
    await page.keyboard.press("Escape")
    await expect(page.locator("#questions .tip")).to_be_hidden()
    await page.locator("#questions summary").press("Enter")
    await expect(page.locator("#questions .as-table tbody tr")).to_have_count(30)


async def test_what_votes_taught_is_told_tried_and_taken_back(month: Watched, sessions: Sessions) -> None:
    page = await opened(month)
    votes = page.locator("#votes")
    await expect(votes.locator(".lead")).to_contain_text("Version 3 orders the passages, and version 5 is tried on 30%")
    rows = votes.locator('[aria-label="Versions"] tbody tr:not(.below)')
    await expect(rows).to_have_count(5)
    await expect(rows.first).to_contain_text("tried")
    await expect(rows.first).to_contain_text("+0.061")
    found = await told(page, "preferences")
    trial: Any = found["trial"]
    tried = votes.locator(".trial")
    for arm, row in (("canary", 0), ("control", 1)):
        cells = tried.locator("tbody tr").nth(row)
        await expect(cells).to_contain_text(f"{trial[arm]['answers']:,}")
        proof = trial["proof"][arm]
        await expect(cells).to_contain_text(f"{proof['up']:,} of {proof['conversations']:,}")
    await expect(tried.locator(".purses li").first).to_contain_text(f"{trial['proof']['good']:.1f} to 1")
    await expect(rows.nth(3)).to_contain_text("refused")
    await votes.locator(".below summary").first.press("Enter")
    await expect(votes.locator(".below .turned").first).to_contain_text("Rolling back › Steps → Secrets")
    await expect(votes.locator(".below .asked li")).to_have_count(6)

    promote = rows.first.get_by_role("button", name="Promote")
    await promote.press("Enter")
    asked = rows.first.get_by_role("group", name="Let version 5 order the passages of all questions?")
    await expect(asked.get_by_role("button", name="Promote")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(promote).to_be_focused()
    assert (await told(page, "preferences"))["canary"] == 5  # nothing was done
    await promote.press("Enter")
    await page.keyboard.press("Enter")
    await expect(votes.locator(".lead")).to_contain_text("Version 5 orders the passages.", timeout=SLOW)
    await votes.get_by_role("button", name="Take the last step back").click()
    await votes.get_by_role("group").get_by_role("button", name="Take the last step back").click()
    await expect(votes.locator(".lead")).to_contain_text("Version 3 orders the passages.", timeout=SLOW)
    await rows.nth(1).get_by_role("button", name="Try on 10%").click()
    await rows.nth(1).get_by_role("group").get_by_role("button", name="Try on 10%").click()
    await expect(votes.locator(".lead")).to_contain_text("version 4 is tried on 10%", timeout=SLOW)
    await votes.get_by_role("button", name="Take everything back").click()
    await votes.get_by_role("group").get_by_role("button", name="Take everything back").click()
    await expect(votes.locator(".lead")).to_contain_text("Votes have no say", timeout=SLOW)
    await votes.get_by_role("button", name="Learn now").click()
    await expect(page.locator("#runs tbody tr").first).to_contain_text("Learn from votes", timeout=SLOW)
    async with sessions() as session:
        written = [(row.action, row.target) for row in await audit.recent(session, 5)]
    assert written == [("preferences learn", ""), ("preferences rollback", "all"), ("preferences canary", "4"),
                       ("preferences rollback", ""), ("preferences promote", "5")]  # fmt: skip


async def test_a_gap_opens_and_is_saved_as_cases(month: Watched, tmp_path: Path) -> None:
    page = await opened(month)
    gap = page.locator(".gap").first
    await gap.locator("summary").press("Enter")
    await expect(gap.locator("li").first).to_contain_text("asked")
    async with page.expect_download() as waiting:
        await gap.get_by_role("button", name="Save as evaluation cases").click()
    download = await waiting.value
    assert download.suggested_filename == "cases.jsonl"
    await download.save_as(tmp_path / "cases.jsonl")
    cases = [json.loads(line) for line in (tmp_path / "cases.jsonl").read_text().splitlines()]
    assert sum(case["asked"] for case in cases) == int(await gap.locator(".count").inner_text())


async def test_work_is_begun_and_older_rows_follow(month: Watched) -> None:
    page = await opened(month)
    runs = page.locator("#runs tbody tr")
    await expect(runs).to_have_count(8)
    await page.locator("#runs").get_by_role("button", name="Show more").click()
    await expect(runs).to_have_count(28)
    await page.locator("#refresh").click()
    await expect(runs).to_have_count(8, timeout=SLOW)
    await runs.first.get_by_role("button", name="Try again").click()
    await expect(runs.first).to_contain_text("queued", timeout=SLOW)
    await page.locator("#sources").get_by_role("button", name="Read again").first.click()
    await expect(page.locator("#sources .done")).to_contain_text("is being read again", timeout=SLOW)
    await page.locator("#sources .below summary").first.click()
    await expect(page.locator("#sources .failures li")).to_have_count(20, timeout=SLOW)
    await page.locator("#sources").get_by_role("button", name="Show more").click()
    await expect(page.locator("#sources .failures li")).to_have_count(27, timeout=SLOW)
    await page.locator("#refresh").click()
    await expect(page.locator("#audit tbody tr").first).to_contain_text("sources sync", timeout=SLOW)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_stands_out_from_its_ground(month: Watched, scheme: str) -> None:
    page = await month.context.new_page()
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await page.goto(f"{month.site.url}/admin")
    await read(page)
    assert (brightness(await background(page)) < 60) is (scheme == "dark")
    await page.locator(".gap summary").first.click()
    await page.locator(".older summary").click()
    assert await page.evaluate(FAINT_TEXTS) == []


async def test_a_phone_has_no_sideways_scroll(month: Watched, sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(update(Answer).where(Answer.outcome == "refused").values(question="endless" * 60))
        await session.execute(update(Source).values(location="https://wiki.example/" + "x" * 300))
    page = await month.context.new_page()
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    await page.goto(f"{month.site.url}/admin?days=90")
    await read(page)
    for summary in await page.locator("summary:visible").all():
        await summary.click()
    assert await sideways(page) == 0
    await expect(page.locator("#audit thead")).to_be_hidden()


async def test_hostile_texts_stay_texts(month: Watched, sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(update(Answer).where(Answer.outcome != "answered").values(question=HOSTILE))
        await session.execute(update(Answer).values(asker_name=HOSTILE, model=HOSTILE))
        await session.execute(update(Source).values(name=HOSTILE, location=HOSTILE, error=HOSTILE))
        for statement in (
            "UPDATE votes SET reason = :text", "UPDATE model_calls SET model = :text, channel = :text",
            "UPDATE runs SET error = :text, kind = :text", "UPDATE approvals SET title = :text, requester_name = :text",
            "UPDATE preference_versions SET reason = :text, report = jsonb_set("
            "report, '{changes,questions,0,question}', to_jsonb(CAST(:text AS text)))",
            "UPDATE audit SET target = :text, action = :text", "UPDATE document_failures SET reason = :text",
            "UPDATE answers SET citations = jsonb_build_array(jsonb_build_object('document_id', 1, 'external_id', 'x',"
            " 'title', CAST(:text AS text), 'url', 'javascript:document.title=1')) WHERE outcome = 'answered'",
        ):  # fmt: skip
            await session.execute(text(statement), {"text": HOSTILE})
    page = await opened(month)
    for summary in await page.locator("summary:visible").all():
        await summary.click()
    assert await page.title() == "Administration · Almanac"
    assert await page.locator("main img, main script, main a[href^='javascript']").count() == 0
    for section in ("gaps", "cited", "votes", "sources", "runs", "guard", "approvals", "audit"):
        await expect(page.locator(f"#{section} .body")).to_contain_text("<img src=x onerror")
    assert await sideways(page) == 0


async def test_where_there_is_nothing_each_section_says_so_in_a_sentence(empty: Watched) -> None:
    page = await opened(empty)
    for section in SECTIONS:
        sentence = page.locator(f"#{section} .nothing")
        await expect(sentence).to_have_count(1)
        assert re.fullmatch(r"[A-Z][^.]+\.", await sentence.inner_text())
    await expect(page.locator(".tile").first).to_contain_text("0")
    await page.get_by_role("radio", name="Today").check(force=True)
    await read(page)
    await expect(page.locator("#questions .nothing")).to_contain_text("today")


async def test_a_section_that_cannot_be_read_says_why_and_is_read_again(month: Watched) -> None:
    month.expected.append("Failed to load resource")

    async def away(route: Route) -> None:
        await route.fulfill(status=503, json={"error": "The database cannot be reached just now."})

    page = await month.context.new_page()
    await page.route("**/api/admin/overview**", away)
    await page.route("**/api/admin/runs**", away)
    await page.goto(f"{month.site.url}/admin")
    await read(page)
    for section in ("questions", "latency", "cited", "runs"):
        await expect(page.locator(f"#{section} .outcome.failed")).to_contain_text("cannot be reached just now")
    await expect(page.locator("#audit tbody tr").first).to_be_visible()
    await page.unroute("**/api/admin/overview**")
    await page.locator("#questions").get_by_role("button", name="Try again").click()
    await expect(page.locator("#questions svg.columns")).to_be_visible(timeout=SLOW)
    await page.context.set_offline(True)
    await page.locator("#runs").get_by_role("button", name="Try again").click()
    await page.context.set_offline(False)


async def test_a_link_lets_in_once_and_the_session_ends(chromium: Browser, serve: Serve, sessions: Sessions) -> None:
    site = await serve(web_token="t", admins=("slack:T1:U1",))
    context = await chromium.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
    watched = Watched(context, site)
    watched.expected.append("Failed to load resource")
    page = await context.new_page()
    await page.goto(f"{site.url}/admin")
    await expect(page.get_by_label("Administrators' token")).to_be_focused()
    async with sessions.begin() as session:
        token = await admin_links.create(session, Invited("slack:T1:U1", "Ada Lind", "slack", granted=False))
    await page.goto(f"{site.url}/admin/enter#{token}")
    assert token not in page.url  # nor is it left in the history
    await page.get_by_role("button", name="Come in").press("Enter")
    await read(page)
    await expect(page.locator("#who")).to_have_text("Ada Lind")
    await page.goto(f"{site.url}/admin/enter#{token}")
    await page.get_by_role("button", name="Come in").click()
    await expect(page.get_by_role("alert")).to_contain_text("opened before")
    await page.goto(f"{site.url}/admin")
    await read(page)
    async with sessions.begin() as session:
        await session.execute(text("UPDATE admin_links SET session_until = now()"))
    await page.locator("#refresh").click()
    await expect(page.get_by_label("Administrators' token")).to_be_visible(timeout=SLOW)
    await page.get_by_label("Administrators' token").fill("t")
    await page.get_by_role("button", name="Sign in").click()
    await read(page)
    await expect(page.locator("#leave")).to_be_hidden()  # the page's own session is not this one's to end
    await context.close()
    assert watched.faults == []
