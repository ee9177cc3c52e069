"""The sample's tools beside the sample's handbook: the company's API as a process of its own, with its own token."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from pydantic import SecretStr

import assistant.sample
from assistant.database import sources, status
from assistant.database.session import Sessions
from assistant.process import LISTENING_SOCKET, PARENT_PIPE
from assistant.sample.company import TOKEN
from assistant.settings import Settings
from bot.child import Child
from bot.state import Running, SampleTools

FILE = Path(assistant.sample.__file__).parent / "tools.yaml"
SOURCE = "company"  # its name in tools.yaml
SECRET = "sample_company"  # noqa: S105 - a name there, too


async def wanted(settings: Settings, sessions: Sessions) -> bool:
    """Whether nobody has said which tools there are, and the sample handbook is in the index or about to be."""
    if settings.tools is not None:
        return False
    async with sessions() as session:
        if not (await status.counts(session))["documents"]:
            return True
        return any(row.location == str(assistant.sample.HANDBOOK) for row in await sources.listed(session))


async def start(settings: Settings, logs: Path, stack: AsyncExitStack) -> SampleTools:
    """Start the company's API on a free port of this machine; it stops with ``stack``, and starts again if it dies.

    It sees none of our settings, and no secret but its own token.
    """
    listening = stack.enter_context(socket.socket())
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    listening.set_inheritable(True)
    token = secrets.token_urlsafe(32)
    ours = ("ALMANAC_", "SLACK_", "MICROSOFT")
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
    environment |= {TOKEN: token, LISTENING_SOCKET: str(listening.fileno()), PARENT_PIPE: "1"}
    child = Child("assistant.sample.company", environment, logs / "company.log", (listening.fileno(),))
    stack.push_async_callback(child.stop)
    await child.start()
    kept = {name: secret.get_secret_value() for name, secret in settings.tool_secrets.items()}
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    return SampleTools(str(FILE), {SOURCE: url}, kept | {SECRET: token})


def with_sample(settings: Settings, running: Running | None) -> Settings:
    """The settings of a command beside a running Almanac, which knows where the sample's tools are."""
    if settings.tools is not None or running is None or running.tools is None:
        return settings
    tools = running.tools
    kept = {name: SecretStr(secret) for name, secret in tools.secrets.items()}
    # A copy, since reading them anew would take every default for somebody's wish.
    return settings.model_copy(update={"tools": tools.file, "tool_servers": tools.servers, "tool_secrets": kept})
