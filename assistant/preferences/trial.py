"""Whether a version that is tried on a share of the conversations does people good or harm, told at any time.

Each conversation draws its lot by chance, so that, if the version changes nothing, nobody who knew the votes could win
money by betting on the lots. We bet, on conversation after conversation, that thumbs up go with the version:

    money *= 1 + stake * (lot - share) * (thumb - expected)

with lot 1 where the version was tried and 0 elsewhere, thumb 1 up and 0 down, and expected the mean of the thumbs
before. As the share is known, a fair bet's mean is 1, whatever people vote and however they resemble each other: to
have ``1 / ALPHA`` times the money at any time has a chance of at most ``ALPHA`` (Ville's inequality), and one may look
after every vote. A second purse bets that thumbs down go with it. Several stakes are held at once, since nobody knows
how large the gain is; the purse is their mean.

Testing by betting: Shafer (2021), Waudby-Smith & Ramdas (2024); from the lots alone, whatever the outcomes: Ham,
Bojinov, Lindon & Tingley (2022). That the thumb is taken against what was expected keeps the bet nearly fair also where
the version only makes people vote more often.

A conversation counts once, by its first vote, because all of it shares one lot; and a person's at most ``MOST`` times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from assistant.database.votes import Thumb

ALPHA = 0.05  # of promoting a version that changes nothing, and as much of taking it back
NEEDED = 1 / ALPHA  # times the money
LEAST_VOTES, LEAST_VOTERS = 20, 3  # conversations with a vote, and people who voted, of the version's
MOST = 20  # conversations of one voter
STAKES = np.array([0.1, 0.2, 0.35, 0.5, 0.7, 0.9])  # of what may be lost at most

Decision = Literal["promote", "rollback"]


@dataclass(frozen=True, slots=True)
class Proof:
    """``good``, ``harm``: how many times the money is there that was bet on each. ``tried``, ``others``: conversations,
    and how many of them began with a thumb up; ``voters``: of those that tried it."""

    good: float
    harm: float
    tried: tuple[int, int]
    others: tuple[int, int]
    voters: int

    @property
    def enough(self) -> bool:
        """Whether there are votes and voters enough for anything to follow."""
        return self.tried[0] >= LEAST_VOTES and self.voters >= LEAST_VOTERS

    @property
    def decision(self) -> Decision | None:
        """What follows; None: it is not known yet."""
        if not self.enough or max(self.good, self.harm) < NEEDED:
            return None
        return "promote" if self.good >= self.harm else "rollback"

    def document(self) -> dict[str, Any]:
        """As the report and the pages have it."""
        return {
            "good": round(self.good, 3), "harm": round(self.harm, 3), "needed": NEEDED,
            "canary": {"conversations": self.tried[0], "up": self.tried[1], "voters": self.voters},
            "control": {"conversations": self.others[0], "up": self.others[1]},
            "least": {"conversations": LEAST_VOTES, "voters": LEAST_VOTERS},
        }  # fmt: skip


def proof(thumbs: Sequence[Thumb]) -> Proof:
    """What the first votes of the conversations say, in the order in which they were cast."""
    thumbs = _limited(thumbs)
    tried, share, up = (
        np.array([getattr(one, name) for one in thumbs], np.float64) for name in ("tried", "share", "up")
    )
    expected = (np.cumsum(up) - up + 1) / (np.arange(len(up)) + 2)  # of those before, and one of each beside them
    won = (tried - share) * (up - expected) / np.maximum(share, 1 - share)  # -1..1
    both = [[int((tried == arm).sum()), int(up[tried == arm].sum())] for arm in (1, 0)]
    voters = len({one.voter for one in thumbs if one.tried})
    return Proof(_money(won), _money(-won), (both[0][0], both[0][1]), (both[1][0], both[1][1]), voters)


def _money(won: npt.NDArray[np.float64]) -> float:
    """What 1 has become, the mean over the stakes."""
    logs = np.log1p(STAKES[:, None] * won[None, :]).sum(axis=1)
    return float(np.exp(np.minimum(logs, 100.0)).mean())  # no infinity in JSON


def _limited(thumbs: Sequence[Thumb]) -> list[Thumb]:
    """Without what anybody said beyond the first ``MOST`` conversations."""
    seen: Counter[str] = Counter()
    found = []
    for one in thumbs:
        seen[one.voter] += 1
        if seen[one.voter] <= MOST:
            found.append(one)
    return found
