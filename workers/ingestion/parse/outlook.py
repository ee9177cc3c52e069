"""Outlook messages (.msg): the properties that [MS-OXMSG] stores as streams, read like a mail."""

from __future__ import annotations

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
_SENT = (0x0039, 0x0E06)  # when it was sent, when it arrived
_EPOCH = dt.datetime(1601, 1, 1, tzinfo=dt.UTC)


def read(content: bytes, name: str) -> Draft:
    with opened(content) as container:
        kind = _string(container, _CLASS)
        if not kind and not _string(container, _SUBJECT):
            raise DocumentUnreadable("the file is an old binary Office file but not an Outlook message")
        if _is_sealed(container, kind.upper()):
            raise DocumentUnreadable("the message is encrypted and cannot be read without its owner's key")
        date = _date(container)
        people = {
            "From": _sender(container),
            "To": _string(container, _TO),
            "Cc": _string(container, _CC),
            "Date": date,
        }
        blocks = [Block("list_item", f"{label}: {value}") for label, value in people.items() if value]
        blocks += [*_body(container), *_attachments(container)]
        subject = _string(container, _SUBJECT)
    return Draft(blocks, subject, "", {"author": people["From"], "updated": date[:10]})


def _is_sealed(container: Container, kind: str) -> bool:
    """S/MIME by the message's class; PGP by its attachments, the body being one of them."""
    if kind.startswith("IPM.NOTE.SMIME") and "MULTIPARTSIGNED" not in kind:
        return True
    storages = [name for name in container.storages() if name.startswith(_ATTACHMENT)]
    return any("pgp-encrypted" in _string(container, _MIME, f"{name}/") for name in storages)


def _string(container: Container, tag: str, prefix: str = "") -> str:
    wide = container.stream(f"{prefix}__substg1.0_{tag}001F")
    if wide:
        return wide.decode("utf-16-le", "replace").strip("\0 ")
    return container.stream(f"{prefix}__substg1.0_{tag}001E").decode("cp1252", "replace").strip("\0 ")


def _sender(container: Container) -> str:
    name = _string(container, _SENDER)
    address = next((found for found in (_string(container, tag) for tag in _ADDRESSES) if "@" in found), "")
    return name if not address or address in name else f"{name} <{address}>".strip()


def _date(container: Container) -> str:
    data = container.stream("__properties_version1.0")
    known: dict[int, int] = {}
    for at in range(32, len(data) - 15, 16):
        kind, tag = struct.unpack_from("<HH", data, at)
        if kind == 0x0040:
            known[tag] = struct.unpack_from("<Q", data, at + 8)[0]
    ticks = next((known[tag] for tag in _SENT if tag in known), 0)
    try:
        moment = _EPOCH + dt.timedelta(microseconds=ticks // 10)
    except OverflowError:
        return ""
    return moment.isoformat(sep=" ", timespec="minutes") if ticks else ""


def _body(container: Container) -> Iterator[Block]:
    plain = _string(container, _BODY)
    rich = container.stream(f"__substg1.0_{_HTML}0102")
    if plain.strip():
        yield from text.blocks_of(plain.replace("\r\n", "\n"))
    elif rich:
        yield from html.fragment(decode(rich, "cp1252"))


def _attachments(container: Container) -> Iterator[Block]:
    for storage in container.storages():
        if storage.startswith(_ATTACHMENT):
            prefix = f"{storage}/"
            name = _string(container, _LONG_NAME, prefix) or _string(container, _NAME, prefix)
            yield from attached(name or "unnamed", container.stream(f"{prefix}__substg1.0_{_DATA}0102"))
