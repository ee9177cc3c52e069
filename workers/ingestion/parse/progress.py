"""How a slow but honest reader asks for more time: a PDF of many pages, text recognition page by page."""

from __future__ import annotations

from collections.abc import Callable

_listener: list[Callable[[float], None]] = []


def listen(listener: Callable[[float], None]) -> None:
    """``listener`` takes seconds; only the parsing process sets one."""
    _listener[:] = [listener]


def extend(seconds: float) -> None:
    """The next step may take so long, counted from now. Without a listener there is no limit to extend."""
    for listener in _listener:
        listener(seconds)
