"""A browser that takes every error, refused content and foreign request for a fault; what a person does with it."""

from __future__ import annotations

import re

from playwright.async_api import BrowserContext, Page, expect

from tests.web.site import Site

ASK = "How do I roll back a deployment?"
TEXT = (
    "Run it from your **own** machine [1]:\n\n```sh\nferry rollback parcel-tracker\n```\n\n"
    "1. Say so in `#deploys`\n2. Revert the commit\n   - the same day\n\n"
    "| Service | Limit |\n|---|---|\n| ledger | 45 minutes [2] |\n\nSee https://handbook.example/x."
)
DESKTOP = {"width": 1280, "height": 800}


class Watched:
    """A browser context whose errors, refused content and foreign requests are all faults."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.context = context
        self.site = site
        self.faults: list[str] = []
        self.expected: list[str] = []
        context.on("console", lambda message: self._console(message.type, message.text))
        context.on("weberror", lambda error: self.faults.append(f"error: {error.error}"))
        context.on("request", lambda request: self._request(request.url))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(words in text for words in self.expected):
            self.faults.append(f"{kind}: {text}")

    def _request(self, url: str) -> None:
        if not url.startswith(f"{self.site.url}/"):
            self.faults.append(f"request to {url}")

    async def open(self, path: str = "/") -> Page:
        page = await self.context.new_page()
        await page.goto(self.site.url + path)
        await expect(page.locator(":is(#empty, .turn, .outcome):visible").first).to_be_visible()
        return page


async def ask(page: Page, question: str = ASK) -> None:
    """Ask, and wait for the end of the answer."""
    before = await page.locator(".turn").count()
    await page.get_by_label("Your question").fill(question)
    await page.keyboard.press("Enter")
    await expect(page.locator(".turn")).to_have_count(before + 1)
    await expect(page.locator(".turn").last.locator("footer")).to_be_visible()


async def answer_of(page: Page) -> dict[str, list[dict[str, object]]]:
    """The last answer as the API gives it, asked by the page itself."""
    script = """async () => {
      const id = localStorage.getItem("almanac.conversation");
      return (await (await fetch(`/api/conversations/${id}`)).json()).at(-1).answer;
    }"""
    found: dict[str, list[dict[str, object]]] = await page.evaluate(script)
    return found


async def background(page: Page) -> str:
    return str(await page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))


def brightness(color: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / 3


async def sideways(page: Page) -> int:
    root = "document.scrollingElement"
    return int(await page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


async def shift_tab_to(page: Page, selector: str) -> None:
    for _ in range(30):
        await page.keyboard.press("Shift+Tab")
        if await page.evaluate(f"document.activeElement.matches('{selector}')"):
            return
    raise AssertionError(f"no way back to {selector} by keyboard")


def letters(text: object) -> str:
    return re.sub(r"\W", "", str(text)).lower()
