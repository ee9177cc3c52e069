"""Regular expressions of ours on texts made to be slow (LLM10 Unbounded Consumption): what a model copies from a
document, or a document holds, must not decide how long a process thinks. With a pattern that can be read in two ways,
thirty characters of some of these texts took longer than anybody waits; they are long enough here that a square would.
"""

from __future__ import annotations

import pytest

from assistant.answering import prompts
from assistant.guardrails import normalising, support
from assistant.guardrails.links import Places
from assistant.guardrails.output import Policy, Settling, check
from assistant.knowledge.sentences import split_units
from assistant.preferences import memory
from bot.slack import clean, pages
from bot.teams import markdown

POLICY = Policy(Places.of([]))
WRITTEN = {
    "brackets": "[[" + "![" * 700 + "]][",
    "open brackets": "[[" + "[a" * 700,
    "open round brackets": "[](" + "(ab" * 500 + "))(]",
    "ticks and lines": "```" + "`\n`" * 500,
    "single ticks": "`a" * 700,
    "escapes": "[" + "\\\\a" * 500 + "x",
    "targets": "[a](" + "(a" * 700,
    "tags": "<a" * 700,
    "names": "a.aa" * 350 + "?",
    "table rules": "a|b\n" + "- |" * 700 + "x",
    "blank rules": "a|b\n" + " " * 4_000 + "x",
    "headings": "# " + "a " * 300 + "#" * 1_000 + " " * 1_000 + "x",
    "items": "- " * 1_000 + "x",
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", WRITTEN)
def test_llm10_what_a_model_writes_is_checked_in_time(kind: str) -> None:
    """Whole, and streamed in pieces: this runs in the bot's one event loop, before everybody's eyes."""
    text = WRITTEN[kind]
    checked = check(text, POLICY).text
    settling = Settling(POLICY)
    shown = "".join(settling.feed(text[at : at + 40] + " ") for at in range(0, len(text), 40)) + settling.finish()
    assert checked.strip()
    assert shown.strip()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", WRITTEN)
def test_llm10_what_is_shown_in_chat_is_made_in_time(kind: str) -> None:
    for text in (WRITTEN[kind], WRITTEN[kind].replace("\n", " ")):
        assert pages.pages(text)
        assert clean.harmless(text)
        assert markdown.shown(text, "en")
        assert markdown.neutral(text)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mark", [".", "!?", '."', "…'", "\n", " ", "- ", "|", "`"])
def test_llm10_a_document_of_nothing_but_marks_is_cut_in_time(mark: str) -> None:
    text = mark * (1_000_000 // len(mark)) + "x"
    assert len(split_units(text)) <= 1_000_000
    assert len(memory._SENTENCES.split(text)) <= 1_000_000


@pytest.mark.timeout(120)
def test_llm10_passages_and_results_are_read_in_time() -> None:
    blanks = " " * 200_000
    assert prompts._MARKS.sub("< ", "<" + blanks + "/" + blanks) == "<" + blanks + "/" + blanks
    assert support._MARKER.sub("", f"a{blanks}[1]") == "a"
    assert support._MARKER.sub("", blanks) == blanks
    assert normalising._PERCENT.search("a" * 200_000) is None
    assert normalising._PERCENT.search("a" * 200_000 + "%41%42") is not None
    assert normalising._SPELLED.search("a b " * 5_000 + "abc") is not None
