"""The command ``mcp``: keys with which a person's programs ask on the person's behalf."""

from __future__ import annotations

from assistant.commands.context import Context, ago, header
from assistant.commands.replies import Caller, Confirm, Refused, Reply, Table
from assistant.database import access, audit
from assistant.database.access import DAYS, Holder, Key
from assistant.strings import say

MOST = 10  # keys of one person


async def mcp(context: Context, caller: Caller, rest: str, confirmed: bool) -> Reply:
    """``mcp`` lists, ``mcp new`` makes one and shows it once, ``mcp revoke NO`` ends one."""
    action, _, argument = rest.partition(" ")
    action = action.lower() or "list"
    async with context.sessions() as session:
        keys = await access.keys_of(session, caller.person)
    if action == "list":
        return _listed(context, caller, keys)
    if action == "new":
        return await _new(context, caller, keys)
    if action == "revoke":
        return await _revoke(context, caller, _chosen(caller, keys, argument.strip()), confirmed)
    raise Refused(say("commands.unknown", caller.language, name=f"mcp {action[:40]}".replace("`", "'")))


def _listed(context: Context, caller: Caller, keys: list[Key]) -> Reply:
    text = say("keys.how", caller.language, address=f"{context.settings.web_url}/mcp", days=DAYS)
    if not keys:
        return Reply(text)
    rows = tuple(
        (
            str(number), f"{key.created_at:%Y-%m-%d}", f"{key.expires_at:%Y-%m-%d}",
            ago(key.last_used_at, caller.language),
        )
        for number, key in enumerate(keys, start=1)
    )  # fmt: skip
    return Reply(text, table=Table(header("keys.header", caller.language), rows))


async def _new(context: Context, caller: Caller, keys: list[Key]) -> Reply:
    if not caller.alone:
        raise Refused(say("keys.alone", caller.language))
    if len(keys) >= MOST:
        raise Refused(say("keys.too_many", caller.language, count=len(keys)))
    holder = Holder(caller.person, caller.platform, caller.audience, caller.language)
    async with context.sessions.begin() as session:
        token = await access.create(session, holder)
        await audit.record(session, caller.person, caller.platform, "mcp new", "")
    return Reply(say("keys.made", caller.language, token=token, address=f"{context.settings.web_url}/mcp", days=DAYS))


def _chosen(caller: Caller, keys: list[Key], named: str) -> Key:
    """The key of a number as it was listed, or of an id."""
    found = [key for number, key in enumerate(keys, start=1) if named in (str(number), str(key.id))]
    if not found:
        raise Refused(say("keys.none", caller.language, number=named[:40] or "–"))
    return found[0]


async def _revoke(context: Context, caller: Caller, key: Key, confirmed: bool) -> Reply:
    if not confirmed:
        sentence = say("keys.revoke", caller.language, made=f"{key.created_at:%Y-%m-%d}")
        # By its id: the numbers close up when another one ends meanwhile.
        return Reply(confirm=Confirm(sentence, say("keys.revoke_button", caller.language), f"mcp revoke {key.id}"))
    async with context.sessions.begin() as session:
        if await access.revoke(session, caller.person, key.id):
            await audit.record(session, caller.person, caller.platform, "mcp revoke", str(key.id))
    return Reply(say("keys.revoked", caller.language))
