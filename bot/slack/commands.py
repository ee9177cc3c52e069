"""``/almanac``: the core's commands, answered to the caller alone; long work is followed to its end."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from assistant.commands import Caller, Confirm, Reply, RunState, Table
from assistant.database.inbox import Event
from assistant.knowledge.search import Hit
from assistant.strings import say
from bot.inbox import Claim
from bot.slack import approval_card, approvals, blocks, modals, tool_form
from bot.slack.clean import escape, harmless
from bot.slack.errors import Refused
from bot.slack.events import PLATFORM, Message
from bot.slack.pages import pages
from bot.slack.render import Part, plain_part
from bot.slack.respond import Responder
from bot.slack.sources import age, mrkdwn_link, shortened
from bot.slack.workplace import Workplace

CONFIRM, CANCEL, OPEN_SETTINGS = "command_confirm", "command_cancel", "settings_open"

PROGRESS_AFTER = (20.0, 180.0, 600.0)  # seconds; a response_url is good for five replies
QUOTE_CHARS = 220
ASK_USES = 3  # of the five; what is left holds most answers


def command_payload(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a slash command's request says, as stored in the inbox."""
    channel = str(body.get("channel_id") or "")
    message = Message(
        team=str(body.get("team_id") or ""),
        channel=channel,
        user=str(body.get("user_id") or ""),
        ts="",
        thread=str(body.get("thread_ts") or ""),
        text=_unescaped(str(body.get("text") or "")),
        direct=channel.startswith("D"),
        outsiders=False,
        kind="command",
        reply_url=str(body.get("response_url") or ""),
    )
    name = str(body.get("channel_name") or "")
    return {
        **message.payload(),
        "trigger": str(body.get("trigger_id") or ""),
        "place_name": f"#{name}" if name and not message.direct else "",
        "at": time.time(),
    }


async def caller_of(place: Workplace, message: Message, place_name: str = "") -> Caller:
    where = f"channel:{PLATFORM}:{message.team}:{message.channel}"
    if message.direct or not message.channel:
        where = f"user:{message.asker}"
    return Caller(
        person=message.asker,
        platform=PLATFORM,
        audience=await place.people.audience(message.team, message.user, message.outsiders),
        admin=await place.people.is_admin(message.team, message.user),
        language=await place.language(message),
        place=where,
        place_name=place_name,
        name=(await place.people.get(message.team, message.user)).name,
    )


async def open_form(place: Workplace, message: Message, value: str, trigger: str) -> None:
    """The form of a tool, from the button that stands for it."""
    try:
        asked = json.loads(value)
        tool, given = str(asked["tool"]), {str(name): str(said) for name, said in asked["given"].items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        return
    caller = await caller_of(place, message)
    words = " ".join(f"{name}={shlex.quote(said)}" for name, said in given.items())
    reply = await place.services.commands.run(f"tool {tool} {words}", caller)
    if reply.form is not None:
        await place.api.open_view(trigger, tool_form.view(reply.form, message, caller.language))


async def run_command(place: Workplace, event: Event, claim: Claim) -> dict[str, Any]:
    """A job: do what was typed, or pressed, and tell the caller."""
    payload = event.payload
    message = Message.from_payload(payload)
    caller = replace(await caller_of(place, message, payload.get("place_name", "")), event=event.id)
    responder = Responder(place, message, used=int((event.reply or {}).get("used", 0)), began=payload.get("at"))
    confirmed = bool(payload.get("confirmed"))
    remembered = event.reply or {}
    if run := remembered.get("run"):
        with claim.rest():
            await _follow(place, uuid.UUID(run), responder, caller.language)
        return {"used": responder.used, "run": run}
    if remembered.get("began") and confirmed:  # whether it was done is not known, and it must not be done twice
        await responder.say(say("slack.interrupted", caller.language), replace=True)
        return {"used": responder.used}
    if confirmed:
        await claim.remember({"began": True, "used": responder.used})
    if form := payload.get("form"):
        reply = await place.services.commands.form(str(form["tool"]), form["given"], caller)
    else:
        reply = await place.services.commands.run(message.text, caller, confirmed)
    if reply.run_id is not None:
        await claim.remember({"run": str(reply.run_id), "used": responder.used + 1})
    await claim.check()
    if reply.approval is not None and not reply.copy:
        await approvals.show_one(place, message, event, reply.approval, claim, private=True)
    await _show(place, message, payload, reply, responder, caller)
    if reply.run_id is not None:
        with claim.rest():
            await _follow(place, reply.run_id, responder, caller.language)
    return {"used": responder.used}


async def _show(
    place: Workplace, message: Message, payload: Mapping[str, Any], reply: Reply, responder: Responder, caller: Caller
) -> None:
    in_place = bool(payload.get("confirmed"))
    if reply.ask is not None:
        await ask_privately(place, message, reply.ask, str(payload.get("trigger") or uuid.uuid4()), responder.used)
    elif reply.settings:
        await _open(place, message, payload, responder, caller)
    elif reply.upload:
        view = modals.upload_view(message, caller.language)
        if not await _opened(place, str(payload.get("trigger")), view):
            await responder.say(reply.text)
    elif reply.form is not None:
        view = tool_form.view(reply.form, message, caller.language)
        if not await _opened(place, str(payload.get("trigger")), view):
            await responder.say(plain_part(reply.text, tool_form.opener(reply.form, caller.language)))
    elif reply.approval is not None and reply.copy:
        await responder.say(approval_card.card(reply.approval, caller.language))
    elif reply.confirm is not None:
        await responder.say(_confirmation(reply.confirm, caller.language))
    else:
        for number, part in enumerate(reply_parts(reply, caller.language)):
            await responder.say(part, in_place and number == 0)


async def ask_privately(place: Workplace, message: Message, text: str, key: str, used: int = 0) -> None:
    """A question whose answer its asker alone sees; stored, so that it survives a restart."""
    url = message.reply_url if used < ASK_USES else ""
    question = replace(message, kind="ask", ts=key[:200], text=text, reply_url=url)
    await place.inbox.store(f"ask:{key}", f"ask:{key}", question.payload())


async def _open(
    place: Workplace, message: Message, payload: Mapping[str, Any], responder: Responder, caller: Caller
) -> None:
    """The channel's settings; where the trigger has run out, a button that brings a new one."""
    if message.direct or not message.channel:
        await responder.say(say("slack.settings_not_here", caller.language))
        return
    view = await modals.settings_view(place, message, caller.language)
    if not await _opened(place, str(payload.get("trigger")), view):
        button = blocks.button(OPEN_SETTINGS, say("slack.settings_open", caller.language), "settings")
        text = say("slack.settings_again", caller.language)
        await responder.say(Part(text, (blocks.actions(button),), escape(text)))


async def _opened(place: Workplace, trigger: str, view: dict[str, Any]) -> bool:
    try:
        await place.api.open_view(trigger, view)
    except Refused as error:
        if error.code in ("expired_trigger_id", "invalid_trigger_id", "exchanged_trigger_id", "trigger_expired",
                          "trigger_exchanged", "invalid_trigger"):  # fmt: skip
            return False
        raise
    return True


async def _follow(place: Workplace, run_id: uuid.UUID, responder: Responder, language: str) -> None:
    """Tell the end of long work, and on the way to it as often as the response_url allows."""
    newest: list[RunState] = []

    async def watch() -> None:
        async for state in place.services.commands.follow(run_id, language):
            newest[:] = [state]

    watching = asyncio.create_task(watch(), name="slack-follow")
    began, told = time.monotonic(), ""
    try:
        for due in (*PROGRESS_AFTER, None):
            left = None if due is None else max(0.0, due - (time.monotonic() - began))
            await asyncio.wait([watching], timeout=left)
            if watching.done():
                break
            if newest and newest[0].text != told and responder.left > 1:
                told = newest[0].text
                await responder.say(told)
        await watching
    finally:
        watching.cancel()
        await asyncio.wait([watching])
    if newest:
        await responder.say(newest[0].text)


def _confirmation(confirm: Confirm, language: str) -> Part:
    yes = blocks.button(CONFIRM, confirm.button, confirm.command[:2_000], style="danger")
    no = blocks.button(CANCEL, say("slack.cancel", language), "cancel")
    text = harmless(confirm.sentence)
    return Part(text, (blocks.actions(yes, no),), escape(text))


def reply_parts(reply: Reply, language: str) -> list[Part]:
    """A command's reply as messages: its text, its table, the passages it found."""
    text = reply.text if reply.table is None else f"{reply.text}\n\n{_markdown(reply.table)}"
    parts = [Part(page, (), escape(page)) for page in pages(harmless(text)) or [say("slack.empty", language)]]
    for hit in reply.hits:
        line = _hit(hit, language)
        parts[-1] = parts[-1].with_below(blocks.section(line), note=line)
    return parts


def _hit(hit: Hit, language: str) -> str:
    path = [part for part in hit.heading_path if part.casefold() != hit.title.casefold()]
    details = [str(hit.details.get("owner") or ""), ""]
    if hit.indexed_at is not None:
        details[1] = say("slack.read", language, age=age(hit.indexed_at.date(), language, datetime.now(UTC).date()))
    place = mrkdwn_link(shortened(" › ".join([hit.title, *path]), 200), hit.link)
    head = " · ".join([place, *(escape(detail) for detail in details if detail)])
    return f"{head}\n{escape(harmless(shortened(hit.text, QUOTE_CHARS)))}"


def _markdown(table: Table) -> str:
    def row(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") or " " for cell in cells) + " |"

    return "\n".join([row(table.header), "|" + " --- |" * len(table.header), *map(row, table.rows)])


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("\0", "").strip()
