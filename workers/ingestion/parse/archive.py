"""Opening the ZIP inside Office files and books without falling for bombs, and reading its XML without entities."""

from __future__ import annotations

import io
import posixpath
import re
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable

from lxml import etree

from assistant.errors import DocumentUnreadable

MAX_UNCOMPRESSED = 200 * 1024 * 1024
MAX_RATIO = 200
MAX_TREE = 64 * 1024 * 1024  # bytes of one part that is read as a tree, which takes ten times as much memory
_WORDS = {"word": "a Word document", "xl": "an Excel workbook", "ppt": "a PowerPoint presentation"}
_SMALL = 1024 * 1024  # a ratio says nothing about small parts
_DOCTYPE = re.compile(rb"<\0?!\0?(D\0?O\0?C\0?T\0?Y\0?P\0?E|E\0?N\0?T\0?I\0?T\0?Y)")
_STRICT = (
    (b"http://purl.oclc.org/ooxml/officeDocument", b"http://schemas.openxmlformats.org/officeDocument/2006"),
    (b"http://purl.oclc.org/ooxml/wordprocessingml", b"http://schemas.openxmlformats.org/wordprocessingml/2006"),
    (b"http://purl.oclc.org/ooxml/spreadsheetml", b"http://schemas.openxmlformats.org/spreadsheetml/2006"),
    (b"http://purl.oclc.org/ooxml/presentationml", b"http://schemas.openxmlformats.org/presentationml/2006"),
    (b"http://purl.oclc.org/ooxml/drawingml", b"http://schemas.openxmlformats.org/drawingml/2006"),
)


def local(node: ET.Element) -> str:
    """The element's name without its namespace."""
    return node.tag.rsplit("}", 1)[-1]


class Package:
    """The parts of one OOXML file, read and checked; the XML of the Strict variant is turned into the usual one."""

    def __init__(self, content: bytes) -> None:
        found = checked_parts(content, _is_xml)
        self._parts = {_key(name): _without_entities(data) for name, data in found.items()}
        self.broken: set[str] = set()  # parts that are not well formed

    def damage(self) -> dict[str, str]:
        """What of the parts asked for is not well formed, and was read as far as it could be: metadata, or nothing."""
        return {"damaged": f"not well formed: {', '.join(sorted(self.broken))}"} if self.broken else {}

    def main_part(self, wanted: str) -> str:
        """The name of the document part. ``wanted`` is the folder it should lie in: ``word``, ``xl`` or ``ppt``."""
        for relation in self.related("", "officeDocument").values():
            if relation.lower().startswith(f"{wanted}/") and _key(relation) in self._parts:
                return relation
        raise DocumentUnreadable(f"the file is a ZIP archive but not {_WORDS[wanted]}")

    def related(self, part: str, kind: str) -> dict[str, str]:
        """The parts that ``part`` points at by relationships whose type ends in ``kind``: id -> part name."""
        folder, base = posixpath.split(part)
        root = self.xml(posixpath.join(folder, "_rels", f"{base}.rels"))
        found = {}
        for relation in root if root is not None else ():
            if relation.get("Type", "").rsplit("/", 1)[-1] == kind and relation.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/" + folder, relation.get("Target", "")))
                found[relation.get("Id", "")] = target.lstrip("/")
        return found

    def xml(self, part: str) -> ET.Element | None:
        data = self._parts.get(_key(part))
        if data is not None and len(data) > MAX_TREE:
            raise DocumentUnreadable("the file is too large: one of its parts unpacks to more than 64 MiB")
        if data is None:
            return None
        try:
            return ET.fromstring(data)  # noqa: S314 - no DTD comes past _part  # nosec B314
        except ET.ParseError:
            mended = _mended(data)
            self.broken.add(part)
            return mended

    def data(self, part: str) -> bytes:
        """The part as it is, empty where there is none."""
        return self._parts.get(_key(part), b"")

    def names(self, prefix: str) -> list[str]:
        """The XML parts whose name begins so, in the archive's order."""
        return [name for name in self._parts if name.startswith(prefix) and name.endswith(".xml")]

    def core_properties(self) -> dict[str, str]:
        """Title, author and date from ``docProps/core.xml``."""
        try:
            root = self.xml("docProps/core.xml")
        except ET.ParseError:  # it must not lose the text
            root = None
        values = {local(child): child.text or "" for child in root} if root is not None else {}
        found = {"title": values.get("title", ""), "author": values.get("creator", "")}
        return found | {"updated": values.get("modified", "")[:10]}


def _mended(data: bytes) -> ET.Element:
    """What can be had of XML that is not well formed. Raises ET.ParseError where that is nothing."""
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    root = etree.fromstring(data, parser)
    if root is None:
        raise ET.ParseError("no element found")
    return ET.fromstring(etree.tostring(root))  # noqa: S314 - as above  # nosec B314


def _key(name: str) -> str:
    """Names of parts are the same in capitals, and some programs write them as Windows does its paths."""
    return name.replace("\\", "/").lower()


def checked_parts(content: bytes, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The parts whose name is wanted, in the archive's order, once the sizes of all have been checked."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_sizes(archive.infolist())
            return {info.filename: part(archive, info) for info in archive.infolist() if wanted(info.filename)}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise DocumentUnreadable("the file is damaged or cut off: its ZIP archive cannot be read") from error


def check_sizes(infos: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in infos)
    swollen = any(info.file_size > max(_SMALL, MAX_RATIO * info.compress_size) for info in infos)
    if total > MAX_UNCOMPRESSED or swollen or len(infos) > 10_000:
        raise DocumentUnreadable("the file unpacks to far more than its size (a ZIP bomb?) and was not opened")
    if any(info.flag_bits & 0x1 for info in infos):
        raise DocumentUnreadable("the file is protected by a password")


def _is_xml(name: str) -> bool:
    return name.lower().endswith((".xml", ".rels"))


def part(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One part, unpacked no further than the size it declares."""
    with archive.open(info) as stream:
        data = stream.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise DocumentUnreadable("the file is damaged: a part has another size than it declares")
    return data


def _without_entities(data: bytes) -> bytes:
    """XML in the usual namespaces, refused where it declares a DTD."""
    if _DOCTYPE.search(data):
        raise DocumentUnreadable("the file declares XML entities, which Office files never do, and was not read")
    if b"http://purl.oclc.org/ooxml/" in data:
        for strict, usual in _STRICT:
            data = data.replace(strict, usual)
    return data
