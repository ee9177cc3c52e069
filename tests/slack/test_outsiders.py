"""People of other companies who share a channel with us: Slack calls them no strangers, and they are not ours."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from assistant.database.session import Sessions
from assistant.database.tables import Answer, Vote
from tests.slack.conftest import StartBot
from tests.slack.double import ANNA, TEAM, SlackDouble, send_click, send_event, send_form
from tests.slack.test_permissions import ASKED, FromReview, restricted
from tests.slack.web_api import person
from tests.slack.world import QUESTION, Bot, settled

THEIRS = "T0PARTNER"
ORGANISATION = {"id": "WANNA", "enterprise_id": "E0OURS", "teams": ["T0SIBLING", TEAM]}


async def test_somebody_of_another_company_in_a_shared_channel_is_not_who_their_slack_says(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    """Their administrators choose their addresses; ours name people here."""
    await restricted(sessions)
    slack.people[ANNA] |= {"team_id": THEIRS, "is_stranger": False}
    async with start_bot(FromReview()) as bot:
        await send_event(bot.url, {**slack.mention(ASKED, user_team=THEIRS), "is_ext_shared_channel": True})
        await slack.until(1)
        await settled(sessions)
        await send_event(bot.url, slack.direct(ASKED))
        await slack.until(2)
        await settled(sessions)
    async with sessions() as session:
        rows = list((await session.execute(select(Answer))).scalars())
    assert [row.outcome for row in rows] == ["not_in_documents", "not_in_documents"]
    assert not any(name.startswith(("user:email:", "group:", "everyone")) for row in rows for name in row.audience)
    assert "paid in March" not in json.dumps([*slack.visible, *slack.ephemerals])


async def test_a_colleague_of_another_workspace_of_our_organisation_is_ours(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    await restricted(sessions)
    slack.people[ANNA] |= {"team_id": "T0SIBLING", "enterprise_user": ORGANISATION}
    async with start_bot(FromReview()) as bot:
        await send_event(bot.url, slack.direct(ASKED))
        [answer] = await slack.until(1)
        await settled(sessions)
    assert "paid in March" in json.dumps(answer)


async def test_the_administrators_of_another_company_administrate_nothing_here(
    slack: SlackDouble, start_bot: StartBot
) -> None:
    slack.people[ANNA] = {**person(ANNA, "Anna", "anna@example.com", admin=True), "team_id": THEIRS}
    async with start_bot(slack_workspace_admins=True) as bot:
        assert not await bot.place.people.is_admin(TEAM, ANNA)
        slack.people[ANNA]["team_id"] = TEAM
        bot.place.people._known.clear()
        assert await bot.place.people.is_admin(TEAM, ANNA)


@pytest.mark.parametrize("team", [{"id": THEIRS}, None])
async def test_the_reason_of_a_thumb_down_belongs_to_the_thumb_whoever_sends_it(
    slack: SlackDouble, bot: Bot, sessions: Sessions, team: dict[str, str] | None
) -> None:
    """A modal sent by somebody of another company names their workspace; one of an organisation may name none."""
    await send_event(bot.url, slack.mention(QUESTION))
    [answered] = await slack.until(1)
    await send_click(bot.url, slack.click(answered, "negative"))
    await slack.wait(lambda: slack.views)
    sent = slack.submits(slack.views[-1], {"reason": {"reason": {"value": "It names the wrong team."}}})
    sent |= {"team": team, "user": {"id": ANNA, "team_id": THEIRS}}
    sent["view"]["app_installed_team_id"] = TEAM
    assert (await send_form(bot.url, {"payload": json.dumps(sent)}))[0] == 200
    async with sessions() as session:
        votes = list((await session.execute(select(Vote))).scalars())
    assert [(vote.person, vote.reason) for vote in votes] == [(f"slack:{TEAM}:{ANNA}", "It names the wrong team.")]
