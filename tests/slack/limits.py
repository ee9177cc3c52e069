"""What Slack refuses in a message or a view, as its documentation and those who ran into it say."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

TEXT = 40_000
BLOCKS = 50
VIEW_BLOCKS = 100
MARKDOWN = 12_000
ALL_BLOCKS = 13_200
TABLE_ROWS, TABLE_COLUMNS, TABLE_CHARS = 100, 20, 10_000
MENTION = re.compile(r"<(?:![a-z]|@[UW]|#C)")

_DELIMITER = re.compile(r"\s*\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?\s*)?")

Json = dict[str, Any]


def refused(message: Json) -> str | None:
    """Slack's error for these arguments of chat.postMessage, or None."""
    text, blocks, metadata = message.get("text") or "", message.get("blocks") or [], message.get("metadata")
    if not text and not blocks:
        return "no_text"
    if len(text) > TEXT:
        return "msg_too_long"
    if metadata is not None and not _is_metadata(metadata):
        return "invalid_metadata_format"
    return refused_blocks(blocks)


def refused_blocks(blocks: list[Json]) -> str | None:
    if len(blocks) > BLOCKS or not all(is_block(block) for block in blocks):
        return "invalid_blocks"
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(ids) != len(set(ids)) or not _unique_actions(blocks):
        return "invalid_blocks"
    texts = [block["text"] for block in blocks if block["type"] == "markdown"]
    if sum(map(len, texts)) > MARKDOWN:
        return "invalid_blocks"
    if not tables_fit("\n\n".join(texts)):
        return "invalid_blocks"
    return "msg_blocks_too_long" if sum(map(_text_length, blocks)) > ALL_BLOCKS else None


def refused_view(view: Json) -> str | None:
    """Slack's error for a modal or a Home tab, or None."""
    blocks = view.get("blocks")
    if view.get("type") not in ("modal", "home") or not isinstance(blocks, list) or not 1 <= len(blocks) <= VIEW_BLOCKS:
        return "invalid_arguments"
    if not all(is_block(block, in_view=True) for block in blocks):
        return "invalid_blocks"
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(ids) != len(set(ids)) or len(str(view.get("private_metadata") or "")) > 3_000:
        return "invalid_arguments"
    if view["type"] == "home":
        return None
    titles = [view.get("title"), view.get("close"), view.get("submit")]
    if view.get("title") is None or not all(title is None or _is_plain(title, 24) for title in titles):
        return "invalid_arguments"
    has_input = any(block["type"] == "input" for block in blocks)
    if has_input and view.get("submit") is None:
        return "invalid_arguments"
    return None if 1 <= len(view.get("callback_id") or "x") <= 255 else "invalid_arguments"


def tables_fit(markdown: str) -> bool:
    """One table, of Slack's size."""
    lines = re.sub(r"^(```|~~~).*?^\1", "", markdown, flags=re.DOTALL | re.MULTILINE).split("\n")
    tables, number = 0, 1
    while number < len(lines):
        if not ("|" in lines[number - 1] and _DELIMITER.fullmatch(lines[number])):
            number += 1
            continue
        end = number + 1
        while end < len(lines) and "|" in lines[end]:  # a table goes on as long as its lines do
            end += 1
        rows = [lines[number - 1], *lines[number + 1 : end]]
        columns = len(rows[0].strip().strip("|").split("|"))
        if len(rows) > TABLE_ROWS or columns > TABLE_COLUMNS or sum(map(len, rows)) > TABLE_CHARS:
            return False
        tables, number = tables + 1, end + 1
    return tables <= 1


def _is_metadata(metadata: Any) -> bool:
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    flat = isinstance(payload, dict) and all(isinstance(value, str | int | float | bool) for value in payload.values())
    return flat and isinstance(metadata.get("event_type"), str) and bool(metadata["event_type"])


def is_block(block: Json, in_view: bool = False) -> bool:
    kind = block.get("type", "")
    check = _BLOCKS.get(kind)
    if check is None or len(block.get("block_id", "")) > 255:
        return False
    if in_view and kind in ("markdown", "context_actions"):
        return False
    if not in_view and kind == "input":
        return False
    return check(block)


def _section(block: Json) -> bool:
    fields = block.get("fields")
    if fields is not None and not (1 <= len(fields) <= 10 and all(_is_text(field, 2_000) for field in fields)):
        return False
    accessory = block.get("accessory")
    return (fields is not None or _is_text(block.get("text"), 3_000)) and (accessory is None or _is_element(accessory))


def _many(limit: int, check: Callable[[Json], bool]) -> Callable[[Json], bool]:
    def checked(block: Json) -> bool:
        elements = block.get("elements") or []
        return 1 <= len(elements) <= limit and all(check(element) for element in elements)

    return checked


def _is_code(part: Json) -> bool:
    """The one kind of rich text that the bot sends."""
    texts = part.get("elements") or []
    return (
        part.get("type") == "rich_text_preformatted"
        and len(texts) == 1
        and texts[0].get("type") == "text"
        and bool(texts[0].get("text"))
    )


def _input(block: Json) -> bool:
    element = block.get("element") or {}
    return _is_plain(block.get("label"), 2_000) and _is_element(element) and (
        block.get("hint") is None or _is_plain(block["hint"], 2_000)
    )  # fmt: skip


def _is_element(element: Json) -> bool:
    kind, action = element.get("type"), element.get("action_id", "x")
    if not 1 <= len(action) <= 255:
        return False
    if kind == "button":
        return _is_plain(element.get("text"), 75) and _is_button_rest(element)
    if kind in ("static_select", "multi_static_select", "radio_buttons", "checkboxes"):
        most = 100 if "select" in kind else 10
        options = element.get("options") or []
        first = element.get("initial_option"), *(element.get("initial_options") or ())
        initial = [option for option in first if option is not None]
        return (
            1 <= len(options) <= most
            and all(_is_option(option) for option in options)
            and all(option in options for option in initial)
            and ("initial_options" not in element or bool(element["initial_options"]))
        )
    if kind == "plain_text_input":
        return 0 < element.get("max_length", 3_000) <= 3_000
    if kind == "file_input":
        return 1 <= element.get("max_files", 10) <= 10
    if kind == "number_input":
        return isinstance(element.get("is_decimal_allowed"), bool)
    if kind == "datepicker":
        return re.fullmatch(r"\d{4}-\d\d-\d\d", element.get("initial_date", "2026-01-01")) is not None
    return kind in ("users_select", "multi_users_select", "conversations_select")


def _is_button_rest(button: Json) -> bool:
    confirm = button.get("confirm")
    fits = confirm is None or (
        _is_plain(confirm.get("title"), 100)
        and _is_text(confirm.get("text"), 300)
        and _is_plain(confirm.get("confirm"), 30)
        and _is_plain(confirm.get("deny"), 30)
    )
    return (
        fits
        and len(button.get("value") or "") <= 2_000
        and len(button.get("url") or "") <= 3_000
        and len(button.get("accessibility_label", "")) <= 75
        and button.get("style", "primary") in ("primary", "danger")
    )


def _is_option(option: Json) -> bool:
    return _is_text(option.get("text"), 75) and 1 <= len(option.get("value") or "") <= 150


def _is_plain(value: Any, limit: int) -> bool:
    return _is_text(value, limit) and value["type"] == "plain_text"


def _is_text(value: Any, limit: int) -> bool:
    return (
        isinstance(value, dict)
        and value.get("type") in ("mrkdwn", "plain_text")
        and 1 <= len(value.get("text") or "") <= limit
    )


def _is_feedback(element: Json) -> bool:
    buttons = [element.get("positive_button"), element.get("negative_button")]
    return (
        element.get("type") == "feedback_buttons"
        and 1 <= len(element.get("action_id") or "") <= 255
        and all(isinstance(button, dict) and _is_thumb(button) for button in buttons)
    )


def _is_thumb(button: Json) -> bool:
    return (
        _is_plain(button.get("text"), 75)
        and 1 <= len(button.get("value") or "") <= 2_000
        and len(button.get("accessibility_label", "")) <= 75
    )


def _unique_actions(blocks: list[Json]) -> bool:
    for block in blocks:
        ids = [element.get("action_id") for element in block.get("elements", ()) if element.get("action_id")]
        if len(ids) != len(set(ids)):
            return False
    return True


def _text_length(block: Json) -> int:
    text = block.get("text", "")
    own = len(text) if isinstance(text, str) else len(text.get("text", ""))
    if block["type"] == "rich_text":
        return sum(len(text["text"]) for part in block["elements"] for text in part["elements"])
    texts = [element.get("text", "") for element in block.get("elements", ()) if "text" in element]
    return own + sum(len(text) if isinstance(text, str) else len(text.get("text", "")) for text in texts)


_BLOCKS: dict[str, Callable[[Json], bool]] = {
    "markdown": lambda block: isinstance(block.get("text"), str) and bool(block["text"]),
    "section": _section,
    "context": _many(10, lambda element: _is_text(element, 3_000)),
    "context_actions": _many(5, _is_feedback),
    "actions": _many(25, _is_element),
    "header": lambda block: _is_plain(block.get("text"), 150),
    "rich_text": lambda block: bool(block.get("elements")) and all(_is_code(part) for part in block["elements"]),
    "divider": lambda block: True,
    "input": _input,
}
