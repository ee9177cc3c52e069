"""Mail: subject as title, the people and date, the body, and every attachment by its name with what it holds."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from datetime import datetime
from email.message import EmailMessage
from typing import cast

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse import html, text
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.formats import reader_of
from workers.ingestion.parse.nested import section

SHOWN = ("From", "To", "Cc", "Date")
_SEALED = re.compile(r"multipart/encrypted|application/(?:x-)?pkcs7-mime|application/pgp-encrypted")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=\s]|\w {1,2}\w")
_MAX_PARTS = 500


def read(content: bytes, name: str) -> Draft:
    message = email.message_from_bytes(content, policy=email.policy.default)
    if not message.keys():
        raise DocumentUnreadable("the file is not a mail: it has no headers")
    headers = list(_headers(message))
    blocks = [*headers, *_body(message, 0)]
    if not headers and not any(block.text or block.rows for block in blocks):
        raise DocumentUnreadable("the file is empty: a mail without sender, text or attachments")
    found = {"author": header(message, "From"), "updated": _date(message)}
    return Draft(blocks, header(message, "Subject"), "", found)


def header(message: EmailMessage, name: str) -> str:
    """A header as text; one that is not well formed as it stands in the file."""
    try:
        return " ".join(str(message[name] or "").split())
    except (ValueError, IndexError, AttributeError, TypeError, LookupError):  # the library trips over some of them
        raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
        return " ".join(str(raw).split())


def _headers(message: EmailMessage) -> Iterator[Block]:
    for name in SHOWN:
        value = header(message, name)
        if value:
            yield Block("list_item", f"{name}: {value}")


def _date(message: EmailMessage) -> str:
    try:
        moment = message["Date"].datetime if message["Date"] else None
    except (ValueError, AttributeError, TypeError, IndexError, OverflowError):
        return ""
    return moment.date().isoformat() if isinstance(moment, datetime) else ""


def _body(message: EmailMessage, depth: int) -> Iterator[Block]:
    if _SEALED.match(message.get_content_type()):
        yield Block("paragraph", "The body of this mail is encrypted and could not be read.")
        return
    chosen = _chosen(message)
    if message.get_content_maintype() == "multipart" and not message.is_multipart():  # its parts are not to be found
        yield from text.blocks_of(str(message.get_payload()))
        return
    if chosen is not None:
        yield from _text(chosen)
    for part in _others(message, chosen):
        yield from _attachment(part, depth)


def _chosen(message: EmailMessage) -> EmailMessage | None:
    """The body that a mail program would show; HTML where the plain text only says that there is HTML."""
    plain, rich = (cast("EmailMessage | None", message.get_body(preferencelist=(kind,))) for kind in ("plain", "html"))
    if plain is not None and rich is not None:
        words = _content(plain).strip()
        if not words or len(words) * 10 < len(_content(rich)) - 2_000:
            return rich
    return plain if plain is not None else rich  # a part without headers counts as false


def _others(message: EmailMessage, chosen: EmailMessage | None) -> list[EmailMessage]:
    """Parts that are neither the body nor another rendering of it, outermost first."""
    if not message.is_multipart():
        broken = message.get_content_maintype() == "multipart"
        return [] if message is chosen or broken else [message]  # all of it may be one attachment
    found: list[EmailMessage] = []
    alternative = message.get_content_type() == "multipart/alternative"
    for part in cast("list[EmailMessage]", message.get_payload()):
        if part is chosen or len(found) > _MAX_PARTS:
            continue
        if part.get_content_maintype() == "multipart" and alternative:
            found += [inner for inner in _others(part, chosen) if not _is_rendering(inner)]
        elif part.get_content_maintype() == "multipart":
            body = chosen if any(inner is chosen for inner in part.walk()) else _chosen(part)
            found += [body] if body is not None and body is not chosen else []
            found += _others(part, body)
        elif not (alternative and _is_rendering(part)):
            found.append(part)
    return found


def _is_rendering(part: EmailMessage) -> bool:
    """Whether the part may say the same as another, in another way."""
    return part.get_content_maintype() == "text" and not part.get_filename()


def _text(part: EmailMessage) -> Iterator[Block]:
    body = _content(part)
    if part.get_content_type() == "text/html":
        yield from html.fragment(body)
    else:
        yield from text.blocks_of(body)


def _content(part: EmailMessage) -> str:
    """Its text in the charset that it declares, or in the one that its bytes show."""
    raw = part.get_payload(decode=True)
    written = part.get_payload()
    if isinstance(written, str) and part["Content-Transfer-Encoding"] == "base64" and _NOT_BASE64.search(written):
        raw = written.encode("utf-8", "surrogateescape")  # said to be in base64, and sent as it is
    if not isinstance(raw, bytes):
        return ""
    try:
        return decode(raw, part.get_content_charset())
    except DocumentUnreadable:
        return raw.decode("utf-8", "replace")


def _attachment(part: EmailMessage, depth: int) -> Iterator[Block]:
    if part.get_content_type() == "message/rfc822":
        yield from _forwarded(part, depth)
        return
    raw = part.get_payload(decode=True)
    content = raw if isinstance(raw, bytes) else b""
    name = part.get_filename() or ""
    if part.get_content_maintype() == "text" and reader_of(name) is None:
        if name:
            yield Block("heading", f"Attachment: {' '.join(name.split())[:200]}", level=2)
        yield from _text(part)
    else:
        yield from attached(name or f"unnamed ({part.get_content_type()})", content)


def _forwarded(part: EmailMessage, depth: int) -> Iterator[Block]:
    inner = part.get_payload()
    message = inner[0] if isinstance(inner, list) and inner else None
    if not isinstance(message, EmailMessage) or depth > 20:
        return
    yield Block("heading", f"Message: {header(message, 'Subject') or 'without subject'}", level=2)
    yield from _headers(message)
    yield from _body(message, depth + 1)


def attached(name: str, content: bytes) -> Iterator[Block]:
    """The heading names it; beneath stands what it holds, or why that cannot be read."""
    label = f"Attachment: {' '.join(name.split())[:200]}"
    if reader_of(name) is None:
        yield Block("heading", label, level=2)
        yield Block("paragraph", f"{label} ({len(content)} bytes), whose content is not read.")
        return
    try:
        first, *rest = section(name, content, level=2)
    except DocumentUnreadable as error:
        yield Block("heading", label, level=2)
        yield Block("paragraph", f"{label} ({len(content)} bytes) could not be read: {error}.")
        return
    yield Block("heading", label, level=first.level)
    yield from rest
