"""What Teams refuses: sizes, entities, cards, rates, and the life of a stream. Plain rules, served by ``double.py``."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

ROOT_MESSAGE = "https://schema.org/Message"
CARD = "application/vnd.microsoft.card.adaptive"
MAX_BODY = 100 * 1024
MAX_CARD = 28 * 1024
ICONS = {
    "Microsoft Word", "Microsoft Excel", "Microsoft PowerPoint", "Microsoft Visio", "Microsoft Loop",
    "Microsoft OneNote", "Microsoft SharePoint", "Microsoft Whiteboard", "Adobe Illustrator", "Adobe Photoshop",
    "Adobe InDesign", "Adobe Flash", "Sketch", "Source Code", "Image", "GIF", "Video", "Sound", "ZIP", "Text", "PDF",
}  # fmt: skip
CARD_PARTS = {
    "AdaptiveCard", "TextBlock", "Container", "ActionSet", "Table", "TableRow", "TableCell", "Input.Text",
    "Input.ChoiceSet", "Input.Toggle", "Action.Execute", "Action.Submit", "Action.OpenUrl", "FactSet", "ColumnSet",
    "Column", "RichTextBlock", "Input.Number", "Input.Date",
}  # fmt: skip
RATES = ((7, 1.0), (8, 2.0), (60, 30.0), (1_800, 3_600.0))  # of one bot in one conversation
JITTER = 0.9  # calls that left in time may arrive closer together


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status, self.code, self.message, self.retry_after = status, code, message or code, retry_after


def check_message(activity: dict[str, Any], *, personal: bool) -> None:
    """Raise for a message that Teams would not take."""
    if activity.get("type") != "message" or not activity.get("from", {}).get("id"):
        raise Refusal(400, "BadSyntax")
    attachments = activity.get("attachments") or []
    if not activity.get("text") and not attachments:
        raise Refusal(400, "BadSyntax", "a message needs text or an attachment")
    if len(attachments) + bool(activity.get("text")) > 1:
        raise Refusal(400, "BadSyntax", "Activity resulted into multiple skype activities")
    if attachments and not activity.get("summary"):
        raise Refusal(400, "NoFallback", "a card without words for those who do not see it")
    if "![" in activity.get("text", ""):
        raise Refusal(400, "RemoteImage")
    for attachment in attachments:
        if attachment.get("contentType") == CARD:
            check_card(attachment.get("content"))
    actions = (activity.get("suggestedActions") or {}).get("actions", [])
    if actions and (not personal or len(actions) > 6 or any(action.get("type") != "imBack" for action in actions)):
        raise Refusal(400, "BadSuggestedActions")
    loop = (activity.get("channelData") or {}).get("feedbackLoop")
    if loop is not None and loop.get("type") not in {"default", "custom"}:
        raise Refusal(400, "BadFeedbackLoop")
    check_entities(activity.get("entities") or [], activity.get("text", ""))


def check_card(card: Any) -> None:
    size = len(json.dumps(card, ensure_ascii=False).encode())
    if size > MAX_CARD:
        raise Refusal(413, "MessageSizeTooBig", f"a card of {size} bytes")
    if not isinstance(card, dict) or card.get("type") != "AdaptiveCard" or card.get("version") != "1.5":
        raise Refusal(400, "BadCard")
    _check_part(card)


def _check_part(part: Any) -> None:
    if isinstance(part, list):
        for inner in part:
            _check_part(inner)
    if not isinstance(part, dict):
        return
    if "type" in part and part["type"] not in CARD_PARTS:
        raise Refusal(400, "BadCard", f"unknown element {part['type']}")
    if part.get("type") == "TextBlock" and not part.get("text"):
        raise Refusal(400, "BadCard", "an empty TextBlock")
    if str(part.get("type", "")).startswith("Input.") and not part.get("label") and part["type"] != "Input.Toggle":
        raise Refusal(400, "BadCard", "a field without a label")
    for name in ("body", "items", "actions", "rows", "cells", "columns"):
        if part.get("type") != "Table" or name != "columns":
            _check_part(part.get(name))


def check_entities(entities: list[dict[str, Any]], text: str) -> None:
    roots = [entity for entity in entities if entity.get("type") == ROOT_MESSAGE]
    if len(roots) > 1:
        raise Refusal(400, "TwoMessageEntities")
    for root in roots:
        if root.get("@type") != "Message" or root.get("@context") != "https://schema.org" or "@id" not in root:
            raise Refusal(400, "BadMessageEntity")
        claims = root.get("citation", [])
        if len(claims) > 20:
            raise Refusal(400, "BadCitation", "more than 20")
        for claim in claims:
            _check_claim(claim, text)
        _check_usage(root.get("usageInfo"))
    for entity in entities:
        if entity.get("type") == "mention":
            mentioned = entity.get("mentioned") or {}
            if entity.get("text") not in text or not str(mentioned.get("id", "")).startswith("29:"):
                raise Refusal(400, "BadMention")


def _check_claim(claim: dict[str, Any], text: str) -> None:
    looks = claim.get("appearance", {})
    keywords = looks.get("keywords", [])
    bad = (
        claim.get("@type") != "Claim"
        or not isinstance(claim.get("position"), int)
        or f"[{claim['position']}]" not in text
        or looks.get("@type") != "DigitalDocument"
        or not 0 < len(looks.get("name", "")) <= 80
        or not 0 < len(looks.get("abstract", "")) <= 160
        or ("url" in looks and not str(looks["url"]).startswith(("http://", "https://")))
        or "text" in looks
        or len(keywords) > 3
        or any(not 0 < len(word) <= 28 for word in keywords)
        or ("image" in looks and looks["image"].get("name") not in ICONS)
    )
    if bad:
        raise Refusal(400, "BadCitation", json.dumps(claim, ensure_ascii=False)[:300])
    _check_usage(looks.get("usageInfo"))


def _check_usage(usage: dict[str, Any] | None) -> None:
    if usage is not None and (usage.get("@type") != "CreativeWork" or not usage.get("name")):
        raise Refusal(400, "BadUsageInfo")


@dataclass
class Rates:
    """Sliding windows a conversation, on the double's clock; a second lasts ``second`` real ones."""

    second: float = 1.0
    _past: dict[str, deque[float]] = field(default_factory=dict)

    def check(self, conversation: str, now: float) -> None:
        past = self._past.setdefault(conversation, deque(maxlen=2_000))
        for calls, seconds in RATES:
            window = seconds * self.second
            if len(past) >= calls and now - past[-calls] < window * JITTER:
                raise Refusal(429, "TooManyRequests", "API calls quota exceeded", window - (now - past[-calls]))
        past.append(now)


@dataclass
class Stream:
    """One streamed message, from its first request to its last."""

    id: str
    conversation: str
    began: float
    last: float
    sequence: int = 0
    text: str = ""  # of the answer; what is only informative is not a message
    informative: list[str] = field(default_factory=list)
    completed: bool = False
    cancelled: bool = False

    def open(self, now: float, life: float) -> bool:
        return not (self.completed or self.cancelled or now - self.began > life)

    def check_open(self, now: float, life: float) -> None:
        if self.completed:
            reason = "Content stream is not allowed on an already completed streamed message"
        elif self.cancelled:
            reason = "Content stream was canceled by user."
        elif now - self.began > life:
            reason = "Content stream finished due to exceeded streaming time."
        else:
            return
        raise Refusal(403, "ContentStreamNotAllowed", reason)

    def step(self, info: dict[str, Any], text: str) -> bool:
        """Take an update; False when it came out of order and is dropped."""
        sequence, kind = info.get("streamSequence"), info.get("streamType")
        if not isinstance(sequence, int) or sequence < 1 or (self.sequence == 0 and sequence != 1):
            raise Refusal(400, "BadRequest", "the stream's sequence begins with 1")
        if sequence <= self.sequence:
            return False
        if sequence > self.sequence + 1:
            raise Refusal(400, "BadRequest", "the stream's sequence has a gap")
        if not text:
            raise Refusal(400, "BadRequest", "Start streaming activities should include text")
        if kind == "informative":
            if len(text) > 1_000 or self.text:
                raise Refusal(400, "BadRequest", "informative text is short, and comes first")
            self.informative.append(text)
        elif kind == "streaming":
            if not text.startswith(self.text):
                raise Refusal(400, "BadRequest", "the text does not extend the last")
            self.text = text
        else:
            raise Refusal(400, "BadRequest", f"streamType {kind}")
        self.sequence = sequence
        return True
