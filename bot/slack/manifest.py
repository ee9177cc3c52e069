"""The Slack app's manifest: every event, scope and command that the code uses, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from assistant.strings import say
from bot.slack.home import prompts
from bot.slack.submit import ADD_FILES, ASK_ABOUT, ASK_ANYWHERE

PATH = "/slack/events"
COMMAND = "/almanac"
UNFURL_DOMAINS = 5

# Each scope with what needs it.
SCOPES = {
    "app_mentions:read": "questions in channels",
    "assistant:write": "the agent's view, its prompts and status",
    "channels:history": "follow-ups in threads; finding what was sent before a restart",
    "chat:write": "answers",
    "commands": "/almanac and the shortcuts",
    "files:read": "files that are added to the documents",
    "groups:history": "the same in private channels",
    "im:history": "questions in direct messages",
    "im:write": "private answers where a channel cannot show them",
    "links:read": "links to known documents",
    "links:write": "their summaries",
    "mpim:history": "follow-ups in group conversations",
    "users:read": "names and languages of askers; workspace administrators",
    "users:read.email": "owners of documents and readers who are named by their address",
}
EVENTS = (
    "agent_session_stopped",
    "app_home_opened",
    "app_mention",
    "link_shared",
    "message.channels",
    "message.groups",
    "message.im",
    "message.mpim",
)


def manifest(
    url: str | None, domains: Sequence[str] = (), name: str = "Almanac", usage: str = "help | ask | search | status"
) -> dict[str, Any]:
    """The manifest as Slack takes it. ``url``: where this bot is reached; None for Socket Mode."""
    address = f"{url.rstrip('/')}{PATH}" if url else None
    at = {"url": address} if address else {}
    requests = {"request_url": address} if address else {}
    features: dict[str, Any] = {
        "app_home": {"home_tab_enabled": True, "messages_tab_enabled": True, "messages_tab_read_only_enabled": False},
        "bot_user": {"display_name": name, "always_online": True},
        "agent_view": {
            "agent_description": say("slack.manifest_agent"),
            "suggested_prompts": prompts("en"),
        },
        "shortcuts": _shortcuts(),
        "slash_commands": [
            {
                "command": COMMAND,
                "description": say("slack.manifest_command"),
                "usage_hint": usage,
                "should_escape": False,
                **at,
            }
        ],
    }
    if domains:
        features["unfurl_domains"] = sorted({_domain(domain) for domain in domains})[:UNFURL_DOMAINS]
    events = [event for event in EVENTS if domains or event != "link_shared"]
    scopes = [scope for scope in SCOPES if domains or not scope.startswith("links:")]
    return {
        "_metadata": {"major_version": 1, "minor_version": 1},
        "display_information": {
            "name": name,
            "description": say("slack.manifest_short"),
            "long_description": say("slack.manifest_long"),
            "background_color": "#1f3a5f",
        },
        "features": features,
        "oauth_config": {"scopes": {"bot": scopes}},
        "settings": {
            "event_subscriptions": {"bot_events": events, **requests},
            "interactivity": {"is_enabled": True, **requests},
            "org_deploy_enabled": False,
            "socket_mode_enabled": address is None,
            "token_rotation_enabled": False,
        },
    }


def _shortcuts() -> list[dict[str, str]]:
    return [
        {
            "name": say(f"slack.shortcut_{key}"),
            "type": kind,
            "callback_id": callback,
            "description": say(f"slack.shortcut_{key}_about"),
        }
        for key, kind, callback in (
            ("ask", "global", ASK_ANYWHERE),
            ("about", "message", ASK_ABOUT),
            ("file", "message", ADD_FILES),
        )
    ]


def _domain(domain: str) -> str:
    return urlsplit(domain if "://" in domain else f"//{domain}").hostname or domain
