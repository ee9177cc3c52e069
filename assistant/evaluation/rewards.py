"""Whether a reward model knows which of two answers people prefer: fitted on some pairs, asked about others.

A file of pairs holds {prompt, chosen, rejected} a line, and ``passages`` (texts), ``voter``, ``subset`` where they are
known. A prompt may be a dialogue ("Human: … Assistant:"): what was asked last counts. Pairs of one dialogue stay
together when a file is halved. "Longer wins" is what a reward must beat: it costs nothing to know.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.evaluation.collection import BadCollection
from assistant.evaluation.lines import objects
from assistant.evaluation.measures import Interval, intervals
from assistant.preferences.reward import Candidate, Preferred, Reward, fit

Floats = npt.NDArray[np.float64]

TESTED = 0.4  # of the dialogues, where one file is halved
_TURN = re.compile(r"^\s*(?:Human|User):", re.MULTILINE)
_REPLY = re.compile(r"^\s*Assistant:\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pair:
    """``dialogue``: what tells pairs apart that must not be taught and tested."""

    preferred: Preferred
    dialogue: str
    subset: str


@dataclass(frozen=True, slots=True)
class Found:
    """``longer``, ``learned``, ``equal``: shares of the pairs that the longer one wins, that the reward orders as
    people did, and the same with the length held equal."""

    pairs: int
    longer: float
    learned: float
    equal: float
    gain: Interval

    def document(self) -> dict[str, Any]:
        shares = {"longer_wins": self.longer, "learned": self.learned, "learned_length_equal": self.equal}
        ends = [round(self.gain.low, 4), round(self.gain.high, 4)]
        return {"pairs": self.pairs, **{name: round(share, 4) for name, share in shares.items()}, "ci95": ends}


def read_pairs(path: Path) -> list[Pair]:
    """Raises ``BadCollection``."""
    found = [_pair(row, place) for place, row in objects(path, BadCollection)]
    if not found:
        raise BadCollection(f"{path} holds no pair.")
    return found


def _pair(row: Mapping[str, Any], place: Any) -> Pair:
    try:
        prompt, better, worse = (str(row[name]) for name in ("prompt", "chosen", "rejected"))
    except KeyError as error:
        raise BadCollection(f"{place}: a pair has no {error.args[0]}.") from None
    question = _REPLY.sub("", _TURN.split(prompt)[-1]).strip()
    passages = tuple(map(str, row.get("passages") or ()))
    start = " ".join(_TURN.split(prompt)[:2]).strip()
    voter = str(row.get("voter") or row.get("id") or prompt)
    preferred = Preferred(Candidate(question, better, passages), Candidate(question, worse, passages), voter)
    return Pair(preferred, start, str(row.get("subset") or ""))


def halves(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Those to learn from and those to test on, by the dialogue's first turn, the same each time."""
    tested = [int(hashlib.sha256(one.dialogue.encode()).hexdigest()[:8], 16) < TESTED * 2**32 for one in pairs]
    return (
        [one for one, held in zip(pairs, tested, strict=True) if not held],
        [one for one, held in zip(pairs, tested, strict=True) if held],
    )


def learned(pairs: Sequence[Pair]) -> Reward:
    return fit([one.preferred for one in pairs])


def tested(reward: Reward, pairs: Sequence[Pair]) -> dict[str, Found]:
    """Of all pairs, and of each subset that is named."""
    sides = [(one.preferred.better, one.preferred.worse) for one in pairs]
    longer = np.array([_won(len(better.text), len(worse.text)) for better, worse in sides])
    whole = np.array([_won(*reward.scores(side, length=True)) for side in sides])
    equal = np.array([_won(*reward.scores(side)) for side in sides])
    names = np.array([one.subset for one in pairs])
    chosen = {"": np.ones(len(pairs), bool)} | {name: names == name for name in sorted(set(names.tolist()) - {""})}
    return {
        name or "all": Found(
            int(those.sum()), float(longer[those].mean()), float(whole[those].mean()), float(equal[those].mean()),
            intervals({"gain": (whole - longer)[those]})["gain"],
        )
        for name, those in chosen.items()
    }  # fmt: skip


def _won(better: float, worse: float) -> float:
    return 0.5 if better == worse else float(better > worse)
