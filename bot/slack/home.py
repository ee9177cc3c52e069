"""The Home tab: what Almanac knows, how fresh it is, one's own questions, limits; for administrators, how it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from assistant.database import groups, overview
from assistant.database.overview import AdminView, Asked, PersonView
from assistant.settings import Settings
from assistant.strings import DEFAULT, known, say
from bot.slack import blocks
from bot.slack.blocks import Block
from bot.slack.clean import escape, quiet
from bot.slack.events import person
from bot.slack.sources import age, shortened
from bot.slack.workplace import Workplace

REFRESH = "home_refresh"
LINES = 15
BLOCKS = 100
PROMPTS = 4


async def publish(place: Workplace, team: str, user: str) -> None:
    """Show somebody their home as it is now; what cannot be read is said."""
    who = await place.people.get(team, user)
    language = known(who.locale) or DEFAULT
    audience = await place.people.audience(team, user)
    async with place.services.sessions() as session:
        audience = await groups.with_groups(session, audience)
        questions = await overview.questions_of(session, person(team, user))
        admin = await overview.of_admin(session) if await place.people.is_admin(team, user) else None
    async with place.services.reading() as session:
        mine = PersonView(await overview.readable_sources(session, audience), questions)
    shown = home_blocks(mine, admin, place.services.settings, language)
    await place.api.publish_home(user, {"type": "home", "blocks": shown[:BLOCKS]})


async def suggest(place: Workplace, team: str, user: str, channel: str, thread: str | None = None) -> None:
    """Questions to begin with, in an empty conversation."""
    language = known((await place.people.get(team, user)).locale) or DEFAULT
    await place.api.suggest(channel, say("slack.prompts_title", language), prompts(language), thread)


def prompts(language: str) -> list[dict[str, str]]:
    """At most four, each with what its button says and what is then asked."""
    return [
        {"title": say(f"slack.prompt_{n}", language), "message": say(f"slack.prompt_{n}_message", language)}
        for n in range(1, PROMPTS + 1)
    ]


def home_blocks(
    mine: PersonView, admin: AdminView | None, settings: Settings, language: str, now: datetime | None = None
) -> list[Block]:
    now = now or datetime.now(UTC)
    shown = [
        *_knowledge(mine, admin.failed if admin else {}, language, now),
        blocks.divider(),
        blocks.header(say("slack.home_questions", language)),
        *_questions(mine.questions, language, now, say("slack.home_no_questions", language)),
        blocks.divider(),
        blocks.header(say("slack.home_limits", language)),
        blocks.section(_limits(settings, language)),
    ]
    if admin is not None:
        shown += [blocks.divider(), *_administration(admin, language, now)]
    return shown


def _knowledge(mine: PersonView, failed: Mapping[int, int], language: str, now: datetime) -> Iterator[Block]:
    """``failed``: source -> files that could not be read; who is no administrator is told of none, since nobody knows
    who might have read them."""
    refresh = blocks.button(
        REFRESH, say("slack.home_refresh", language), "home", say("slack.home_refresh_label", language)
    )
    yield blocks.header(say("slack.home_title", language))
    counts = say("slack.home_documents", language, documents=f"{mine.documents:,}", sources=len(mine.sources))
    yield blocks.section(counts if mine.documents else say("slack.home_nothing", language), refresh)
    lines = []
    for source in mine.sources[:LINES]:
        when = _ago(source.synced_at, language, now)
        line = say("slack.home_source", language, name=_text(source.name), documents=f"{source.documents:,}", age=when)
        if count := failed.get(source.id):
            line = f"{line} · {say('slack.home_failed', language, count=count)}"
        lines.append(f"• {line}")
    if lines:
        yield blocks.section("\n".join(lines))
    yield blocks.context(say("slack.home_how", language))


def _questions(asked: Sequence[Asked], language: str, now: datetime, none: str) -> Iterator[Block]:
    if not asked:
        yield blocks.section(none)
        return
    lines = [
        f"• {_text(shortened(item.question, 150))} – {say(f'slack.outcome_{item.outcome}', language)}, "
        f"{_ago(item.at, language, now)}"
        for item in asked
    ]
    yield blocks.section("\n".join(lines))


def _limits(settings: Settings, language: str) -> str:
    return say(
        "slack.home_limits_text", language, characters=f"{settings.question_max_chars:,}",
        seconds=f"{settings.question_timeout:g}", megabytes=f"{settings.file_max_mb:g}",
    )  # fmt: skip


def _administration(admin: AdminView, language: str, now: datetime) -> Iterator[Block]:
    yield blocks.header(say("slack.home_admin", language))
    yield blocks.section(
        say(
            "slack.home_numbers", language, answers=f"{admin.answers_today:,}", today=f"{admin.cost_today:,.2f}",
            month=f"{admin.cost_30_days:,.2f}", up=f"{admin.votes_up:,}", down=f"{admin.votes_down:,}",
        )
    )  # fmt: skip
    yield from _list(say("slack.home_runs", language), [_run(run) for run in admin.runs], language)
    failures = [
        f"{_text(source)}: {_text(shortened(name, 80))} – {_text(shortened(why, 160))}"
        for source, name, why in admin.failures
    ]
    yield from _list(say("slack.home_failures", language), failures, language)
    yield blocks.section(f"*{say('slack.home_unanswered', language)}*")
    yield from _questions(admin.unanswered, language, now, say("slack.home_none", language))


def _list(title: str, lines: Sequence[str], language: str) -> Iterator[Block]:
    body = "\n".join(f"• {line}" for line in lines[:LINES]) or say("slack.home_none", language)
    yield blocks.section(f"*{title}*\n{body}")


def _run(run: dict[str, Any]) -> str:
    progress = run.get("progress") or {}
    done, total = progress.get("done", 0), progress.get("total", 0)
    error = f" – {_text(shortened(str(run['error']), 160))}" if run.get("error") else ""
    return f"{_text(str(run.get('kind', '')))} · {_text(str(run.get('state', '')))} · {done}/{total}{error}"


def _ago(when: datetime | None, language: str, now: datetime) -> str:
    return age(when.date(), language, now.date()) if when else say("slack.home_never", language)


def _text(text: str) -> str:
    return escape(quiet(" ".join(text.split())))
