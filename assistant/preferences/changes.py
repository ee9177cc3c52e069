"""What votes change: the questions whose first passages are others, before and after, and by how many people's votes.

Nobody is named: a change says how many votes of how many people are on the passage that rose or fell, for questions
near this one; where none are, it follows from what people prefer in general.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from assistant.preferences.gate import Evidence, base, with_moves
from assistant.preferences.memory import NEAR
from assistant.preferences.model import Learned
from assistant.preferences.replay import Replay

FIRST = 3  # passages that are compared
SHOWN = 50  # questions that are kept, those that change most


@dataclass(frozen=True, slots=True)
class _Change:
    size: float
    document: dict[str, Any]


def found(
    evidence: Evidence, learned: Learned, lately: Iterable[Replay] = (), untold: Collection[Hashable] = ()
) -> dict[str, Any]:  # fmt: skip
    """Of the voted questions but those ``untold``, and those asked ``lately``: how many were looked at, whose first
    passage is another, whose first ``FIRST`` are, and the questions themselves."""
    voted = (replay for question, replay in evidence.replays.items() if question not in untold)
    replays = {" ".join(one.asked.text.casefold().split()): one for one in (*lately, *voted)}
    changed = [change for replay in replays.values() if (change := _change(replay, evidence, learned)) is not None]
    changed.sort(key=lambda change: -change.size)
    first = sum(change.document["before"][0]["key"] != change.document["after"][0]["key"] for change in changed)
    return {
        "looked_at": len(replays), "first_changed": first, "changed": len(changed),
        "questions": [change.document for change in changed[:SHOWN]],
    }  # fmt: skip


def _change(replay: Replay, evidence: Evidence, learned: Learned) -> _Change | None:
    keys = list(replay.shown)
    orders = [
        [keys[place] for place in np.argsort(-order(replay), kind="stable").tolist()]
        for order in (base, with_moves(learned))
    ]
    before, after = (order[:FIRST] for order in orders)
    if before == after:
        return None
    places = [{key: rank for rank, key in enumerate(order, start=1)} for order in orders]
    touched = [key for key in dict.fromkeys((*after, *before)) if places[0][key] != places[1][key]]
    size = sum(abs(1 / places[0][key] - 1 / places[1][key]) for key in touched)
    return _Change(
        size,
        {
            "question": replay.asked.text,
            "before": [_named(key, replay, places[0][key], places[1][key]) for key in before],
            "after": [_named(key, replay, places[0][key], places[1][key]) for key in after],
            "because": _because(replay, touched, evidence),
        },
    )


def _named(key: str, replay: Replay, before: int, after: int) -> dict[str, Any]:
    hit = replay.hits[key]
    return {
        "key": key, "title": hit.title, "section": " > ".join(hit.heading_path), "external_id": hit.external_id,
        "rank": {"before": before, "after": after},
    }  # fmt: skip


def _because(replay: Replay, touched: list[str], evidence: Evidence) -> dict[str, Any]:
    """The votes on these passages, for questions near this one."""
    near: dict[Hashable, bool] = {}
    opinions: set[int] = set()
    wanted = set(touched)
    for pair in evidence.pairs:
        if pair.better in wanted or pair.worse in wanted:
            if pair.question not in near:
                other = evidence.replays[pair.question].asked.vector
                near[pair.question] = float(other @ replay.asked.vector) >= NEAR
            if near[pair.question]:
                opinions.add(pair.opinion)
    votes = [evidence.opinions[number] for number in opinions]
    return {
        "votes": len(votes), "up": sum(one.value > 0 for one in votes), "down": sum(one.value < 0 for one in votes),
        "people": len({one.voter for one in votes}),
    }  # fmt: skip
