"""Lines of hundreds of thousands of characters, as people paste and models write them: none holds a bot up for minutes.

Where a pattern's time grows with the square of the text, these do not come to their end.
"""

from __future__ import annotations

import pytest

from bot.slack.clean import harmless, lies
from bot.slack.events import mentions, plain
from bot.teams.markdown import neutral

BOT = "U0BOT1234"
LONG = 300_000

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("[a](" + "a" * LONG, "[a](" + "a" * LONG),
        ("[a](https://x.example/" + "a(b)" * (LONG // 4), "[a](https://x.example/" + "a(b)" * (LONG // 4)),
        ("".join("`" * length + "a" for length in range(1, 800)), "".join("`" * n + "a" for n in range(1, 800))),
        ("`a` " * (LONG // 4), "`a` " * (LONG // 4)),
    ],
    ids=["open link", "link with brackets", "runs of backticks", "much code"],
)
def test_slack(line: str, shown: str) -> None:
    assert harmless(line) == shown


def test_slack_blanks() -> None:
    assert plain("a" + " " * LONG + "b", BOT) == "a" + " " * LONG + "b"


def test_teams() -> None:
    """The words of a link, which may name another address."""
    assert neutral("[" + "a." * LONG + "b c](https://x.example/)").endswith("b c](https://x.example/)")


@pytest.mark.parametrize("label", ["...paypal.com", "\u2026paypal.com", "see ..paypal.com/login", "a.b.paypal.com"])
def test_dots_before_an_address_hide_it_from_nobody(label: str) -> None:
    assert lies(label, "https://evil.example/")
    assert neutral(f"[{label}](https://evil.example/)") == "[evil.example](https://evil.example/)"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("`[x](https://x.example)` ``a`b``", "`[x](https://x.example)` ``a`b``"),
        ("```a``[paypal.com](https://evil.example)``", "```a``[paypal.com](https://evil.example)``"),
        ("``` [paypal.com](https://evil.example) `", "``` paypal.com (https://evil.example) `"),
    ],
)
def test_code_is_what_stands_between_runs_of_as_many_backticks(line: str, shown: str) -> None:
    assert harmless("x " + line) == "x " + shown


def test_the_bot_is_mentioned_by_its_whole_name() -> None:
    """Ids have nine characters or eleven, and one may begin as another does."""
    assert mentions({"type": "message", "text": f"hello <@{BOT}>"}, BOT)
    assert mentions({"type": "message", "text": f"hello <@{BOT}|almanac>"}, BOT)
    assert not mentions({"type": "message", "text": f"hello <@{BOT}AB>"}, BOT)
