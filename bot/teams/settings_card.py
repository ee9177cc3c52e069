"""The settings of a conversation as a card with fields, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assistant.database.channels import ChannelSettings
from assistant.database.overview import SourceView
from assistant.database.sources import SourceRow
from assistant.strings import LANGUAGES, say
from bot.teams import cards
from bot.teams.cards import Card
from bot.teams.citations import short

NAMES = {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español"}
AUTO = "auto"  # the question's own language
MAX_SOURCES = 60
MAX_PERSONA = 300
MAX_EXPERT = 200


def settings_card(settings: ChannelSettings, known: Sequence[SourceView], channel: str, language: str) -> Card:
    """``channel`` is whose settings they are: the card may lie in its reader's personal chat. ``known``: the sources
    of which something may be read there."""

    def words(key: str) -> str:
        return say(f"teams.settings_{key}", language)

    fields = [
        _choice("answer", words("answer"), {"mention": words("mention"), "sure": words("sure")}, settings.answer),
        _sources(settings, known, words("sources"), words("all")),
        _choice(
            "language", words("language"), {AUTO: words("auto"), **{code: NAMES[code] for code in LANGUAGES}},
            settings.language or AUTO,
        ),
        _text("persona", words("persona"), words("persona_hint"), settings.persona, MAX_PERSONA),
        _text("expert", words("expert"), words("expert_hint"), settings.expert, MAX_EXPERT),
        {
            "type": "Input.Toggle", "id": "show_sources", "title": words("show"),
            "value": str(settings.show_sources).lower(), "valueOn": "true", "valueOff": "false",
        },
    ]  # fmt: skip
    save = cards.Button(words("save"), "settings", (("channel", channel),), "positive", inputs=True)
    title = cards.text(words("title"), weight="Bolder", size="Medium")
    return cards.card([title, *fields], (save,))


def settings_from(said: Mapping[str, str], known: Sequence[SourceRow]) -> ChannelSettings:
    """What was chosen; anything that the card could not have sent is as if it were left alone."""
    ids = {str(row.id): row.id for row in known}
    chosen = said.get("sources", "").split(",")
    language = said.get("language", "")
    return ChannelSettings(
        answer="sure" if said.get("answer") == "sure" else "mention",
        sources=tuple(ids[number.strip()] for number in chosen if number.strip() in ids),
        show_sources=said.get("show_sources", "true") == "true",
        persona=" ".join(said.get("persona", "").split())[:MAX_PERSONA],
        language=language if language in LANGUAGES else None,
        expert=said.get("expert", "").strip()[:MAX_EXPERT],
    )


def _sources(settings: ChannelSettings, known: Sequence[SourceView], label: str, hint: str) -> Card:
    return {
        "type": "Input.ChoiceSet", "id": "sources", "label": label, "isMultiSelect": True, "style": "compact",
        "placeholder": hint, "value": ",".join(map(str, settings.sources)), "wrap": True,
        "choices": [{"title": short(row.name, 80), "value": str(row.id)} for row in known[:MAX_SOURCES]],
    }  # fmt: skip


def _choice(name: str, label: str, choices: Mapping[str, str], value: str) -> Card:
    found = [{"title": title, "value": key} for key, title in choices.items()]
    style = "expanded" if len(choices) < 3 else "compact"
    return {
        "type": "Input.ChoiceSet", "id": name, "label": label, "style": style, "choices": found, "value": value,
        "wrap": True,
    }  # fmt: skip


def _text(name: str, label: str, hint: str, value: str, limit: int) -> Card:
    return {
        "type": "Input.Text", "id": name, "label": label, "placeholder": hint, "value": value, "maxLength": limit,
    }  # fmt: skip
