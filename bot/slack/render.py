"""Answers as Slack messages, within Slack's limits and unable to notify anybody."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from assistant.answering.messages import Answer
from assistant.answering.outcomes import Outcome
from assistant.strings import say
from bot.slack import blocks
from bot.slack.clean import escape, harmless, size
from bot.slack.pages import pages
from bot.slack.sources import packed, shortened, source_line

MESSAGE_CHARS = 12_000  # of all blocks together; Slack refuses more Markdown, and more text at about 13,200
NOTIFICATION_CHARS = 2_900

FEEDBACK = "answer_feedback"  # action ids
SOURCES = "answer_sources"
PERSON = "answer_person"
REGENERATE = "answer_regenerate"
SHARE = "answer_share"
ADD_FILE = "file_add"
OUTSIDERS = ":outsiders"  # behind the answer's id in a button's value: a click does not tell who reads the channel

_VOTABLE = (Outcome.ANSWERED, Outcome.NOT_IN_DOCUMENTS, Outcome.HIDDEN_BY_PERMISSIONS)
_REPEATABLE = (*_VOTABLE, Outcome.STOPPED, Outcome.FAILED)
_PERSONAL = (*_VOTABLE, Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Part:
    """One message: Markdown, and the blocks below it. ``plain`` stands alone where Slack refuses the blocks."""

    markdown: str
    below: tuple[dict[str, Any], ...]
    plain: str

    @property
    def blocks(self) -> list[dict[str, Any]]:
        return [*([blocks.markdown(self.markdown)] if self.markdown else []), *self.below]

    @property
    def text(self) -> str:
        """For notifications and for readers of the screen."""
        whole = self.markdown or self.plain
        if size(whole) <= NOTIFICATION_CHARS:
            return escape(whole) if self.markdown else whole
        return escape(whole[: NOTIFICATION_CHARS // 5]) + "…"

    def with_below(self, *more: dict[str, Any], note: str = "") -> Part:
        return replace(self, below=(*self.below, *more), plain=f"{self.plain}\n\n{note}" if note else self.plain)


@dataclass(frozen=True, slots=True)
class Look:
    """How an answer is shown in its place. ``files``: id and name of what was shared with the question."""

    outsiders: bool = False
    sources: bool = True
    ephemeral: bool = False  # shown to one person, who may share it
    files: Sequence[tuple[str, str]] = ()


def answer_parts(answer: Answer, look: Look) -> list[Part]:
    """The messages of an answer, in order; sources and buttons are at the end."""
    language = answer.language
    texts = pages(harmless(answer.text)) or [say("slack.empty", language)]
    parts = [Part(text, (), escape(text)) for text in texts]
    for note in _notes(answer, look):
        last = parts[-1]
        if len(last.plain) + len(note) > MESSAGE_CHARS:
            parts.append(Part("", (blocks.context(note),), note))
        else:
            parts[-1] = last.with_below(blocks.context(note), note=note)
    parts[-1] = parts[-1].with_below(*_buttons(answer, look))
    return parts


def plain_part(text: str, *below: dict[str, Any]) -> Part:
    """A short message that is no answer."""
    text = harmless(text)
    return Part(text, below, escape(text))


def _notes(answer: Answer, look: Look) -> Iterator[str]:
    """What stands below the text, as mrkdwn."""
    language = answer.language
    if answer.private:
        yield say("slack.private", language)
    if look.outsiders and answer.outcome in (Outcome.NOT_IN_DOCUMENTS, Outcome.HIDDEN_BY_PERMISSIONS):
        yield say("slack.outsiders", language)
    if answer.citations and look.sources:
        yield from packed([source_line(citation, f"[{citation.n}] ", language) for citation in answer.citations])
    elif answer.nearest and not answer.citations:
        nearest = [source_line(citation, "• ", language) for citation in answer.nearest]
        yield from packed([say("slack.nearest", language), *nearest])


def _buttons(answer: Answer, look: Look) -> Iterator[dict[str, Any]]:
    language, value = answer.language, str(answer.id)
    row = []
    if look.ephemeral and answer.outcome is Outcome.ANSWERED:
        row.append(_share(language, value))
    if answer.citations:
        row.append(_button(SOURCES, "sources", language, f"{value}{OUTSIDERS if look.outsiders else ''}"))
    if answer.outcome in _PERSONAL and not look.ephemeral:
        row.append(_button(PERSON, "person", language, value))
    if answer.outcome in _REPEATABLE and not look.ephemeral:
        row.append(_button(REGENERATE, "regenerate", language, f"{value}{OUTSIDERS if look.outsiders else ''}"))
    row.extend(file_button(file_id, name, language) for file_id, name in look.files[:5])
    if row:
        yield blocks.actions(*row)
    if answer.outcome in _VOTABLE:
        yield thumbs(answer.id, language)


def thumbs(answer_id: uuid.UUID, language: str) -> dict[str, Any]:
    good, bad = say("slack.good", language), say("slack.bad", language)
    return blocks.feedback(
        FEEDBACK,
        {"text": good, "value": f"up:{answer_id}", "label": say("slack.good_label", language)},
        {"text": bad, "value": f"down:{answer_id}", "label": say("slack.bad_label", language)},
    )


def file_button(file_id: str, name: str, language: str) -> dict[str, Any]:
    text = say("slack.add_file", language, name=shortened(name, 40))
    return blocks.button(f"{ADD_FILE}:{file_id}"[:255], text, file_id, say("slack.add_file_label", language))


def _share(language: str, value: str) -> dict[str, Any]:
    sure = blocks.confirm(
        say("slack.share_title", language), say("slack.share_question", language),
        say("slack.share_yes", language), say("slack.share_no", language),
    )  # fmt: skip
    return blocks.button(
        SHARE, say("slack.share", language), value, say("slack.share_label", language), "primary", sure
    )


def _button(action: str, name: str, language: str, value: str) -> dict[str, Any]:
    return blocks.button(action, say(f"slack.{name}_button", language), value, say(f"slack.{name}_label", language))
