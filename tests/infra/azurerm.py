"""The schema of Terraform's Azure provider, as the npm package of its CDK carries it, and files checked by it.

The provider itself cannot be had without HashiCorp's registry. The package has a class for each resource, made from
the provider's schema; its declarations say which arguments there are, which are required, and which are blocks.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import hcl2

PACKAGE = "@cdktf/provider-azurerm@14.23.1"  # of hashicorp/azurerm 4.55.0
META = {"for_each", "count", "depends_on", "lifecycle", "provider"}
ALWAYS = {"id", "timeouts"}
_INTERFACE = re.compile(r"export interface (\w+)(?: extends [\w.]+)? \{\n(.*?)\n\}", re.S)
_FIELD = re.compile(r"#(\w+) [^}]*\}(?:(?!\*/).)*?\*/\s*readonly \w+(\??): (.*?);\n", re.S)
_GETTER = re.compile(r"^    get (\w+)\(\)", re.M)


class Field(NamedTuple):
    required: bool
    block: str | None  # the interface of the block, if it is one


class Kind:
    """One resource: ``interfaces`` by name, each its fields; ``root`` is that of the resource itself."""

    def __init__(self, declarations: str) -> None:
        bodies = dict(_INTERFACE.findall(declarations))
        self.root = next(name for name in bodies if name.endswith("Config"))
        self.interfaces = {name: dict(_fields(body, bodies)) for name, body in bodies.items()}
        self.readable = set(_GETTER.findall(declarations))


def _fields(body: str, interfaces: Mapping[str, str]) -> Iterator[tuple[str, Field]]:
    for name, optional, kind in _FIELD.findall(body + "\n"):
        block = re.match(r"\w+", kind)
        yield name, Field(not optional, block[0] if block and block[0] in interfaces else None)


class Schema:
    """The kinds of ``wanted`` resources and data sources (``data.azurerm_…``), out of the package's archive."""

    def __init__(self, archive: Path, wanted: set[str]) -> None:
        self.kinds: dict[str, Kind] = {}
        folders = {f"package/lib/{_folder(kind)}/index.d.ts": kind for kind in wanted}
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name in folders:
                    text = tar.extractfile(member)
                    assert text is not None
                    self.kinds[folders[member.name]] = Kind(text.read().decode())

    def faults(self, kind: str, body: Mapping[str, Any]) -> Iterator[str]:
        """What of ``body`` the provider would refuse."""
        if kind not in self.kinds:
            yield f"{kind}: there is no such resource"
            return
        yield from self._faults(self.kinds[kind], self.kinds[kind].root, body, kind)

    def _faults(self, kind: Kind, interface: str, body: Mapping[str, Any], at: str) -> Iterator[str]:
        fields = kind.interfaces[interface]
        given = list(_given(body))
        for name, value, is_block in given:
            field = fields.get(name)
            if field is None:
                if name not in ALWAYS:
                    yield f"{at}: {name} is no argument"
            elif is_block != (field.block is not None):
                yield f"{at}: {name} is {'an argument, not a block' if is_block else 'a block, not an argument'}"
            elif is_block and field.block:
                yield from self._faults(kind, field.block, value, f"{at}.{name}")
        names = {name for name, _, _ in given}
        for name, field in fields.items():
            if field.required and name not in names:
                yield f"{at}: {name} is missing"

    def readable(self, kind: str, attribute: str) -> bool:
        """Whether others may refer to ``kind.name.attribute``."""
        camel = re.sub(r"_(\w)", lambda found: found[1].upper(), attribute)
        return camel in self.kinds[kind].readable or attribute in self.kinds[kind].interfaces[self.kinds[kind].root]


def _folder(kind: str) -> str:
    name = kind.removeprefix("data.").removeprefix("azurerm_").replace("_", "-")
    return f"data-azurerm-{name}" if kind.startswith("data.") else name


def _given(body: Mapping[str, Any]) -> Iterator[tuple[str, Any, bool]]:
    """(name, value, whether it is a block) of all that a body holds, dynamic blocks as what they make."""
    for name, value in body.items():
        if name.startswith("__") or name in META:
            continue
        if name == "dynamic":
            for dynamic in value:
                for block, made in dynamic.items():
                    if not block.startswith("__"):
                        yield unquoted(block), made["content"][0], True
        elif isinstance(value, list) and value and isinstance(value[0], dict) and "__is_block__" in value[0]:
            yield from ((name, block, True) for block in value)
        else:
            yield name, value, False


def unquoted(name: str) -> str:
    return name.strip('"')


class Root:
    """The Terraform files of a folder: ``resources`` and ``data`` as (type, name, body)."""

    def __init__(self, folder: Path) -> None:
        self.texts = {path.name: path.read_text("utf-8") for path in sorted(folder.glob("*.tf"))}
        self.files = {name: hcl2.loads(text) for name, text in self.texts.items()}

    def _blocks(self, kind: str) -> list[tuple[str, str, dict[str, Any]]]:
        return [
            (unquoted(type_), unquoted(name), body)
            for file in self.files.values()
            for block in file.get(kind, [])
            for type_, named in block.items()
            if not type_.startswith("__")
            for name, body in named.items()
        ]

    @cached_property
    def resources(self) -> list[tuple[str, str, dict[str, Any]]]:
        return self._blocks("resource")

    @cached_property
    def data(self) -> list[tuple[str, str, dict[str, Any]]]:
        return self._blocks("data")

    def one(self, type_: str, name: str = "this") -> dict[str, Any]:
        return next(body for kind, called, body in self.resources if (kind, called) == (type_, name))

    def names(self, kind: str) -> set[str]:
        """Names of variables (``variable``), or of locals (``locals``)."""
        blocks = [block for file in self.files.values() for block in file.get(kind, [])]
        return {unquoted(name) for block in blocks for name in block if not name.startswith("__")}

    @property
    def code(self) -> str:
        """All of it without comments."""
        return re.sub(r"(?m)(^|\s)#.*$", "", "\n".join(self.texts.values()))
