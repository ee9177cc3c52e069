"""A citation as people read it below an answer: title, place, owner, age."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime

from assistant.answering.citations import asked
from assistant.answering.messages import Citation
from assistant.strings import say
from bot.slack.clean import escape, lies, quiet, web_address

TEXT_CHARS = 2_900  # a text object holds 3,000
NAME_CHARS = 200
OWNER_CHARS = 80


def source_line(citation: Citation, mark: str, language: str, today: date | None = None) -> str:
    """One line of mrkdwn, for example ``[1] Runbook › Deploy · payments team · updated 3 weeks ago``."""
    details = [
        say("slack.page", language, page=citation.page) if citation.page else "",
        shortened(citation.owner or "", OWNER_CHARS),
        _age(citation, language, today or datetime.now(UTC).date()),
        shortened(citation.sensitivity or "", OWNER_CHARS),
    ]
    return " · ".join([_place(citation, mark), *(_text(detail) for detail in details if detail)])


def packed(lines: Sequence[str], limit: int = TEXT_CHARS) -> Iterator[str]:
    """The lines in as many texts as they need."""
    group: list[str] = []
    for line in lines:
        if group and sum(map(len, group)) + len(group) + len(line) > limit:
            yield "\n".join(group)
            group = []
        group.append(line)
    yield "\n".join(group)


def age(day: date, language: str, today: date) -> str:
    """How long ago, in words."""
    days = max(0, (today - day).days)
    if days < 2:
        return say("slack.age_yesterday" if days else "slack.age_today", language)
    for unit, length, least in (("years", 365, 730), ("months", 30, 60), ("weeks", 7, 21)):
        if days >= least:
            return say(f"slack.age_{unit}", language, count=days // length)
    return say("slack.age_days", language, count=days)


def day_of(stamp: str | None) -> date | None:
    """The day of an ISO date or time, as documents and the index name it."""
    try:
        return datetime.fromisoformat(stamp.strip()).date() if stamp else None
    except ValueError:
        return None


def mrkdwn_link(label: str, url: str | None) -> str:
    """The label (plain text) as a link where the URL is a page, and where the label does not name another."""
    address = _address(url)
    if url is None or address is None:
        return _text(label)
    return f"{_text(label)} <{address}>" if lies(label, url) else f"<{address}|{_text(label)}>"


def shortened(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _place(citation: Citation, mark: str) -> str:
    path = [part for part in citation.heading_path if part.casefold() != citation.title.casefold()]
    name = shortened(" › ".join(filter(None, [citation.title, *path])), NAME_CHARS)
    if web_address(citation.url) is not None:
        return mrkdwn_link(mark + name, citation.url)
    where = "" if citation.tool else citation.external_id[-NAME_CHARS:]
    return _text(f"{mark}{name} ({where})" if where and where != name else mark + name)


def _age(citation: Citation, language: str, today: date) -> str:
    if citation.tool:
        return asked(citation, language)
    for key, stamp in (("slack.updated", citation.updated), ("slack.read", citation.indexed)):
        day = day_of(stamp)
        if day is not None:
            return say(key, language, age=age(day, language, today))
    return ""


def _text(text: str) -> str:
    return escape(quiet(text))


def _address(url: str | None) -> str | None:
    """The URL as mrkdwn may hold it."""
    if web_address(url) is None or url is None:
        return None
    for character, code in (("<", "%3C"), (">", "%3E"), ("|", "%7C"), (" ", "%20"), ("\n", ""), ("\r", "")):
        url = url.replace(character, code)
    return escape(url)
