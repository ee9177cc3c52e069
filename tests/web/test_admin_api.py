"""What the administrators' API tells, counted against the rows it comes from; and the little that it does."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from sqlalchemy import func, insert, select, text, update

from assistant.database import audit
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Run, Vote
from assistant.database.tables_spending import ModelCall
from tests.web.client import refusal
from tests.web.conftest import Serve
from tests.web.month import ATTACKS, OPEN, PEOPLE, fill
from tests.web.site import Site

SECRET = "Why is Ada's salary hidden from me?"


@pytest.fixture
async def month(sessions: Sessions, serve: Serve) -> Site:
    await fill(sessions)
    return await serve(cap_day_usd=1.0)


async def get(client: aiohttp.ClientSession, site: Site, path: str) -> Any:
    async with client.get(f"{site.url}/api/admin/{path}") as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def post(client: aiohttp.ClientSession, site: Site, path: str, body: object = None) -> aiohttp.ClientResponse:
    return await client.post(f"{site.url}/api/admin/{path}", json={} if body is None else body)


async def test_the_overview_counts_what_is_there(
    month: Site, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    found = await get(browser_like, month, "overview?days=7&zone=UTC")
    since = (datetime.now(UTC) - timedelta(days=6)).replace(hour=0, minute=0, second=0, microsecond=0)
    async with sessions() as session:
        rows = (await session.execute(select(Answer.outcome, Answer.asker).where(Answer.created_at >= since))).all()
    assert found["total"]["questions"] == len(rows)
    assert found["total"]["outcomes"] == Counter(row.outcome for row in rows)
    assert found["total"]["people"] == len({row.asker for row in rows})
    assert len(found["slots"]) == 7
    assert [slot["at"] for slot in found["slots"]] == sorted(slot["at"] for slot in found["slots"])
    assert sum(slot["questions"] for slot in found["slots"]) == len(rows)
    assert found["before"]["questions"] > 0
    assert {row["stage"] for row in found["latency"]} >= {"total", "search", "write"}
    assert found["cited"][0]["answers"] >= found["cited"][-1]["answers"] > 0


async def test_a_day_without_questions_is_there_and_one_day_is_told_by_hours(
    month: Site, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    async with sessions.begin() as session:
        await session.execute(text("DELETE FROM answers WHERE created_at::date = current_date - 2"))
    found = await get(browser_like, month, "overview?days=7&zone=UTC")
    assert [slot["questions"] > 0 for slot in found["slots"]].count(False) == 1
    assert found["slots"][-3]["questions"] == 0
    for zone in ("Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu"):
        hours = await get(browser_like, month, f"overview?days=1&zone={zone}")
        assert 1 <= len(hours["slots"]) <= 25
        assert sum(slot["questions"] for slot in hours["slots"]) == hours["total"]["questions"]


@pytest.mark.parametrize(
    "path",
    ["overview?days=2", "overview?days=x", "overview?zone=Mars", "overview?zone=../etc/passwd", "gaps?offset=-1",
     "runs?limit=0", "runs?limit=101", "runs?before=1", "audit?before=x", "guard?before='"],
)  # fmt: skip
async def test_what_makes_no_sense_is_refused(serve: Serve, browser_like: aiohttp.ClientSession, path: str) -> None:
    site = await serve()
    async with browser_like.get(f"{site.url}/api/admin/{path}") as response:
        await refusal(response, 400)


async def test_an_empty_database_is_told_as_such(serve: Serve, browser_like: aiohttp.ClientSession) -> None:
    site = await serve()
    overview = await get(browser_like, site, "overview?days=30")
    assert (overview["total"]["questions"], len(overview["slots"]), overview["latency"]) == (0, 30, [])
    assert (await get(browser_like, site, "gaps"))["gaps"] == []
    assert (await get(browser_like, site, "spending"))["total"]["calls"] == 0
    for path, name in (("sources", "sources"), ("runs", "runs"), ("audit", "entries"), ("approvals", "waiting")):
        assert (await get(browser_like, site, path))[name] == []


async def test_gaps_put_together_what_asks_for_the_same(month: Site, browser_like: aiohttp.ClientSession) -> None:
    found = await get(browser_like, month, "gaps?days=30&limit=100")
    asked = [question for gap in found["gaps"] for question in gap["questions"]]
    assert found["questions"] == len(asked)
    assert len(found["gaps"][0]["questions"]) >= len(found["gaps"][-1]["questions"])
    billing = next(gap for gap in found["gaps"] if "billing" in gap["name"])
    assert {question["question"] for question in billing["questions"]} == set(OPEN[0])
    assert not any("asker" in question or "person" in question for question in asked)
    second = await get(browser_like, month, "gaps?days=30&limit=1&offset=1")
    assert second["gaps"] == found["gaps"][1:2]


async def test_private_answers_show_nowhere(
    month: Site, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    async with sessions.begin() as session:
        some = select(Answer.id).where(Answer.outcome.in_(("refused", "not_in_documents"))).limit(60)
        ids = list((await session.execute(some)).scalars())
        await session.execute(update(Answer).where(Answer.id.in_(ids)).values(private=True, question=SECRET))
        await session.execute(text("UPDATE approvals SET answer_id = :id"), {"id": ids[0]})
    for path in ("overview", "gaps?limit=100", "guard?limit=100", "spending", "approvals", "audit", "runs"):
        assert SECRET not in json.dumps(await get(browser_like, month, path)), path
    (waiting,) = (await get(browser_like, month, "approvals"))["waiting"]
    assert (waiting["private"], waiting["rows"]) == (True, [])
    async with await post(browser_like, month, "gaps/cases", {"answers": [str(id_) for id_ in ids]}) as response:
        await refusal(response, 404)


async def test_a_gap_becomes_cases_without_what_identifies_a_person(
    month: Site, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    found = await get(browser_like, month, "gaps?days=90")
    questions = found["gaps"][0]["questions"]
    async with sessions.begin() as session:
        await session.execute(
            update(Answer).where(Answer.id == questions[0]["answer_id"]).values(question="Is ada@example.com paid?")
        )
    ids = [question["answer_id"] for question in questions]
    async with await post(browser_like, month, "gaps/cases", {"answers": ids}) as response:
        assert "cases.jsonl" in response.headers["Content-Disposition"]
        cases = [json.loads(line) for line in (await response.text()).splitlines()]
    assert {case["id"] for case in cases} <= set(ids)
    assert sum(case["asked"] for case in cases) == len(ids)
    texts = " ".join(case["question"] for case in cases)
    assert "ada@example.com" not in texts
    assert "EMAIL" in texts
    for wrong in ([], ["x"], "all", (ids * 400)[:20_000]):
        async with await post(browser_like, month, "gaps/cases", {"answers": wrong}) as response:
            assert response.status in (400, 413)


async def test_the_cost_adds_up_and_people_have_names(
    month: Site, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    found = await get(browser_like, month, "spending?days=90")
    async with sessions() as session:
        usd = float((await session.execute(select(func.sum(ModelCall.cost_usd)))).scalar_one())
    assert found["total"]["usd"] == pytest.approx(usd)
    assert sum(row["usd"] for row in found["days"]) == pytest.approx(usd)
    assert sum(row["usd"] for row in found["by"]["model"]["rows"]) == pytest.approx(usd)
    everybody = next(use for use in found["caps"] if use["scope"] == "day")
    assert (everybody["name"], everybody["cap_usd"]) == ("", 1.0)
    people = found["by"]["person"]
    assert len(people["rows"]) == 10 < people["count"]
    rest = await get(browser_like, month, "spending/person?days=90&offset=10&limit=100")
    names = [row["name"] for row in (*people["rows"], *rest["rows"])]
    assert len(names) == len(set(names)) == people["count"]
    labels = {row["label"] for row in people["rows"] if not row["name"].startswith("web:")}
    assert labels <= set(PEOPLE)
    assert "Ada Lind" in labels
    async with browser_like.get(f"{month.url}/api/admin/spending/colour") as response:
        await refusal(response, 404)


async def test_lists_are_told_a_page_at_a_time_without_a_gap(month: Site, browser_like: aiohttp.ClientSession) -> None:
    for path, name, count in (("runs", "runs", 30), ("audit", "entries", 34)):
        seen: list[Any] = []
        more, before = True, ""
        while more:
            page = await get(browser_like, month, f"{path}?limit=7{before}")
            seen += page[name]
            more, before = page["more"], f"&before={seen[-1]['id']}"
        assert len({row["id"] for row in seen}) == len(seen) == count
    wiki = (await get(browser_like, month, "sources"))["sources"][1]
    assert (wiki["failures"], wiki["drift"]["changed"]) == (27, 12)
    first = await get(browser_like, month, f"sources/{wiki['id']}/failures")
    rest = await get(browser_like, month, f"sources/{wiki['id']}/failures?offset=20")
    assert (len(first["failures"]), first["more"], len(rest["failures"]), rest["more"]) == (20, True, 7, False)
    assert "config" not in wiki


async def test_what_was_turned_away_is_told_without_who_asked_it(
    month: Site, browser_like: aiohttp.ClientSession
) -> None:
    month.services.metrics.guard_verdicts.labels("question", "flag").inc(3)
    found = await get(browser_like, month, "guard?days=90&limit=100")
    assert len(found["questions"]) == found["outcomes"]["refused"] + found["outcomes"]["over_limit"]
    assert {row["question"] for row in found["questions"] if row["outcome"] == "refused"} <= set(ATTACKS)
    assert not any("asker" in row for row in found["questions"])
    assert found["people"][0]["refused"] + found["people"][0]["over_limit"] > 0
    assert found["verdicts"] == [{"where": "question", "verdict": "flag", "count": 3}]


async def test_a_failed_run_is_tried_again_and_a_source_read_again_by_somebody(
    month: Site, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    runs = (await get(browser_like, month, "runs"))["runs"]
    failed, done = runs[0], runs[-1]
    async with await post(browser_like, month, f"runs/{failed['id']}/retry") as response:
        assert "tried again" in (await response.json())["text"]
    async with await post(browser_like, month, f"runs/{done['id']}/retry") as response:
        assert "has not failed" in await refusal(response, 409)
    async with await post(browser_like, month, f"sources/{1}/sync") as response:
        assert response.status == 200
        started = (await response.json())["run"]
    async with await post(browser_like, month, "sources/99999/sync") as response:
        await refusal(response, 409)
    async with sessions() as session:
        queued = set((await session.execute(select(Run.id).where(Run.state == "queued"))).scalars())
        written = await audit.recent(session, 2)
    assert {str(run) for run in queued} == {failed["id"], started}
    assert [row.action for row in written] == ["sources sync", "runs retry"]
    assert all(row.person.startswith("web:") and row.platform == "web" for row in written)


async def test_what_votes_taught_is_changed_by_what_makes_sense_alone(
    month: Site, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    found = await get(browser_like, month, "preferences")
    assert (found["promoted"], found["canary"], found["settings"]["decide"]) == (3, 5, "on")
    assert [row["state"] for row in found["versions"]] == ["canary", "candidate", "promoted", "refused", "retired"]
    assert found["trial"]["version"] == 5
    proof = found["trial"]["proof"]
    assert proof["canary"]["conversations"] <= found["trial"]["canary"]["answers"]
    assert (await get(browser_like, month, "preferences/2"))["report"]["votes"]["counted"] == 500
    wrong = [
        ("promote", {}, 400), ("promote", {"version": "5"}, 400), ("promote", {"version": True}, 400),
        ("promote", {"version": -1}, 400), ("canary", {"version": 4}, 400),
        ("canary", {"version": 4, "share": 0.9}, 400), ("canary", {"version": 4, "share": float("nan")}, 400),
        ("promote", {"version": 2}, 409), ("promote", {"version": 77}, 409),
        ("canary", {"version": 3, "share": 0.1}, 409), ("dance", {}, 404),
    ]  # fmt: skip
    for act, body, status in wrong:
        async with await post(browser_like, month, f"preferences/{act}", body) as response:
            await refusal(response, status)
    for path in ("preferences/77", "preferences/x"):
        async with browser_like.get(f"{month.url}/api/admin/{path}") as response:
            assert response.status == 404
    after = await get(browser_like, month, "preferences")
    assert after["versions"] == found["versions"]
    async with await post(browser_like, month, "preferences/canary", {"version": 4, "share": 0.25}) as response:
        assert "tried on 25%" in (await response.json())["text"]
    async with sessions() as session:
        [entry] = await audit.recent(session, 1)
    assert (entry.action, entry.target, entry.details) == ("preferences canary", "4", {"share": 0.25})
    assert entry.person.startswith("web:")


async def test_votes_and_measuring_do_not_make_up_questions(
    serve: Serve, sessions: Sessions, browser_like: aiohttp.ClientSession
) -> None:
    site = await serve()
    await fill(sessions, days=2)
    before = (await get(browser_like, site, "overview?days=7"))["total"]["questions"]
    async with sessions.begin() as session:
        one = (await session.execute(select(Answer.id).limit(1))).scalar_one()
        await session.execute(insert(Vote).values(answer_id=one, person="slack:T1:U99", value=1, retrieval=[]))
        await session.execute(update(Answer).where(Answer.id == one).values(platform="evaluation"))
    assert (await get(browser_like, site, "overview?days=7"))["total"]["questions"] == before - 1
