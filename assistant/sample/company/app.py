"""The API itself: every answer JSON, every error a problem detail (RFC 9457), every write with an idempotency key."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from assistant.sample.company import OPENAPI
from assistant.sample.company.catalogue import Rotation, read_catalogue
from assistant.sample.company.state import ENVIRONMENTS, Conflict, State

MAX_KEYS = 1_000
_STATE: web.AppKey[State] = web.AppKey("state", State)
_KEPT: web.AppKey[OrderedDict[str, tuple[str, int, bytes]]] = web.AppKey("kept", OrderedDict)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
routes = web.RouteTableDef()


class Problem(Exception):
    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


def create(token: str, state: State | None = None) -> web.Application:
    """The application; ``token`` is what callers must bring."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            given = request.headers.get("Authorization", "")
            if request.path != "/openapi.yaml" and not hmac.compare_digest(given, f"Bearer {token}"):
                raise Problem(401, "Not signed in", "Bring the token as Authorization: Bearer.")
            return await _once(request, handler)
        except Problem as problem:
            return _problem(problem)
        except web.HTTPException as error:
            return _problem(Problem(error.status, error.reason, f"{request.method} {request.path} is not here."))

    app = web.Application(middlewares=[guard], client_max_size=64_000)
    app[_STATE] = state or State(read_catalogue())
    app[_KEPT] = OrderedDict()
    app.add_routes(routes)
    return app


async def _once(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A key that comes again gets the answer that it got before; with another body it is a mistake."""
    key = request.headers.get("Idempotency-Key")
    if request.method in ("GET", "HEAD") or key is None:
        return await handler(request)
    fingerprint = hashlib.sha256(f"{request.method} {request.path}\n".encode() + await request.read()).hexdigest()
    kept = request.app[_KEPT]
    if key in kept:
        seen, status, body = kept[key]
        if seen != fingerprint:
            raise Problem(422, "Key used before", "This idempotency key came with another request.")
        headers = {"Idempotent-Replayed": "true"}
        return web.Response(status=status, body=body, content_type="application/json", headers=headers)
    response = await handler(request)
    if isinstance(response, web.Response) and isinstance(response.body, bytes) and response.status < 300:
        kept[key] = (fingerprint, response.status, response.body)
        while len(kept) > MAX_KEYS:
            kept.popitem(last=False)
    return response


@routes.get("/openapi.yaml")
async def _document(_: web.Request) -> web.Response:
    return web.Response(body=OPENAPI.read_bytes(), content_type="application/yaml")


@routes.get("/services")
async def _services(request: web.Request) -> web.Response:
    team, tier = request.query.get("team", "").lower(), request.query.get("tier")
    if tier is not None and tier not in ("1", "2", "3"):
        raise Problem(422, "Not a tier", "tier is 1, 2 or 3.")
    found = [
        {"name": each.name, "description": each.description, "team": each.team, "tier": each.tier}
        for each in request.app[_STATE].catalogue.services.values()
        if team in ("", each.team.lower()) and tier in (None, str(each.tier))
    ]
    return _json({"services": found})


@routes.get("/services/{name}")
async def _service(request: web.Request) -> web.Response:
    state = request.app[_STATE]
    name = _known(request, request.match_info["name"])
    restart = state.last_restart(name)
    last = restart.at(_now()) if restart else None
    return _json(asdict(state.catalogue.services[name]) | {"status": "running", "last_restart": last})


@routes.post("/services/{name}/restart")
async def _restart(request: web.Request) -> web.Response:
    name = _known(request, request.match_info["name"])
    body = await _body(request)
    environment, reason = body.get("environment"), _words(body, "reason")
    if environment not in ENVIRONMENTS:
        raise Problem(422, "Not an environment", f"environment is one of {', '.join(ENVIRONMENTS)}.")
    try:
        return _json(request.app[_STATE].restart(name, environment, reason, _now()), 202)
    except Conflict as conflict:
        raise Problem(409, "Restarting already", str(conflict)) from None


@routes.get("/oncall")
async def _oncall(request: web.Request) -> web.Response:
    rotations, service = request.app[_STATE].catalogue.rotations, request.query.get("service")
    found = list(rotations.values())
    if service is not None:
        name = _known(request, service)
        found = [each for each in found if name in each.covers]
    if (wanted := request.query.get("rotation")) is not None:
        found = [each for each in found if each.name == wanted]
        if not found:
            raise Problem(404, "No such rotation", f"There is no rotation {wanted}; there are {', '.join(rotations)}.")
    return _json({"on_call": [_pager(each, _now()) for each in found]})


@routes.get("/deploys/{service}")
async def _deploys(request: web.Request) -> web.Response:
    return _json(request.app[_STATE].deployment(_known(request, request.match_info["service"])))


@routes.get("/incidents")
async def _incidents(request: web.Request) -> web.Response:
    wanted = request.query.get("state")
    if wanted not in (None, "open", "acknowledged", "resolved"):
        raise Problem(422, "Not a state", "state is open, acknowledged or resolved.")
    found = [asdict(each) for each in request.app[_STATE].incidents.values() if wanted in (None, each.state)]
    return _json({"incidents": found})


@routes.post("/incidents/{id}/acknowledge")
async def _acknowledge(request: web.Request) -> web.Response:
    state, number = request.app[_STATE], request.match_info["id"]
    if number not in state.incidents:
        raise Problem(404, "No such incident", f"There is no incident {number[:40]}.")
    note = _words(await _body(request), "note")
    try:
        return _json(asdict(state.acknowledge(number, note, _now())))
    except Conflict as conflict:
        raise Problem(409, "Not open", str(conflict)) from None


def _pager(rotation: Rotation, now: datetime) -> dict[str, Any]:
    person, since, until = rotation.on_call(now)
    return {
        "rotation": rotation.name, "covers": list(rotation.covers), "on_call": person, "since": since, "until": until,
        "hours": rotation.kind, "paged_now": rotation.paged(now), "lead": rotation.lead,
        "director": rotation.director,
    }  # fmt: skip


def _known(request: web.Request, name: str) -> str:
    services = request.app[_STATE].catalogue.services
    if name not in services:
        raise Problem(404, "No such service", f"There is no service {name[:40]}; there are {', '.join(services)}.")
    return name


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Problem(400, "No JSON", "The body must be a JSON object.")
    return body


def _words(body: dict[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not 3 <= len(value.strip()) <= 500:
        raise Problem(422, f"{field} is missing", f"{field} says in 3 to 500 characters why.")
    return value.strip()


def _now() -> datetime:
    return datetime.now(UTC)


def _json(data: Any, status: int = 200) -> web.Response:
    text = json.dumps(data, default=lambda value: value.isoformat(timespec="minutes"))
    return web.Response(text=text, status=status, content_type="application/json")


def _problem(problem: Problem) -> web.Response:
    body = {"type": "about:blank", "title": problem.title, "status": problem.status, "detail": problem.detail}
    return web.Response(text=json.dumps(body), status=problem.status, content_type="application/problem+json")
