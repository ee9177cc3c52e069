"""Markdown with front matter: the tokens of markdown-it become blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.front_matter import front_matter_plugin

from assistant.knowledge.documents import Block
from workers.ingestion.parse.decode import decode
from workers.ingestion.parse.draft import Draft, slug
from workers.ingestion.parse.html import fragment

_MAX_FRONT_MATTER = 64 * 1024
_PAIR = re.compile(r"^([A-Za-z][\w -]*):[ \t]+(\S.*)$", re.MULTILINE)
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "updated": ("last_reviewed_on", "last_updated", "lastmod", "last_modified", "date"),
    "owner": ("owners", "team", "owner_slack", "maintainer"),
}


def read(content: bytes, name: str) -> Draft:
    tokens = _parser().use(front_matter_plugin).parse(decode(content))
    metadata = _front_matter(tokens[0].content) if tokens and tokens[0].type == "front_matter" else {}
    return Draft(list(_Walker(tokens, {}).blocks()), metadata.pop("title", ""), "", metadata)


def blocks_of(source: str, anchors: dict[str, int]) -> Iterator[Block]:
    """The blocks of Markdown inside another format; ``anchors`` are those taken so far."""
    return _Walker(_parser().parse(source), anchors).blocks()


def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _front_matter(source: str) -> dict[str, str]:
    """Scalars and plain lists as strings; where the YAML is not valid, the lines that read ``key: value``."""
    try:
        # BaseLoader keeps dates and numbers as they were written, and builds no objects.
        loaded = yaml.load(source[:_MAX_FRONT_MATTER], Loader=yaml.BaseLoader)  # noqa: S506 - the safest of them  # nosec B506
    except (yaml.YAMLError, RecursionError):
        loaded = {key: value.strip("'\" ") for key, value in _PAIR.findall(source)}
    fields = {str(key).lower(): _flat(value) for key, value in loaded.items()} if isinstance(loaded, dict) else {}
    for name, others in _ALIASES.items():
        known = next((fields[key] for key in (name, *others) if fields.get(key)), "")
        fields[name] = known
    return {key: value for key, value in fields.items() if value and value not in ("null", "~")}


def _flat(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(item for item in value if isinstance(item, str))
    return value if isinstance(value, str) else ""


class _Walker:
    """One pass over the flat token list, keeping the stack of open lists."""

    def __init__(self, tokens: Sequence[Token], anchors: dict[str, int]) -> None:
        self._tokens = tokens
        self._numbers: list[int | None] = []  # per open list: its next number, None for bullets
        self._marker: str | None = None  # the number of an item whose first paragraph is still to come
        self._rows: list[tuple[str, ...]] = []
        self._row: list[str] = []
        self._anchors = anchors

    def blocks(self) -> Iterator[Block]:
        for position, token in enumerate(self._tokens):
            match token.type:
                case "inline":
                    yield from self._inline(token, self._tokens[position - 1])
                case "fence" | "code_block":
                    yield from self._pending_item()
                    yield Block("code", token.content.rstrip("\n"))
                case "html_block":
                    yield from fragment(token.content)
                case "table_close":
                    yield Block("table", rows=tuple(self._rows))
                    self._rows = []
                case "tr_close":
                    self._rows.append(tuple(self._row))
                    self._row = []
                case _:
                    self._track_lists(token)

    def _track_lists(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open":
                self._numbers.append(None)
            case "ordered_list_open":
                self._numbers.append(int(token.attrs.get("start", 1)))
            case "bullet_list_close" | "ordered_list_close":
                self._numbers.pop()
            case "list_item_open":
                number = self._numbers[-1]
                self._marker = "" if number is None else f"{number}. "
                if number is not None:
                    self._numbers[-1] = number + 1
            case "list_item_close":
                self._marker = None

    def _inline(self, token: Token, opener: Token) -> Iterator[Block]:
        if opener.type in ("th_open", "td_open"):
            self._row.append(_text(token))
        elif opener.type == "heading_open":
            title = _text(token).replace("`", "")
            yield Block("heading", title, level=int(opener.tag[1]), anchor=slug(title, self._anchors))
        elif self._marker is not None:
            text = self._marker + _text(token)
            self._marker = None
            yield Block("list_item", text, level=len(self._numbers) - 1)
        else:
            yield Block("paragraph", _text(token))

    def _pending_item(self) -> Iterator[Block]:
        """An item that starts with code has no text of its own; a numbered one keeps its number."""
        if self._marker:
            yield Block("list_item", self._marker.strip(), level=len(self._numbers) - 1)
        self._marker = None


def _text(token: Token) -> str:
    """Inline tokens as plain text; code spans keep their backticks, an image leaves its alt text."""
    parts: list[str] = []
    for child in token.children or ():
        match child.type:
            case "text" | "text_special":
                parts.append(child.content)
            case "code_inline":
                parts.append(f"`{child.content}`")
            case "softbreak":
                parts.append(" ")
            case "hardbreak":
                parts.append("\n")
            case "image":
                parts.append(child.content)
            case "html_inline":
                parts.append("\n" if child.content.lower().startswith("<br") else "")
            case _:
                pass
    return "".join(parts).strip()
