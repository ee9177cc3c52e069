"""What Slack refuses in a message, as its documentation and those who ran into it say."""

from __future__ import annotations

from typing import Any

TEXT = 40_000
BLOCKS = 50
MARKDOWN = 12_000
ALL_BLOCKS = 13_200
KNOWN_BLOCKS = {"markdown", "section", "context", "context_actions", "divider", "header", "actions"}


def refused(message: dict[str, Any]) -> str | None:
    """Slack's error for these arguments of chat.postMessage, or None."""
    text, blocks, metadata = message.get("text") or "", message.get("blocks") or [], message.get("metadata")
    if not text and not blocks:
        return "no_text"
    if len(text) > TEXT:
        return "msg_too_long"
    if metadata is not None and not _is_metadata(metadata):
        return "invalid_metadata_format"
    if len(blocks) > BLOCKS or not all(_is_block(block) for block in blocks):
        return "invalid_blocks"
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(ids) != len(set(ids)):
        return "invalid_blocks"
    if sum(len(block["text"]) for block in blocks if block["type"] == "markdown") > MARKDOWN:
        return "invalid_blocks"
    return "msg_blocks_too_long" if sum(map(_text_length, blocks)) > ALL_BLOCKS else None


def _is_metadata(metadata: Any) -> bool:
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    flat = isinstance(payload, dict) and all(isinstance(value, str | int | float | bool) for value in payload.values())
    return flat and isinstance(metadata.get("event_type"), str) and bool(metadata["event_type"])


def _is_block(block: dict[str, Any]) -> bool:
    kind = block.get("type")
    if kind not in KNOWN_BLOCKS or len(block.get("block_id", "")) > 255:
        return False
    if kind == "markdown":
        return isinstance(block.get("text"), str) and bool(block["text"])
    if kind == "section":
        return _is_text(block.get("text"), 3_000)
    if kind == "context":
        elements = block.get("elements") or []
        return 1 <= len(elements) <= 10 and all(_is_text(element, 3_000) for element in elements)
    if kind == "context_actions":
        elements = block.get("elements") or []
        return 1 <= len(elements) <= 5 and all(_is_feedback(element) for element in elements)
    return True


def _is_text(value: Any, limit: int) -> bool:
    return (
        isinstance(value, dict)
        and value.get("type") in ("mrkdwn", "plain_text")
        and 1 <= len(value.get("text") or "") <= limit
    )


def _is_feedback(element: dict[str, Any]) -> bool:
    buttons = [element.get("positive_button"), element.get("negative_button")]
    return (
        element.get("type") == "feedback_buttons"
        and 1 <= len(element.get("action_id") or "") <= 255
        and all(isinstance(button, dict) and _is_button(button) for button in buttons)
    )


def _is_button(button: dict[str, Any]) -> bool:
    return (
        _is_text(button.get("text"), 75)
        and button["text"]["type"] == "plain_text"
        and 1 <= len(button.get("value") or "") <= 2_000
        and len(button.get("accessibility_label", "")) <= 75
    )


def _text_length(block: dict[str, Any]) -> int:
    text = block.get("text", "")
    own = len(text) if isinstance(text, str) else len(text.get("text", ""))
    return own + sum(len(element.get("text", "")) for element in block.get("elements", ()) if "text" in element)
