"""Every text in every language, with the same blanks to fill in; and the language of a question."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from assistant import strings
from assistant.strings import LANGUAGES, catalogue, detect, known, say

AREAS = sorted(path.stem for path in Path(strings.__file__).parent.glob("*.toml"))


def blanks(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("area", AREAS)
def test_every_language_says_everything_with_the_same_blanks(area: str) -> None:
    texts = catalogue(area)
    assert set(texts) == set(LANGUAGES)
    for language in LANGUAGES:
        assert set(texts[language]) == set(texts["en"]), language
        for key, text in texts[language].items():
            assert text.strip(), (language, key)
            assert blanks(text) == blanks(texts["en"][key]), (language, key)
            if key.endswith("_header"):  # the columns of a table
                assert text.count("|") == texts["en"][key].count("|"), (language, key)


@pytest.mark.parametrize("area", AREAS)
def test_languages_are_not_copies_of_english(area: str) -> None:
    english = catalogue(area)["en"]
    for language in set(LANGUAGES) - {"en"}:
        same = [key for key, text in catalogue(area)[language].items() if text == english[key]]
        assert len(same) <= max(2, len(english) // 8), (language, same)


def test_a_text_is_filled_in_and_an_unknown_language_reads_english() -> None:
    assert (
        say("common.too_long", "de", length="5,000", limit="4,000")
        == "Die Frage hat 5,000 Zeichen; erlaubt sind 4,000."
    )
    assert say("common.stopped", "xx") == say("common.stopped")
    with pytest.raises(KeyError):
        say("common.no_such_text")


@pytest.mark.parametrize(
    ("text", "fallback", "language"),
    [
        ("How do I roll back a deployment?", None, "en"),
        ("Wie setze ich ein Deployment zurück?", None, "de"),
        ("Comment revenir en arrière après un déploiement ?", None, "fr"),
        ("¿Cómo hago rollback del servicio de pagos?", "de", "es"),
        ("ERR_CONN_42", None, "en"),
        ("ERR_CONN_42", "de-AT", "de"),
        ("SEV1", "ja-JP", "en"),
        ("Come si ripristina il servizio dei pagamenti dopo un errore?", None, "en"),
    ],
)
def test_the_language_is_the_questions_where_it_is_plain(text: str, fallback: str | None, language: str) -> None:
    assert detect(text, fallback) == language


def test_a_locale_is_a_language_where_we_have_it() -> None:
    assert [known(locale) for locale in ("de-AT", "en_GB", "FR", "pt-BR", "", None)] == [
        "de",
        "en",
        "fr",
        None,
        None,
        None,
    ]
