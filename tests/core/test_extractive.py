"""Answers without a language model: sentences of the documents, each with its citation, and nothing else."""

from __future__ import annotations

import re

import pytest

from assistant.answering.answer import Answering
from assistant.answering.expected import expected
from assistant.answering.messages import Answer, Done, Question
from assistant.answering.outcomes import Outcome
from assistant.database import passages as reading
from assistant.database.session import Sessions
from assistant.knowledge.audience import Audience
from assistant.knowledge.embedding import TransformerEmbedder
from assistant.knowledge.lexical import query_terms
from assistant.knowledge.search import Searcher
from assistant.knowledge.sentences import split_units
from assistant.models.extractive import ExtractiveModel, share_held
from assistant.telemetry import Metrics
from tests.core.parts import Page, shelve

LIBRARY = (
    Page(
        "deploy/rollback.md",
        "Rolling back",
        (
            "To roll back a service, run this from your own machine:\n\n```sh\nferry rollback parcel-tracker\n```\n\n"
            "Production returns to the version before. A roll-back takes about three minutes.",
            "After a roll-back the hold stays until somebody runs `ferry release`. Revert the commit the same day.",
        ),
    ),
    Page(
        "oncall/escalation.md",
        "Escalation",
        (
            "A SEV1 page is acknowledged within 5 minutes. After 10 minutes it goes to the second on call.",
            "To become on call you need:\n\n- two shadow shifts with an experienced engineer\n- access to the bastion"
            " host\n- a phone with the pager app installed",
        ),
    ),
    Page(
        "data/retention.md",
        "Retention",
        (
            "| Data | Kept for |\n|---|---|\n| invoices | 7 years |\n| access logs | 90 days |\n| traces | 14 days |",
            "The data protection officer is Ines Moreira. She approves every exception to the retention periods.",
        ),
    ),
    Page(
        "office/lunch.md",
        "Lunch",
        ("Lunch is served from noon until two o'clock in the canteen.", "The coffee machine is cleaned on Fridays."),
    ),
)


async def ask(sessions: Sessions, embedder: TransformerEmbedder, text: str) -> Answer:
    answering = Answering(
        sessions,
        Searcher(sessions, embedder),
        ExtractiveModel(embedder),
        Metrics(),
        max_chars=4_000,
        timeout=60,
    )
    question = Question(text, "mia", Audience.everyone(), "test", text)
    [*_, last] = [event async for event in answering.ask(question)]
    assert isinstance(last, Done)
    return last.answer


@pytest.fixture
async def shelved(sessions: Sessions, embedder: TransformerEmbedder) -> Sessions:
    await shelve(sessions, embedder, *LIBRARY)
    return sessions


def words(text: str) -> str:
    return " ".join(text.split())


def passages() -> list[str]:
    return [text for page in LIBRARY for text in page.passages]


@pytest.mark.parametrize(
    ("question", "said", "document"),
    [
        ("How long does a roll-back take?", "A roll-back takes about three minutes.", "deploy/rollback.md"),
        ("How fast must a SEV1 page be acknowledged?", "A SEV1 page is acknowledged within 5 minutes.",
         "oncall/escalation.md"),
        ("Who is the data protection officer?", "The data protection officer is Ines Moreira.", "data/retention.md"),
        ("When is lunch served?", "Lunch is served from noon until two o'clock", "office/lunch.md"),
    ],
)  # fmt: skip
async def test_the_sentence_that_answers_is_there_with_its_citation(
    shelved: Sessions, embedder: TransformerEmbedder, question: str, said: str, document: str
) -> None:
    answer = await ask(shelved, embedder, question)
    assert answer.outcome is Outcome.ANSWERED
    found = re.search(re.escape(said) + r"[^\[\]]*\[(\d+)\]", answer.text)
    assert found is not None, answer.text
    assert answer.citations[int(found[1]) - 1].external_id == document


@pytest.mark.parametrize(
    ("question", "form"),
    [
        ("How do I roll back a service?", "```sh\nferry rollback parcel-tracker\n```\n[n]"),
        ("What do I need to become on call?", "\n- access to the bastion host [n]\n"),
        ("How long are invoices kept?", "- Data: invoices; Kept for: 7 years [n]"),
    ],
)
async def test_code_lists_and_rows_keep_their_form(
    shelved: Sessions, embedder: TransformerEmbedder, question: str, form: str
) -> None:
    answer = await ask(shelved, embedder, question)
    assert form in re.sub(r"\[\d+\]", "[n]", f"\n{answer.text}\n"), answer.text


@pytest.mark.parametrize(
    "question",
    ["How do I roll back a service?", "What do I need to become on call?", "How long are access logs kept?",
     "Who approves an exception to retention?"],
)  # fmt: skip
async def test_nothing_is_said_that_no_passage_says(
    shelved: Sessions, embedder: TransformerEmbedder, question: str
) -> None:
    answer = await ask(shelved, embedder, question)
    assert answer.outcome is Outcome.ANSWERED
    assert answer.citations
    async with shelved() as session:
        for citation in answer.citations:
            view = await reading.around(session, citation.chunk_id, Audience.everyone())
            assert view is not None
            [current] = [passage for passage in view.passages if passage.current]
            assert citation.quote in current.text
    held = [words(unit.text) for text in passages() for unit in split_units(text)]
    for unit in split_units(re.sub(r"\s*\[\d+\]", "", answer.text)):
        assert any(words(unit.text) in text for text in held), unit.text
    assert {int(n) for n in re.findall(r"\[(\d+)\]", answer.text)} == {item.n for item in answer.citations}


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Mongolia?",
        "How do I bake sourdough bread?",
        "Who won the world cup in 1998?",
        "asdf qwer",
    ],
)
async def test_what_the_documents_do_not_say_is_refused(
    shelved: Sessions, embedder: TransformerEmbedder, question: str
) -> None:
    answer = await ask(shelved, embedder, question)
    assert (answer.outcome, answer.citations) == (Outcome.NOT_IN_DOCUMENTS, ()), answer.text


@pytest.mark.parametrize(
    ("question", "kind", "fits", "does_not"),
    [
        ("How long are backups kept?", "duration", "Backups are kept for 30 days.", "Backups are encrypted."),
        ("How often is the key rotated?", "duration", "The key is rotated weekly.", "The key is in the vault."),
        ("Who approves access?", "person", "The security team approves access.", "access is approved by mail."),
        ("Who owns the ledger?", "person", "Ask Ines Moreira.", "it is owned jointly."),
        ("When is the freeze?", "time", "It starts on Friday.", "It is short."),
        ("How many replicas are there?", "count", "There are three replicas.", "Replicas are read-only."),
        ("How much does it cost?", "money", "It costs £40.", "It is cheap."),
        ("Which port does it use?", "port", "It listens on 8443.", "It listens on every address."),
        ("Which version of Python?", "version", "Python 3.11 is used.", "Python is used."),
        ("What percentage is allowed?", "share", "At most 5 % may fail.", "Some may fail."),
        ("What is the largest file?", "size", "Files may have 50 MB.", "Files may be long."),
        ("What is the phone number?", "phone", "Call +44 20 7946 0018.", "Call the desk."),
        ("What is the URL?", "address", "See https://x.example.", "See the wiki."),
        ("Which command restarts it?", "command", "Run `ferry restart`.", "Restart it."),
    ],
)
def test_a_question_says_what_its_answer_holds(question: str, kind: str, fits: str, does_not: str) -> None:
    asked = expected(question)
    assert asked is not None
    assert asked.name == kind
    assert asked.given.search(fits)
    assert not asked.given.search(does_not)


@pytest.mark.parametrize("question", ["How do I deploy?", "Why is the queue slow?", "What is ferry?", ""])
def test_an_open_question_takes_any_answer(question: str) -> None:
    assert expected(question) is None


def test_the_share_of_terms_counts_their_weight() -> None:
    deploy, ledger = query_terms("deploy"), query_terms("ledger")
    weights = {deploy[0]: 3.0, ledger[0]: 1.0}
    assert share_held(weights, deploy * 2) == 0.75
    assert share_held(weights, []) == 0.0
    assert share_held({}, deploy) == 0.0
