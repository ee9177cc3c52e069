"""The command ``preferences``: what was learned from votes, and who decides about it, for administrators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from assistant.commands.context import Context, ago, header
from assistant.commands.replies import Caller, Confirm, Refused, Reply, Table
from assistant.database import audit, votes
from assistant.database import preferences as rows
from assistant.database.preferences import Version
from assistant.database.runs import RunRow
from assistant.preferences import showing
from assistant.preferences.loop import said
from assistant.strings import say

SHOWN = 8  # versions, or questions
Action = Callable[[Context, Caller, list[str], bool], Awaitable[Reply]]


async def preferences(context: Context, caller: Caller, rest: str, confirmed: bool) -> Reply:
    """``preferences [status|learn|report [NO]|promote NO|canary NO [SHARE]|rollback [all]]``."""
    name, *words = rest.lower().split() or ["status"]
    action = _ACTIONS.get(name)
    if action is None:
        raise Refused(say("preferences.usage", caller.language))
    return await action(context, caller, words, confirmed)


async def _status(context: Context, caller: Caller, words: list[str], _confirmed: bool) -> Reply:
    language = caller.language
    async with context.sessions() as session:
        found = await rows.versions(session, SHOWN)
        since = await votes.since(session, found[0].until if found else None)
        tried = showing.last_tried(found)
        trial = None if tried is None else await showing.trial_of(session, tried)
    text = f"{_in_force(context, found, language)} {say('preferences.new_votes', language, count=f'{since:,}')}"
    text += "".join(f"\n{line}" for line in _trial(trial, language))
    if not found:
        return Reply(text)
    if found[0].state == "refused":
        text += "\n" + say("preferences.refused", language, number=found[0].id, reason=said(found[0], language))
    cells = tuple(
        (str(one.id), _state(one, language), ago(one.created_at, language), f"{one.votes:,}", f"{one.voters:,}",
         _gain(one))
        for one in found
    )  # fmt: skip
    return Reply(text, table=Table(header("preferences.header", language), cells))


def _in_force(context: Context, found: list[Version], language: str) -> str:
    if context.settings.preferences == "off":
        return say("preferences.off", language)
    promoted = next((one for one in found if one.state == "promoted"), None)
    canary = next((one for one in found if one.state == "canary"), None)
    text = say("preferences.none" if promoted is None else "preferences.in_force", language,
               **({} if promoted is None else {"number": promoted.id}))  # fmt: skip
    if canary is not None:
        text += " " + say("preferences.tried", language, number=canary.id, share=f"{canary.share:.0%}")
    return text


async def _learn(context: Context, caller: Caller, words: list[str], _confirmed: bool) -> Reply:
    async with context.sessions.begin() as session:
        run_id, _ = await rows.request(session)
        await _record(session, caller, "learn", "")
    await context.queue.enqueue(run_id)
    return Reply(say("preferences.learning", caller.language), run_id=run_id)


async def _report(context: Context, caller: Caller, words: list[str], _confirmed: bool) -> Reply:
    language = caller.language
    async with context.sessions() as session:
        found = await showing.report(session, _number(words, caller) if words else None)
        version = await rows.find(session, found["version"])
    about, changes = found["report"], found["report"]["changes"]
    lines = [
        say("preferences.made_of", language, number=version.id, state=_state(version, language),
            votes=f"{about['votes']['counted']:,}", people=about["votes"]["voters"],
            questions=f"{about['votes']['questions']:,}"),
    ]  # fmt: skip
    if version.state == "refused":
        lines.append(said(version, language))
    if found["held_out"]:
        lines.append(_worth(found["held_out"], language))
    lines += _trial(found["canary"], language)
    lines.append(say("preferences.changes", language, looked=f"{changes['looked_at']:,}",
                     first=f"{changes['first_changed']:,}"))  # fmt: skip
    cells = tuple(_change(one, language) for one in changes["questions"][:SHOWN])
    table = Table(header("preferences.change_header", language), cells) if cells else None
    return Reply("\n".join(lines), table=table)


def learned_line(run: RunRow, language: str) -> str | None:
    """How a run that learns has ended; None where it has not, or failed."""
    if run.state != "succeeded" or not run.result or "state" not in run.result:
        return None
    found = run.result
    return say(f"preferences.learned_{found['state']}", language, number=found.get("version"), votes=found.get("votes"))


def _worth(held_out: Mapping[str, Any], language: str) -> str:
    low, high = held_out["interval"]
    pairs = held_out["pairs_in_order"]
    return say(
        "preferences.worth", language, gain=f"{held_out['gain']:+.3f}", low=f"{low:+.3f}", high=f"{high:+.3f}",
        before=f"{pairs['before']:.1%}", after=f"{pairs['after']:.1%}",
    )  # fmt: skip


def _trial(trial: Mapping[str, Any] | None, language: str) -> list[str]:
    """What people said while a version was tried, and what came of it."""
    proof = trial["proof"] if trial else None
    if trial is None or proof is None:
        return []
    ended = proof["decision"]
    lines = [say(f"preferences.trial_{ended}", language, number=trial["version"])] if ended else []
    tried, others = proof["canary"], proof["control"]
    return [*lines, say(
        "preferences.trial", language, up=f"{tried['up']:,}", count=f"{tried['conversations']:,}",
        others_up=f"{others['up']:,}", others=f"{others['conversations']:,}", good=_times(proof["good"]),
        harm=_times(proof["harm"]), needed=f"{proof['needed']:.0f}",
    )]  # fmt: skip


def _times(money: float) -> str:
    return f"{money:.1f}" if money < 1_000 else "> 1,000"


def _change(one: Mapping[str, Any], language: str) -> tuple[str, ...]:
    found = one["because"]
    because = say("preferences.in_general", language)
    if found["votes"]:
        because = say("preferences.because", language, up=found["up"], down=found["down"], people=found["people"])
    return one["question"], one["before"][0]["title"], one["after"][0]["title"], because


async def _promote(context: Context, caller: Caller, words: list[str], confirmed: bool) -> Reply:
    number = _number(words, caller)
    if not confirmed:
        sentence = say("preferences.promote_ask", caller.language, number=number)
        button = say("preferences.promote_button", caller.language)
        return Reply(confirm=Confirm(sentence, button, f"preferences promote {number}"))
    async with context.sessions.begin() as session:
        await rows.promote(session, number)
        await _record(session, caller, "promote", str(number))
    return Reply(say("preferences.promoted", caller.language, number=number))


async def _canary(context: Context, caller: Caller, words: list[str], _confirmed: bool) -> Reply:
    number = _number(words, caller)
    share = _share(words[1], caller) if len(words) > 1 else context.settings.preferences_share
    async with context.sessions.begin() as session:
        await rows.canary(session, number, share)
        await _record(session, caller, "canary", str(number), share=share)
    return Reply(say("preferences.tried", caller.language, number=number, share=f"{share:.0%}"))


async def _rollback(context: Context, caller: Caller, words: list[str], _confirmed: bool) -> Reply:
    """At once, without a question: whoever needs it has no time."""
    language = caller.language
    if words not in ([], ["all"]):
        raise Refused(say("preferences.usage", language))
    async with context.sessions.begin() as session:
        if words:
            await rows.switch_off(session)
            taken, now = None, None
        else:
            taken, now = await rows.rollback(session)
        await _record(session, caller, "rollback", " ".join(words))
    text = "" if taken is None else say("preferences.taken_back", language, number=taken) + " "
    return Reply(text + say("preferences.none" if now is None else "preferences.in_force", language, number=now))


def _number(words: list[str], caller: Caller) -> int:
    if not words or not words[0].isdecimal() or len(words[0]) > 9:
        raise Refused(say("preferences.usage", caller.language))
    return int(words[0])


def _share(word: str, caller: Caller) -> float:
    """``0.1`` or ``10%``."""
    try:
        share = float(word.removesuffix("%")) / (100 if word.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 0.5:  # also a NaN
        raise Refused(say("preferences.bad_share", caller.language))
    return share


def _state(version: Version, language: str) -> str:
    state = say(f"preferences.state_{version.state}", language)
    return state if version.share is None else f"{state} {version.share:.0%}"


def _gain(version: Version) -> str:
    held_out = (version.report.get("verdict") or {}).get("held_out")
    return "–" if held_out is None else f"{held_out['gain']:+.3f}"


async def _record(session: Any, caller: Caller, action: str, target: str, **details: Any) -> None:
    await audit.record(session, caller.person, caller.platform, f"preferences {action}", target, details)


_ACTIONS: dict[str, Action] = {
    "status": _status, "learn": _learn, "report": _report, "promote": _promote, "canary": _canary,
    "rollback": _rollback,
}  # fmt: skip
