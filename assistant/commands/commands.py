"""One set of commands for every front end: parsed, allowed, run, and written down."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from assistant.commands import changing, finetuning, keys, reading, tools
from assistant.commands.admin import admin
from assistant.commands.context import Context
from assistant.commands.following import follow
from assistant.commands.preferences import preferences
from assistant.commands.replies import Caller, Described, Refused, Reply, RunState, UploadedFile
from assistant.commands.spending import spending
from assistant.errors import AlmanacError
from assistant.strings import say

log = structlog.get_logger()

Handler = Callable[[Context, Caller, str, bool], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class _Command:
    """``words``: what its arguments are called in the usage; ``bare``: it makes sense without any."""

    run: Handler
    usage: str
    admin: bool = False
    bare: bool = True


async def _help(_context: Context, caller: Caller, _rest: str, _confirmed: bool) -> Reply:
    def lines(admin: bool) -> list[str]:
        found = ((name, command) for name, command in _COMMANDS.items() if command.admin is admin)
        return [f"- `{command.usage}` – {say(f'commands.{name}_help', caller.language)}" for name, command in found]

    text = [say("commands.help_intro", caller.language), "", *lines(False), "", say("filters.help", caller.language)]
    if caller.admin:
        text += ["", say("commands.help_admin", caller.language), "", *lines(True)]
    return Reply("\n".join(text))


_COMMANDS: dict[str, _Command] = {
    "help": _Command(_help, "help"),
    "ask": _Command(reading.ask, "ask QUESTION", bare=False),
    "search": _Command(reading.search, "search WORDS", bare=False),
    "status": _Command(reading.status, "status"),
    "settings": _Command(reading.settings, "settings"),
    "tool": _Command(tools.tool, "tool [NAME [argument=value …]]"),
    "approvals": _Command(tools.approvals, "approvals [NO]"),
    "mcp": _Command(keys.mcp, "mcp [new|revoke NO]"),
    "training": _Command(finetuning.training, "training [out|in]", bare=False),
    "ingest": _Command(changing.ingest, "ingest URL|upload", admin=True, bare=False),
    "sources": _Command(changing.sources, "sources [list|add [KIND] LOCATION|sync NO|remove NO]", admin=True),
    "runs": _Command(changing.runs, "runs [retry NO]", admin=True),
    "forget": _Command(changing.forget, "forget DOCUMENT", admin=True, bare=False),
    "models": _Command(
        finetuning.models, "models [show NAME|promote NAME|canary NAME PERCENT|rollback|remove NAME]", admin=True
    ),
    "finetune": _Command(
        finetuning.finetune, "finetune [dpo] [minutes=60] [keep|promote]|stop", admin=True, bare=False
    ),
    "admin": _Command(admin, "admin", admin=True),
    "audit": _Command(reading.audit_log, "audit", admin=True),
    "preferences": _Command(
        preferences, "preferences [status|learn|report [NO]|promote NO|canary NO [SHARE]|rollback [all]]", admin=True
    ),
    "spending": _Command(spending, "spending [person|channel|model|purpose|day] [SINCE]", admin=True),
}


class Commands:
    """Roles are checked here, whatever a front end shows; what changes something is written down with it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def describe(self, admin: bool, language: str = "en") -> list[Described]:
        """The commands that the caller may use, everybody's first."""
        return [
            Described(name, command.usage, say(f"commands.{name}_help", language), command.admin)
            for name, command in _COMMANDS.items()
            if admin or not command.admin
        ]

    def is_command(self, text: str) -> bool:
        """Whether a message is meant as a command: ``/name …``, or a bare command word alone."""
        words = text.strip().split()
        if not words:
            return False
        if words[0].startswith("/"):
            return words[0][1:].lower() in _COMMANDS
        command = _COMMANDS.get(words[0].lower())
        return command is not None and len(words) == 1 and command.bare

    async def run(self, text: str, caller: Caller, confirmed: bool = False) -> Reply:
        """Do what ``text`` says. What cannot be done is a reply, too; nothing is raised but a cancellation."""
        words = text.strip().removeprefix("/").split(maxsplit=1)  # at a line's end, too: questions have several
        name, rest = (words[0].lower() if words else "help"), words[1] if len(words) > 1 else ""
        return await self._guarded(name, caller, self._run(name, rest.strip(), caller, confirmed))

    async def form(self, tool: str, given: Mapping[str, str], caller: Caller) -> Reply:
        """Call a tool with what was filled in on its form; one with mistakes comes back with them."""
        return await self._guarded("tool", caller, tools.submit(self._context, caller, tool, given))

    async def _run(self, name: str, rest: str, caller: Caller, confirmed: bool) -> Reply:
        command = _COMMANDS.get(name)
        if command is None:
            raise Refused(say("commands.unknown", caller.language, name=name[:40].replace("`", "'")))
        if command.admin and not caller.admin:
            raise Refused(say("commands.not_admin", caller.language, name=name))
        return await command.run(self._context, caller, rest, confirmed)

    async def _guarded(self, name: str, caller: Caller, work: Coroutine[Any, Any, Reply]) -> Reply:
        try:
            reply = await work
        except AlmanacError as error:
            reply = Reply(str(error), failed=True)
        except (SQLAlchemyError, OSError) as error:
            log.warning("command.database_away", command=name, error=type(error).__name__)
            reply = Reply(say("commands.away", caller.language), failed=True)
        except Exception:
            reference = uuid.uuid4().hex[:8]
            log.exception("command.failed", command=name, reference=reference)
            reply = Reply(say("commands.broken", caller.language, reference=reference), failed=True)
        log.info("command", command=name, platform=caller.platform, failed=reply.failed)
        return reply

    async def upload(self, file: UploadedFile, caller: Caller) -> Reply:
        """Read a shared file into the index, for whoever can read the place where it was shared."""
        try:
            return await changing.upload(self._context, caller, file)
        except AlmanacError as error:
            return Reply(str(error), failed=True)
        except (SQLAlchemyError, OSError) as error:
            log.warning("command.database_away", command="upload", error=type(error).__name__)
            return Reply(say("commands.away", caller.language), failed=True)

    def follow(self, run_id: uuid.UUID, language: str = "en") -> AsyncIterator[RunState]:
        """How long work stands, whenever that changes, until it has ended."""
        return follow(self._context, run_id, language)
