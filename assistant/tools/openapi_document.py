"""An OpenAPI document and what it refers to: read whole, resolved lazily, and never past its own folder.

References may lead within the document, or, from a file, to files in the same folder and below. What they lead to is
looked up when it is asked for, so that a document that unfolds into millions of nodes costs only what is used of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import yaml

from assistant.errors import AlmanacError
from assistant.tools.config import _Loader
from assistant.tools.text import plain

MAX_BYTES = 20_000_000
MAX_FILES = 100
MAX_PAIRS = 2_000_000  # of keys and values
MAX_HOPS = 30  # references that lead to references
Node = Mapping[str, Any]


class BadDocument(AlmanacError):
    """The OpenAPI document cannot be used; the sentence says why, without the document's name."""


@dataclass(slots=True)
class Document:
    """``root`` is the document; ``path`` its file, None where it came from a URL."""

    root: Node
    path: Path | None = None
    _files: dict[Path, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Document:
        path = path.resolve()
        root = _mapping(_file(path))
        return cls(root, path, {path: root})

    @classmethod
    def parse(cls, raw: bytes) -> Document:
        return cls(_mapping(parse(raw)))

    def resolve(self, node: Any, file: Path | None) -> tuple[Any, Path | None, tuple[str, ...]]:
        """What the node stands for, the file it lies in, and the references that were followed to it."""
        followed: tuple[str, ...] = ()
        while isinstance(node, Mapping) and isinstance(node.get("$ref"), str):
            if len(followed) >= MAX_HOPS:
                raise BadDocument(f"{followed[0]} leads to references without an end")
            reference = node["$ref"]
            node, file = self._target(reference, file)
            followed = (*followed, f"{file or ''}#{reference.partition('#')[2]}")
        return node, file, followed

    def _target(self, reference: str, file: Path | None) -> tuple[Any, Path | None]:
        where, _, pointer = reference.partition("#")
        if where:
            file = self._beside(where, file)
        whole = self._files[file] if file is not None and file in self._files else self.root
        return _at(whole, pointer, reference), file

    def _beside(self, where: str, file: Path | None) -> Path:
        if self.path is None or file is None or re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", where):
            raise BadDocument(f"{where} is a reference to another place, and only files beside the document are read")
        target = (file.parent / unquote(where)).resolve()
        if not target.is_relative_to(self.path.parent):
            raise BadDocument(f"{where} leads out of the document's folder")
        if target not in self._files:
            if len(self._files) >= MAX_FILES:
                raise BadDocument(f"it refers to more than {MAX_FILES} files")
            self._files[target] = _file(target)
        return target


def _at(whole: Any, pointer: str, reference: str) -> Any:
    if pointer and not pointer.startswith("/"):
        raise BadDocument(f"{reference} is no reference by path (#/…)")
    node = whole
    for part in pointer.split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            raise BadDocument(f"{reference} leads nowhere")
    return node


def _file(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadDocument(f"it is larger than {MAX_BYTES // 1_000_000} MB")
        return parse(path.read_bytes())
    except OSError as error:
        raise BadDocument(f"{path.name} cannot be read ({error.strerror})") from None


def parse(raw: bytes) -> Any:
    """JSON or YAML. Dates stay text: JSON has none."""
    if len(raw) > MAX_BYTES:
        raise BadDocument(f"it is larger than {MAX_BYTES // 1_000_000} MB")
    try:
        return orjson.loads(raw)
    except ValueError:
        pass
    try:
        return yaml.load(raw, Loader=_JsonLoader)  # noqa: S506 - a safe loader  # nosec B506
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        raise BadDocument(f"it is neither JSON nor YAML{f' (line {mark.line + 1})' if mark else ''}") from None


class _JsonLoader(_Loader):  # type: ignore[misc]  # chosen at import
    """YAML as JSON would have it: ``2026-01-31`` is text, keys are text (a response's 200)."""

    merged = 0

    def flatten_mapping(self, node: Any) -> None:
        """Merge keys (``<<``) copy what they merge: a few lines of them can ask for gigabytes."""
        super().flatten_mapping(node)
        self.merged += len(node.value)
        if self.merged > MAX_PAIRS:
            raise BadDocument("it is too large when its merge keys are followed")

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        return {str(key): value for key, value in super().construct_mapping(node, deep=deep).items()}


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _mapping(root: Any) -> Node:
    version = plain(root.get("openapi")) if isinstance(root, Mapping) else ""
    if not isinstance(root, Mapping) or not re.match(r"3\.[01](\.|$)", version):
        found = "Swagger 2" if isinstance(root, Mapping) and "swagger" in root else "no OpenAPI"
        raise BadDocument(f"it is {found}, and only OpenAPI 3.0 and 3.1 are read")
    if not isinstance(root.get("paths"), Mapping):
        raise BadDocument("it has no paths")
    return root
