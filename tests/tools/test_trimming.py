"""What a model reads of an answer: only what is wanted, within its budget, and never silently less."""

from __future__ import annotations

import json
import random
from typing import Any

from assistant.tools.text import characters
from assistant.tools.trimming import keep, trim, trim_text

DATA = {"items": [{"id": 1, "in": {"a": 1, "b": 2}, "x": None}, {"id": 2, "in": {"a": 3}}], "page": {"n": 1, "of": 9}}


def test_paths_keep_what_lies_on_them_in_its_place() -> None:
    assert keep(DATA, ["items.id"]) == {"items": [{"id": 1}, {"id": 2}]}
    assert keep(DATA, ["$.items[*].in.a", "page.of"]) == {
        "items": [{"in": {"a": 1}}, {"in": {"a": 3}}], "page": {"of": 9},
    }  # fmt: skip
    assert keep(DATA, ["items.x"]) == {"items": [{"x": None}]}
    assert keep(DATA, ["*.n"]) == {"page": {"n": 1}, "items": []}
    assert keep(DATA, ["items", "items.id"]) == {"items": DATA["items"]}
    assert keep(DATA, ["nothing.here"]) == {}
    assert keep([DATA, DATA], ["page.n"]) == [{"page": {"n": 1}}] * 2
    assert keep("text", ["a"]) is None


def test_lists_say_how_much_more_there_is() -> None:
    trimmed = trim(list(range(37)), max_items=20)
    assert trimmed.data[-1] == "… and 17 more"
    assert trimmed.truncated
    whole = trim(list(range(20)), max_items=20)
    assert (whole.data, whole.truncated) == (list(range(20)), False)


def test_the_budget_holds_for_anything_and_what_is_cut_is_said() -> None:
    random_ = random.Random(3)

    def anything(depth: int) -> Any:
        kind = random_.random()
        if depth == 0 or kind < 0.3:
            return random_.choice([None, True, 1.5, "short", "long words " * random_.randint(1, 400), "日本" * 300])
        if kind < 0.65:
            return [anything(depth - 1) for _ in range(random_.randint(0, 12))]
        return {f"key{number}": anything(depth - 1) for number in range(random_.randint(0, 12))}

    cut = 0
    for _ in range(60):
        data = anything(3)
        trimmed = trim(data, max_tokens=300)
        assert len(trimmed.text) <= characters(300)
        if not trimmed.truncated and not isinstance(data, str):
            assert json.loads(trimmed.text) == json.loads(json.dumps(data).replace('words "', 'words"'))
        cut += trimmed.truncated
    assert 10 < cut < 60


def test_what_fits_after_cutting_is_still_json() -> None:
    rows = [{"id": number, "text": "word " * 60} for number in range(200)]
    trimmed = trim(rows, max_items=50, max_tokens=600)
    assert json.loads(trimmed.text) == trimmed.data
    assert trimmed.data[-1].startswith("… and ")
    assert len(trimmed.data) > 4


def test_a_deep_or_wide_answer_ends() -> None:
    deep: Any = "end"
    for _ in range(200):
        deep = {"a": deep}
    assert trim(deep).truncated
    wide = trim({f"k{number}": number for number in range(5_000)}, max_items=10)
    assert wide.data["…"] == "and 4950 more"


def test_text_loses_what_cannot_be_seen() -> None:
    trimmed = trim_text("one\u200b\u202e\x1b[31m two\n\n\n\nthree\U000e0041", 100)
    assert trimmed.text == "one[31m two\n\nthree"
    long = trim_text("word " * 5_000, 100)
    assert long.truncated
    assert long.text.endswith("…")
    assert len(long.text) <= characters(100)
