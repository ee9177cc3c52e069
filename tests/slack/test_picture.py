"""The pictures of the README show what the product renders, each block of it."""

from __future__ import annotations

import re

from tests.slack.sample import pages_of_the_readme


def test_every_block_is_drawn_with_its_words() -> None:
    drawn = {name: re.sub(r"<[^>]+>", " ", page) for name, page in pages_of_the_readme().items()}
    for name, words in {
        "slack-answer": ("within 10 minutes", "Ledger runbook › Releases › Roll back", "Try again"),
        "slack-private": ("Only you can see this", "Share with everyone", "I did not find this"),
        "slack-home": ("What Almanac knows", "For administrators", "the PDF holds no text"),
        "slack-settings": ("When I answer", "S0ONCALL", "Save"),
        "slack-commands": ("wiki.example.com", "Remove", "Cancel"),
    }.items():
        for word in words:
            assert word in drawn[name]
