"""ZIP archives as one document with a section per member.

What a reader can open is the archive: it has the address and the readers, its members have none. So it is the
document that is cited, and the member's path is the first heading of the passage ("docs/runbook.md > Restart"), with
the page inside the member where it has pages. A member that cannot be read is named with its reason in the text, and
the archive fails only when none can. ``unread`` of its metadata says the same for the failures that people are told.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath

from assistant.errors import DocumentUnreadable
from assistant.knowledge.documents import Block
from workers.ingestion.parse.archive import check_sizes, part
from workers.ingestion.parse.draft import Draft, humanise, one_line
from workers.ingestion.parse.formats import reader_of
from workers.ingestion.parse.nested import as_section, opened
from workers.ingestion.parse.unread import unread_note, unread_of, within

MAX_MEMBERS = 2_000
_LITTER = ("__MACOSX/", ".DS_Store", "Thumbs.db")
_OFFICE = {"word/": "docx", "xl/": "xlsx", "ppt/": "pptx"}


def read(content: bytes, name: str) -> Draft:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            _refuse_office([info.filename for info in infos])
            check_sizes(infos)
            wanted = [info for info in infos if _is_document(info)]
            if not wanted:
                raise DocumentUnreadable("the archive is empty")
            blocks, failed = _members(archive, wanted)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise DocumentUnreadable("the archive is damaged or cut off and cannot be read") from error
    if not blocks:
        raise DocumentUnreadable(_why_none(failed))
    if failed:
        blocks.append(Block("heading", "Files in this archive that could not be read", level=1))
        blocks.extend(Block("list_item", f"{member}: {reason}") for member, reason in failed.items())
    return Draft(blocks, humanise(name), metadata={"members": str(len(wanted)), **unread_note(failed)})


def _members(archive: zipfile.ZipFile, wanted: list[zipfile.ZipInfo]) -> tuple[list[Block], dict[str, str]]:
    blocks: list[Block] = []
    failed: dict[str, str] = {}
    for info in wanted[:MAX_MEMBERS]:
        name = one_line(info.filename)
        try:
            if reader_of(info.filename) is None:
                raise DocumentUnreadable("files of this kind are not supported")
            member = opened(info.filename, part(archive, info))
        except DocumentUnreadable as error:
            failed[name] = str(error)
            continue
        blocks += as_section(info.filename, member)
        failed |= {within(name, inner): reason for inner, reason in unread_of(member.metadata).items()}
    if len(wanted) > MAX_MEMBERS:
        failed[f"{len(wanted) - MAX_MEMBERS} more members"] = f"only the first {MAX_MEMBERS} are read"
    return blocks, failed


def _is_document(info: zipfile.ZipInfo) -> bool:
    name = info.filename
    hidden = PurePosixPath(name).name.startswith(".")
    return not info.is_dir() and not hidden and not name.startswith(_LITTER) and not name.endswith(_LITTER)


def _refuse_office(names: list[str]) -> None:
    if "[Content_Types].xml" in names:
        kind = next((kind for folder, kind in _OFFICE.items() if any(name.startswith(folder) for name in names)), None)
        if kind:
            raise DocumentUnreadable(f"the file is named .zip but is an Office file; name it .{kind}")


def _why_none(failed: dict[str, str]) -> str:
    first = ": ".join(next(iter(failed.items())))
    first = first if len(first) < 200 else first[:199] + "…"
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"nothing in the archive could be read: {first}{more}"
