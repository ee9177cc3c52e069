"""The command ``admin``: a link that opens the administrators' page on the web, once, for whoever asked for it."""

from __future__ import annotations

from assistant.commands.context import Context
from assistant.commands.replies import Caller, Refused, Reply
from assistant.database import admin_links, audit
from assistant.database.admin_links import GRANTED_HOURS, LINK_MINUTES, SESSION_HOURS, Invited
from assistant.strings import say


async def admin(context: Context, caller: Caller, _rest: str, _confirmed: bool) -> Reply:
    if not caller.alone:
        raise Refused(say("admin.alone", caller.language))
    granted = caller.person not in context.settings.admins
    invited = Invited(caller.person, caller.name or caller.place_name, caller.platform, granted)
    async with context.sessions.begin() as session:
        token = await admin_links.create(session, invited)
        await audit.record(session, caller.person, caller.platform, "admin", "")
    hours = GRANTED_HOURS if granted else SESSION_HOURS
    address = f"{context.settings.web_url}/admin/enter#{token}"  # what follows the # never leaves the browser
    return Reply(say("admin.link", caller.language, address=address, minutes=LINK_MINUTES, hours=hours))
