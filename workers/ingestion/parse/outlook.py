"""Outlook messages (.msg): the properties that [MS-OXMSG] stores as streams, read like a mail."""

from __future__ import annotations

import codecs
import datetime as dt
import struct
from collections.abc import Iterator

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse import html, text
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.mail import attached
from workers.ingestion.parse.ole import Container, opened

_CLASS, _SUBJECT, _BODY, _HTML = "001A", "0037", "1000", "1013"
_SENDER, _ADDRESSES, _TO, _CC = "0C1A", ("5D01", "0C1F"), "0E04", "0E03"
_ATTACHMENT, _LONG_NAME, _NAME, _DATA, _MIME = "__attach_version1.0", "3707", "3704", "3701", "370E"
_EMBEDDED, _MAX_DEPTH = f"__substg1.0_{_DATA}000D", 10
_INTEGER, _TIME = 0x0003, 0x0040
_CODE_PAGES, _PLAIN_PAGES = (0x3FDE, 0x3FFD), (0, 20127, 28591)  # ASCII and Latin 1 are said of everything
_ENCODINGS = {65001: "utf-8", 20866: "koi8-r", 21866: "koi8-u", 50220: "iso2022_jp", 51932: "euc_jp", 54936: "gb18030"}
_SENT = (0x0039, 0x0E06)  # when it was sent, when it arrived
_EPOCH = dt.datetime(1601, 1, 1, tzinfo=dt.UTC)


def read(content: bytes, name: str) -> Draft:
    with opened(content) as container:
        message = _Message(container)
        kind = message.string(_CLASS)
        if not kind and not message.string(_SUBJECT):
            raise DocumentUnreadable("the file is an old binary Office file but not an Outlook message")
        if _is_sealed(message, kind.upper()):
            raise DocumentUnreadable("the message is encrypted and cannot be read without its owner's key")
        blocks = list(_blocks(message, 0))
        return Draft(blocks, message.string(_SUBJECT), "", {"author": _sender(message), "updated": _date(message)[:10]})


class _Message:
    """The values of one message. Those of fixed size lie in a stream of their own, after ``head`` bytes."""

    def __init__(self, container: Container, head: int = 32, encoding: str = "") -> None:
        self.container = container
        data = container.stream("__properties_version1.0")
        entries = (struct.unpack_from("<HHIQ", data, at) for at in range(head, len(data) - 15, 16))
        self.fixed = {(kind, tag): value for kind, tag, _, value in entries}
        self._encoding = encoding or self._declared()

    def _declared(self) -> str:
        """The code page of the mail as it was sent says more than the one of the program that saved it."""
        pages = [self.fixed.get((_INTEGER, tag), 0) & 0xFFFFFFFF for tag in _CODE_PAGES]
        page = next((page for page in pages if page not in _PLAIN_PAGES), 1252)
        name = _ENCODINGS.get(page, f"iso8859-{page - 28590}" if 28590 < page < 28606 else f"cp{page}")
        try:
            return codecs.lookup(name).name
        except LookupError:
            return "cp1252"

    def string(self, tag: str) -> str:
        wide = self.container.stream(f"__substg1.0_{tag}001F")
        if wide:
            return wide.decode("utf-16-le", "replace").strip("\0 ")
        narrow = self.container.stream(f"__substg1.0_{tag}001E")
        try:
            return narrow.decode(self._encoding).strip("\0 ")
        except UnicodeDecodeError:
            return narrow.decode("cp1252", "replace").strip("\0 ")

    def attachments(self) -> list[_Message]:
        names = [name for name in self.container.storages() if name.startswith(_ATTACHMENT)]
        return [_Message(self.container.within(name), 8, self._encoding) for name in names]


def _blocks(message: _Message, depth: int) -> Iterator[Block]:
    people = {
        "From": _sender(message),
        "To": message.string(_TO),
        "Cc": message.string(_CC),
        "Date": _date(message),
    }
    for label, value in people.items():
        if value:
            yield Block("list_item", f"{label}: {value}")
    yield from _body(message)
    for attachment in message.attachments():
        yield from _attachment(attachment, depth)


def _is_sealed(message: _Message, kind: str) -> bool:
    """S/MIME by the message's class; PGP by its attachments, the body being one of them."""
    if kind.startswith("IPM.NOTE.SMIME") and "MULTIPARTSIGNED" not in kind:
        return True
    return any("pgp-encrypted" in attachment.string(_MIME) for attachment in message.attachments())


def _sender(message: _Message) -> str:
    name = message.string(_SENDER)
    address = next((found for found in map(message.string, _ADDRESSES) if "@" in found), "")
    return name if not address or address in name else f"{name} <{address}>".strip()


def _date(message: _Message) -> str:
    ticks = next((message.fixed[_TIME, tag] for tag in _SENT if (_TIME, tag) in message.fixed), 0)
    try:
        moment = _EPOCH + dt.timedelta(microseconds=ticks // 10)
    except OverflowError:
        return ""
    return moment.isoformat(sep=" ", timespec="minutes") if ticks else ""


def _body(message: _Message) -> Iterator[Block]:
    plain = message.string(_BODY)
    rich = message.container.stream(f"__substg1.0_{_HTML}0102")
    if plain.strip():
        yield from text.blocks_of(plain.replace("\r\n", "\n"))
    elif rich:
        yield from html.fragment(decode(rich, "cp1252"))
    else:
        yield from html.fragment(message.string(_HTML))


def _attachment(attachment: _Message, depth: int) -> Iterator[Block]:
    """A message within the message lies there as a storage; anything else is a file."""
    name = attachment.string(_LONG_NAME) or attachment.string(_NAME)
    if _EMBEDDED not in attachment.container.storages():
        yield from attached(name or "unnamed", attachment.container.stream(f"__substg1.0_{_DATA}0102"))
        return
    inner = _Message(attachment.container.within(_EMBEDDED), 24)
    subject = inner.string(_SUBJECT)
    if depth < _MAX_DEPTH and (subject or inner.string(_CLASS)):
        yield Block("heading", f"Message: {subject or 'without subject'}", level=2)
        yield from _blocks(inner, depth + 1)
    else:
        yield Block("paragraph", f"Attachment: {name or 'an embedded object'}, whose content is not read.")
