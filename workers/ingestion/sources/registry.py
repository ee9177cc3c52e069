"""The kinds of source by name. The names are what ``sources.kind`` holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from workers.ingestion.sources.folder import open_folder
from workers.ingestion.sources.page import Page
from workers.ingestion.sources.port import Setting, Source
from workers.ingestion.sources.uploads import Uploads

KINDS: Mapping[str, Callable[[Setting], Source]] = {
    "folder": open_folder,
    "page": Page,
    "upload": Uploads,
}
