"""A tool that a question wants is named with the command of the place where it was asked."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from assistant.answering.messages import Answer, Question
from assistant.answering.outcomes import Outcome
from assistant.answering.routing import Route
from assistant.answering.tooling import Tooling
from assistant.answering.work import Work
from assistant.knowledge.audience import Audience
from tests.core.test_agent_answers import ON_CALL


@pytest.mark.parametrize(
    ("platform", "command"),
    [
        ("slack", "`tool who_is_on_call service=…`"),
        ("teams", "`tool who_is_on_call service=…`"),
        ("web", "`almanac tools call who_is_on_call service=…`"),
        ("terminal", "`almanac tools call who_is_on_call service=…`"),
    ],
)
def test_a_tool_is_named_with_a_command_that_works_there(platform: str, command: str) -> None:
    nothing: Any = None
    question = Question("Who is on call for ledger?", "mia", Audience.everyone(), platform, "c")
    work = Work(question, uuid.uuid4(), nothing, "en")
    answer = Answer(work.answer_id, Outcome.NOT_IN_DOCUMENTS, "I did not find this.", (), model="extractive")
    said = Tooling(nothing, nothing, nothing, None).pointed(work, Route("tools", (ON_CALL,), 0.9), answer).text
    assert said.startswith("I did not find this.\n\nThis looks like something for **Who is on call now**.")
    assert command in said
