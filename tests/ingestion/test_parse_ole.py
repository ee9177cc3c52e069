"""The old binary formats, put together byte by byte."""

import struct

from workers.ingestion.parse.dispatch import parse
from workers.ingestion.parse.ole_summary import summary

from . import ole_builder
from .builders import brief
from .ole_builder import ole_file

_CODEPAGE, _TEXT, _TIME = 0x02, 0x1E, 0x40


def text(value: bytes) -> tuple[int, bytes]:
    return _TEXT, struct.pack("<I", len(value) + 1) + value + b"\0"


def slides(*titles: str) -> bytes:
    """A presentation whose outline has these titles."""

    def record(kind: int, data: bytes, version: int = 0) -> bytes:
        return struct.pack("<HHI", version, kind, len(data)) + data

    outline = b""
    for title in titles:
        outline += record(1011, bytes(20)) + record(3999, bytes(4)) + record(4000, title.encode("utf-16-le"))
    return record(1000, record(4080, outline, 0xF), 0xF)


def test_the_summary_is_read_in_its_own_encoding() -> None:
    ticks = 131_000_000_000_000_000  # 2016-02-15
    data = ole_builder.summary(
        {
            1: (_CODEPAGE, struct.pack("<H", 1251)),
            2: text("План работ".encode("cp1251")),
            4: text(b"Ada"),
            13: (_TIME, struct.pack("<Q", ticks)),
        }
    )
    assert summary(data) == ("План работ", {"author": "Ada", "updated": "2016-02-15"})


def test_a_summary_that_promises_a_thousand_million_values() -> None:
    vector = 0x1000 | 0x0C
    broken = ole_builder.summary({2: (vector, struct.pack("<I", 0xFFFFFFFF))})
    content = ole_file({"PowerPoint Document": slides("Restarting"), "\x05SummaryInformation": broken})
    document = parse("runbook.ppt", content)
    assert document.title == "Runbook"
    assert brief(document) == [("heading", 2, "Restarting")]
    assert summary(broken[:60]) == summary(b"") == ("", {"author": "", "updated": ""})
