"""What ``almanac preferences`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {"promoted": "bold green", "canary": "yellow", "refused": "dim", "retired": "dim"}
QUESTIONS = 12  # of those that change, shown


def status(console: Console, found: Mapping[str, Any]) -> None:
    console.print(Text(_in_force(found), style="bold"))
    console.print(Text(f"{found['new_votes']:,} new votes since the newest version was made.", style="dim"))
    if found["trial"] and found["trial"]["proof"]:
        console.print(_proof(found["trial"]))
    if found["versions"]:
        console.print()
        console.print(_versions(found["versions"]))
        newest = found["versions"][0]
        if newest["state"] == "refused":
            console.print()
            console.print(Text(f"Version {newest['version']} was refused. {newest['reason']}", style="yellow"))


def _in_force(found: Mapping[str, Any]) -> str:
    if found["settings"]["preferences"] == "off":
        return "ALMANAC_PREFERENCES is off: votes have no say in the order of passages."
    promoted, canary = found["promoted"], found["canary"]
    text = "Votes have no say in the order of passages." if promoted is None else f"Version {promoted} is in force."
    share = next((one["share"] for one in found["versions"] if one["version"] == canary), None)
    return text if canary is None else f"{text} Version {canary} is tried on {share:.0%} of conversations."


def _versions(versions: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("Version", "State", "Made", box=None, padding=(0, 2, 0, 0))
    for name in ("Votes", "People", "Gain", "99 in 100"):
        table.add_column(name, justify="right")
    for one in versions:
        held_out = one["held_out"]
        state = one["state"] if one["share"] is None else f"{one['state']} {one['share']:.0%}"
        gain, between = ("–", "–") if held_out is None else (f"{held_out['gain']:+.3f}", _between(held_out["interval"]))
        numbers = (f"{one['votes']:,}", f"{one['voters']:,}", gain, between)
        table.add_row(
            str(one["version"]), state, _when(one["created_at"]), *numbers, style=STYLES.get(one["state"], "")
        )
    return table


def learned(console: Console, result: Mapping[str, Any]) -> None:
    if result["version"] is None:
        console.print("No vote is new: nothing was made.")
        return
    state = {
        "promoted": "and orders the passages from now on", "canary": "and is tried on a share of conversations",
        "candidate": "and waits for `almanac preferences promote`", "refused": "and was refused",
    }[result["state"]]  # fmt: skip
    console.print(Text(f"Version {result['version']} is made of {result['votes']:,} votes of "
                       f"{result['voters']:,} people, {state}.", style=STYLES.get(result["state"], "")))  # fmt: skip
    if result["state"] == "refused":
        console.print(Text(str(result["reason"]), style="yellow"))
    elif result.get("held_out"):
        console.print(f"Gain on votes it was not learned from: {_gain(result['held_out'])}")


def report(console: Console, found: Mapping[str, Any]) -> None:
    about = found["report"]
    votes, changes = about["votes"], about["changes"]
    state = found["state"]
    console.print(Text(f"Version {found['version']}: {state}", style=STYLES.get(state, "bold")))
    if found["reason"]:
        console.print(Text(found["reason"], style="yellow"))
    console.print(
        f"From {votes['counted']:,} of {votes['there']:,} votes ({votes['up']:,} up, {votes['down']:,} down) of "
        f"{votes['voters']:,} people on {votes['questions']:,} questions."
    )
    for name, title in (("held_out", "Questions it was not learned from"), ("newest", "The newest questions")):
        if found[name]:
            console.print(f"{title}: {_gain(found[name])}")
    if found["canary"]:
        if {"canary", "control"} & found["canary"].keys():
            console.print(_trial(found["canary"]))
        if found["canary"]["proof"]:
            console.print(_proof(found["canary"]))
    console.print(
        f"Of {changes['looked_at']:,} questions {changes['first_changed']:,} begin with another passage, "
        f"{changes['changed']:,} change among the first three."
    )
    if changes["questions"]:
        console.print()
        console.print(_changes(changes["questions"][:QUESTIONS]))


def _gain(found: Mapping[str, Any]) -> str:
    pairs = found["pairs_in_order"]
    return (
        f"{found['gain']:+.3f} ({_between(found['interval'])}) in discounted ranks; pairs in order "
        f"{pairs['before']:.1%} → {pairs['after']:.1%} ({found['votes']:,} votes, {found['questions']:,} questions)"
    )


def _trial(found: Mapping[str, Any]) -> str:
    parts = [
        f"{title} {found[name]['up']:,} up, {found[name]['down']:,} down of {found[name]['answers']:,} answers"
        for name, title in (("canary", "canary"), ("control", "the others"))
        if name in found
    ]
    difference = found.get("difference")
    more = f"; thumbs up {difference['up_share']:+.1%} ({_percents(difference['interval'])})" if difference else ""
    return f"While it was tried: {'; '.join(parts)}{more}."


def _proof(found: Mapping[str, Any]) -> str:
    """What follows from the first votes of the conversations."""
    proof, number = found["proof"], found["version"]
    tried, others = proof["canary"], proof["control"]
    ended = {
        "promote": f"Votes have promoted version {number}. ", "rollback": f"Votes have taken version {number} back. ",
    }.get(proof["decision"] or "", "")  # fmt: skip
    return (
        f"{ended}Version {number} on trial: {tried['up']:,} of {tried['conversations']:,} conversations began with a "
        f"thumb up with it, {others['up']:,} of {others['conversations']:,} without. Evidence: {proof['good']:,.1f} to "
        f"1 for it, {proof['harm']:,.1f} to 1 against it; {proof['needed']:.0f} to 1 decides."
    )


def _changes(questions: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("Question", "Before", "After", "Because of", box=None, padding=(0, 2, 1, 0))
    for one in questions:
        table.add_row(Text(one["question"]), _list(one["before"]), _list(one["after"]), _because(one["because"]))
    return table


def _list(passages: Sequence[Mapping[str, Any]]) -> Text:
    """The first passages; what came up is green, what went down is red."""
    lines = Text()
    for place, one in enumerate(passages, start=1):
        before, after = one["rank"]["before"], one["rank"]["after"]
        style = "green" if after < before else "red" if after > before else ""
        name = one["title"] if not one["section"] else f"{one['title']} › {one['section'].split(' > ')[-1]}"
        lines.append(f"{place} {name}\n" if place < len(passages) else f"{place} {name}", style=style)
    return lines


def _because(found: Mapping[str, Any]) -> str:
    if not found["votes"]:
        return "what people prefer in general"
    return f"{found['up']} up, {found['down']} down of {found['people']} people"


def _between(ends: Sequence[float]) -> str:
    return f"{ends[0]:+.3f} to {ends[1]:+.3f}"


def _percents(ends: Sequence[float]) -> str:
    return f"{ends[0]:+.1%} to {ends[1]:+.1%}"


def _when(value: datetime | str) -> str:
    return str(value)[:16].replace("T", " ")
