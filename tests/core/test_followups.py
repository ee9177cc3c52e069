"""Follow-ups: what is carried over, what a model may make of them, and that neither harms what stands alone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import numpy as np
import pytest

from assistant.answering.answer import Answering
from assistant.answering.history import carried
from assistant.answering.messages import Answer, Done, Question, Turn, Usage
from assistant.answering.rewriting import Rewritten, fits, rewritten
from assistant.database.session import Sessions
from assistant.errors import ModelError
from assistant.knowledge.audience import Audience
from assistant.knowledge.lexical import query_terms
from assistant.knowledge.query import Carried, mixed, weighted_terms
from assistant.knowledge.search import Searcher
from assistant.telemetry import Metrics
from tests.core.parts import FakeModel, Page, WordEmbedder, shelve

EMBEDDER = WordEmbedder()
EVERYONE = Audience.everyone()
FIRST = Turn("How do I deploy the ledger?", "Run `ferry deploy ledger` [1].", "ann")
SECOND = Turn("Who owns it?", "Team Harbour owns the ledger [1].", "ann")
LEDGER = Page("ledger.md", "Ledger", ("The ledger waits for approval of the price.",))
WIKI = Page("wiki.md", "Wiki", ("The wiki waits for approval of the price.",))


def test_nothing_is_carried_at_the_beginning() -> None:
    assert carried("How do I deploy the ledger?", ()) == ()


def test_earlier_words_count_little_and_less_with_age() -> None:
    question = "How long does the approval take?"
    turns = [FIRST, Turn("Where is the queue?", "", "ann"), SECOND]
    weights = weighted_terms(question, carried(question, turns, "ann"))
    assert list(weights) == sorted(weights)
    one = {word: weights[query_terms(word)[0]] for word in ("approval", "owns", "queue", "deploy", "harbour")}
    assert one["approval"] == 1.0
    assert one["owns"] == pytest.approx(0.1)
    assert one["owns"] > one["queue"] > one["deploy"] >= one["harbour"] > 0


def test_a_question_that_stands_alone_is_drawn_back_less() -> None:
    leaning, alone = (carried(q, [FIRST], "ann")[0] for q in ("Who owns it?", "Who owns the queue of invoices?"))
    assert leaning.terms == alone.terms
    assert 0 < alone.vector < leaning.vector


def test_a_question_without_a_word_of_its_own_is_the_one_before() -> None:
    assert query_terms("Why not?") == []
    weights = weighted_terms("Why not?", carried("Why not?", [FIRST], "ann"))
    assert weights[query_terms("ledger")[0]] == 1.0


def test_others_questions_are_not_the_askers() -> None:
    turns = [FIRST, Turn("Where is the wiki?", "There.", "ben")]
    assert "wiki" not in " ".join(part.text for part in carried("And why?", turns, "ann"))
    assert "wiki" in " ".join(part.text for part in carried("And why?", turns, "cleo"))


def test_mixed_vectors_have_length_one_and_lean_a_little() -> None:
    question, other = np.eye(3, dtype=np.float32)[:2]
    vector = mixed(question, [other], [0.2])
    assert np.linalg.norm(vector) == pytest.approx(1)
    assert vector[0] > 0.97
    assert vector[1] == pytest.approx(0.2 * vector[0])
    assert mixed(question, [-question], [1.0]) is question


async def test_what_is_carried_decides_where_the_question_leaves_it_open_and_only_there(sessions: Sessions) -> None:
    await shelve(sessions, EMBEDDER, LEDGER, WIKI, Page("z.md", "Other", ("Nothing of that kind.",)))
    searcher = Searcher(sessions, EMBEDDER)

    async def first(question: str, *texts: str) -> str:
        parts = [Carried(text, 0.1, 0.2) for text in texts]
        return (await searcher.search(question, audience=EVERYONE, carried=parts)).hits[0].external_id

    assert await first("approval of the price", "Where is the ledger?") == "ledger.md"
    assert await first("approval of the price", "Where is the wiki?") == "wiki.md"
    assert await first("wiki approval of the price", "Where is the ledger?") == "wiki.md"


class Rewriting(FakeModel):
    """Rewrites as told: a text, an error, or never."""

    def __init__(self, rewrite: str | Exception | None) -> None:
        super().__init__("The ledger waits [1].")
        self.answer = rewrite
        self.rewrites: list[str] = []

    async def rewrite(self, question: str, turns: Sequence[Turn], purse: object = None) -> Rewritten:
        self.rewrites.append(question)
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return Rewritten(str(self.answer), Usage(40, 10, 0.001))


GOOD = "Does the deploy of the ledger wait for approval?"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (GOOD, True),
        ("", False),
        ("It depends.", False),
        (f"{GOOD} source:runbooks", False),
        (f"{GOOD} after:soon", False),
        ("ledger " * 100, False),
        ("Kubernetes clusters restart crashed containers automatically, and the ledger too", False),
    ],
)
def test_only_the_question_itself_is_taken(text: str, good: bool) -> None:
    assert fits(text, "Does it wait for approval?", [FIRST]) is good


@pytest.mark.parametrize("answer", [None, ModelError("Away."), "", "x source:wiki"])
async def test_what_is_late_or_wrong_is_left_aside(answer: str | Exception | None) -> None:
    found = await rewritten(Rewriting(answer), "Does it wait for approval?", [FIRST], seconds=0.05)
    assert found is None or found.text == ""
    assert await rewritten(FakeModel(), "Does it wait?", [FIRST]) is None


async def ask(sessions: Sessions, model: FakeModel, text: str, conversation: str) -> Answer:
    answering = Answering(sessions, Searcher(sessions, EMBEDDER), model, Metrics(), max_chars=200, timeout=20)
    question = Question(text, "ann", EVERYONE, "test", conversation)
    events = [event async for event in answering.ask(question)]
    assert isinstance(events[-1], Done)
    return events[-1].answer


async def test_a_model_rewrites_what_leans_and_nothing_else(sessions: Sessions) -> None:
    await shelve(sessions, EMBEDDER, LEDGER, WIKI)
    model, conversation = Rewriting(f'"{GOOD}"'), uuid.uuid4().hex
    await ask(sessions, model, "How do I deploy the ledger?", conversation)
    assert model.rewrites == []
    plain = await ask(sessions, model, "How does the ledger wait for approval?", conversation)
    assert model.rewrites == []
    answer = await ask(sessions, model, "Does it wait for approval?", conversation)
    assert model.rewrites == ["Does it wait for approval?"]
    assert (model.asked[-1].question, model.asked[-1].standalone) == ("Does it wait for approval?", GOOD)
    assert answer.usage.prompt_tokens == plain.usage.prompt_tokens + 40
    assert answer.usage.cost_usd == pytest.approx(plain.usage.cost_usd + 0.001)


async def test_a_rewrite_that_is_of_no_use_costs_its_tokens_and_changes_nothing(sessions: Sessions) -> None:
    await shelve(sessions, EMBEDDER, LEDGER, WIKI)
    model, conversation = Rewriting("I cannot help with that request, sorry"), uuid.uuid4().hex
    await ask(sessions, model, "How do I deploy the ledger?", conversation)
    answer = await ask(sessions, model, "Does it wait for approval?", conversation)
    assert model.asked[-1].standalone == "How do I deploy the ledger?\nDoes it wait for approval?"
    assert answer.usage.prompt_tokens == 120 + 40
