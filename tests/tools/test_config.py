"""A wrong tools.yaml: one sentence with the file, the line and the field."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assistant.errors import SettingsError
from assistant.settings import Settings
from assistant.tools.registry import Toolbox
from tests.tools.api import ME, document, get, write_file

GOOD = """\
sources:
  - name: catalogue
    openapi: api.yaml
    base_url: https://api.example.com
    operations:
      - read
"""
MCP = "sources:\n  - name: notes\n    mcp: {%s}\n"


def sentence(folder: Path, text: str) -> str:
    write_file(folder, "api.yaml", document({"/x": get()}))
    path = write_file(folder, "tools.yaml", text)
    with pytest.raises(SettingsError) as caught:
        Toolbox.open(Settings(_env_file=None, tools=str(path)))
    said = str(caught.value)
    assert said.startswith(str(path))
    assert said.endswith(".")
    assert "\n" not in said
    return said.removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "    timeout: -1\n", ", line 7: sources.catalogue.timeout should be greater than 0."),
        (GOOD + "    timeuot: 1\n", ", line 7: sources.catalogue.timeuot is no field of it."),
        (GOOD.replace("read", "{operation: read, aproval: no}"),
         ", line 6: sources.catalogue.operations.0.aproval is no field of it."),
        (GOOD.replace("https:", "ftp:"),
         ", line 4: sources.catalogue.base_url ftp://api.example.com must start with http:// or https:// and name a "
         "host."),
        (GOOD.replace("api.example.com", "ann:pw@api.example.com"),
         ", line 4: sources.catalogue.base_url must have no user, query or fragment (a secret belongs in auth)."),
        (GOOD.replace("api.yaml", "gone.yaml"), ", line 3: sources.catalogue.openapi is gone.yaml, which cannot be "
         "used: gone.yaml cannot be read (No such file or directory)."),
        (GOOD + "    auth: {bearer: k}\n", ", line 7: sources.catalogue.auth names k, which is in neither "
         "ALMANAC_TOOL_SECRETS nor ALMANAC_CREDENTIALS."),
        (GOOD + "    auth: {bearer: k, basic: k}\n",
         ", line 7: sources.catalogue.auth must be exactly one of bearer, basic, header, query and as_asker."),
        (GOOD + "    auth: {header: X-Key}\n",
         ", line 7: sources.catalogue.auth secret belongs to header and to query, and names what is sent there."),
        (GOOD + "    rate: often\n", ", line 7: sources.catalogue.rate often is no rate such as 60/minute."),
        (GOOD + GOOD.partition("\n")[2], ": two sources are called catalogue."),
        ("- x\n", " must be a mapping with the key sources."),
        ("sources: [\n", " is no YAML: line 2: did not find expected node content."),
        (MCP % "", ", line 3: sources.notes.mcp must have a command or a url, and not both."),
        (MCP % "command: [x], url: 'https://x'",
         ", line 3: sources.notes.mcp must have a command or a url, and not both."),
        (MCP % "command: [x], env: {KEY: k}", ", line 3: sources.notes.mcp names k, which is in neither "
         "ALMANAC_TOOL_SECRETS nor ALMANAC_CREDENTIALS."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    assert sentence(tmp_path, text) == expected


def test_a_server_for_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_file(tmp_path, "api.yaml", document({"/x": get()}))
    path = write_file(tmp_path, "tools.yaml", GOOD)
    with pytest.raises(SettingsError, match="ALMANAC_TOOL_SERVERS names catalog, and"):
        Toolbox.open(Settings(_env_file=None, tools=str(path), tool_servers={"catalog": "https://x.example"}))
    with pytest.raises(SettingsError, match=r"gone\.yaml cannot be read"):
        Toolbox.open(Settings(_env_file=None, tools=str(tmp_path / "gone.yaml")))


@pytest.mark.parametrize("value", [None, "", "none", " None "])
async def test_no_tools_are_no_tools(value: str | None) -> None:
    box = Toolbox.open(Settings(_env_file=None, tools=value))
    assert box.empty
    assert list(await box.tools_for(ME)) == []
    await box.close()


def test_a_wrong_file_stops_almanac_up_before_it_starts_anything(tmp_path: Path) -> None:
    path = write_file(tmp_path, "tools.yaml", GOOD + "    timeout: -1\n")
    home = tmp_path / "home"
    result = subprocess.run(
        [sys.executable, "-m", "bot.terminal", "up", "--port", "0"], capture_output=True, text=True, timeout=120,
        env={"PATH": "", "ALMANAC_HOME": str(home), "ALMANAC_TOOLS": str(path), "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert result.returncode == 1
    assert "line 7: sources.catalogue.timeout should be greater than 0." in " ".join(result.stderr.split())
    assert not home.exists()
