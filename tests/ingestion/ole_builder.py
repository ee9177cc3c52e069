"""The container of the old Office formats, as small as olefile takes it."""

from __future__ import annotations

import struct
from collections.abc import Mapping

_SECTOR, _LEAST = 512, 4096  # shorter streams would lie in a stream of their own
_END, _FREE, _FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


Tree = Mapping[str, "bytes | Tree"]


def ole_file(tree: Tree) -> bytes:
    """Streams and storages by name; each stream is filled up with zeros to 4096 bytes."""
    chains: list[int] = [_FAT, *[_FREE] * 15]  # sector -> the next of its stream; the first sixteen hold this table
    chains[1:16] = [_FAT] * 15
    body: list[bytes] = []
    entries: list[bytes] = [b""]

    def stored(data: bytes) -> int:
        count = -(-len(data) // _SECTOR)
        first = len(chains)
        chains.extend([*range(first + 1, first + count), _END])
        body.append(data.ljust(count * _SECTOR, b"\0"))
        return first

    def listed(parts: Tree) -> int:
        """The number of the first entry; each points to the next."""
        following = _FREE
        for name, part in reversed(parts.items()):
            if isinstance(part, bytes):
                data = part.ljust(_LEAST, b"\0")
                entries.append(_entry(name, 2, _FREE, following, stored(data), len(data)))
            else:
                inner = listed(part)
                entries.append(_entry(name, 1, inner, following, 0, 0))
            following = len(entries) - 1
        return following

    first = listed(tree)
    entries[0] = _entry("Root Entry", 5, first, _FREE, _END, 0)
    directory = stored(b"".join(entries).ljust(-(-len(entries) // 4) * _SECTOR, b"\0"))
    assert len(chains) <= 16 * 128
    table = struct.pack("<2048I", *chains, *[_FREE] * (2048 - len(chains)))
    return _header(directory) + table + b"".join(body)


def _header(directory: int) -> bytes:
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, 16, directory, 0, _LEAST, _END, 0, _END, 0)
    return head + struct.pack("<109I", *range(16), *[_FREE] * 93)


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
