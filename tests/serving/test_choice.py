"""Which version answers, what fits its context, and where a small one stops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from assistant.answering.messages import Turn
from assistant.answering.prompts import SMALL, SMALL_PASSAGES, messages, small_messages
from assistant.database.finetuning import Version
from assistant.errors import DatabaseUnavailable, ModelError
from assistant.knowledge.search import Hit
from assistant.models.choice import Choice, chosen
from assistant.models.client import OpenAIModel, before_repeating
from assistant.models.fitting import fitted, prompt_tokens, tokens
from assistant.models.port import Brief, Written
from assistant.settings import load_settings
from tests.core.functions_double import refuses, says, served

BASE = "smollm2-135m-instruct"
NOW = datetime(2026, 11, 26, tzinfo=UTC)


def version(number: int, state: str, share: float = 1.0) -> Version:
    return Version(f"{BASE}-lora-{number:04d}", BASE, "lora", state, share, {}, 0, "", {}, NOW, NOW)


def hit(number: int, text: str) -> Hit:
    return Hit(number, number, f"d{number}", f"Title {number}", None, text, (), None, None, 0, 0.5, 0.5, 1, 1, 0.5,
               {}, NOW)  # fmt: skip


CONVERSATIONS = [f"conversation-{number}" for number in range(2_000)]


def test_the_canary_has_its_share_and_keeps_its_conversations() -> None:
    versions = [version(8, "canary", 0.2), version(7, "promoted")]
    names = [chosen(one, versions, BASE) for one in CONVERSATIONS]
    share = names.count(versions[0].name) / len(names)
    assert 0.17 < share < 0.23
    assert set(names) == {versions[0].name, versions[1].name}
    assert names == [chosen(one, list(reversed(versions)), BASE) for one in CONVERSATIONS]
    # A larger share takes conversations in, and sends none of its own back.
    more = [chosen(one, [version(8, "canary", 0.5), versions[1]], BASE) for one in CONVERSATIONS]
    assert all(new == old for new, old in zip(more, names, strict=True) if old == versions[0].name)
    # Another canary deals anew: not always the same people try what is new.
    other = [chosen(one, [version(9, "canary", 0.2), versions[1]], BASE) for one in CONVERSATIONS]
    both = sum(a != versions[1].name and b != versions[1].name for a, b in zip(names, other, strict=True))
    assert 0.02 < both / len(names) < 0.07


def test_without_a_version_the_base_answers() -> None:
    assert {chosen(one, [], BASE) for one in CONVERSATIONS[:20]} == {BASE}
    only = [version(3, "canary", 0.5)]
    assert {chosen(one, only, BASE) for one in CONVERSATIONS[:50]} == {BASE, only[0].name}


async def test_the_registry_is_asked_now_and_then_and_may_be_away() -> None:
    asked: list[str] = []
    says_now: list[Any] = [[version(1, "promoted")]]

    async def served_now(base: str) -> Sequence[Version]:
        asked.append(base)
        if isinstance(says_now[0], Exception):
            raise says_now[0]
        return says_now[0]  # type: ignore[no-any-return]

    choice = Choice(served_now, BASE, seconds=0.2)
    assert set(await asyncio.gather(*(choice.name(one) for one in CONVERSATIONS[:9]))) == {f"{BASE}-lora-0001"}
    assert asked == [BASE]
    says_now[0] = DatabaseUnavailable("It is away.")
    await asyncio.sleep(0.25)
    assert await choice.name("c") == f"{BASE}-lora-0001"
    says_now[0] = []
    await asyncio.sleep(0.25)
    assert await choice.name("c") == BASE


TEXT = "A deployment is rolled back with `finder rollback`, within six hours. " * 12


def test_a_prompt_has_as_many_passages_as_fit_and_keeps_their_numbers() -> None:
    brief = Brief("How do I roll back?", "How do I roll back?", [hit(number, TEXT) for number in range(1, 11)])
    assert fitted(brief, None) is brief
    small = fitted(brief, 1_600)
    assert 2 <= len(small.passages) < 10
    assert prompt_tokens(messages(small)) <= 1_600
    assert [one.document_id for one in small.passages] == list(range(1, len(small.passages) + 1))
    assert small.passages[0].text == TEXT
    assert small.passages[-1].text.endswith(" …")
    assert '<passage number="1"' in messages(small)[-1]["content"]
    tiny = fitted(brief, 900, asking=small_messages)
    assert prompt_tokens(small_messages(tiny)) <= 900
    assert small_messages(brief)[-1]["content"].count("Title") == SMALL_PASSAGES


def test_what_was_said_before_has_its_part_and_the_newest_of_it() -> None:
    turn = Turn("What is a release?", "A release is what is deployed. " * 8, "u")
    turns = [replace(turn, question=f"Question {number}?") for number in range(9)]
    brief = Brief("And then?", "And then?", [hit(1, TEXT), hit(2, TEXT)], turns)
    small = fitted(brief, 1_600)
    assert 1 <= len(small.turns) <= 5
    assert small.turns[-1].question == "Question 8?"
    assert small.passages
    assert prompt_tokens(messages(small)) <= 1_600


def test_the_estimate_is_seldom_too_low() -> None:
    assert tokens("abc" * 100) == 100
    assert tokens("部署回滚") == 6
    assert tokens("") == 0


async def test_an_endpoint_that_counts_more_gets_a_shorter_prompt() -> None:
    async with served() as double:
        double.behaviours += [
            refuses(400, "This model's maximum context length is 900 tokens.", "context_length_exceeded"),
            says("Within six hours [1]."),
        ]
        model = OpenAIModel(double.settings(llm_context=4_000))
        brief = Brief("How?", "How?", [hit(number, TEXT) for number in range(1, 9)])
        pieces = [piece async for piece in model.write(brief)]
        await model.close()
    assert isinstance(pieces[-1], Written)
    assert pieces[-1].text == "Within six hours [1]."
    first, second = [len(str(request["messages"])) for request in double.requests]
    assert second < 0.7 * first
    assert first < 4 * 3 * 4_000


async def test_a_version_that_is_gone_is_answered_for_by_the_base() -> None:
    async def promoted(_base: str) -> Sequence[Version]:
        return [version(7, "promoted")]

    async with served() as double:
        double.behaviours += [refuses(404, "The model does not exist.", "model_not_found"), says("Six hours [1].")]
        model = OpenAIModel(double.settings(), Choice(promoted, BASE))
        spoken = await model.speaking("c1")
        assert spoken.name == f"{BASE}-lora-0007"
        assert [piece async for piece in spoken.write(Brief("How?", "How?", [hit(1, TEXT)]))]
        assert [request["model"] for request in double.requests] == [f"{BASE}-lora-0007", model.name]
        assert spoken.name == model.name
        double.behaviours.append(refuses(404, "The model does not exist.", "model_not_found"))
        with pytest.raises(ModelError, match="refused"):  # without a version there is nothing to fall back to
            _ = [piece async for piece in model.write(Brief("How?", "How?", [hit(1, TEXT)]))]
        await model.close()


def test_a_small_model_ends_where_it_repeats_itself() -> None:
    said = "The answer is 14 days. Logs are kept for 14 days.\n\nThe answer is 14 days."
    assert before_repeating(said) == "The answer is 14 days. Logs are kept for 14 days."
    for whole in ("The answer is 14 days. Logs are kept", "Yes. Yes.", "One thing is this. Another thing is that.", ""):
        assert before_repeating(whole) is None


async def test_and_so_the_answer_does() -> None:
    async with served() as double:
        double.behaviours.append(says("Logs are kept for 14 days. " * 6))
        model = OpenAIModel(double.settings(llm="local"))
        pieces = [piece async for piece in model.write(Brief("How?", "How?", [hit(1, TEXT)]))]
        await model.close()
    assert isinstance(pieces[-1], Written)
    assert pieces[-1].text == "Logs are kept for 14 days."
    assert double.requests[0]["messages"][0]["content"] == SMALL
    assert (double.requests[0]["max_tokens"], double.requests[0]["stop"]) == (96, ["\n"])


def test_the_settings_of_the_local_model() -> None:
    local = load_settings(llm="local")
    assert (local.has_model, local.function_calls, local.has_versions) == (False, "none", True)
    assert (local.context, local.answer_tokens, local.model_timeouts) == (1_280, 320, (40.0, 55.0))
    own = load_settings(llm="local", llm_tools="functions", llm_timeout=20, llm_context=4_096)
    assert (own.function_calls, own.model_timeouts, own.context) == ("functions", (40.0, 20), 4_096)
    named = {"llm_base_url": "http://127.0.0.1:1/v1", "llm_model": "m"}
    assert load_settings(llm="local", **named).has_model
    assert load_settings(**named).context is None
    assert not load_settings(llm="none", **named).has_model
    load_settings(llm="local", cap_day_usd=1, **named)  # it costs nothing, and needs no price
