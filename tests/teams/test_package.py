"""The app package against what Teams' schema asks, and the command that builds it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from assistant.commands import Commands
from assistant.errors import SettingsError
from assistant.settings import Settings
from bot.teams.package import MAX_COMMANDS, build_package
from tests.teams.conftest import ROOT
from tests.teams.parts import NPM_CACHE, npm_install

APP_ID = "11111111-2222-3333-4444-555555555555"
SCHEMAS = ("@microsoft/app-manifest", "1.1.2")  # Microsoft's own, of every version of the manifest


def settings(**values: Any) -> Settings:
    given = {"teams_app_id": APP_ID, "teams_app_password": "x", **values}
    return Settings(_env_file=None, **given)  # type: ignore[call-arg]


def opened(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def png(content: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and the rows of RGBA of a PNG as we write it."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, depth, kind = struct.unpack(">IIBB", content[16:26])
    assert (depth, kind) == (8, 6)
    at = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[at - 4 : at])
    raw = zlib.decompress(content[at + 4 : at + 4 + length])
    size = 1 + 4 * width
    return width, height, [raw[row * size + 1 : (row + 1) * size] for row in range(height)]


@pytest.mark.parametrize("options", [{}, {"private_commands": True}, {"all_messages": True}])
def test_the_manifest_keeps_to_the_facts_of_the_schema(options: dict[str, bool]) -> None:
    files = opened(build_package(settings(public_url="https://almanac.example.com/"), **options))
    manifest = json.loads(files["manifest.json"])
    required = {"manifestVersion", "version", "id", "developer", "name", "description", "icons", "accentColor"}
    assert required <= set(manifest)
    assert manifest["manifestVersion"] in {"1.25", "1.29"}
    assert f"/v{manifest['manifestVersion']}/" in manifest["$schema"]
    assert manifest["id"] == APP_ID
    assert len(manifest["name"]["short"]) <= 30
    assert len(manifest["name"]["full"]) <= 100
    assert len(manifest["developer"]["name"]) <= 32
    assert manifest["validDomains"] == ["almanac.example.com"]
    assert all(manifest["developer"][name].startswith("https://") for name in ("websiteUrl", "privacyUrl"))
    [bot] = manifest["bots"]
    assert bot["botId"] == APP_ID
    assert bot["supportsFiles"] is True
    assert bot["scopes"] == ["personal", "team", "groupChat"]
    assert [commands["scopes"] for commands in bot["commandLists"]] == [["personal"], ["team"], ["groupChat"]]
    assert all(len(commands["commands"]) <= 12 for commands in bot["commandLists"])
    for tag in (manifest, *(json.loads(files[f"{tag}.json"]) for tag in ("de", "fr", "es"))):
        words = tag["description"]["short"] if tag is manifest else tag["description.short"]
        assert len(words) <= 80
    assert ("authorization" in manifest) == bool(options.get("all_messages"))
    assert bot.get("supportsTargetedMessages", False) == bool(options.get("private_commands"))


@pytest.mark.parametrize("options", [{}, {"private_commands": True, "all_messages": True}])
def test_the_package_is_valid_by_microsofts_schema(options: dict[str, bool]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    npm_install(*SCHEMAS)
    folder = NPM_CACHE / "node_modules" / SCHEMAS[0] / "build" / "json-schemas" / "teams"
    files = opened(build_package(settings(public_url="https://almanac.example.com"), **options))
    manifest = json.loads(files["manifest.json"])
    schemas = folder / f"v{manifest['manifestVersion']}"
    jsonschema.Draft7Validator(json.loads((schemas / "MicrosoftTeams.schema.json").read_text())).validate(manifest)
    words = json.loads((schemas / "MicrosoftTeams.Localization.schema.json").read_text())
    for tag in ("de", "fr", "es"):
        jsonschema.Draft7Validator(words).validate(json.loads(files[f"{tag}.json"]))


def test_the_icons_are_of_the_sizes_and_colours_that_teams_wants() -> None:
    files = opened(build_package(settings()))
    width, height, rows = png(files["color.png"])
    assert (width, height) == (192, 192)
    assert all(row[3::4] == b"\xff" * width for row in rows)
    width, height, rows = png(files["outline.png"])
    assert (width, height) == (32, 32)
    assert all(set(row[at::4]) == {255} for row in rows for at in range(3))
    alphas = b"".join(row[3::4] for row in rows)
    assert {0, 255} <= set(alphas)


def test_every_command_of_the_bot_is_offered_and_none_that_it_lacks() -> None:
    manifest = json.loads(opened(build_package(settings()))["manifest.json"])
    offered = [command["title"] for command in manifest["bots"][0]["commandLists"][0]["commands"]]
    known = Commands(None)  # type: ignore[arg-type]
    assert all(known.is_command(title) for title in offered)
    assert offered == [f"/{command.name}" for command in known.describe(True)][:MAX_COMMANDS]  # Teams shows no more


def test_the_same_input_makes_the_same_package() -> None:
    assert build_package(settings()) == build_package(settings())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"teams_app_id": None, "teams_app_password": None}, "MicrosoftAppId is not set"),
        ({"teams_app_id": "almanac"}, "MicrosoftAppId is wrong"),
    ],
)
def test_a_missing_app_id_is_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        build_package(settings(**values))


def test_the_command_writes_it_and_says_so(tmp_path: Path) -> None:
    code = "from bot.teams.cli import teams; teams()"
    out = tmp_path / "new" / "app.zip"
    environment = {"PATH": "/usr/bin:/bin", "MicrosoftAppId": APP_ID, "MicrosoftAppPassword": "x", "COLUMNS": "200"}
    environment["PYTHONPATH"] = str(ROOT)
    result = subprocess.run(
        [sys.executable, "-c", code, "package", "--out", str(out)], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"Wrote {out}" in result.stdout
    assert "ALMANAC_PUBLIC_URL" in result.stdout
    assert "manifest.json" in opened(out.read_bytes())


def test_the_playground_command_names_what_is_missing(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom assistant.errors import AlmanacError\nfrom bot.teams.cli import playground\n"
        "try: playground(['teams'])\nexcept AlmanacError as error: sys.exit(str(error))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    sentence = "The Playground needs Node.js (18 or newer) and npm, which are not on the PATH."
    assert result.stderr.strip().splitlines() == [sentence]
