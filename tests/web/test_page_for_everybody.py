"""The page in the dark, on a phone, by keyboard alone, read aloud, and with documents that mean harm."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from assistant.database.session import Sessions
from assistant.knowledge.embedding import TransformerEmbedder
from tests.web import library
from tests.web.library import shelve
from tests.web.watching import ASK, TEXT, Watched, ask, background, brightness, shift_tab_to, sideways

PHONE = {"width": 360, "height": 740}
HOSTILE = (
    "<img src=x onerror=\"document.title='owned'\"> <script>document.title='owned'</script> </script></style>\n\n"
    "[press](javascript:document.title='owned') [data](data:text/html,x) <javascript:alert(1)> [1]\n\n"
    "| <b onclick=x>a</b> | b |\n|---|---|\n| <svg onload=\"document.title='owned'\"> | `</code><img src=x>` |\n\n"
    "```html\n</code></pre><img src=x onerror=\"document.title='owned'\">\n```\n"
    + "*" * 5_000
    + "[" * 5_000
    + "> " * 500
)


async def test_the_theme_follows_the_system_until_one_is_chosen(watched: Watched) -> None:
    page = await watched.open()
    await page.emulate_media(color_scheme="dark")
    dark = await background(page)
    await page.emulate_media(color_scheme="light")
    light = await background(page)
    assert brightness(dark) < 60 < 200 < brightness(light)
    await page.get_by_role("button", name="Use the dark theme").click()
    assert await background(page) == dark
    await page.reload()
    assert await background(page) == dark
    await expect(page.get_by_role("button", name="Use the light theme")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_stands_out_from_its_ground(watched: Watched, scheme: str) -> None:
    page = await watched.open()
    await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    await ask(page)
    watched.site.model.supported = False
    await ask(page, "How do penguins roll back?")
    await page.locator(".answer button.cite").first.click()
    await expect(page.locator("mark").first).to_be_visible()
    assert await page.evaluate(FAINT_TEXTS) == []


async def test_a_phone_has_no_sideways_scroll(watched: Watched) -> None:
    watched.site.model.text = TEXT + "\n\n" + "verylongword" * 30 + "\n\n```\n" + "long line of code " * 20 + "\n```"
    page = await watched.open()
    await page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert await sideways(page) == 0
    await ask(page, ASK + " " + "why" * 60)
    assert await sideways(page) == 0
    await page.locator(".answer button.cite").first.click()
    await expect(page.get_by_label("The cited passage")).to_be_visible()
    assert await sideways(page) == 0
    box = await page.locator("#panel").bounding_box()
    assert box is not None
    assert box["width"] == 360
    assert box["y"] + box["height"] == pytest.approx(740, abs=1)
    await page.mouse.click(180, 20)  # what shows of the page behind the sheet
    await expect(page.locator("#panel")).to_be_hidden()


async def test_the_keyboard_is_enough(watched: Watched) -> None:
    page = await watched.open()
    await page.locator("body").press("Tab")
    await page.evaluate("document.activeElement.blur()")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the question")).to_be_focused()
    await expect(page.get_by_role("link", name="Skip to the question")).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Your question")).to_be_focused()
    await page.keyboard.type("How do I")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("roll back a deployment?")
    await page.keyboard.press("Enter")
    await expect(page.locator(".turn h2")).to_have_text("How do I\nroll back a deployment?", use_inner_text=True)
    await expect(page.locator(".turn footer")).to_be_visible()
    await expect(page.get_by_label("Your question")).to_be_focused()
    await shift_tab_to(page, ".thumb")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Noted as bad")).to_be_visible()
    await shift_tab_to(page, ".answer button.cite")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("The cited passage")).to_be_visible()
    await expect(page.locator("#panel-title")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator(".answer button.cite").last).to_be_focused()


async def test_less_motion_is_respected(watched: Watched) -> None:
    watched.site.model.pause = 5
    page = await watched.open()
    await page.emulate_media(reduced_motion="reduce")
    await page.get_by_label("Your question").fill(ASK)
    await page.keyboard.press("Enter")
    await expect(page.locator(".progress")).to_contain_text("Writing…")
    assert await page.locator(".pulse").evaluate("dot => getComputedStyle(dot).animationName") == "none"


async def test_hostile_text_stays_text(watched: Watched, sessions: Sessions, embedder: TransformerEmbedder) -> None:
    passages = [(("</script><img src=x>",), HOSTILE[:700])]
    hostile = library.Page("<img src=x>.md", "<b>Hostile</b>", passages, url="javascript:document.title='owned'")
    await shelve(sessions, embedder, hostile)
    watched.site.model.text = HOSTILE
    page = await watched.open()
    await ask(page, "Which hostile img onerror script is there? <img src=x onerror=alert(1)>")
    await page.locator(".answer button.cite").first.click()
    await expect(page.locator("#panel").get_by_role("heading", name="<b>Hostile</b>")).to_be_visible()
    await expect(page.get_by_label("The cited passage")).to_contain_text("<img src=x onerror")
    assert await page.title() == "Almanac"
    assert await page.locator("main img, main script, main svg[onload], #panel img, #panel script").count() == 0
    assert await page.locator("main a, #panel a").count() == 0
    await expect(page.locator(".answer")).to_contain_text("[press](javascript:document.title='owned')")


FAINT_TEXTS = """() => {
  // WCAG AA: 4.5 to 1 against the nearest opaque ground, for every text that is seen.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    const colors = [];
    for (let at = element; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      colors.push(color);
      if (color[3] === 255) break;
    }
    return colors.reverse().reduce((under, over) => {
      const share = over[3] / 255;
      return under.map((v, i) => (i < 3 ? over[i] * share + v * (1 - share) : 255));
    });
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest("noscript, .hidden, .skip")) continue;
    const a = light(rgb(getComputedStyle(element).color));
    const b = light(ground(element));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${element.className || element.tagName}: ${node.data}`);
  }
  return faint;
}"""
