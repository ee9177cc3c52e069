"""MCP servers as sources of tools: a real server's process, by standard input and output and over streamable HTTP."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from assistant.embedded import free_port
from assistant.errors import SettingsError
from assistant.tools.model import BadArguments, NotAllowed, Tool, ToolError, ToolUnavailable, arguments_hash
from assistant.tools.registry import Toolbox
from tests.tools.api import ME, listening, serving, toolbox

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.tools.mcp_server"]
TOKEN = "a-token-of-the-notes"
pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    server = await asyncio.create_subprocess_exec(*COMMAND, *arguments, cwd=ROOT)
    try:
        yield server
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()


def stdio(**more: Any) -> dict[str, Any]:
    return {"name": "notes", "timeout": 30, "mcp": {"command": COMMAND, "folder": str(ROOT), "env": {"NOTES_KEY": "k"}},
            **more}  # fmt: skip


@pytest.fixture(scope="module", params=["stdio", "http"])
async def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Toolbox]:
    """The same server by both ways; a process takes seconds to start."""
    tmp_path = tmp_path_factory.mktemp("mcp")
    if request.param == "stdio":
        async with toolbox(tmp_path, stdio(), secrets={"k": "of-notes"}) as opened:
            await opened.all(patience=40)
            yield opened
        return
    port = free_port()
    async with process(str(port), TOKEN):
        await listening(port)
        web = {"url": f"http://127.0.0.1:{port}/mcp", "auth": {"bearer": "k"}}
        async with toolbox(tmp_path, {"name": "notes", "timeout": 30, "mcp": web}, secrets={"k": TOKEN}) as opened:
            await opened.all(patience=40)
            yield opened


async def named(box: Toolbox, name: str) -> Tool:
    return await box.find(f"notes_{name}", ME)


async def write(box: Toolbox, tool: Tool, arguments: dict[str, Any], key: str) -> Any:
    return await box.call(tool, arguments, ME, idempotency_key=key, approved=arguments_hash(tool, arguments))


async def test_every_page_of_the_list_is_read_and_what_is_not_said_to_read_is_a_write(box: Toolbox) -> None:
    tools = {tool.name: tool for tool in await box.tools_for(ME)}
    assert [name.removeprefix("notes_") for name in tools] == [
        "echo", "write_note", "notes", "tree", "slow", "die", "die_writing", "picture", "fails", "environment",
    ]  # fmt: skip
    writes = {name for name, tool in tools.items() if tool.writes}
    assert writes == {"notes_write_note", "notes_die_writing"}
    assert {name for name, tool in tools.items() if tool.needs_approval} == writes
    echo = tools["notes_echo"]
    assert (echo.title, echo.call) == ("Say it again", "echo")
    assert echo.description.startswith("Says it again. word word")
    assert len(echo.description) <= 1_000
    assert not any(ord(character) >= 0xE0000 or character in "\u202e\u200b" for character in echo.description)
    assert "$ref" not in str(tools["notes_tree"].parameters)


async def test_calls_of_every_kind(box: Toolbox) -> None:
    assert (await box.call(await named(box, "echo"), {"text": "hé\nllo"}, ME)).text == "hé\nllo"
    tree = {"root": {"name": "a", "kids": [{"name": "b"}]}}
    assert (await box.call(await named(box, "tree"), tree, ME)).data == tree  # {"result": …} is unwrapped
    picture = await box.call(await named(box, "picture"), {}, ME)
    assert picture.text == "Here it is.\n\n[image, image/png, not shown]"
    with pytest.raises(ToolError, match=r"notes did not do fails: The disk is full\."):
        await box.call(await named(box, "fails"), {}, ME)
    with pytest.raises(BadArguments, match="text is missing"):
        await box.call(await named(box, "echo"), {"words": "x"}, ME)


async def test_a_write_needs_its_approval_and_carries_its_key(box: Toolbox) -> None:
    note = await named(box, "write_note")
    with pytest.raises(NotAllowed, match="after a person has approved"):
        await box.call(note, {"text": "secretly"}, ME)
    await write(box, note, {"text": "hello"}, "key-1")
    notes = await box.call(await named(box, "notes"), {}, ME)
    assert notes.data == {"notes": [{"text": "hello", "key": "key-1"}]}


async def test_calls_at_once_over_one_connection(box: Toolbox) -> None:
    echo = await named(box, "echo")
    results = await asyncio.gather(*(box.call(echo, {"text": f"n{number}"}, ME) for number in range(40)))
    assert [result.text for result in results] == [f"n{number}" for number in range(40)]


async def test_a_process_that_died_is_started_again(tmp_path: Path) -> None:
    others = {child.pid for child in servers()}
    async with toolbox(tmp_path, stdio(), secrets={"k": "x"}) as box:
        await box.all(patience=40)
        echo, die = await named(box, "echo"), await named(box, "die_writing")
        with pytest.raises(ToolError, match="whether it was carried out is not known") as caught:
            await write(box, die, {}, "k")
        assert caught.value.uncertain
        assert (await box.call(echo, {"text": "back"}, ME)).text == "back"
        (child,) = (child for child in servers() if child.pid not in others)
        child.kill()
        assert (await box.call(echo, {"text": "again"}, ME)).text == "again"
        with pytest.raises(ToolUnavailable, match="broke; try again later"):
            await box.call(await named(box, "die"), {}, ME)
    assert {child.pid for child in servers()} <= others


def servers() -> list[psutil.Process]:
    """Our children that are MCP servers."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "tests.tools.mcp_server" in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.Error:
            continue
    return found


async def test_a_process_sees_its_own_secret_and_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_LLM_API_KEY", "ours")
    monkeypatch.setenv("SLACK_SIGNING_SECRET", "ours")
    async with toolbox(tmp_path, stdio(), secrets={"k": "of-notes"}) as box:
        await box.all(patience=40)
        seen = (await box.call(await named(box, "environment"), {}, ME)).data
    assert seen["secret"] == "of-notes"
    assert not {"ALMANAC_LLM_API_KEY", "SLACK_SIGNING_SECRET"} & set(seen["variables"])
    assert os.environ["SLACK_SIGNING_SECRET"] == "ours"


async def test_a_call_ends_at_its_deadline_and_the_next_one_works(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = await named(box, "slow")
    source = box._shelves["notes"].source
    monkeypatch.setattr(
        source, "_rule", lambda _: type("Rule", (), {"timeout": 0.5, "fields": None, "max_items": None})
    )
    with pytest.raises(ToolUnavailable, match=r"did not answer within 0\.5 seconds"):
        await box.call(slow, {}, ME)
    monkeypatch.undo()
    assert (await box.call(await named(box, "echo"), {"text": "still here"}, ME)).text == "still here"


async def test_tools_yaml_says_what_the_server_does_not(tmp_path: Path) -> None:
    rules = [{"operation": "write_note", "approval": False, "name": "note", "approvers": ["group:ops"]},
             {"operation": "die*", "writes": True}]  # fmt: skip
    async with toolbox(tmp_path, stdio(tools=rules, users=["group:ops"]), secrets={"k": "x"}) as box:
        tools = {tool.name: tool for tool in await box.all(patience=40)}
        assert set(tools) == {"notes_note", "notes_die", "notes_die_writing"}
        assert (tools["notes_note"].writes, tools["notes_note"].needs_approval) == (True, False)
        assert tools["notes_die"].needs_approval
        assert list(await box.tools_for(ME)) == []


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({"command": ["no-such-command-here"]}, "there is no command no-such-command-here"),
        (
            {"command": [sys.executable, "-c", "import sys; sys.exit('notes: no configuration')"]},
            "notes: no configuration",
        ),
        (
            {"command": [sys.executable, "-c", "import time; print('hello', flush=True); time.sleep(60)"]},
            "cannot be reached",
        ),
        ({"url": "http://127.0.0.1:9/mcp"}, "notes cannot be reached"),
    ],
)
async def test_a_server_that_is_not_there_is_said_and_stops_nothing(
    tmp_path: Path, server: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assistant.tools.mcp_connection.CONNECT", 4.0)
    async with toolbox(tmp_path, {"name": "notes", "mcp": server}) as box:
        (state,) = await box.states(patience=30)
        assert state.tools == 0
        assert words in state.error
        assert list(await box.all(patience=0.1)) == []


async def test_a_wrong_token_and_a_place_inside_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    async with process(str(port), TOKEN):
        await listening(port)
        web = {"url": f"http://127.0.0.1:{port}/mcp", "auth": {"bearer": "k"}}
        async with toolbox(tmp_path, {"name": "notes", "mcp": web}, secrets={"k": "wrong"}) as box:
            (state,) = await box.states(patience=30)
            assert (state.tools, "wrong" in state.error) == (0, False)
            assert state.error
        async with serving() as api:
            api_port = int(api.url.rsplit(":", 1)[1])

            async def resolved(self: Any, host: str, *_: Any, **__: Any) -> list[Any]:
                return [(2, 1, 6, "", ("127.0.0.1", api_port))]

            monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolved)
            named_inside = {"name": "notes", "mcp": {"url": f"http://notes.example.com:{api_port}/mcp"}}
            async with toolbox(tmp_path, named_inside) as box:
                (state,) = await box.states(patience=30)
                assert "lies inside a private network" in state.error
            assert api.received == []


async def test_a_secret_is_not_sent_in_the_clear(tmp_path: Path) -> None:
    web = {"url": "http://mcp.example.com/mcp", "auth": {"bearer": "k"}}
    with pytest.raises(SettingsError, match="would send a secret to mcp.example.com over http"):  # noqa: RUF043
        async with toolbox(tmp_path, {"name": "notes", "mcp": web}, secrets={"k": "x"}):
            pass
