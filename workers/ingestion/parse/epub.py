"""EPUB books: the chapters in the order of the spine, each read as HTML."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from lxml import etree

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse import html
from workers.ingestion.parse.archive import checked_parts
from workers.ingestion.parse.draft import Draft
from workers.ingestion.parse.xml import safe_root

_CONTAINER = "META-INF/container.xml"
_WANTED = (".opf", ".xhtml", ".html", ".htm", ".xml")


def read(content: bytes, name: str) -> Draft:
    parts = checked_parts(content, lambda part: part.lower().endswith(_WANTED))
    if "META-INF/encryption.xml" in parts and b"EncryptedKey" in parts["META-INF/encryption.xml"]:
        raise DocumentUnreadable("the book is protected (DRM) and cannot be read")
    if _CONTAINER not in parts:
        raise DocumentUnreadable("the file is a ZIP archive but not an EPUB book")
    package = next((str(node.get("full-path")) for node in _all(parts[_CONTAINER], "rootfile")), "")
    if package not in parts:
        raise DocumentUnreadable("the book is damaged: its list of chapters is missing")
    root = safe_root(parts[package])
    blocks: list[Block] = []
    for chapter in _spine(root, posixpath.dirname(package)):
        if chapter in parts:
            blocks += html.read(parts[chapter], chapter).blocks
    found = {tag: _first(root, tag) for tag in ("title", "creator", "date", "description")}
    about = [Block("paragraph", found["description"])] if found["description"] else []
    metadata = {"author": found["creator"], "updated": found["date"][:10]}
    authors = [Block("paragraph", f"Authors: {found['creator']}")] if found["creator"] else []
    return Draft([*authors, *about, *blocks], found["title"], "", metadata)


def _spine(root: etree._Element, folder: str) -> list[str]:
    items = {str(node.get("id")): str(node.get("href") or "") for node in root.iter("{*}item")}
    order = [items.get(str(node.get("idref")), "") for node in root.iter("{*}itemref")]
    return [posixpath.normpath(posixpath.join(folder, unquote(href))) for href in order if href]


def _all(data: bytes, tag: str) -> list[etree._Element]:
    return list(safe_root(data).iter(f"{{*}}{tag}"))


def _first(root: etree._Element, tag: str) -> str:
    return next((" ".join("".join(node.itertext()).split()) for node in root.iter(f"{{*}}{tag}")), "")
