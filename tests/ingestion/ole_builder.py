"""The container of the old Office formats, as small as olefile takes it."""

from __future__ import annotations

import struct

_SECTOR, _LEAST = 512, 4096  # shorter streams would lie in a stream of their own
_END, _FREE, _FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def ole_file(streams: dict[str, bytes]) -> bytes:
    """Streams by name; each is filled up with zeros to 4096 bytes."""
    chains: list[int] = [_FAT]  # sector -> the next of its stream; the first holds this table
    body = b""

    def stored(data: bytes) -> int:
        nonlocal body
        count = -(-len(data) // _SECTOR)
        first = len(chains)
        chains.extend([*range(first + 1, first + count), _END])
        body += data.ljust(count * _SECTOR, b"\0")
        return first

    padded = {name: data.ljust(_LEAST, b"\0") for name, data in streams.items()}
    places = {name: stored(data) for name, data in padded.items()}
    entries = [_entry("Root Entry", 5, 1 if streams else _FREE, _FREE, _END, 0)]
    for number, (name, data) in enumerate(padded.items(), 1):
        right = number + 1 if number < len(padded) else _FREE
        entries.append(_entry(name, 2, _FREE, right, places[name], len(data)))
    directory = stored(b"".join(entries).ljust(-(-len(entries) // 4) * _SECTOR, b"\0"))
    assert len(chains) <= 128
    table = struct.pack("<128I", *chains, *[_FREE] * (128 - len(chains)))
    return _header(directory) + table + body


def _header(directory: int) -> bytes:
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIIII", 0, 1, directory, 0, _LEAST, _END, 0, _END, 0, 0)
    return head + struct.pack("<108I", *[_FREE] * 108)


def _entry(name: str, kind: int, child: int, right: int, start: int, size: int) -> bytes:
    wide = name.encode("utf-16-le") + b"\0\0"
    head = wide.ljust(64, b"\0") + struct.pack("<HBB", len(wide), kind, 1)
    return head + struct.pack("<III", _FREE, right, child) + bytes(36) + struct.pack("<IQ", start, size)


def summary(values: dict[int, tuple[int, bytes]]) -> bytes:
    """A property set: property -> (kind, its value as it is stored after the kind)."""
    count = len(values)
    places, data = b"", b""
    for key, (kind, value) in values.items():
        places += struct.pack("<II", key, 8 + 8 * count + len(data))
        data += struct.pack("<I", kind) + value.ljust(-(-len(value) // 4) * 4, b"\0")
    section = struct.pack("<II", 8 + len(places) + len(data), count) + places + data
    return (
        struct.pack("<HHI", 0xFFFE, 0, 0)
        + bytes(16)
        + struct.pack("<I", 1)
        + bytes(16)
        + struct.pack("<I", 48)
        + section
    )
