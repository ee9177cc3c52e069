"""Every text that people read and that is not an answer, in each language: one TOML file an area, one table a language.

``say("common.not_found", "de")`` reads the key ``not_found`` of the table ``[de]`` in ``common.toml``.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path

LANGUAGES = ("en", "de", "fr", "es")
DEFAULT = "en"
# Told apart from these, too, so that an Italian question is not taken for a Spanish one.
NEIGHBOURS = ("it", "pt", "nl", "pl", "sv", "da", "tr", "ru", "uk", "ja", "zh", "ko")
SURE = 0.8  # of 13,207 English questions 4 were taken for another of our languages; each names something in French


def say(key: str, language: str = DEFAULT, **values: object) -> str:
    """The text of ``area.name`` with its ``{placeholders}`` filled in; a language we do not have reads English."""
    area, _, name = key.partition(".")
    texts = catalogue(area)
    text = texts.get(language, {}).get(name) or texts[DEFAULT][name]
    return text.format(**values) if values else text


@functools.cache
def catalogue(area: str) -> Mapping[str, Mapping[str, str]]:
    """Language -> key -> text."""
    return tomllib.loads((Path(__file__).parent / f"{area}.toml").read_text(encoding="utf-8"))


def known(language: str | None) -> str | None:
    """The language of a locale such as ``de-AT`` or ``en_GB`` where we have it."""
    code = (language or "").replace("_", "-").partition("-")[0].lower()
    return code if code in LANGUAGES else None


def detect(text: str, fallback: str | None = None) -> str:
    """The language of ``text`` where it is plain and we have it, else the fallback's (a locale), else English."""
    code, confidence = _identifier().classify(text)
    return code if confidence >= SURE and code in LANGUAGES else known(fallback) or DEFAULT


def identified(text: str) -> str | None:
    """The language of ``text``, one of ours or a neighbour, where it is plain."""
    code, confidence = _identifier().classify(text)
    return str(code) if confidence >= SURE else None


@functools.cache
def _identifier():  # type: ignore[no-untyped-def]
    from py3langid import langid  # its model takes half a second, which not every command needs

    model = Path(langid.MODEL_DIR) / langid.MODEL_FILE
    identifier = langid.LanguageIdentifier.from_model_file(model, norm_probs=True)
    identifier.set_languages([*LANGUAGES, *NEIGHBOURS])
    return identifier
