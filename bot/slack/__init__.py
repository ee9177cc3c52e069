"""The Slack front end."""

from bot.slack.app import add_slack

__all__ = ["add_slack"]
