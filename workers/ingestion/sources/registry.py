"""The kinds of source by name. The names are what ``sources.kind`` holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from workers.ingestion.sources.collection import Collection
from workers.ingestion.sources.confluence import Confluence
from workers.ingestion.sources.folder import open_folder
from workers.ingestion.sources.git import open_repository
from workers.ingestion.sources.github import GitHub
from workers.ingestion.sources.page import Page
from workers.ingestion.sources.port import Setting, Source
from workers.ingestion.sources.sharepoint import SharePoint
from workers.ingestion.sources.uploads import Uploads
from workers.ingestion.sources.website import Website

KINDS: Mapping[str, Callable[[Setting], Source]] = {
    "collection": Collection,
    "confluence": Confluence,
    "folder": open_folder,
    "git": open_repository,
    "github": GitHub,
    "page": Page,
    "sharepoint": SharePoint,
    "upload": Uploads,
    "website": Website,
}
