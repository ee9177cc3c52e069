"""The app package: a zip of the manifest, its translations and the icons, which Teams takes as it is."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from assistant.commands import Commands
from assistant.errors import SettingsError
from assistant.settings import Settings
from assistant.strings import LANGUAGES, say
from bot.teams.icons import color_icon, outline_icon

VERSION = "1.25"
PREVIEW_VERSION = "1.29"  # knows commands that only the bot sees
SCHEMA = "https://developer.microsoft.com/json-schemas/teams/v{version}/MicrosoftTeams{part}.schema.json"
SCOPES = ["personal", "team", "groupChat"]
MAX_COMMANDS = 12
NAME = "Almanac"
NO_WEBSITE = "https://example.com"
# what lets the bot hear messages that do not mention it; owners of a team or chat grant it when they add the app
HEARS = ("ChannelMessage.Read.Group", "ChatMessage.Read.Chat")


def build_package(settings: Settings, *, private_commands: bool = False, all_messages: bool = False) -> bytes:
    """The zip. Raises ``SettingsError`` with one sentence where the app has no id."""
    app_id = _app_id(settings)
    schema = PREVIEW_VERSION if private_commands else VERSION
    made = _manifest(settings, app_id, schema, private_commands=private_commands, all_messages=all_messages)
    files = {"manifest.json": _json(made), "color.png": color_icon(), "outline.png": outline_icon()}
    for language in LANGUAGES[1:]:
        files[f"{language}.json"] = _json(_translation(language, schema))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))  # the same input makes the same package
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return packed.getvalue()


def _app_id(settings: Settings) -> str:
    if not settings.teams_app_id:
        raise SettingsError("MicrosoftAppId is not set; the package needs the id of the Azure Bot it belongs to.")
    try:
        return str(uuid.UUID(settings.teams_app_id))
    except ValueError:
        raise SettingsError("MicrosoftAppId is wrong: it must be a GUID such as Azure shows it.") from None


def _manifest(
    settings: Settings, app_id: str, schema: str, *, private_commands: bool, all_messages: bool
) -> dict[str, Any]:
    public = settings.public_url or ""
    website = public.rstrip("/") if public.startswith("https://") else NO_WEBSITE
    host = urlsplit(public).hostname or ""
    bot: dict[str, Any] = {
        "botId": app_id,
        "scopes": SCOPES,
        "supportsFiles": True,
        "isNotificationOnly": False,
        "commandLists": [{"scopes": [scope], "commands": _commands("en")} for scope in SCOPES],
    }
    if private_commands:
        bot["supportsTargetedMessages"] = True
        for commands in bot["commandLists"]:
            commands["triggers"] = ["mention", "slash"]
    made: dict[str, Any] = {
        "$schema": SCHEMA.format(version=schema, part=""),
        "manifestVersion": schema,
        "version": _semantic(version("almanac")),
        "id": app_id,
        "developer": {
            "name": NAME, "websiteUrl": website, "privacyUrl": website, "termsOfUseUrl": website,
        },
        "name": {"short": NAME, "full": "Almanac, the engineering handbook that answers"},
        "description": {"short": say("teams.app_short"), "full": say("teams.app_full")},
        "icons": {"color": "color.png", "outline": "outline.png"},
        "accentColor": "#3A48B2",
        "localizationInfo": {
            "defaultLanguageTag": "en",
            "additionalLanguages": [{"languageTag": tag, "file": f"{tag}.json"} for tag in LANGUAGES[1:]],
        },
        "bots": [bot],
        "permissions": ["identity", "messageTeamMembers"],
        "validDomains": [host] if host and public.startswith("https://") else [],
        "defaultInstallScope": "personal",
        "defaultGroupCapability": {"team": "bot", "groupchat": "bot", "meetings": "bot"},
        "supportsChannelFeatures": "tier1",
    }  # fmt: skip
    if all_messages:
        made["webApplicationInfo"] = {"id": app_id, "resource": f"api://{app_id}"}
        wanted = [{"name": name, "type": "Application"} for name in HEARS]
        made["authorization"] = {"permissions": {"resourceSpecific": wanted}}
    return made


def _translation(language: str, schema: str) -> dict[str, str]:
    made = {
        "$schema": SCHEMA.format(version=schema, part=".Localization"),
        "name.short": NAME,
        "description.short": say("teams.app_short", language),
        "description.full": say("teams.app_full", language),
    }
    for place in range(len(SCOPES)):
        for at, command in enumerate(_commands(language)):
            made[f"bots[0].commandLists[{place}].commands[{at}].description"] = command["description"]
    return made


def _commands(language: str) -> list[dict[str, str]]:
    """What Teams offers while somebody types; roles are checked when a command is run."""
    commands = Commands(None)  # type: ignore[arg-type]  # describing needs no services
    return [
        {"title": f"/{found.name}", "description": f"{found.summary} (/{found.usage})"}
        for found in commands.describe(True, language)[:MAX_COMMANDS]
    ]


def _semantic(found: str) -> str:
    numbers = [part for part in found.split(".") if part.isdigit()]
    return ".".join([*numbers, "0", "0"][:3])


def _json(made: Any) -> bytes:
    return json.dumps(made, ensure_ascii=False, indent=2).encode() + b"\n"
