"""Commands that are imported when they are run: to list thirty of them takes the imports of none."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Entry(NamedTuple):
    """A command in the list. ``place``: ``module:name`` of its function or of its Typer application."""

    name: str
    place: str
    help: str
    examples: str | None = None  # of a function; an application has its own


class Later(TyperCommand):
    """Stands in the list for a command, and becomes it as soon as its arguments are read."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name, help=entry.help, rich_markup_mode="rich")
        self.entry = entry

    def load(self) -> Any:
        module, _, name = self.entry.place.partition(":")
        found = getattr(import_module(module), name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(rich_markup_mode="rich")
            alone.command(epilog=self.entry.examples)(found)
            found = alone
        found.pretty_exceptions_enable = found._add_completion = False
        command = typer.main.get_command(found)
        command.name = self.entry.name
        return command

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return self.load().make_context(info_name, args, parent, **extra)


def group(entries: tuple[Entry, ...]) -> type[TyperGroup]:
    """The class of an application whose commands are ``entries``."""

    class Commands(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for entry in entries:
                self.add_command(Later(entry))

    return Commands
