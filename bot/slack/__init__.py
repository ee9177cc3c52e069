"""The Slack front end."""

from __future__ import annotations

from aiohttp import web

from assistant.services import Services

__all__ = ["add_slack"]


def add_slack(application: web.Application, services: Services) -> None:
    """Add Slack over HTTP, Socket Mode or both, as the settings say. Nothing is contacted before the start-up."""
    from bot.slack.app import add_slack as add  # with Slack's SDK, which the command line need not load

    add(application, services)
