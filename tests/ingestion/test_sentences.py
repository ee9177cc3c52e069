import random

import pytest

from assistant.knowledge.sentences import Unit, split_units


def pairs(text: str) -> list[tuple[str, str]]:
    return [(unit.kind, unit.text) for unit in split_units(text)]


def sentences(text: str) -> list[str]:
    assert {unit.kind for unit in split_units(text)} == {"sentence"}
    return [unit.text for unit in split_units(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Use a tool, e.g. Terraform, i.e. The One, for it.",
        "Ask Dr. Smith or J. Doe, see vs. Others and Prof. Lee.",
        "Install v1.2 of app.config.yaml from https://x.test/a.B?c=D. now",
        "See No. 5 and Fig. 3 first.",
        "Run `git commit. Then push. Done!` and wait.",
        "Logs, metrics etc. Grafana has them.",
        "The U.K. Government runs it.",
        "Wait... then go on.",
    ],
)
def test_one_sentence(text: str) -> None:
    assert sentences(text) == [text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Stop it. Start it! Is it up? Yes.", ["Stop it.", "Start it!", "Is it up?", "Yes."]),
        ('He said "no." Then left (quietly.) Nobody saw.', ['He said "no."', "Then left (quietly.)", "Nobody saw."]),
        ("It costs 3. `kubectl` is free.", ["It costs 3.", "`kubectl` is free."]),
        ("Set it to 1.5. Then wait.", ["Set it to 1.5.", "Then wait."]),
        ("The answer is no. Nobody knows.", ["The answer is no.", "Nobody knows."]),
        ("Open a.py. Edit it.", ["Open a.py.", "Edit it."]),
        ("再起動します。確認します。", ["再起動します。", "確認します。"]),
        ("ERROR disk\nINFO ok", ["ERROR disk", "INFO ok"]),
        ("Перезапустите службу. Затем ждите.", ["Перезапустите службу.", "Затем ждите."]),
    ],
)
def test_sentence_ends(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


CHUNK = """Restart the service

Tell the team. Then run:

```
systemctl stop search.  Now

systemctl start
```

1. Stop
  - the workers
    and the queue
2. Start. It takes a minute.

| Service | Owner | Note |
|---|---|---|
| search | a \\| b | |
| mail | c | old |

The end"""


def test_every_kind_of_unit() -> None:
    assert pairs(CHUNK) == [
        ("heading", "Restart the service"),
        ("sentence", "Tell the team."),
        ("sentence", "Then run:"),
        ("code", "systemctl stop search.  Now\n\nsystemctl start"),
        ("list_item", "1. Stop"),
        ("list_item", "the workers and the queue"),
        ("list_item", "2. Start. It takes a minute."),
        ("table_row", "Service: search; Owner: a | b"),
        ("table_row", "Service: mail; Owner: c; Note: old"),
        ("sentence", "The end"),
    ]


def test_offsets_point_at_the_source() -> None:
    found = [CHUNK[unit.start : unit.end] for unit in split_units(CHUNK)]
    assert found[0] == "Restart the service"
    assert found[3] == "```\nsystemctl stop search.  Now\n\nsystemctl start\n```"
    assert found[5] == "- the workers\n    and the queue"
    assert found[8] == "| mail | c | old |"


def test_units_are_in_order_and_leave_only_blanks_and_marks() -> None:
    generator = random.Random(7)
    parts = [
        "Word. ",
        "e.g. ",
        "- item\n",
        "1. step\n",
        "```\n",
        "| a | b |\n",
        "|---|---|\n",
        "\n\n",
        "`x. Y` ",
        "  ",
        "## H\n",
    ]
    for _ in range(500):
        text = "".join(generator.choices(parts, k=generator.randint(0, 20)))
        end = 0
        for unit in split_units(text):
            assert unit.text.strip()
            assert end <= unit.start < unit.end <= len(text)
            skipped = text[end : unit.start].replace("| a | b |", "")  # a header is told by its rows
            assert not skipped.strip(" \n|-`")
            end = unit.end
        assert not text[end:].strip(" \n|-`")


def test_unclosed_code_and_empty_text() -> None:
    assert split_units("```\na\nb") == [Unit("a\nb", "code", 0, 7)]
    assert split_units("") == split_units("\n\n") == []
