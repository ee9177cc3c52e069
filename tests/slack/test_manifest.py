"""The manifest holds what the code uses, within what Slack publishes about manifests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from assistant.errors import AlmanacError
from assistant.strings import LANGUAGES, catalogue
from bot.slack import manifest as module
from bot.slack.cli import app
from bot.slack.manifest import COMMAND, EVENTS, SCOPES, manifest

SOURCE = Path(module.__file__).parent
KEYS = {  # of the published schema, as far as this app uses it
    "": {"_metadata", "display_information", "features", "oauth_config", "settings"},
    "display_information": {"name", "description", "long_description", "background_color"},
    "features": {"app_home", "agent_view", "bot_user", "shortcuts", "slash_commands", "unfurl_domains"},
    "features.app_home": {"home_tab_enabled", "messages_tab_enabled", "messages_tab_read_only_enabled"},
    "features.agent_view": {"agent_description", "suggested_prompts", "actions"},
    "features.bot_user": {"display_name", "always_online"},
    "settings": {
        "event_subscriptions", "interactivity", "org_deploy_enabled", "socket_mode_enabled", "token_rotation_enabled",
    },
    "settings.event_subscriptions": {"request_url", "bot_events"},
    "settings.interactivity": {"is_enabled", "request_url", "message_menu_options_url"},
}  # fmt: skip
# What Slack asks for each event and method, as its reference says.
NEEDS = {
    "app_mention": "app_mentions:read", "message.channels": "channels:history", "message.groups": "groups:history",
    "message.im": "im:history", "message.mpim": "mpim:history", "link_shared": "links:read",
    "agent_session_stopped": "chat:write", "app_home_opened": "chat:write",
    "chat.postMessage": "chat:write", "chat.update": "chat:write", "chat.delete": "chat:write",
    "chat.postEphemeral": "chat:write", "chat.startStream": "chat:write", "chat.appendStream": "chat:write",
    "chat.stopStream": "chat:write", "chat.unfurl": "links:write", "conversations.replies": "channels:history",
    "conversations.history": "channels:history", "conversations.open": "im:write", "users.info": "users:read",
    "users.lookupByEmail": "users:read.email", "files.info": "files:read", "views.open": "commands",
    "views.publish": "commands", "agents.sessions.setStatus": "chat:write",
    "assistant.threads.setStatus": "assistant:write", "assistant.threads.setSuggestedPrompts": "assistant:write",
}  # fmt: skip


def everything() -> dict[str, Any]:
    return manifest("https://almanac.example.com", ["docs.example.com", "https://wiki.example.com/x"])


def test_it_keeps_slacks_limits_and_keys() -> None:
    made = everything()
    for path, keys in KEYS.items():
        part = made
        for name in filter(None, path.split(".")):
            part = part[name]
        assert set(part) <= keys, path
    shown = made["display_information"]
    assert len(shown["name"]) <= 35
    assert len(shown["description"]) <= 140
    assert 174 < len(shown["long_description"]) <= 4_000
    assert re.fullmatch(r"#[0-9a-fA-F]{6}", shown["background_color"])
    assert len(made["features"]["bot_user"]["display_name"]) <= 80
    agent = made["features"]["agent_view"]
    assert 1 <= len(agent["agent_description"]) <= 300
    assert 1 <= len(agent["suggested_prompts"]) <= 4
    for prompt in agent["suggested_prompts"]:
        assert set(prompt) == {"title", "message"}
    assert made["features"]["unfurl_domains"] == ["docs.example.com", "wiki.example.com"]
    [command] = made["features"]["slash_commands"]
    assert command["command"] == COMMAND
    assert len(command["description"]) <= 2_000
    assert len(command["usage_hint"]) <= 1_000
    shortcuts = made["features"]["shortcuts"]
    assert len(shortcuts) <= 10
    for shortcut in shortcuts:
        assert len(shortcut["name"]) <= 24
        assert len(shortcut["description"]) <= 150
        assert shortcut["type"] in ("global", "message")
    assert len(made["settings"]["event_subscriptions"]["bot_events"]) <= 100


def test_it_asks_for_the_scopes_that_its_events_and_calls_need_and_for_no_other() -> None:
    called = set()
    for file in SOURCE.glob("*.py"):
        called |= {name for name in NEEDS if f'"{name}"' in file.read_text() and "." in name}
        unknown = set(re.findall(r'self\.call\(\s*"([\w.]+)"', file.read_text())) - NEEDS.keys()
        assert unknown == set(), f"{file.name} calls methods of which nobody said what they need"
    needed = {NEEDS[name] for name in (*EVENTS, *called)} | {"commands", "groups:history", "mpim:history"}
    assert set(SCOPES) == needed


def test_http_names_the_address_everywhere_and_socket_mode_nowhere() -> None:
    address = "https://almanac.example.com/slack/events"
    over_http, socket = everything(), manifest(None)
    assert json.dumps(over_http).count(address) == 3
    assert over_http["settings"]["socket_mode_enabled"] is False
    assert "request_url" not in json.dumps(socket)
    assert "url" not in socket["features"]["slash_commands"][0]
    assert socket["settings"]["socket_mode_enabled"] is True


def test_without_domains_nothing_of_links_is_asked_for() -> None:
    made = json.dumps(manifest(None))
    assert "link" not in made.replace("links to", "")


def test_the_command_prints_yaml_or_json_filled_in() -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["manifest", "--url", "https://almanac.example.com", "--domain", "docs.example.com"])
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == manifest("https://almanac.example.com", ["docs.example.com"])
    result = runner.invoke(app, ["manifest", "--socket", "--json", "--name", "Handbook"])
    assert json.loads(result.stdout) == manifest(None, name="Handbook")


@pytest.mark.parametrize(
    "arguments",
    [["--url", "http://x.example"], ["--url", "https://x.example", "--socket"], ["--name", "x" * 36],
     [*(f"--domain=d{n}.example" for n in range(6))]],
)  # fmt: skip
def test_what_slack_would_refuse_is_refused_in_a_sentence(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["manifest", *arguments])
    assert isinstance(result.exception, AlmanacError)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_fits_where_slack_shows_it(language: str) -> None:
    texts = catalogue("slack")[language]
    limits = {"title": 24, "submit": 24, "send": 24, "skip": 24, "close": 24, "cancel": 24, "save": 24, "sources": 24,
              "share_title": 100, "share_question": 300, "share_yes": 30, "share_no": 30, "button": 75, "label": 75,
              "manifest_short": 140, "manifest_agent": 300, "shortcut_ask": 24, "shortcut_about": 24,
              "shortcut_file": 24}  # fmt: skip
    for key, text in texts.items():
        limit = limits.get(key) or limits.get(key.rsplit("_", 1)[-1])
        if limit is not None and not key.startswith(("home_title", "prompts_title")):
            assert len(text) <= limit, (key, len(text))
