"""What is learned of answers, and the best of several: which one is shown, what it costs, and what fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from assistant.answering.messages import Usage
from assistant.errors import ModelError
from assistant.models.client import TEMPERATURE, _drawn
from assistant.models.port import Brief, Written
from assistant.preferences.best_of import BestOf
from assistant.preferences.reward import (
    BEGINNING,
    LENGTH,
    NAMES,
    BadReward,
    Candidate,
    Preferred,
    Reward,
    features,
    fit,
    load,
)
from assistant.spending.budget import OverBudget
from tests.core.parts import hit

PASSAGE = "The gateway is restarted with deploy restart gateway. It takes 40 seconds."
GOOD = "The gateway is restarted with deploy restart gateway [1]."
MADE_UP = "Servers usually need 90 minutes of patience, and perhaps a new cable."


def candidate(text: str) -> Candidate:
    return Candidate("How is the gateway restarted?", text, (PASSAGE,))


def value(text: str, name: str) -> float:
    return float(features(candidate(text))[NAMES.index(name)])


@pytest.mark.parametrize(
    ("name", "more", "less"),
    [
        ("support", GOOD, MADE_UP),
        ("unsupported numbers", MADE_UP, "It takes 40 seconds."),
        ("coverage", GOOD, MADE_UP),
        ("cited", GOOD, "The gateway is restarted. It takes a while [1]."),
        ("sources", "One [1]. Two [2].", "One [1]. Two [1]."),
        ("hedges", MADE_UP, GOOD),
        ("apology", "Sorry, no.", GOOD),
        ("asks back", "Which gateway do you mean?", GOOD),
        ("yes or no", "Yes, with deploy.", "Yesterday, with deploy."),
        ("repeats", "Restart the gateway. Restart the gateway. Restart the gateway.", GOOD),
        ("list", "- one\n- two", "one\ntwo"),
        (LENGTH, MADE_UP, "Short."),
    ],
)
def test_each_feature_tells_one_answer_from_another(name: str, more: str, less: str) -> None:
    assert value(more, name) > value(less, name)


@pytest.mark.parametrize("text", ["", "[1]", "?", "。。", "\n\n"])
def test_an_answer_without_words_has_features(text: str) -> None:
    found = features(Candidate("", text))
    assert found.shape == (len(NAMES),)
    assert np.isfinite(found).all()


def test_before_anybody_voted_the_answer_that_its_passages_hold_is_best() -> None:
    scores = Reward.beginning().scores([candidate(GOOD), candidate(MADE_UP)])
    assert scores[0] > scores[1] + 1


def people(count: int, wins: str, loses: str) -> list[Preferred]:
    return [Preferred(candidate(wins), candidate(loses), f"voter {number}") for number in range(count)]


def test_what_people_prefer_is_learned_beyond_that_and_few_votes_change_little() -> None:
    brief, talk = "Use deploy restart.", "I think you might use deploy restart, perhaps."
    few, many = (
        reward.scores([candidate(talk), candidate(brief)]) @ [1, -1]
        for reward in (fit(people(2, talk, brief)), fit(people(200, talk, brief)))
    )
    before = Reward.beginning().scores([candidate(talk), candidate(brief)]) @ [1, -1]
    assert before < few < many
    assert many > 0


def test_length_is_fitted_and_held_equal_among_candidates() -> None:
    reward = fit([Preferred(Candidate("q", "word " * n), Candidate("q", "word "), f"{n}") for n in range(20, 120)])
    long, short = Candidate("q", "word " * 90), Candidate("q", "word " * 60)
    with_length = reward.scores([long, short], length=True) @ [1, -1]
    assert with_length > reward.scores([long, short]) @ [1, -1]


def test_a_reward_is_kept_exactly_and_what_is_none_is_refused(tmp_path: Path) -> None:
    reward = fit(people(5, GOOD, MADE_UP))
    path = tmp_path / "reward.json"
    path.write_text(reward.to_json(), encoding="utf-8")
    assert load(path).weights.tolist() == reward.weights.tolist()
    assert load(None).weights.tolist() == [BEGINNING.get(name, 0.0) for name in NAMES]
    data = json.loads(reward.to_json())
    for broken in ("", "[]", '{"version": 1}', json.dumps(data | {"version": 2}), json.dumps(data | {"weights": {}})):
        path.write_text(broken, encoding="utf-8")
        with pytest.raises(BadReward, match=r"^The reward model cannot be read: [^\n]*\.$"):
            load(path)
    with pytest.raises(BadReward, match="cannot be read"):
        load(tmp_path / "none.json")


@dataclass
class Says:
    """Writes, for each variant, one of ``texts``; an error is raised, None is that the passages do not answer."""

    texts: Sequence[str | Exception | None]
    asked: list[int] = field(default_factory=list)
    together: int = 0
    name: str = "says"

    async def write(self, brief: Brief) -> AsyncGenerator[str | Written, None]:
        self.asked.append(brief.variant)
        await asyncio.sleep(0)
        self.together = max(self.together, len(self.asked))
        text = self.texts[brief.variant]
        if isinstance(text, Exception):
            raise text
        if text:
            yield text
        yield Written(text or "", supported=text is not None, usage=Usage(10, 5, 0.01))

    async def close(self) -> None:
        return None


def brief() -> Brief:
    return Brief("How is it restarted?", "How is the gateway restarted?", [hit(1, PASSAGE)])


def written(says: Says, count: int) -> tuple[str, Written]:
    async def run() -> list[str | Written]:
        return [piece async for piece in BestOf(count, Reward.beginning()).write(says, brief())]

    *pieces, end = asyncio.run(run())
    assert isinstance(end, Written)
    return "".join(str(piece) for piece in pieces), end


def test_the_best_of_three_is_shown_and_all_are_paid_for() -> None:
    says = Says([MADE_UP, GOOD, "Perhaps."])
    shown, end = written(says, 3)
    assert shown == end.text == GOOD
    assert end.usage.prompt_tokens == 30
    assert end.usage.completion_tokens == 15
    assert end.usage.cost_usd == pytest.approx(0.03)
    assert sorted(says.asked) == [0, 1, 2]
    assert says.together == 3  # at the same time


def test_one_is_the_models_own_as_it_comes() -> None:
    says = Says([MADE_UP])
    assert written(says, 1)[0] == MADE_UP
    assert says.asked == [0]


def test_what_cannot_be_paid_or_fails_is_left_out_while_there_is_an_answer() -> None:
    assert written(Says([OverBudget("day"), MADE_UP, GOOD]), 3)[0] == GOOD
    assert written(Says([GOOD, ModelError("It is away.")]), 2)[0] == GOOD
    with pytest.raises(OverBudget):
        written(Says([OverBudget("day"), OverBudget("day")]), 2)


def test_that_the_passages_do_not_answer_is_the_answer_where_most_say_so() -> None:
    shown, end = written(Says([None, GOOD, None]), 3)
    assert not shown
    assert not end.supported
    assert written(Says([None, GOOD]), 2)[1].supported


def test_only_the_first_candidate_is_the_likeliest() -> None:
    from dataclasses import replace

    assert _drawn(brief()) == {}
    assert _drawn(replace(brief(), variant=3)) == {"temperature": TEMPERATURE, "seed": 3}
