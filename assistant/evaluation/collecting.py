"""Questions that nobody got an answer to, and those whose answer was voted down, as cases to measure with.

Who asked stays behind: a case holds the words of the question, what became of it, and what was cited.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from assistant.database.evaluations import Open
from assistant.errors import AlmanacError

_SPAN = re.compile(r"(\d{1,4})\s*([hdwmy])")
_HOURS = {"h": 1, "d": 24, "w": 7 * 24, "m": 30 * 24, "y": 365 * 24}

Redact = Callable[[str], str]


def span(text: str) -> timedelta:
    """``30d`` as a length of time: hours, days, weeks, months of 30 days, years; raises ``AlmanacError``."""
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None or int(found[1]) == 0:
        raise AlmanacError(f"{text} is no length of time such as 12h, 30d, 4w, 6m or 1y.")
    return timedelta(hours=int(found[1]) * _HOURS[found[2]])


def cases(questions: Iterable[Open], redact: Redact = lambda text: text) -> list[dict[str, Any]]:
    """One case a question: of those that were asked several times in the same words, the newest."""
    found: dict[str, dict[str, Any]] = {}
    for asked in questions:
        text = " ".join(redact(asked.question).split())
        key = text.casefold().rstrip("?!. ")
        if key not in found:
            found[key] = _case(asked, text)
        elif key:
            found[key]["asked"] += 1
    return [case for key, case in found.items() if key]


def _case(asked: Open, text: str) -> dict[str, Any]:
    """``sources``, ``reference`` and ``unanswerable`` are for a person to fill in: an answer that nobody liked names
    no source that is known to be right."""
    return {
        "id": str(asked.id),
        "question": text,
        "outcome": asked.outcome,
        "votes": {"up": asked.up, "down": asked.down},
        "cited": list(asked.cited),
        "asked_at": asked.asked_at.date().isoformat(),
        "asked": 1,
    }


def write(found: Sequence[dict[str, Any]], path: Path) -> int:
    """Add the cases that the file does not hold yet, by id and by words; returns how many. What a person has written
    into the file stays as it is."""
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        held = [json.loads(line) for line in text.split("\n") if line.strip()]
        ids, words = {row["id"] for row in held}, {_words(row["question"]) for row in held}
        new = [case for case in found if case["id"] not in ids and _words(case["question"]) not in words]
        with path.open("a", encoding="utf-8") as file:
            if new and text and not text.endswith("\n"):
                file.write("\n")
            file.writelines(json.dumps(case, ensure_ascii=False) + "\n" for case in new)
    except OSError as error:
        raise AlmanacError(f"{path} cannot be written ({error.strerror or type(error).__name__}).") from error
    except (ValueError, KeyError, TypeError):
        raise AlmanacError(f"{path} holds something else than cases, and was left as it is.") from None
    return len(new)


def _words(question: str) -> str:
    return " ".join(question.casefold().split()).rstrip("?!. ")
