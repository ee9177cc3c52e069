"""The old binary formats, put together byte by byte."""

import struct

from workers.ingestion.parse.dispatch import parse
from workers.ingestion.parse.ole_summary import summary

from . import ole_builder
from .builders import brief
from .ole_builder import Tree, ole_file

_CODEPAGE, _TEXT, _TIME = 0x02, 0x1E, 0x40


def text(value: bytes) -> tuple[int, bytes]:
    return _TEXT, struct.pack("<I", len(value) + 1) + value + b"\0"


def word_97(main: str, foot: str = "", boxes: str = "") -> dict[str, bytes]:
    """The streams of a document: its text in UTF-16 in one piece."""
    text = (main + foot + boxes).encode("utf-16-le")
    head = bytearray(0x400)
    struct.pack_into("<HH", head, 0, 0xA5EC, 0xC1)
    struct.pack_into("<7i", head, 0x4C, len(main), len(foot), 0, 0, 0, 0, len(boxes))
    pieces = struct.pack("<iiHIH", 0, len(text) // 2, 0, 0x400, 0)
    table = b"\x02" + struct.pack("<I", len(pieces)) + pieces
    struct.pack_into("<II", head, 0x1A2, 0, len(table))
    return {"WordDocument": bytes(head) + text, "0Table": table}


def word_95(text: bytes) -> dict[str, bytes]:
    head = bytearray(0x300)
    struct.pack_into("<HH", head, 0, 0xA5DC, 0x68)
    struct.pack_into("<II", head, 0x18, 0x300, 0x300 + len(text))
    struct.pack_into("<7i", head, 0x34, len(text), 0, 0, 0, 0, 0, 0)
    return {"WordDocument": bytes(head) + text}


def record(kind: int, data: bytes, version: int = 0) -> bytes:
    return struct.pack("<HHI", version, kind, len(data)) + data


def slides(*titles: str, notes: str = "") -> bytes:
    """A presentation whose outline has these titles; the notes are the last slide's."""
    outline = b""
    for number, title in enumerate(titles, 256):
        outline += record(1011, struct.pack("<IIIII", 0, 0, 0, number, 0)) + record(3999, bytes(4))
        outline += record(4000, title.encode("utf-16-le"))
    spoken = record(1009, struct.pack("<II", 255 + len(titles), 0)) + record(4000, notes.encode("utf-16-le"))
    return record(1000, record(4080, outline, 0xF), 0xF) + (record(1008, spoken, 0xF) if notes else b"")


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


def test_notes_stand_where_they_are_called_and_boxes_after_the_text() -> None:
    streams = word_97("Stop the index.\x02\rStart it.\r", "\x02 Never on\rFridays.\r", "Ask Ada.\r")
    assert [text for _, _, text in brief(parse("a.doc", ole_file(streams)))] == [
        "Stop the index. (Never on Fridays.)",
        "Start it.",
        "Ask Ada.",
    ]


def test_word_95_in_the_encoding_of_its_summary() -> None:
    streams = word_95("Остановить поиск\rЗапустить снова\r".encode("cp1251"))
    russian = ole_builder.summary({1: (_CODEPAGE, struct.pack("<H", 1251))})
    blocks = brief(parse("a.doc", ole_file({**streams, "\x05SummaryInformation": russian})))
    assert [text for _, _, text in blocks] == ["Остановить поиск", "Запустить снова"]
    (block,) = brief(parse("a.doc", ole_file(word_95(b"It\x92s na\xefve\r"))))
    assert block[2] == "It’s naïve"


def test_notes_of_a_slide_stand_under_it() -> None:
    content = ole_file({"PowerPoint Document": slides("Stopping", "Starting", notes="Wait for the disk.")})
    assert brief(parse("a.ppt", content)) == [
        ("heading", 2, "Stopping"),
        ("heading", 2, "Starting"),
        ("heading", 3, "Notes"),
        ("paragraph", 0, "Wait for the disk."),
    ]


def message(subject: str, body: str, page: int = 0, head: int = 32, **attachments: Tree) -> dict[str, bytes | Tree]:
    """The storage of an Outlook message whose texts are bytes, in an encoding of Windows."""
    encoding = f"cp{page or 1252}"
    fixed = bytes(head) + struct.pack("<HHIQ", 0x0003, 0x3FDE, 0, page)
    texts = {"001A": b"IPM.Note", "0037": subject.encode(encoding), "1000": body.encode(encoding)}
    streams: dict[str, bytes | Tree] = {f"__substg1.0_{tag}001E": value for tag, value in texts.items()}
    storages = {f"__attach_version1.0_#{number:08X}": part for number, part in enumerate(attachments.values())}
    return {**streams, "__properties_version1.0": fixed, **storages}


def test_a_message_is_read_in_the_encoding_in_which_it_was_sent() -> None:
    document = parse("a.msg", ole_file(message("Поиск", "Остановить и запустить", 1251)))
    assert (document.title, brief(document)) == ("Поиск", [("paragraph", 0, "Остановить и запустить")])


def test_a_message_within_a_message() -> None:
    name = "__substg1.0_3707001E"
    inner = message("Re: 検索", "止めてください", 932, 24)
    outer = message(
        "Plan",
        "See below",
        mail={name: b"Re", "__substg1.0_3701000D": inner},
        file={name: b"a.txt", "__substg1.0_37010102": b"Hello"},
    )
    assert brief(parse("a.msg", ole_file(outer))) == [
        ("paragraph", 0, "See below"),
        ("heading", 2, "Message: Re: 検索"),
        ("paragraph", 0, "止めてください"),
        ("heading", 2, "Attachment: a.txt"),
        ("paragraph", 0, "Hello"),
    ]


def test_messages_within_messages_without_end_are_named() -> None:
    tree = message("innermost", "text", head=24)
    for number in range(12):
        tree = message(f"level {number}", "text", head=24, mail={"__substg1.0_3701000D": tree})
    texts = [text for _, _, text in brief(parse("a.msg", ole_file(tree)))]
    assert texts[-1] == "Attachment: an embedded object, whose content is not read."
