"""What the guards say: of a text that comes in, of one that goes to a model outside, and of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Decision = Literal["allow", "flag", "block"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``score`` is the calibrated probability of an attack; ``reasons`` are short words for what was seen."""

    verdict: Decision
    score: float
    reasons: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        return self.verdict != "allow"


ALLOWED = Verdict("allow", 0.0)


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that was taken out of an answer: ``kind`` is link, image, mention, a kind of secret or of PII.

    ``text`` is what may be logged of it: a host, never a secret.
    """

    kind: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """An answer as it may be shown, and what was taken out."""

    text: str
    removed: tuple[Removed, ...] = ()


@dataclass(frozen=True, slots=True)
class Redaction:
    """Texts as a model outside may see them. A value has one placeholder in all of them, such as ``<EMAIL_1>``."""

    texts: tuple[str, ...]
    values: Mapping[str, str] = field(default_factory=dict)  # placeholder -> what it stands for

    @property
    def text(self) -> str:
        """The one text, or the first."""
        return self.texts[0] if self.texts else ""

    def restore(self, text: str) -> str:
        """``text`` of a model with what its placeholders stand for."""
        for placeholder, value in self.values.items():
            text = text.replace(placeholder, value)
        return text

    def restoring(self) -> Restoring:
        """The same for text that arrives in pieces."""
        return Restoring(self)


class Restoring:
    """Puts values back into a stream; a placeholder that may still grow is held back."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._longest = max(map(len, redaction.values), default=0)
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that can be shown now."""
        if not self._longest:
            return piece
        text = self._held + piece
        start = text.rfind("<", max(0, len(text) - self._longest + 1))
        open_one = start >= 0 and ">" not in text[start:]
        self._held = text[start:] if open_one else ""
        return self._redaction.restore(text[:start] if open_one else text)

    def finish(self) -> str:
        held, self._held = self._held, ""
        return self._redaction.restore(held)
