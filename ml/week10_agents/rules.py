"""The stand-in for a language model: thirteen kinds of sentences understood by patterns, and three ways of acting on
them.

Nothing here is intelligent, and no number about it says anything about a model's intelligence. It makes the
architectures comparable: the same knowledge, the same two mistakes (a country behind a town's name, UKP for pounds)
and the same repairs act through function calls, through ReAct's text and through a plan, at the endpoint of
``local_model.py``. What then differs is the architecture: how many requests, which calls, how many tokens.

``understand`` gives the goals of a question; ``next_steps`` gives what can be asked for now, given all that was asked
before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ml.week10_agents.chat import Message
from ml.week10_agents.local_model import Fault, calls, says
from ml.week10_agents.tools import canonical

CODES = {"euro": "EUR", "swiss franc": "CHF", "yen": "JPY", "norwegian kroner": "NOK", "us dollar": "USD",
         "pounds sterling": "UKP", "polish złoty": "PLN", "swedish kronor": "SEK", "dollar": "USD"}  # fmt: skip
REPAIRED = {"UKP": "GBP"}
MONEY = "|".join(CODES)

Seen = Mapping[tuple[str, str], str]  # (tool, canonical arguments) -> the result's JSON, or "Error: …"
Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Goal:
    """What a part of the question wants: the weather of a town, an amount exchanged, an alert."""

    kind: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Wish:
    """A question understood: its goals, which of them depends on the first, and how the answer is put."""

    goals: tuple[Goal, ...]
    words: Callable[[list[Any]], str]
    condition: Callable[[Any], bool] | None = None


def code(name: str) -> str:
    """The currency code that the stand-in believes in."""
    return CODES[name.lower().rstrip("s")] if name.lower().rstrip("s") in CODES else CODES[name.lower()]


def _degrees(found: dict[str, Any] | None, town: str) -> str:
    return f"{found['temperature']} {found['temperature_unit']} in {town}" if found else f"unknown in {town}"


def _money(found: dict[str, Any] | None) -> str:
    return f"{found['amount']:g} {found['base']} are {found['converted']} {found['quote']}" if found else "no rate"


def _warmest(towns: tuple[str, ...]) -> Callable[[list[Any]], str]:
    def words(found: list[Any]) -> str:
        pairs = [(result["temperature"], town) for result, town in zip(found, towns, strict=True) if result]
        return f"{max(pairs)[1]} is warmest, with {max(pairs)[0]} °C." if pairs else "I could not find out."

    return words


def understand(question: str) -> Wish | None:
    """The goals of a question, or None where no pattern fits (then no tool is needed)."""
    exchange = rf"how many (?P<quote>{MONEY})s? (?:are|do I get for) (?P<amount>[\d.]+) (?P<base>{MONEY})s?"
    money = re.search(exchange, question, re.IGNORECASE)
    goal = Goal("exchange", (float(money["amount"]), code(money["base"]), code(money["quote"]))) if money else None
    if found := re.match(r"If it is colder than (\d+) degrees in (\w+), ", question):
        limit, town = int(found[1]), found[2]
        return Wish(
            (Goal("weather", (town,)), *((goal,) if goal else ())),
            lambda results: _if_cold(results, limit, town),
            lambda weather: weather["temperature"] < limit,
        )
    if found := re.match(r"Which is warm(?:er|est), (.+)\?", question):
        towns = tuple(re.split(r", | or ", found[1]))
        return Wish(tuple(Goal("weather", (town,)) for town in towns), _warmest(towns))
    if found := re.match(r"Tell me when the ([\w ]+) falls below ([\d.]+) ([\w ]+)\.", question):
        alert = Goal("alert", (code(found[1]), code(found[3]), float(found[2])))
        return Wish((alert,), lambda results: "The alert is set." if results[0] else "The alert waits for approval.")
    if (found := re.match(r"I fly to (\w+) with", question)) and goal:
        town = found[1]
        return Wish((Goal("weather", (town,)), goal), lambda r: f"It is {_degrees(r[0], town)}; {_money(r[1])}.")
    if found := re.match(r"How warm is it in ([\w, ]+)\?", question):
        town = found[1]
        return Wish((Goal("weather", (town,)),), lambda r: f"It is {_degrees(r[0], town)}." if r[0] else NO_PLACE)
    return Wish((goal,), lambda results: f"{_money(results[0])}.") if goal else None


NO_PLACE = "I cannot tell: there is no such place."


def _if_cold(results: list[Any], limit: int, town: str) -> str:
    weather = results[0]
    if weather["temperature"] >= limit:
        return f"It is not colder than {limit} degrees: {_degrees(weather, town)}."
    return f"It is {_degrees(weather, town)}; {_money(results[1])}."


def look(call: Call, seen: Seen) -> tuple[Call | None, Any]:
    """(the call to make, None) where the result is missing; (None, the result) where it is there or cannot be had.

    Both mistakes are mended here, from the words of the error; a call that failed for a moment is tried again.
    """
    text = seen.get((call[0], canonical(call[1])))
    if text is None:
        return call, None
    if not text.startswith("Error: "):
        return None, json.loads(text)
    if "name alone" in text:
        return look(("find_place", {"name": call[1]["name"].split(",")[0]}), seen)
    if "busy or broken" in text:  # the loop lets a call be repeated after a temporary failure
        return call, None
    if call[0] == "exchange" and "no rate for UKP" in text:
        mended = {name: REPAIRED.get(value, value) for name, value in call[1].items()}
        return look(("exchange", mended), seen)
    return None, None


def reach(goal: Goal, seen: Seen) -> tuple[Call | None, Any]:
    """The next call towards one goal, or its result."""
    if goal.kind == "exchange":
        return look(("exchange", dict(zip(("amount", "base", "quote"), goal.values, strict=True))), seen)
    if goal.kind == "alert":
        return look(("set_rate_alert", dict(zip(("base", "quote", "below"), goal.values, strict=True))), seen)
    call, place = look(("find_place", {"name": goal.values[0]}), seen)
    if call or place is None:
        return call, None
    return look(("current_weather", {"latitude": place["latitude"], "longitude": place["longitude"]}), seen)


def next_steps(question: str, seen: Seen) -> tuple[list[Call], str]:
    """All calls that can be made now, or the answer ("" while there are calls)."""
    wish = understand(question)
    if wish is None:
        return [], "You are welcome."
    reached = [reach(wish.goals[0], seen)]
    if wish.condition and reached[0][0]:
        return [reached[0][0]], ""  # the rest depends on this
    if not wish.condition or (reached[0][1] and wish.condition(reached[0][1])):
        reached += [reach(goal, seen) for goal in wish.goals[1:]]
    wanted = [call for call, _ in reached if call]
    if wanted:
        return wanted, ""
    results = [result for _, result in reached]
    if None in results and any("cannot be reached" in text or "in time" in text for text in seen.values()):
        return [], "I cannot tell: a service does not answer."
    return [], wish.words(results + [None] * (len(wish.goals) - len(results)))


def plan(question: str, seen: Seen, results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Everything that is still to be done, with references. A plan knows no conditions, so it fetches both sides."""
    wish, steps = understand(question), []
    for number, goal in enumerate(wish.goals if wish else ()):
        call, _ = reach(goal, seen)
        if call is None:
            continue
        steps.append({"id": f"s{number}_{len(results)}", "tool": call[0], "arguments": call[1]})
        if goal.kind == "weather" and call[0] == "find_place":
            where = {key: f"${steps[-1]['id']}.{key}" for key in ("latitude", "longitude")}
            steps.append({"id": f"w{number}_{len(results)}", "tool": "current_weather", "arguments": where})
    return steps


# ---- the three ways in which an architecture asks ----
def stand_in(messages: list[Message], tools: list[dict[str, Any]]) -> Message | Fault:
    """A policy for ``local_model``: it sees from the prompt which of the three architectures is asking."""
    asked = next(message["content"] for message in messages if message["role"] == "user")
    question = re.sub(r"\AQuestion: ", "", asked).split("\n")[0]
    system = messages[0]["content"]
    if "Write a JSON list" in system:
        results = re.search(r"^Results by id: (.*)$", asked, re.MULTILINE)
        return says(json.dumps(plan(question, made(asked), json.loads(results[1]) if results else {})))
    if "from the results" in system:
        wanted, answer = next_steps(question, made(asked))
        return says(answer or "I cannot tell: a tool failed.")
    if "Action:" in system:
        wanted, answer = next_steps(question, observed(asked))
        if wanted:
            return says(f"Thought: I need {wanted[0][0]}.\nAction: {wanted[0][0]} {json.dumps(wanted[0][1])}")
        return says(f"Thought: This is enough.\nFinal answer: {answer}")
    wanted, answer = next_steps(question, conversed(messages))
    if wanted and tools:
        return calls(*wanted, first=1 + sum(message["role"] == "tool" for message in messages))
    return says(answer or "I cannot tell: I have no more steps.")


def conversed(messages: list[Message]) -> dict[tuple[str, str], str]:
    """What was asked for and what came of it, from a conversation with calls."""
    asked = {call["id"]: call["function"] for message in messages for call in message.get("tool_calls") or ()}
    return {
        (asked[message["tool_call_id"]]["name"], canonical(json.loads(asked[message["tool_call_id"]]["arguments"]))): (
            message["content"]
        )
        for message in messages
        if message["role"] == "tool"
    }


def observed(transcript: str) -> dict[tuple[str, str], str]:
    """The same from ReAct's transcript."""
    found = re.findall(r"^Action: (\w+) (\{.*\})\nObservation: (.*)$", transcript, re.MULTILINE)
    return {(name, canonical(json.loads(arguments))): text for name, arguments, text in found}


def made(history: str) -> dict[tuple[str, str], str]:
    """The same from plan-and-execute's list of calls."""
    found = re.findall(r"^(\w+) (\{.*?\}) -> (.*)$", history, re.MULTILINE)
    return {(name, canonical(json.loads(arguments))): text for name, arguments, text in found}
