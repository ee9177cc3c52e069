"""Slack messages, modals and Home tabs as pictures: Block Kit to HTML, drawn by the browser of the page's tests.

``python -m tests.slack.picture FOLDER`` makes the pictures of the README from the product's own rendering. It is no
copy of Slack's client: it shows what is said, in which order, with which buttons, at about the right size.
"""

from __future__ import annotations

import asyncio
import html
import re
import sys
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from tests.browser import FLAGS, browser_path

Json = dict[str, Any]

STYLE = """
body { font: 15px/1.46 Lato, "DejaVu Sans", Arial, sans-serif; color: #1d1c1d; background: #fff; margin: 0; }
.frame { width: 760px; padding: 18px 22px; }
.message { display: flex; gap: 10px; margin-bottom: 14px; }
.face { width: 36px; height: 36px; border-radius: 6px; color: #fff; font-weight: 700; display: grid;
  place-items: center; flex: none; }
.name { font-weight: 800; } .time, .badge { color: #616061; font-size: 12px; margin-left: 6px; }
.badge { background: #ededed; border-radius: 3px; padding: 1px 4px; font-size: 10px; font-weight: 700; }
.body { flex: 1; min-width: 0; } .body > .block { margin: 3px 0; }
p { margin: 0 0 8px; } p:last-child { margin: 0; }
code { font: 12px Menlo, "DejaVu Sans Mono", monospace; color: #c01343; background: #f6f6f6; border: 1px solid #ddd;
  border-radius: 3px; padding: 1px 3px; }
pre { background: #f8f8f8; border: 1px solid #ddd; border-radius: 4px; padding: 8px; margin: 4px 0; overflow: hidden; }
pre code { color: inherit; border: 0; background: none; padding: 0; }
table { border-collapse: collapse; margin: 6px 0; } td, th { border: 1px solid #ddd; padding: 5px 10px;
  text-align: left; } th { background: #f8f8f8; }
blockquote { border-left: 4px solid #ddd; margin: 4px 0; padding-left: 12px; }
a { color: #1264a3; text-decoration: none; } .mention { background: #e8f5fa; color: #1264a3; border-radius: 3px;
  padding: 0 2px; }
.context { font-size: 13px; color: #616061; } .context a { color: #1264a3; }
.header { font-size: 18px; font-weight: 900; margin: 10px 0 4px !important; }
.divider { border-top: 1px solid #ddd; margin: 12px 0 !important; }
.actions { display: flex; gap: 8px; flex-wrap: wrap; margin: 8px 0 !important; }
.button { border: 1px solid #bbb; border-radius: 6px; padding: 4px 12px; font-weight: 700; font-size: 13px; }
.button.primary { background: #007a5a; border-color: #007a5a; color: #fff; }
.button.danger { background: #e01e5a; border-color: #e01e5a; color: #fff; }
.thumbs { color: #616061; font-size: 16px; display: flex; gap: 12px; }
.section { display: flex; justify-content: space-between; gap: 16px; } .section > div:first-child { min-width: 0; }
.status { color: #616061; font-size: 13px; font-style: italic; margin: -4px 0 12px 46px; }
.only { color: #616061; font-size: 12px; }
.modal { width: 520px; border: 1px solid #ccc; border-radius: 10px; box-shadow: 0 8px 30px #0003; margin: 10px; }
.modal > .title { font-weight: 900; font-size: 20px; padding: 16px 22px; border-bottom: 1px solid #eee; }
.modal > .fields { padding: 12px 22px; } .modal > .foot { padding: 14px 22px; border-top: 1px solid #eee;
  text-align: right; }
.label { font-weight: 700; margin: 10px 0 4px; } .hint { color: #616061; font-size: 13px; margin-top: 3px; }
.field { border: 1px solid #bbb; border-radius: 4px; padding: 7px 10px; min-height: 20px; color: #616061; }
.choice { margin: 3px 0; }
"""
# The machine may have no emoji.
THUMB = (
    '<svg width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="#616061" stroke-width="1.3">'
    '<path d="M5 14V7l3-5c1.2 0 1.7.9 1.5 2L9 6.5h3.6c.9 0 1.5.8 1.3 1.7l-1 4.5c-.2.8-.8 1.3-1.6 1.3H5zM2 7h3v7H2z"/>'
    "</svg>"
)
_MARKDOWN = MarkdownIt("commonmark", {"breaks": True}).enable(["table", "strikethrough"])


def mrkdwn(text: str) -> str:
    """Slack's own markup, already escaped by whoever wrote it, as HTML."""
    text = re.sub(r"<@(\w+)>", r'<span class="mention">@\1</span>', text)
    text = re.sub(r"<!subteam\^(\w+)>", r'<span class="mention">@\1</span>', text)
    text = re.sub(r"<(https?://[^|>]+)\|([^>]*)>", r'<a href="\1">\2</a>', text)
    text = re.sub(r"<(https?://[^|>]+)>", r'<a href="\1">\1</a>', text)
    text = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", text)
    text = re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"<b>\1</b>", text)
    lines = [f"<blockquote>{line[1:]}</blockquote>" if line.startswith(">") else line for line in text.split("\n")]
    return "<br>".join(lines).replace("</blockquote><br>", "</blockquote>")


def block(item: Json) -> str:
    """One block as HTML; an unknown one is an error, so that nothing is left out of the picture unseen."""
    kind = item["type"]
    if kind == "markdown":
        return f'<div class="block">{_MARKDOWN.render(item["text"])}</div>'
    if kind == "section":
        side = f"<div>{element(item['accessory'])}</div>" if "accessory" in item else ""
        return f'<div class="block section"><div>{text(item["text"])}</div>{side}</div>'
    if kind == "context":
        return f'<div class="block context">{"<br>".join(text(part) for part in item["elements"])}</div>'
    if kind == "header":
        return f'<div class="block header">{text(item["text"])}</div>'
    if kind == "rich_text":
        texts = ["".join(piece["text"] for piece in part["elements"]) for part in item["elements"]]
        return "".join(f'<pre class="block"><code>{html.escape(text)}</code></pre>' for text in texts)
    if kind == "divider":
        return '<div class="block divider"></div>'
    if kind == "actions":
        return f'<div class="block actions">{"".join(map(element, item["elements"]))}</div>'
    if kind == "context_actions":
        return '<div class="block thumbs"><span>👍</span><span>👎</span></div>'
    if kind == "input":
        hint = f'<div class="hint">{text(item["hint"])}</div>' if "hint" in item else ""
        more = ' <span class="only">(optional)</span>' if item.get("optional") else ""
        return f'<div class="label">{text(item["label"])}{more}</div>{field(item["element"])}{hint}'
    raise ValueError(f"no picture of a block {kind}")


def text(part: Json) -> str:
    return mrkdwn(part["text"]) if part["type"] == "mrkdwn" else html.escape(part["text"])


def element(item: Json) -> str:
    return f'<span class="button {item.get("style", "")}">{text(item["text"])}</span>'


def field(item: Json) -> str:
    kind = item["type"]
    if kind in ("radio_buttons", "checkboxes"):
        chosen = [item.get("initial_option"), *(item.get("initial_options") or ())]
        on, off = ("◉", "○") if kind == "radio_buttons" else ("☑", "☐")
        rows = [f"{on if option in chosen else off} {text(option['text'])}" for option in item["options"]]
        return "".join(f'<div class="choice">{row}</div>' for row in rows)
    shown = item.get("initial_option") or {}
    value = text(shown["text"]) if shown else html.escape(item.get("initial_value") or item.get("initial_user") or "")
    if not value and "placeholder" in item:
        value = text(item["placeholder"])
    return f'<div class="field">{value or "&nbsp;"}</div>'


def message(name: str, content: Json | str, colour: str, only_you: bool = False, app: bool = False) -> str:
    """A message as it stands in a channel: blocks, or a person's words."""
    words = f'<div class="block">{html.escape(content)}</div>' if isinstance(content, str) else ""
    body = words or "".join(map(block, content["blocks"]))  # type: ignore[index]
    badge = '<span class="badge">APP</span>' if app else ""
    only = '<div class="only">Only visible to you</div>' if only_you else ""
    return (
        f'<div class="message"><div class="face" style="background:{colour}">{name[0]}</div><div class="body">{only}'
        f'<span class="name">{name}</span>{badge}<span class="time">10:04</span>{body}</div></div>'
    )


def modal(view: Json) -> str:
    foot = f'<span class="button">{text(view["close"])}</span> '
    foot += f'<span class="button primary">{text(view["submit"])}</span>' if "submit" in view else ""
    fields = "".join(map(block, view["blocks"]))
    return (
        f'<div class="modal"><div class="title">{text(view["title"])}</div><div class="fields">{fields}</div>'
        f'<div class="foot">{foot}</div></div>'
    )


def home(view: Json) -> str:
    return "".join(map(block, view["blocks"]))


async def draw(pages: dict[str, str], folder: Path) -> None:
    """A picture of each page, named by its key."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path(), args=FLAGS)
        page = await browser.new_page(viewport={"width": 810, "height": 300}, device_scale_factor=2)
        for name, body in pages.items():
            drawn = body.replace("👍", THUMB).replace("👎", THUMB.replace("<svg ", '<svg transform="scale(1 -1)" '))
            await page.set_content(f'<style>{STYLE}</style><div class="frame">{drawn}</div>')
            await page.locator(".frame").screenshot(path=str(folder / f"{name}.png"))
        await browser.close()


def main() -> None:
    from tests.slack.sample import pages_of_the_readme

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(draw(pages_of_the_readme(), folder))


if __name__ == "__main__":
    main()
