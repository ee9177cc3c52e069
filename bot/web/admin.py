"""The routes of the administrators' page, at ``/admin``. What is named as an API is guarded (``bot.web.security``)."""

from __future__ import annotations

from aiohttp import web

from assistant.services import Services
from bot.web.admin_door import AdminDoor
from bot.web.admin_routes import AdminPages, Figures
from bot.web.admin_votes import Votes
from bot.web.admin_work import Work
from bot.web.assets import Assets
from bot.web.security import ADMIN_API


def add_admin(router: web.UrlDispatcher, services: Services, assets: Assets, admins: AdminDoor) -> None:
    pages, figures, work, votes = AdminPages(assets, admins), Figures(services), Work(services), Votes(services)
    router.add_get("/admin", pages.page, name="web.admin")
    router.add_get("/admin/enter", pages.enter, name="web.admin.enter")
    router.add_post("/api/admin/login", pages.login, name="web.login.admin")
    router.add_post("/api/admin/enter", pages.open_link, name="web.login.link")
    for path, handler in {
        "me": figures.me,
        "overview": figures.overview,
        "gaps": figures.gaps,
        "spending": figures.spending,
        "spending/{by}": figures.spending_rows,
        "sources": work.sources,
        "sources/{id}/failures": work.failures,
        "runs": work.runs,
        "guard": work.guard,
        "approvals": work.approvals,
        "preferences": votes.status,
        "preferences/{number}": votes.version,
        "audit": work.audit,
    }.items():
        router.add_get(f"/api/admin/{path}", handler, name=_name(path))
    for path, handler in {
        "leave": pages.leave,
        "gaps/cases": figures.cases,
        "sources/{id}/sync": work.sync,
        "runs/{id}/retry": work.retry,
        "preferences/{act}": votes.act,
    }.items():
        router.add_post(f"/api/admin/{path}", handler, name=_name(path))


def _name(path: str) -> str:
    return ADMIN_API + ".".join(part.strip("{}") for part in path.split("/"))
