"""Buttons that bring other people in: asking a person who knows, and sharing an answer that only one could see."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from assistant.database import answers, audit
from assistant.database.answers import Stored
from assistant.database.channels import ChannelSettings
from assistant.services import Services
from assistant.strings import say
from bot.teams import render
from bot.teams.events import Incoming
from bot.teams.live import BUSY
from bot.teams.outbox import Outbox
from bot.teams.port import Connector, Member, Message, Refused

PLATFORM = "teams"
ADDRESS = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
MAX_QUOTED = 300  # characters of a question that is repeated


async def stored_answer(services: Services, answer_id: str) -> Stored | None:
    try:
        wanted = uuid.UUID(answer_id)
    except ValueError:
        return None
    async with services.sessions() as session:
        return await answers.by_id(session, wanted)


async def ask_a_person(
    connector: Connector, services: Services, incoming: Incoming, box: Outbox, settings: ChannelSettings
) -> None:
    """Call the person who is named for the conversation, else the owner of the first source, by a mention."""
    language = box.language
    stored = await stored_answer(services, incoming.data.get("answer", ""))
    if stored is None:
        await box.say(Message(say("teams.gone", language)))
        return
    who = settings.expert or next((found.owner for found in stored.answer.citations if found.owner), "") or ""
    if not who:
        await box.say(Message(say("teams.no_person", language)))
        return
    words = {"name": render.plain(incoming.name), "question": quoted(stored.question)}
    member = None if incoming.personal else await _member(connector, incoming, who)
    if member is None:
        named = _chat_link(who, stored.question) if ADDRESS.match(who) else render.plain(who)
        await box.say(Message(say("teams.not_member", language, who=named, **words)))
        return
    mention = f"<at>{render.plain(member.name)}</at>"
    entity = {"type": "mention", "text": mention, "mentioned": {"id": member.id, "name": member.name}}
    await box.say(Message(say("teams.asked_person", language, mention=mention, **words), (entity,)))


async def share(connector: Connector, services: Services, incoming: Incoming, box: Outbox) -> None:
    """Put an answer that only its asker could see where everybody in the conversation sees it; it is written down."""
    stored = await stored_answer(services, incoming.data.get("answer", ""))
    if stored is None or stored.asker != incoming.asker:
        return
    place = replace(incoming.place, conversation=stored.conversation, personal=False)
    words = {"name": render.plain(incoming.name), "question": quoted(stored.question)}
    answer = stored.answer
    said = say("teams.shared", answer.language, **words)
    answer = replace(answer, text=f"{said}\n\n{answer.text}")
    async with services.sessions.begin() as session:
        details = {"answer": str(answer.id)}
        await audit.record_once(session, incoming.asker, PLATFORM, "share", stored.conversation, details)
    messages: Sequence[Message] = render.answer_messages(answer)
    await Outbox(connector, place, box.ledger, answer.language).all(messages)


def quoted(question: str) -> str:
    return render.plain(question[:MAX_QUOTED]).replace("*", "")


async def _member(connector: Connector, incoming: Incoming, who: str) -> Member | None:
    if " " in who:  # a name, not an id
        return None
    try:
        return await connector.member(incoming.place, who)
    except Refused as error:
        if error.status in BUSY:
            raise
        return None


def _chat_link(address: str, question: str) -> str:
    """A link that opens a chat with the person, the question already typed."""
    target = f"https://teams.microsoft.com/l/chat/0/0?users={quote(address)}&message={quote(question[:MAX_QUOTED])}"
    return f"[{render.plain(address)}]({target})"
