from __future__ import annotations

from aiohttp import web

from assistant.services import Services


def add_teams(application: web.Application, services: Services) -> None:
    raise NotImplementedError
