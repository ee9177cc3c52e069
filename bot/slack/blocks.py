"""Block Kit's pieces, as small as they are used here. Every block id is fresh: Slack keeps state under an old one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

Block = dict[str, Any]

BUTTON_CHARS = 75
OPTION_CHARS = 75
HEADER_CHARS = 150
TITLE_CHARS = 24
MRKDWN_CHARS = 3_000


def fresh(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:20]}"


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain(text: str, limit: int = 3_000) -> Block:
    return {"type": "plain_text", "text": cut(text, limit), "emoji": True}


def markdown(text: str) -> Block:
    return {"type": "markdown", "text": text, "block_id": fresh("text")}


def section(text: str, accessory: Block | None = None) -> Block:
    block: Block = {"type": "section", "block_id": fresh("section"), "text": mrkdwn(text)}
    return block if accessory is None else {**block, "accessory": accessory}


def mrkdwn(text: str) -> Block:
    """Slack refuses the whole message or dialog for a text that is too long, and escapes make a text longer."""
    return {"type": "mrkdwn", "text": _cut_mrkdwn(text), "verbatim": True}


def _cut_mrkdwn(text: str) -> str:
    """``cut``, and no link and no escape stays without its end."""
    if len(text) <= MRKDWN_CHARS:
        return text
    text = text[: MRKDWN_CHARS - 1]
    if text.rfind("<") > text.rfind(">"):
        text = text[: text.rfind("<")]
    if text.rfind("&", len(text) - len("&amp")) > text.rfind(";"):
        text = text[: text.rfind("&")]
    return text + "…"


def context(text: str) -> Block:
    return {"type": "context", "block_id": fresh("context"), "elements": [mrkdwn(text)]}


def header(text: str) -> Block:
    return {"type": "header", "block_id": fresh("header"), "text": plain(text, HEADER_CHARS)}


def code(text: str) -> Block:
    """Text as it is: Slack reads no markup, no mention and no link into it."""
    lines = {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text or " "}]}
    return {"type": "rich_text", "block_id": fresh("code"), "elements": [lines]}


def divider() -> Block:
    return {"type": "divider", "block_id": fresh("divider")}


def actions(*elements: Block) -> Block:
    return {"type": "actions", "block_id": fresh("actions"), "elements": list(elements)}


def button(
    action: str, text: str, value: str = "", label: str = "", style: str | None = None, confirm: Block | None = None
) -> Block:
    """``label`` is what a screen reader says where the text alone is too little."""
    result: Block = {"type": "button", "action_id": action, "text": plain(text, BUTTON_CHARS)}
    optional = {"value": value, "accessibility_label": cut(label, BUTTON_CHARS), "style": style, "confirm": confirm}
    return {**result, **{key: part for key, part in optional.items() if part}}


def confirm(title: str, text: str, yes: str, no: str) -> Block:
    return {
        "title": plain(title, 100),
        "text": plain(text, 300),
        "confirm": plain(yes, 30),
        "deny": plain(no, 30),
    }


def feedback(action: str, positive: Mapping[str, str], negative: Mapping[str, str]) -> Block:
    """Two thumbs; each mapping holds ``text``, ``value`` and ``label``."""

    def thumb(part: Mapping[str, str]) -> Block:
        label = cut(part["label"], BUTTON_CHARS)
        return {"text": plain(part["text"], BUTTON_CHARS), "value": part["value"], "accessibility_label": label}

    element = {
        "type": "feedback_buttons",
        "action_id": action,
        "positive_button": thumb(positive),
        "negative_button": thumb(negative),
    }
    return {"type": "context_actions", "block_id": fresh("feedback"), "elements": [element]}


def option(text: str, value: str) -> Block:
    return {"text": plain(text, OPTION_CHARS), "value": value}


def entry(name: str, label: str, element: Block, *, optional: bool = True, hint: str = "") -> Block:
    """A field of a modal; errors are shown by its ``name``, which is its block id as well."""
    block: Block = {
        "type": "input",
        "block_id": name,
        "label": plain(label, 2_000),
        "element": {"action_id": name, **element},
        "optional": optional,
    }
    return {**block, "hint": plain(hint, 2_000)} if hint else block


def modal(
    callback: str, title: str, blocks: Sequence[Block], *, close: str, submit: str = "", metadata: str = ""
) -> Block:
    view: Block = {
        "type": "modal",
        "callback_id": callback,
        "title": plain(title, TITLE_CHARS),
        "close": plain(close, TITLE_CHARS),
        "blocks": list(blocks)[:100],
        "private_metadata": metadata,
    }
    return {**view, "submit": plain(submit, TITLE_CHARS)} if submit else view
