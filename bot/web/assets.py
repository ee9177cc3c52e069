"""The page's files, read once when the application is built and served from memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from assistant.errors import NotFound

FOLDER = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# What the sign-in pages are made of.
BEFORE_SIGN_IN = frozenset({"style.css", "theme.js", "login.js", "admin-enter.js", "icon.svg"})


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    content_type: str
    etag: str


class Assets:
    """Files by name; a name that is not among them does not exist, whatever lies in the folder."""

    def __init__(self, files: dict[str, Asset]) -> None:
        self._files = files

    @classmethod
    def load(cls) -> Assets:
        paths = (path for path in FOLDER.iterdir() if path.suffix in TYPES)
        return cls({path.name: _asset(path) for path in paths})

    def respond(self, request: web.Request, name: str, status: int = 200) -> web.Response:
        """The file, or 304 when the browser holds this version."""
        asset = self._files.get(name)
        if asset is None:
            raise NotFound("There is no such page.")
        headers = {"ETag": asset.etag, "Cache-Control": "no-cache"}
        if status == 200 and asset.etag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(
            status=status, body=asset.body, content_type=asset.content_type, charset="utf-8", headers=headers
        )


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:20]}"')
