"""The page as a person uses it, in a real Chromium: nothing here reaches into the page's code."""

from __future__ import annotations

import asyncio
import re

from playwright.async_api import Browser, Route, expect

from assistant.database.session import Sessions
from assistant.errors import ModelError
from assistant.knowledge.embedding import TransformerEmbedder
from tests.web import library
from tests.web.conftest import Serve
from tests.web.library import FakeModel, shelve
from tests.web.watching import ASK, TEXT, Watched, answer_of, ask, letters


async def test_an_answer_is_drawn_with_its_sources(watched: Watched) -> None:
    page = await watched.open()
    await expect(page.get_by_role("heading", name="What do you want to know?")).to_be_visible()
    await ask(page)
    turn = page.locator(".turn")
    await expect(turn.get_by_role("heading", name=ASK)).to_be_visible()
    await expect(turn.locator("strong")).to_have_text("own")
    await expect(turn.locator("pre")).to_have_text("ferry rollback parcel-tracker")
    await expect(turn.locator(".answer > ol > li")).to_have_count(2)
    await expect(turn.locator(".answer ol ul li")).to_have_text("the same day")
    await expect(turn.locator("td").first).to_have_text("ledger")
    await expect(turn.get_by_role("link", name="https://handbook.example/x")).to_have_attribute(
        "rel", re.compile("noopener noreferrer")
    )
    await expect(turn.locator(".answer button.cite")).to_have_text(["1", "2"])
    await expect(turn.locator(".source")).to_have_count(2)
    await expect(turn.locator(".source").first).to_contain_text("Rolling back")
    await expect(turn.locator(".meta")).to_contain_text("fake-1")


async def test_the_text_appears_while_it_is_written(watched: Watched) -> None:
    watched.site.model.text = "First words come. " + "More of it. " * 30 + "[1]"
    watched.site.model.pause = 0.05
    page = await watched.open()
    await page.get_by_label("Your question").fill(ASK)
    await page.keyboard.press("Enter")
    await expect(page.locator(".progress")).to_contain_text("Writing…")
    await expect(page.locator(".answer")).to_contain_text("First words come.")
    await expect(page.locator(".turn footer")).to_have_count(0)
    await expect(page.get_by_role("status").first).not_to_contain_text("First words")
    await expect(page.locator(".turn footer")).to_be_visible(timeout=15_000)
    await expect(page.locator(".progress")).to_have_count(0)
    await expect(page.locator("#live")).to_contain_text("First words")


async def test_stop_ends_the_work_and_keeps_what_came(watched: Watched) -> None:
    watched.site.model.text = "First words come. " * 200 + "[1]"
    watched.site.model.pause = 0.05
    page = await watched.open()
    await page.get_by_label("Your question").fill(ASK)
    await page.keyboard.press("Enter")
    await expect(page.locator(".answer")).to_contain_text("First words")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("Stopped.", exact=True).first).to_be_visible()
    await expect(page.locator(".answer")).to_contain_text("First words")
    await expect(page.get_by_label("Your question")).to_be_focused()
    watched.site.model.text, watched.site.model.pause = "Now whole [1].", 0
    await page.get_by_role("button", name="Ask again").click()
    await expect(page.locator(".turn footer")).to_be_visible()
    await expect(page.locator(".turn")).to_have_count(1)


async def test_a_citation_opens_its_passage_with_the_quote_marked(watched: Watched) -> None:
    watched.site.model.text = "This returns production to the version before the current one, in three minutes [1]."
    page = await watched.open()
    await ask(page)
    marker = page.locator(".answer button.cite")
    await marker.click()
    panel = page.locator("#panel")
    await expect(panel.get_by_role("heading", name="Rolling back")).to_be_visible()
    await expect(panel).to_contain_text("Owner: Platform")
    await expect(panel.get_by_role("link", name="Open the original")).to_have_attribute(
        "href", "https://handbook.example/deploy/rollback"
    )
    current = panel.get_by_label("The cited passage")
    await expect(current.locator("mark").first).to_be_in_viewport()
    quote = (await answer_of(page))["citations"][0]["quote"]
    marked = "".join(await current.locator("mark").all_text_contents())
    assert letters(marked) == letters(quote)
    assert await panel.locator("section").count() == 4
    await page.keyboard.press("Escape")
    await expect(panel).to_be_hidden()
    await expect(marker).to_be_focused()


async def test_each_marker_shows_the_sentence_before_it(watched: Watched) -> None:
    """Also where several rest on one passage; that of a block of code stands in its bar."""
    first, second = "The hold stays until somebody runs `ferry release`", "Revert the commit the same day"
    code = "ferry rollback parcel-tracker"
    watched.site.model.text = f"{first} [1]. {second} [1].\n\n```\n{code}\n```\n\n[2]"
    page = await watched.open()
    await ask(page)
    markers = page.locator(".answer button.cite")
    await expect(markers).to_have_count(3)
    await expect(page.locator(".code-bar button.cite")).to_have_count(1)
    await expect(page.locator(".answer > p")).to_have_count(1)
    current = page.get_by_label("The cited passage")
    for place, wanted in ((0, first), (1, second), (2, code), (0, first)):
        await markers.nth(place).click()
        await expect(current.locator("mark").first).to_be_visible()
        marked = "".join(await current.locator("mark").all_text_contents())
        assert letters(marked) == letters(wanted)


async def test_a_source_opens_its_passage_too(watched: Watched) -> None:
    page = await watched.open()
    await ask(page)
    await page.locator(".source").nth(1).click()
    await expect(page.get_by_label("The cited passage")).to_be_visible()
    await page.get_by_role("button", name="Close the passage").click()
    await expect(page.locator("#panel")).to_be_hidden()


async def test_a_passage_that_is_gone_says_so(
    watched: Watched, sessions: Sessions, embedder: TransformerEmbedder
) -> None:
    watched.expected.append("404")
    page = await watched.open()
    await ask(page)
    await shelve(sessions, embedder, library.Page(library.ROLLBACK.external_id, "Rolling back", [((), "All new.")]))
    await page.locator(".answer button.cite").first.click()
    await expect(page.locator("#panel")).to_contain_text("no longer in the documents")


async def test_a_link_from_elsewhere_opens_the_passage(watched: Watched) -> None:
    page = await watched.open()
    await ask(page)
    chunk = (await answer_of(page))["citations"][0]["chunk_id"]
    other = await watched.open(f"/passages/{chunk}")
    await expect(other.get_by_label("The cited passage")).to_be_visible()
    await other.keyboard.press("Escape")
    assert other.url == f"{watched.site.url}/"


async def test_a_vote_is_confirmed_and_remembered(watched: Watched) -> None:
    page = await watched.open()
    await ask(page)
    good, bad = page.get_by_role("button", name="Good answer"), page.get_by_role("button", name="Bad answer")
    await good.click()
    await expect(page.get_by_text("Noted as good")).to_be_visible()
    await expect(good).to_have_attribute("aria-pressed", "true")
    await bad.click()
    await expect(page.get_by_text("Noted as bad")).to_be_visible()
    await expect(good).to_have_attribute("aria-pressed", "false")
    await page.get_by_label("What was wrong?").fill("The wrong command.")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Thank you, noted")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("button", name="Bad answer")).to_have_attribute("aria-pressed", "true")


async def test_a_vote_that_is_not_saved_is_taken_back(watched: Watched) -> None:
    watched.expected.append("Failed to load resource")
    page = await watched.open()
    await ask(page)
    await page.route("**/api/votes", lambda route: route.abort())
    good = page.get_by_role("button", name="Good answer")
    await good.click()
    await expect(page.get_by_text("Your vote was not saved")).to_be_visible()
    await expect(good).to_have_attribute("aria-pressed", "false")


async def test_a_reload_keeps_the_conversation_and_a_new_one_begins_empty(watched: Watched) -> None:
    page = await watched.open()
    await ask(page)
    await ask(page, "And after that, who reviews a roll-back?")
    await page.reload()
    await expect(page.locator(".turn h2")).to_have_text([ASK, "And after that, who reviews a roll-back?"])
    await expect(page.locator(".answer button.cite")).to_have_count(4)
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.locator(".turn")).to_have_count(0)
    await expect(page.get_by_label("Your question")).to_be_focused()
    await page.reload()
    await expect(page.get_by_role("heading", name="What do you want to know?")).to_be_visible()


async def test_a_question_that_a_reload_cut_off_is_offered_again(watched: Watched) -> None:
    watched.site.model.text, watched.site.model.pause = "First words come. " * 200 + "[1]", 0.05
    page = await watched.open()
    await page.get_by_label("Your question").fill(ASK)
    await page.keyboard.press("Enter")
    await expect(page.locator(".answer")).to_contain_text("First words")
    watched.expected.append("404")  # nothing of this conversation was answered yet
    await page.reload()
    await expect(page.locator(".turn h2")).to_have_text(ASK)
    await expect(page.locator(".turn .aside")).to_contain_text("reloaded before this was answered")
    watched.site.model.text, watched.site.model.pause = "Now whole [1].", 0
    await page.get_by_role("button", name="Ask again").click()
    await expect(page.locator(".turn footer")).to_be_visible()
    await page.reload()
    await expect(page.locator(".turn")).to_have_count(1)
    await expect(page.locator(".turn footer")).to_be_visible()


async def test_what_is_asked_while_earlier_turns_are_on_their_way_stands_below_them(watched: Watched) -> None:
    page = await watched.open()
    await ask(page)
    held = asyncio.Event()

    async def later(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await page.route("**/api/conversations/*", later)
    await page.reload()
    await ask(page, "And after that, who reviews a roll-back?")
    held.set()
    await expect(page.locator(".turn h2")).to_have_text([ASK, "And after that, who reviews a roll-back?"])
    await expect(page.locator(".turn footer")).to_have_count(2)
    await expect(page.locator(".turn .aside")).to_have_count(0)


async def test_earlier_turns_that_come_late_stay_out_of_a_new_conversation(watched: Watched) -> None:
    page = await watched.open()
    await ask(page)
    held, gone = asyncio.Event(), asyncio.Event()

    async def later(route: Route) -> None:
        await held.wait()
        await route.fulfill(response=await route.fetch())
        gone.set()

    await page.route("**/api/conversations/*", later)
    await page.reload()
    await page.get_by_role("button", name="New conversation").click()
    held.set()
    await gone.wait()
    await page.evaluate("new Promise((done) => setTimeout(done, 300))")
    await expect(page.locator(".turn")).to_have_count(0)


async def test_code_goes_before_emphasis(watched: Watched) -> None:
    """As the guard reads it: what it takes for code may hold links to anywhere."""
    watched.site.model.text = (
        "**Call `f(**kwargs)` now** [1].\n\n*Use `a*[x](https://evil.example)` and ~~b `c~~ d` e~~ here*.\n\n"
        + "*a `b`* " * 3_000
    )
    page = await watched.open()
    await ask(page)
    answer = page.locator(".answer")
    await expect(answer.locator("strong").first).to_have_text("Call f(**kwargs) now")
    await expect(answer.locator("em").first).to_have_text("Use a*[x](https://evil.example) and b c~~ d e here")
    await expect(answer.locator("em")).to_have_count(3_001)
    await expect(answer.locator("a")).to_have_count(0)


async def test_code_and_answers_can_be_copied(watched: Watched) -> None:
    await watched.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await watched.open()
    await ask(page)
    for name, expected in (("Copy the code", "ferry rollback parcel-tracker"), ("Copy the answer", TEXT)):
        button = page.get_by_role("button", name=name)
        await button.click()
        await expect(button).to_contain_text("Copied")
        assert await page.evaluate("navigator.clipboard.readText()") == expected


async def test_an_example_asks_itself(watched: Watched) -> None:
    page = await watched.open()
    await page.get_by_role("button", name=ASK).click()
    await expect(page.locator(".turn footer")).to_be_visible()
    assert [brief.question for brief in watched.site.model.asked] == [ASK]


async def test_what_is_not_in_the_documents_looks_different_and_names_the_nearest(watched: Watched) -> None:
    watched.site.model.supported = False
    page = await watched.open()
    await ask(page, "How do penguins roll back?")
    await expect(page.locator(".outcome.not_in_documents")).to_contain_text("not find this in the documents")
    await expect(page.get_by_role("heading", name="Nearest in the documents")).to_be_visible()
    await page.locator(".source").first.click()
    await expect(page.get_by_label("The cited passage")).to_be_visible()


async def test_a_failure_gives_its_reference_and_can_be_tried_again(watched: Watched) -> None:
    watched.site.model.error = ModelError("The language model did not answer.")
    page = await watched.open()
    await ask(page)
    await expect(page.locator(".outcome.failed")).to_contain_text("The reference is")
    watched.site.model.error = None
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(".answer strong")).to_have_text("own")
    await expect(page.locator(".turn")).to_have_count(1)


async def test_a_server_that_is_away_can_be_tried_again(watched: Watched) -> None:
    watched.expected.append("Failed to load resource")
    page = await watched.open()
    await page.route("**/api/ask", lambda route: route.abort("connectionrefused"))
    await page.get_by_label("Your question").fill(ASK)
    await page.keyboard.press("Enter")
    await expect(page.locator(".outcome.failed")).to_contain_text("cannot be reached")
    await page.unroute("**/api/ask")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(".turn footer")).to_be_visible()


async def test_a_stream_that_breaks_off_is_said_to_have(watched: Watched) -> None:
    page = await watched.open()
    half = 'event: progress\ndata: {"stage": "searching"}\n\nevent: delta\ndata: {"text": "Half"}\n\n'
    await page.route("**/api/ask", lambda route: route.fulfill(content_type="text/event-stream", body=half))
    await page.get_by_label("Your question").fill(ASK)
    await page.keyboard.press("Enter")
    await expect(page.locator(".outcome.failed")).to_contain_text("broke before the answer was complete")


async def test_the_sign_in_form_opens_the_page(chromium: Browser, serve: Serve, shelved: None) -> None:
    site = await serve(FakeModel(TEXT), web_token="open sesame")
    context = await chromium.new_context()
    watched = Watched(context, site)
    watched.expected.append("401")
    page = await context.new_page()
    await page.goto(site.url)
    await page.get_by_label("Access token").fill("guess")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    await page.get_by_label("Access token").fill("open sesame")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="What do you want to know?")).to_be_visible()
    await ask(page)
    assert watched.faults == []
    await context.close()
