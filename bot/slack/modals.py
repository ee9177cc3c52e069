"""Modals: built from what they ask, read back from what was entered, with errors beside the fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from assistant.database import overview
from assistant.database.answers import Stored
from assistant.database.channels import ChannelSettings
from assistant.strings import LANGUAGES, say
from bot.slack import blocks
from bot.slack.blocks import Block
from bot.slack.clean import escape, quiet
from bot.slack.events import Message, channel_audience
from bot.slack.sources import shortened, source_line
from bot.slack.workplace import Workplace

SETTINGS, REASON, ASK, UPLOAD = "channel_settings", "vote_reason", "ask_question", "upload_files"

PERSONA_CHARS = 500
REASON_CHARS = 1_000
QUESTION_CHARS = 3_000
SOURCES_SHOWN = 20
UPLOADS = 10

_GROUP = re.compile(r"(?:<!subteam\^)?(S[A-Z0-9]{5,})(?:\|[^>]*)?>?")
_NATIVE = {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español"}

State = Mapping[str, Mapping[str, Mapping[str, Any]]]


async def settings_view(place: Workplace, message: Message, language: str) -> Block:
    """How Almanac behaves in a channel, as it is now."""
    current = await place.settings(message)
    async with place.services.reading() as session:
        known = await overview.readable_sources(session, channel_audience(message.team, message.channel))
    sources = [blocks.option(source.name, str(source.id)) for source in known[:100]]
    metadata = json.dumps({"team": message.team, "channel": message.channel, "language": language})
    return blocks.modal(
        SETTINGS, say("slack.settings_title", language), _settings_fields(current, sources, language),
        close=say("slack.cancel", language), submit=say("slack.save", language), metadata=metadata,
    )  # fmt: skip


def _settings_fields(current: ChannelSettings, sources: Sequence[Block], language: str) -> list[Block]:
    def text(key: str) -> str:
        return say(f"slack.settings_{key}", language)

    answers = [blocks.option(text("mention"), "mention"), blocks.option(text("sure"), "sure")]
    languages = [blocks.option(text("auto"), "auto"), *(blocks.option(_NATIVE[code], code) for code in LANGUAGES)]
    show = [blocks.option(text("show"), "show")]
    group = current.expert if current.expert.startswith("S") else ""
    user = current.expert if current.expert and not group else ""
    fields = [
        blocks.entry("answer", text("answer"), _choice("radio_buttons", answers, current.answer), optional=False),
        blocks.entry(
            "language", text("language"), _choice("static_select", languages, current.language or "auto"),
            optional=False,
        ),
        blocks.entry("show_sources", text("sources_below"), {
            "type": "checkboxes", "options": show, **({"initial_options": show} if current.show_sources else {}),
        }),
        blocks.entry("persona", text("persona"), {
            "type": "plain_text_input", "multiline": True, "max_length": 3_000,
            **({"initial_value": current.persona} if current.persona else {}),
        }, hint=say("slack.settings_persona_hint", language, limit=PERSONA_CHARS)),
        blocks.entry("expert", text("expert"), {
            "type": "users_select", **({"initial_user": user} if user else {}),
        }, hint=text("expert_hint")),
        blocks.entry("group", text("group"), {
            "type": "plain_text_input", **({"initial_value": group} if group else {}),
        }, hint=text("group_hint")),
    ]  # fmt: skip
    if sources:
        chosen = [option for option in sources if int(option["value"]) in current.sources]
        element = {
            "type": "multi_static_select", "placeholder": blocks.plain(text("all_sources"), 150),
            "options": list(sources), **({"initial_options": chosen} if chosen else {}),
        }  # fmt: skip
        fields.insert(2, blocks.entry("sources", text("sources"), element, hint=text("sources_hint")))
    return fields


def _choice(kind: str, options: Sequence[Block], value: str) -> Block:
    chosen = next((option for option in options if option["value"] == value), options[0])
    return {"type": kind, "options": list(options), "initial_option": chosen}


def settings_entered(state: State, language: str) -> ChannelSettings | dict[str, str]:
    """The settings, or what is wrong with them by field."""
    persona = " ".join(str(_value(state, "persona", "value") or "").split())
    user = str(_value(state, "expert", "selected_user") or "")
    typed = str(_value(state, "group", "value") or "").strip()
    group = _GROUP.fullmatch(typed)
    errors = {}
    if len(persona) > PERSONA_CHARS:
        errors["persona"] = say("slack.settings_persona_long", language, length=len(persona), limit=PERSONA_CHARS)
    if typed and group is None:
        errors["group"] = say("slack.settings_group_wrong", language)
    elif typed and user:
        errors["group"] = say("slack.settings_expert_twice", language)
    if errors:
        return errors
    sources = tuple(int(option["value"]) for option in _value(state, "sources", "selected_options") or ())
    chosen = (_value(state, "language", "selected_option") or {}).get("value")
    return ChannelSettings(
        answer="sure" if (_value(state, "answer", "selected_option") or {}).get("value") == "sure" else "mention",
        sources=sources,
        show_sources=bool(_value(state, "show_sources", "selected_options")),
        persona=persona,
        language=chosen if chosen in LANGUAGES else None,
        expert=group[1] if group else user,
    )


def _value(state: State, name: str, key: str) -> Any:
    return (state.get(name) or {}).get(name, {}).get(key)


def reason_view(answer_id: str, language: str, channel: str, thread: str) -> Block:
    """Why an answer was no good; the vote is counted already."""
    element = {"type": "plain_text_input", "multiline": True, "max_length": REASON_CHARS}
    field = blocks.entry("reason", say("slack.reason_label", language), element, optional=False)
    metadata = json.dumps({"answer": answer_id, "language": language, "channel": channel, "thread": thread})
    return blocks.modal(
        REASON, say("slack.reason_title", language), [blocks.section(say("slack.reason_counted", language)), field],
        close=say("slack.reason_skip", language), submit=say("slack.reason_send", language), metadata=metadata,
    )  # fmt: skip


def reason_entered(state: State) -> str:
    return str(_value(state, "reason", "value") or "").strip()[:REASON_CHARS]


def ask_view(language: str) -> Block:
    """A question from anywhere in Slack; the answer comes in a direct message."""
    element = {"type": "plain_text_input", "multiline": True, "max_length": QUESTION_CHARS}
    hint = say("slack.ask_hint", language)
    field = blocks.entry("question", say("slack.ask_label", language), element, optional=False, hint=hint)
    return blocks.modal(
        ASK, say("slack.ask_title", language), [field], close=say("slack.cancel", language),
        submit=say("slack.ask_submit", language), metadata=json.dumps({"language": language}),
    )  # fmt: skip


def question_entered(state: State) -> str:
    return str(_value(state, "question", "value") or "").strip()


def upload_view(message: Message, language: str) -> Block:
    """Files to read into the index, for whoever can read the conversation."""
    element = {"type": "file_input", "max_files": UPLOADS}
    field = blocks.entry("files", say("slack.upload_label", language), element, optional=False)
    metadata = {"team": message.team, "channel": message.channel, "direct": message.direct, "language": language}
    return blocks.modal(
        UPLOAD, say("slack.upload_title", language), [field], close=say("slack.cancel", language),
        submit=say("slack.upload_submit", language), metadata=json.dumps(metadata),
    )  # fmt: skip


def files_entered(state: State) -> list[dict[str, Any]]:
    return [file for file in _value(state, "files", "files") or () if file.get("id")]


def sources_view(stored: Stored, alive: set[int], language: str) -> Block:
    """Every source of an answer with the words it rests on; what is gone since is not shown."""
    shown: list[Block] = []
    for citation in stored.answer.citations[:SOURCES_SHOWN]:
        if citation.tool or citation.chunk_id in alive:
            quote = escape(quiet(shortened(citation.quote, 600)))
            line = source_line(citation, f"[{citation.n}] ", language)
            shown += [blocks.section(f"{line}\n>{quote}" if quote else line), blocks.divider()]
    if not shown:
        shown = [blocks.section(say("slack.sources_gone", language)), blocks.divider()]
    return blocks.modal("sources", say("slack.sources", language), shown[:-1], close=say("slack.close", language))


def note_view(title: str, text: str, language: str) -> Block:
    return blocks.modal("note", title, [blocks.section(escape(text))], close=say("slack.close", language))
