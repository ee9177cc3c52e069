"""What the worker and its parsing processes say to each other: length, then JSON; never pickle, for the child reads
hostile files and the parent must not run what comes back."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import orjson

from assistant.knowledge.documents import Block, ParsedDocument

MAX_FRAME = 256 * 2**20
_LENGTH = struct.Struct(">Q")


def write(stream: BinaryIO, message: Mapping[str, object], body: bytes = b"") -> None:
    """One frame; ``body`` follows it as it is, its size announced in the frame."""
    data = orjson.dumps({**message, "body": len(body)})
    stream.write(_LENGTH.pack(len(data)))
    stream.write(data)
    stream.write(body)
    stream.flush()


def read(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """The next frame and its body. Raises EOFError where the other side is gone, ValueError where it talks nonsense."""
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    if length > MAX_FRAME:
        raise ValueError("a frame is too large")
    message = orjson.loads(_exactly(stream, length))
    if not isinstance(message, dict) or not 0 <= int(message.get("body", 0)) <= MAX_FRAME:
        raise ValueError("a frame is not what was agreed")
    return message, _exactly(stream, int(message.get("body", 0)))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data


def packed(document: ParsedDocument) -> dict[str, object]:
    blocks = [[b.kind, b.text, b.level, b.rows, b.anchor, b.page] for b in document.blocks]
    return {"title": document.title, "metadata": dict(document.metadata), "blocks": blocks}


def unpacked(message: Mapping[str, Any]) -> ParsedDocument:
    blocks = (
        Block(kind, text, level, tuple(map(tuple, rows)), anchor, page)
        for kind, text, level, rows, anchor, page in message["blocks"]
    )
    return ParsedDocument(message["title"], tuple(blocks), message["metadata"])
