"""Week 10: the loop, ReAct and plans against a strict endpoint and two services, all on this machine."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from ml.week10_agents import agent, loop, planning, react
from ml.week10_agents.apis import Alerts, Services, make_client, make_tools
from ml.week10_agents.chat import ChatSettings, ModelError, OpenAIModel
from ml.week10_agents.local_apis import PER_EURO, local_apis
from ml.week10_agents.local_model import (
    Fault,
    Refused,
    Script,
    calls,
    check_messages,
    check_request,
    local_model,
    says,
)
from ml.week10_agents.planning import BadPlan, read_plan
from ml.week10_agents.react import Action, FinalAnswer, Unreadable, parse
from ml.week10_agents.record import Limits
from ml.week10_agents.tasks import TASKS, do_all, totals
from ml.week10_agents.tools import Tool, ToolError, fingerprint

ANY = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
ARCHITECTURES = [loop.answer, react.answer, planning.answer]


@pytest.fixture(autouse=True)
def no_model(monkeypatch):
    names = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "FRANKFURTER_URL", "OPEN_METEO_FORECAST_URL")
    for name in (*names, "OPEN_METEO_GEOCODING_URL"):
        monkeypatch.delenv(name, raising=False)


class Tools:
    """Tools that remember what they were called with, in order: double, slow, broken, write."""

    def __init__(self):
        self.log, self.failures = [], 1

    async def double(self, x):
        self.log.append(("start", x))
        await asyncio.sleep(0.02)
        self.log.append(("end", x))
        return {"doubled": 2 * x}

    async def slow(self, x):
        try:
            await asyncio.sleep(30)
        finally:
            self.log.append(("stopped", x))

    async def flaky(self, x):
        self.failures -= 1
        if self.failures >= 0:
            raise ToolError("The service is busy.", temporary=True)
        return x

    async def broken(self, x):
        raise ToolError(f"{x} is not possible; take 3.")

    async def write(self, x):
        self.log.append(("write", x))
        return "written"

    def all(self):
        made = [Tool(name, "A tool.", ANY, getattr(self, name)) for name in ("double", "slow", "flaky", "broken")]
        return [*made, Tool("write", "Writes.", ANY, self.write, writes=True)]


def play(*script, answer=loop.answer, tools=None, **how):
    """Run an architecture against a script; the trace, the requests that arrived, the tools."""
    tools = tools or Tools()

    async def run():
        with local_model(Script(*script)) as served:
            async with OpenAIModel(served.settings, retries=0) as model:
                trace = await answer("The question?", model, tools.all(), **how)
            return trace, served.requests

    trace, requests = asyncio.run(run())
    return trace, requests, tools


# ---- the loop ----
def test_every_call_is_answered_once_in_order_with_its_id():
    trace, requests, _ = play(
        calls(("double", {"x": 1}), ("double", {"x": 2}), ("absent", {}), ("double", "{oops"), first=7), says("Done.")
    )
    assert (trace.answer, trace.reason) == ("Done.", "answered")
    sent = requests[1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool", "tool", "tool"]
    assert [message["tool_call_id"] for message in sent[3:]] == ["call_7", "call_8", "call_9", "call_10"]
    contents = [message["content"] for message in sent[3:]]
    assert contents[:2] == ['{"doubled": 2}', '{"doubled": 4}']
    assert contents[2].startswith("Error: There is no tool 'absent'. There are: double, slow")
    assert contents[3].startswith("Error: The arguments are not JSON")
    assert [called.outcome for called in trace.called] == ["ok", "ok", "unknown", "invalid"]
    assert sent[2]["tool_calls"][3]["function"]["arguments"] == "{oops", "the model's own text goes back, not ours"


def test_reads_run_together_and_a_write_is_a_barrier():
    wanted = [("double", {"x": 1}), ("double", {"x": 2}), ("write", {"x": 3}), ("double", {"x": 4})]
    trace, _, tools = play(calls(*wanted), says("Done."), approved=[fingerprint("write", {"x": 3})])
    order = tools.log
    assert order[:2] == [("start", 1), ("start", 2)], "both have begun before one has ended"
    assert order[4] == ("write", 3)
    assert order[5:] == [("start", 4), ("end", 4)]
    assert [called.name for called in trace.called] == [name for name, _ in wanted]


def test_two_writes_run_one_after_the_other():
    class Slow(Tools):
        async def write(self, x):
            return await self.double(x)

    keys = [fingerprint("write", {"x": x}) for x in (1, 2)]
    _, _, tools = play(calls(("write", {"x": 1}), ("write", {"x": 2})), says("Done."), tools=Slow(), approved=keys)
    assert tools.log == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]


def test_arguments_that_do_not_fit_come_back_in_words():
    trace, requests, tools = play(calls(("double", {"x": "three", "y": 1})), says("Sorry."))
    words = requests[1]["messages"][-1]["content"]
    assert words.startswith("Error: The arguments do not fit: ")
    assert 'x must be of type integer, not "three"' in words
    assert "y is not a known argument (known: x)" in words
    assert tools.log == []
    assert trace.ran == []


def test_the_same_call_is_made_once_and_its_result_is_given_again():
    same = ("double", {"x": 5})
    trace, requests, tools = play(calls(same, same), calls(("double", '{ "x": 5 }'), first=3), says("Done."))
    assert tools.log == [("start", 5), ("end", 5)]
    assert [called.outcome for called in trace.called] == ["ok", "repeated", "repeated"]
    assert '{"doubled": 10}' in requests[2]["messages"][-1]["content"]


def test_a_call_that_failed_for_a_moment_may_be_made_again_and_another_may_not():
    flaky, broken = ("flaky", {"x": 1}), ("broken", {"x": 9})
    trace, requests, _ = play(calls(flaky, broken), calls(flaky, broken, first=3), says("Done."))
    assert [called.outcome for called in trace.called] == ["failed", "failed", "ok", "repeated"]
    assert requests[1]["messages"][-1]["content"] == "Error: 9 is not possible; take 3."


def test_steps_are_bounded_and_the_last_one_has_no_tools():
    loops = [calls(("double", {"x": number}), first=number) for number in range(1, 9)]
    trace, requests, _ = play(*loops, limits=Limits(steps=3))
    assert trace.reason == "steps"
    assert len(requests) == 3
    assert ["tools" in request for request in requests] == [True, True, False]
    trace, requests, _ = play(*loops[:2], says("With what I have."), limits=Limits(steps=3))
    assert (trace.answer, trace.reason) == ("With what I have.", "answered")


def test_calls_are_bounded():
    trace, _, tools = play(calls(*[("double", {"x": x}) for x in range(5)]), says("Done."), limits=Limits(calls=2))
    assert [called.outcome for called in trace.called] == ["ok", "ok", "too many", "too many", "too many"]
    assert len(tools.log) == 4


def test_one_deadline_for_the_run_and_nothing_is_left_running():
    began = time.perf_counter()
    wanted = calls(("slow", {"x": 1}), ("slow", {"x": 2}))
    trace, _, tools = play(wanted, limits=Limits(seconds=0.4, tool_seconds=20))
    assert (trace.reason, trace.answer) == ("deadline", loop.OUT_OF_TIME)
    assert time.perf_counter() - began < 15
    assert sorted(tools.log) == [("stopped", 1), ("stopped", 2)]


def test_a_slow_tool_is_given_up_and_the_run_goes_on():
    trace, requests, _ = play(calls(("slow", {"x": 1})), says("Too slow."), limits=Limits(tool_seconds=0.1))
    assert trace.answer == "Too slow."
    assert requests[1]["messages"][-1]["content"] == "Error: slow did not answer within 0.1 s."


@pytest.mark.parametrize("answer", ARCHITECTURES)
def test_a_bug_in_a_tool_is_not_turned_into_words(answer):
    async def bug(x):
        raise ZeroDivisionError

    script = {
        loop.answer: calls(("bug", {"x": 1})),
        react.answer: says('Action: bug {"x": 1}'),
        planning.answer: says('[{"id": "a", "tool": "bug", "arguments": {"x": 1}}]'),
    }

    class Buggy(Tools):
        def all(self):
            return [Tool("bug", "A tool.", ANY, bug)]

    with pytest.raises(ExceptionGroup) as raised:
        play(script[answer], answer=answer, tools=Buggy())
    assert raised.group_contains(ZeroDivisionError)


@pytest.mark.parametrize(
    ("fault", "words"), [(Fault(500), "failed"), (Fault(429, "Slow down."), "Slow down."), (Fault(401), "key")]
)
@pytest.mark.parametrize("answer", ARCHITECTURES)
def test_a_model_that_fails_ends_the_run_with_a_sentence(answer, fault, words):
    trace, _, _ = play(fault, answer=answer)
    assert trace.reason == "model"
    assert words in trace.answer
    assert "sk-" not in trace.answer


# ---- approvals ----
@pytest.mark.parametrize("answer", [loop.answer, react.answer, planning.answer])
def test_a_write_needs_an_approval_for_exactly_its_arguments_and_uses_it_up(answer):
    def script(x):
        return {
            loop.answer: [calls(("write", {"x": x})), says("End.")],
            react.answer: [says(f'Action: write {{"x": {x}}}'), says("Final answer: End.")],
            planning.answer: [says(f'[{{"id": "a", "tool": "write", "arguments": {{"x": {x}}}}}]'), says("End.")],
        }[answer]

    key = fingerprint("write", {"x": 1})
    for x, approved, outcome in ((1, [], "waiting"), (1, [key], "ok"), (2, [key], "waiting")):
        trace, _, tools = play(*script(x), answer=answer, approved=approved)
        assert [called.outcome for called in trace.called] == [outcome]
        assert tools.log == ([("write", x)] if outcome == "ok" else [])
        assert trace.waiting == ([fingerprint("write", {"x": x})] if outcome == "waiting" else [])
        assert trace.answer == "End."


def test_a_write_that_failed_for_a_moment_needs_a_new_approval():
    class Flaky(Tools):
        async def write(self, x):
            self.log.append(("write", x))
            raise ToolError("The service did not answer in time.", temporary=True)  # it may have been done all the same

    wanted = ("write", {"x": 1})
    script = [calls(wanted), calls(wanted, first=2), says("End.")]
    trace, _, tools = play(*script, tools=Flaky(), approved=[fingerprint(*wanted)])
    assert [called.outcome for called in trace.called] == ["failed", "waiting"]
    assert tools.log == [("write", 1)]


def test_a_fingerprint_covers_the_name_and_all_arguments_in_any_order():
    assert fingerprint("f", {"a": 1, "b": 2}) == fingerprint("f", {"b": 2, "a": 1})
    others = [("g", {"a": 1}), ("f", {"a": 2}), ("f", {"a": "1"}), ("f", {"a": 1, "b": None})]
    assert len({fingerprint("f", {"a": 1}), *(fingerprint(*other) for other in others)}) == 5


# ---- ReAct ----
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('Thought: so.\nAction: find {"a": {"b": "}"}}', Action("find", '{"a": {"b": "}"}}')),
        ('action: find {"a": 1} and then\nObservation: {"made": "up"}', Action("find", '{"a": 1}')),
        ('Action: find\n{"a": 1}', Action("find", '{"a": 1}')),
        ("Thought: so.\nFinal answer: It is 3.\nReally.", FinalAnswer("It is 3.\nReally.")),
        ('Action: find {"a": 1}\nFinal answer: 4', Action("find", '{"a": 1}')),
    ],
)
def test_react_reads_the_first_thing_that_the_step_says(text, said):
    assert parse(text) == said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I will just talk.", "no action"),
        ("Action: find {a: 1}", "not JSON"),
        ("Action: ", "names no tool"),
        ("Final answer:", "is empty"),
    ],
)
def test_react_says_what_it_cannot_read(text, words):
    said = parse(text)
    assert isinstance(said, Unreadable)
    assert words in said.words
    assert "Action: tool_name" in said.words


def test_react_stops_before_the_observation_and_writes_it_itself():
    invented = 'Thought: x\nAction: double {"x": 4}\nObservation: {"doubled": 99}\nFinal answer: 99'
    trace, requests, _ = play(says(invented), says("hm"), says("Final answer: 8"), answer=react.answer)
    assert trace.answer == "8"
    assert requests[0]["stop"] == ["\nObservation:"]
    assert "tools" not in requests[0]
    transcript = requests[2]["messages"][1]["content"]
    assert 'Action: double {"x": 4}\nObservation: {"doubled": 8}\n' in transcript
    assert "99" not in transcript
    assert "hm\nObservation: Error: There is no action" in transcript


# ---- plans ----
def plan(*steps):
    return says(json.dumps([{"id": i, "tool": tool, "arguments": arguments} for i, tool, arguments in steps]))


def test_a_plan_runs_in_waves_with_references_in_their_own_type():
    steps = [("a", "double", {"x": 1}), ("c", "double", {"x": "$a.doubled"}), ("b", "double", {"x": 5})]
    trace, requests, tools = play(plan(*steps), says("Done."), answer=planning.answer)
    assert [(called.arguments["x"], called.outcome) for called in trace.called] == [(1, "ok"), (5, "ok"), (2, "ok")]
    assert tools.log[:2] == [("start", 1), ("start", 5)]
    assert len(requests) == 2
    assert '"c": {"doubled": 4}' in requests[1]["messages"][1]["content"]


def test_a_failed_step_is_planned_again_with_what_is_known():
    first = plan(("a", "double", {"x": 1}), ("b", "broken", {"x": 9}), ("c", "double", {"x": "$b.y"}))
    second = plan(("d", "double", {"x": "$a.doubled"}))
    trace, requests, _ = play(first, second, says("Done."), answer=planning.answer)
    again = requests[1]["messages"][1]["content"]
    assert "Failed: b: 9 is not possible; take 3." in again
    assert [called.name for called in trace.called] == ["double", "broken", "double"], (
        "c is not run, a is not run again"
    )
    assert trace.called[-1].arguments == {"x": 2}
    assert trace.answer == "Done."


def test_plans_are_made_again_at_most_so_often():
    bad = plan(("b", "broken", {"x": 9}))
    other = plan(("b", "broken", {"x": 8}))
    trace, requests, _ = play(bad, other, says("no plan"), says("I cannot."), answer=planning.answer)
    assert trace.answer == "I cannot."
    assert len(requests) == 4
    assert "The plan is not JSON" in requests[3]["messages"][1]["content"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Sure! Here is a plan.", "not JSON"),
        ('{"id": "a"}', "must be of type array"),
        ('[{"id": "a", "tool": "double"}]', "arguments is missing"),
        ('[{"id": "a", "tool": "fly", "arguments": {}}]', "no tool 'fly'"),
        ('[{"id": "a", "tool": "t", "arguments": {"x": "$b.y"}}]', "uses \\$b"),
        ('[{"id": "a", "tool": "t", "arguments": {"x": "$a.y"}}]', "uses \\$a"),
        ('[{"id": "a", "tool": "t", "arguments": {}}, {"id": "a", "tool": "t", "arguments": {}}]', "Two steps"),
    ],
)
def test_a_plan_that_cannot_be_run_says_why(text, words):
    with pytest.raises(BadPlan, match=words):
        read_plan(text, ["t", "double"])
    assert read_plan('```json\n[{"id": "a", "tool": "t", "arguments": {"x": "$b.y"}}]\n```', ["t"], done=["b"])


# ---- the endpoint ----
def conversation(*messages):
    return [{"role": "user", "content": "Hi"}, *messages]


ASKED = calls(("f", {}), ("g", {}))
ANSWER = {"role": "tool", "tool_call_id": "call_1", "content": "1"}
OTHER = {"role": "tool", "tool_call_id": "call_2", "content": "2"}


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (conversation(ASKED, ANSWER), "did not have response messages: call_2"),
        (conversation(ASKED, ANSWER, {"role": "user", "content": "Well?"}, OTHER), "must be followed by tool messages"),
        (conversation(ANSWER), "must be a response to a preceeding message"),
        (conversation(ASKED, ANSWER, ANSWER, OTHER), "must be a response to a preceeding message"),
        (conversation(ASKED, ANSWER, OTHER | {"tool_call_id": "call_9"}), "must be a response"),
        (conversation({"role": "assistant", "content": None}), "expected a string"),
        (conversation({"role": "robot", "content": "x"}), "Invalid value: 'robot'"),
        (
            conversation(calls(("f", {}), ("g", {}), first=1) | {"tool_calls": [ASKED["tool_calls"][0]] * 2}),
            "Duplicate",
        ),
    ],
)
def test_the_endpoint_refuses_a_broken_conversation(messages, words):
    with pytest.raises(Refused, match=words):
        check_messages(messages)


def test_the_endpoint_takes_answers_in_any_order_and_text_beside_calls():
    check_messages(conversation(ASKED, OTHER, ANSWER, says("Done."), {"role": "user", "content": "Thanks"}))
    check_messages(conversation(calls(("f", {}), text="Let me see."), ANSWER))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": []}, "empty array"),
        ({"model": None}, "model parameter"),
        ({"tools": []}, "too short"),
        ({"tols": []}, "Unrecognized request argument"),
        ({"tools": [{"type": "function", "function": {"name": "math.sum"}}]}, "math.sum"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * 2}, "unique"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "dict"}}}]}, "object"),
    ],
)
def test_the_endpoint_refuses_a_broken_request(change, words):
    with pytest.raises(Refused, match=words):
        check_request({"model": "m", "messages": conversation()} | change)


def test_the_endpoint_speaks_http_as_the_real_one_does():
    with local_model(Script(says("Hi."))) as served:
        url, key = served.settings.base_url, {"Authorization": f"Bearer {served.settings.api_key}"}
        body = {"model": "m", "messages": conversation()}
        assert httpx.post(f"{url}/chat/completions", json=body).status_code == 401
        assert httpx.post(f"{url}/completions", json=body, headers=key).status_code == 404
        refused = httpx.post(f"{url}/chat/completions", json=body | {"messages": [ANSWER]}, headers=key)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
        reply = httpx.post(f"{url}/chat/completions", json=body, headers=key).json()
        assert reply["choices"][0]["message"]["content"] == "Hi."
        assert (
            reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"] > 0
        )

    async def nobody():
        async with OpenAIModel(ChatSettings("k", "m", "http://127.0.0.1:9/v1"), retries=0) as model:
            await model.reply(conversation())

    with pytest.raises(ModelError, match="cannot be reached"):
        asyncio.run(nobody())


# ---- the services ----
def use(tool, /, failing=None, services=None, **arguments):
    """One tool's result against the local services."""

    async def run():
        with local_apis() as apis:
            apis.failing = failing or {}
            async with make_client(services or apis.services) as client:
                tools = {one.name: one for one in make_tools(client, services or apis.services, Alerts())}
                return await tools[tool].call(**arguments)

    return asyncio.run(run())


def test_the_tools_give_few_fields_with_units():
    assert use("find_place", name="Tokyo") == {
        "name": "Tokyo", "country": "Japan", "latitude": 35.6895, "longitude": 139.69171
    }  # fmt: skip
    weather = use("current_weather", latitude=59.9, longitude=10.7)
    assert weather == {
        "time": "2026-11-02T12:00 UTC", "temperature": 2.1, "temperature_unit": "°C", "wind": "6.1 km/h",
        "sky": "slight snow",
    }  # fmt: skip
    money = use("exchange", amount=250, base="USD", quote="JPY")
    assert money["rate"] == round(PER_EURO["JPY"] / PER_EURO["USD"], 2)
    assert money["converted"] == round(250 * money["rate"], 2)


@pytest.mark.parametrize(
    ("name", "arguments", "failing", "words", "temporary"),
    [
        ("find_place", {"name": "Atlantis"}, {}, "No place is called 'Atlantis'.$", False),
        ("find_place", {"name": "Paris, France"}, {}, "name alone", False),
        ("current_weather", {"latitude": 95, "longitude": 0}, {}, "Latitude must be in range of -90 to 90°", False),
        ("exchange", {"amount": 1, "base": "EUR", "quote": "XXX"}, {}, "no rate for XXX. The codes are CHF", False),
        ("exchange", {"amount": 1, "base": "EUR", "quote": "EUR"}, {}, "no rate from EUR to EUR", False),
        ("exchange", {"amount": 1, "base": "EUR", "quote": "USD"}, {"/v1/latest": [503]}, "busy or broken", True),
        ("find_place", {"name": "Oslo"}, {"/v1/search": [429]}, "status 429", True),
    ],
)
def test_what_the_services_refuse_is_a_sentence(name, arguments, failing, words, temporary):
    with pytest.raises(ToolError, match=words) as raised:
        use(name, failing=failing, **arguments)
    assert raised.value.temporary == temporary


def test_a_service_that_is_away_or_slow_is_a_sentence():
    with pytest.raises(ToolError, match="cannot be reached") as raised:
        use("find_place", services=Services(geocoding="http://127.0.0.1:9"), name="Oslo")
    assert raised.value.temporary

    async def slow():
        with local_apis(delay=0.5, timeout=0.1) as apis:
            async with make_client(apis.services) as client:
                await make_tools(client, apis.services)[0].call(name="Oslo")

    with pytest.raises(ToolError, match="did not answer in time"):
        asyncio.run(slow())


def test_the_addresses_are_settings():
    assert Services.from_environment({}).rates == "https://api.frankfurter.dev"
    changed = Services.from_environment({"FRANKFURTER_URL": "http://rates/", "OPEN_METEO_FORECAST_URL": "http://w"})
    assert (changed.rates, changed.forecast) == ("http://rates", "http://w")
    assert changed.geocoding == "https://geocoding-api.open-meteo.com"


# ---- the task suite, the command, LangChain ----
@pytest.fixture(scope="module")
def done():
    return asyncio.run(do_all())


def test_the_three_architectures_do_the_tasks_and_differ_as_they_should(done):
    counted = {name: totals(one) for name, one in done.items()}
    wrong = {name: [item.task.why for item in one if not item.right] for name, one in done.items()}
    assert wrong == {"function calling": [], "ReAct": ["four chains"], "plan and execute": []}
    requests = {name: row[1] for name, row in counted.items()}
    assert requests == {"function calling": 37, "ReAct": 45, "plan and execute": 30}
    calls_made = {name: row[2] for name, row in counted.items()}
    assert calls_made == {"function calling": 32, "ReAct": 32, "plan and execute": 33}
    assert counted["plan and execute"][3] < counted["function calling"][3] < counted["ReAct"][3]


def test_the_plan_pays_for_a_condition_with_a_call_too_many(done):
    condition = next(place for place, task in enumerate(TASKS) if task.why == "a condition that does not")
    names = {name: [called.name for called in one[condition].trace.ran] for name, one in done.items()}
    assert "exchange" not in names["function calling"]
    assert "exchange" in names["plan and execute"]


def test_the_command(capsys):
    assert agent.main(["--offline", "How warm is it in Lisbon?"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "It is 17.2 °C in Lisbon.\n"
    assert "a stand-in of rules answers" in shown.err
    assert agent.main(["--offline", "--as", "react", "--steps", "2", "How warm is it in Lisbon?"]) == 1
    assert capsys.readouterr().err.endswith(f"{loop.OUT_OF_STEPS}\n")
    nowhere = ["--geocoding-url", "http://127.0.0.1:9/"]
    assert agent.main([*nowhere, "--as", "plan", "How warm is it in Lisbon?"]) == 0
    assert "a service does not answer" in capsys.readouterr().out


def test_the_command_takes_an_approval(capsys):
    question = ["--offline", "Tell me when the US dollar falls below 0.8 euros."]
    assert agent.main(question) == 0
    shown = capsys.readouterr()
    assert "waits for approval" in shown.out
    key = fingerprint("set_rate_alert", {"base": "USD", "quote": "EUR", "below": 0.8})
    assert f"--approve {key}" in shown.err
    assert agent.main([*question, "--approve", key]) == 0
    assert capsys.readouterr().out == "The alert is set.\n"


def test_langchain_makes_the_same_calls_and_leaves_the_limits_to_its_user(done):
    from ml.week10_agents import with_langchain
    from ml.week10_agents.rules import stand_in

    async def ask(policy, question, limits=None):
        with local_apis() as apis, local_model(policy) as served:
            async with make_client(apis.services) as client:
                tools = make_tools(client, apis.services)
                return await with_langchain.answer(question, served.settings, tools, limits), served.requests

    for place in (1, 3, 7, 8):
        ours = done["function calling"][place].trace
        theirs, requests = asyncio.run(ask(stand_in, ours.question))
        assert theirs.answer == ours.answer
        made = [sorted((called.name, str(called.arguments)) for called in trace.ran) for trace in (theirs, ours)]
        assert made[0] == made[1]
        assert len(theirs.asked) == len(ours.asked)
        assert [message["role"] for message in requests[-1]["messages"]].count("tool") == len(theirs.called)
    same = [calls(("find_place", {"name": "Oslo"}), first=number) for number in range(1, 9)]
    repeated, requests = asyncio.run(ask(Script(*same), "Where is Oslo?", Limits(steps=4)))
    assert len(repeated.called) == 4, "the same call, four times: nothing but the limit that was asked for stops it"
