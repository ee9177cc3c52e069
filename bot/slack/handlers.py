"""Bolt's listeners. Each hands the request to one function, within the time that Slack waits, and acknowledges."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from slack_bolt.async_app import AsyncApp

from bot.slack import actions, commands, receive, submit
from bot.slack.events import PLATFORM
from bot.slack.workplace import Workplace

STORE_SECONDS = 2.5  # Slack waits 3 s for an acknowledgement

_ANY = re.compile(".*", re.DOTALL)


def register(app: AsyncApp, place: Workplace) -> None:
    async def received(body: dict[str, Any]) -> None:
        async with asyncio.timeout(STORE_SECONDS):
            fate = await receive.received(place, body)
        place.services.metrics.events.labels(PLATFORM, fate).inc()

    async def acted(body: dict[str, Any], ack: Any) -> None:
        async with asyncio.timeout(STORE_SECONDS):
            await actions.acted(place, body)
        await ack()

    async def typed(body: dict[str, Any], ack: Any) -> None:
        payload = commands.command_payload(body)
        key = f"command:{payload['channel']}:{payload['user']}:{payload['trigger'] or payload['reply_url']}"
        async with asyncio.timeout(STORE_SECONDS):
            await place.inbox.store(key, key, payload)
        await ack()

    async def submitted(body: dict[str, Any], ack: Any) -> None:
        async with asyncio.timeout(STORE_SECONDS):
            answer = await submit.submitted(place, body)
        await ack(**answer)

    async def chosen(body: dict[str, Any], ack: Any) -> None:
        async with asyncio.timeout(STORE_SECONDS):
            await submit.shortcut(place, body)
        await ack()

    async def closed(ack: Any) -> None:
        await ack()

    app.event(_ANY)(received)
    app.action(_ANY)(acted)
    app.command(_ANY)(typed)
    app.view_submission(_ANY)(submitted)
    app.view_closed(_ANY)(closed)
    app.shortcut(_ANY)(chosen)
