"""A translation task small enough for a laptop: dates as people write them, into ISO 8601.

Idea.    "7th of March 1999" to "1999-03-07", character by character. Day, month and year change places, so
         cross-attention has to find them; and month names must be looked up, so copying is not enough.
Source.  A common toy task for attention since the first tutorials on neural translation; the formats are our own.
Left out. An end token: every target has ten characters.
"""

from __future__ import annotations

import datetime
import random
from typing import NamedTuple

import torch
from torch import Tensor

SOURCE = " ,0123456789" + "ADFJMNOSTW" + "abcdefghilmnoprstuvy"
TARGET = ">0123456789-"  # ">" starts every target
START = 0
LENGTH = 10
FIRST_DAY, DAYS = datetime.date(1950, 1, 1), 36_525  # a hundred years
MONTHS = "January February March April May June July August September October November December".split()
WEEKDAYS = "Mon Tue Wed Thu Fri Sat Sun".split()


class DatePairs(NamedTuple):
    """``source`` (B, S) padded with 0, ``lengths`` (B,) of its texts, ``target`` (B, 11): ">" and ten characters."""

    source: Tensor
    lengths: Tensor
    target: Tensor


def write_date(day: datetime.date, style: int) -> str:
    """One of five ways in which people write a date; other styles raise ValueError."""
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    if style == 0:
        return f"{day.day} {month} {day.year}"
    if style == 1:
        return f"{month} {day.day}, {day.year}"
    if style == 2:
        return f"{weekday} {day.day} {month[:3]} {day.year}"
    if style == 3:
        ending = "th" if 10 < day.day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
        return f"{day.day}{ending} of {month} {day.year}"
    if style == 4:
        return f"{day.year}, {month[:3]} {day.day:02}"
    raise ValueError(f"There are five styles, 0 to 4, not {style}.")


def encode_dates(texts: list[str], days: list[datetime.date]) -> DatePairs:
    """Ids of source texts and of their ISO dates; a character that dates do not have raises ValueError."""
    rows = [torch.tensor([SOURCE.index(letter) for letter in text]) for text in texts]
    lengths = torch.tensor([len(row) for row in rows])  # (B,)
    source = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)  # (B, S)
    target = torch.tensor([[TARGET.index(letter) for letter in ">" + day.isoformat()] for day in days])  # (B, 11)
    return DatePairs(source, lengths, target)


def draw_dates(count: int, rng: random.Random, held_out: bool = False) -> DatePairs:
    """Random dates in random styles; every tenth day of the century is kept for testing and is drawn only then."""
    days = []
    while len(days) < count:
        number = rng.randrange(DAYS)
        if (number % 10 == 0) == held_out:
            days.append(FIRST_DAY + datetime.timedelta(days=number))
    return encode_dates([write_date(day, rng.randrange(5)) for day in days], days)


def read_target(ids: Tensor) -> str:
    """The text of target ids (T,)."""
    return "".join(TARGET[index] for index in ids.tolist())
