"""Texts that escapes make longer than Slack takes: cut, for else the whole dialog or message would be refused."""

from __future__ import annotations

import re
import uuid

import pytest

from assistant.answering.messages import Answer, Citation
from assistant.answering.outcomes import Outcome
from assistant.database.answers import Stored
from bot.slack import blocks
from bot.slack.modals import sources_view
from tests.slack.limits import refused_blocks, refused_view

WHOLE = re.compile(r"(?:[^<>&]|<https://[^<>|]+\|[^<>|]*>|&(?:amp|lt|gt);|^>)*", re.MULTILINE)


def test_the_sources_are_shown_of_a_document_that_is_all_markup() -> None:
    url = "https://docs.example.com/?" + "a=1&" * 90
    cited = Citation(1, "<&>" * 60, url, 7, "<<&>>" * 140, 3, "x", owner="&" * 80)
    answer = Answer(uuid.uuid4(), Outcome.ANSWERED, "Yes [1].", (cited,))
    view = sources_view(Stored("q", "slack:T1:U1", "slack", "C1", answer), {7}, "en")
    assert refused_view(view) is None
    assert WHOLE.fullmatch(view["blocks"][0]["text"]["text"])


@pytest.mark.parametrize("unit", ["&amp;", "&lt;", "<https://x.example/a|b>", "ab", "b &gt; "])
def test_what_is_cut_has_no_half_of_a_link_or_an_escape(unit: str) -> None:
    for before in range(len(unit)):
        text = "x" * before + unit * 3_000
        section = blocks.section(text)
        assert refused_blocks([section]) is None
        shown = section["text"]["text"]
        assert len(shown) > 3_000 - len(unit) - 1
        assert shown.endswith("…")
        assert WHOLE.fullmatch(shown)
    assert blocks.section("a" * 3_000)["text"]["text"] == "a" * 3_000
