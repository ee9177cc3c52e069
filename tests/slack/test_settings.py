"""A channel's settings in a modal, and the Home tab."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select, text

from assistant.database import channels
from assistant.database.channels import ChannelSettings
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Audit, Source
from bot.slack.home import prompts
from tests.slack.conftest import StartBot
from tests.slack.double import (
    ANNA,
    BEN,
    CHANNEL,
    DM,
    TEAM,
    Fault,
    SlackDouble,
    envelope,
    send_click,
    send_event,
    send_form,
    shown,
)
from tests.slack.limits import refused_view
from tests.slack.test_commands import ADMIN, typed
from tests.slack.web_api import person
from tests.slack.world import QUESTION, Bot, FakeModel, settled, unpooled

Json = dict[str, object]


async def opened(slack: SlackDouble, bot: Bot) -> Json:
    before = len(slack.views)
    await send_form(bot.url, slack.types("settings"))
    await slack.wait(lambda: len(slack.views) > before)
    return slack.views[-1]


def entered(**changed: object) -> Json:
    """The state of the modal, as Slack sends it."""
    values: dict[str, object] = {
        "answer": {"selected_option": {"value": "mention"}},
        "language": {"selected_option": {"value": "auto"}},
        "sources": {"selected_options": []},
        "show_sources": {"selected_options": [{"value": "show"}]},
        "persona": {"value": None},
        "expert": {"selected_user": None},
        "group": {"value": None},
    }
    return {name: {name: value} for name, value in {**values, **changed}.items()}


async def submit(slack: SlackDouble, bot: Bot, view: Json, state: Json, user: str = ANNA) -> Json:
    status, reply = await send_form(bot.url, {"payload": json.dumps(slack.submits(view, state, user))})
    assert status == 200
    return reply if isinstance(reply, dict) else {}


async def test_settings_are_chosen_in_a_modal_kept_audited_and_confirmed(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    view = await opened(slack, bot)
    assert refused_view(view) is None
    async with sessions() as session:
        source_id = (await session.execute(select(Source.id))).scalar_one()
    assert str(source_id) in json.dumps(view)
    state = entered(
        answer={"selected_option": {"value": "sure"}}, language={"selected_option": {"value": "de"}},
        sources={"selected_options": [{"value": str(source_id)}]}, show_sources={"selected_options": []},
        persona={"value": "Be brief."}, group={"value": "<!subteam^S0ONCALL|@oncall>"},
    )  # fmt: skip
    assert await submit(slack, bot, view, state) == {}
    [told] = await slack.until_ephemeral(1)
    assert "Saved" in told["text"]
    async with sessions() as session:
        kept = await channels.get(session, "slack", f"{TEAM}:{CHANNEL}")
        [audited] = (await session.execute(select(Audit))).scalars()
    assert kept == ChannelSettings("sure", (source_id,), False, "Be brief.", "de", "S0ONCALL")
    assert (audited.person, audited.action) == (ADMIN, "settings")
    again = json.dumps(await opened(slack, bot))
    assert '"initial_value": "S0ONCALL"' in again
    assert '"initial_value": "Be brief."' in again


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"persona": {"value": "x" * 501}}, "persona", "501 characters"),
        ({"group": {"value": "the on-call"}}, "group", "begins with S"),
        ({"group": {"value": "S0ONCALL"}, "expert": {"selected_user": BEN}}, "group", "either a person or a group"),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field(
    slack: SlackDouble, bot: Bot, sessions: Sessions, changed: Json, field: str, said: str
) -> None:
    reply = await submit(slack, bot, await opened(slack, bot), entered(**changed))
    assert reply["response_action"] == "errors"
    assert said in reply["errors"][field]  # type: ignore[index]
    async with sessions() as session:
        assert await channels.get(session, "slack", f"{TEAM}:{CHANNEL}") == ChannelSettings()


async def test_a_database_that_is_away_is_said_in_the_modal(
    database_url: str, slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    view = await opened(slack, bot)
    await settled(sessions)
    engine = unpooled(database_url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text("ALTER TABLE channel_settings RENAME TO settings_away"))
        reply = await submit(slack, bot, view, entered())
        await connection.execute(text("ALTER TABLE settings_away RENAME TO channel_settings"))
    assert "could not be stored" in reply["errors"]["answer"]  # type: ignore[index]


async def test_a_trigger_that_ran_out_brings_a_button_that_opens_the_settings(slack: SlackDouble, bot: Bot) -> None:
    slack.faults["views.open"].append(Fault(error="expired_trigger_id"))
    [told] = await typed(slack, bot, "settings")
    assert slack.views == []
    await send_click(bot.url, slack.press(told, "settings_open"))
    await slack.wait(lambda: slack.views)


async def test_in_a_direct_message_there_are_none(slack: SlackDouble, bot: Bot) -> None:
    [told] = await typed(slack, bot, "settings", channel=DM)
    assert "belong to a channel" in shown(told)
    assert slack.views == []


# Home


def home(user: str = ANNA, tab: str = "home") -> Json:
    return envelope({"type": "app_home_opened", "user": user, "channel": DM, "tab": tab, "event_ts": "1.1"})


async def test_the_home_tab_shows_what_is_known_how_fresh_it_is_and_ones_own_questions(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    await send_event(bot.url, slack.mention(QUESTION))
    await settled(sessions)
    await send_event(bot.url, home())
    await slack.wait(lambda: ANNA in slack.homes)
    view = slack.homes[ANNA]
    whole = json.dumps(view, ensure_ascii=False)
    assert refused_view({**view, "type": "home"}) is None
    assert "*1 documents* in 1 sources" in whole
    assert "read today" in whole
    assert f"{QUESTION} – answered, today" in whole
    assert "4,000 characters" in whole
    assert "For administrators" not in whole
    await send_event(bot.url, home(BEN))
    await slack.wait(lambda: BEN in slack.homes)
    assert QUESTION not in json.dumps(slack.homes[BEN])
    assert "Was Almanac weiß" in json.dumps(slack.homes[BEN], ensure_ascii=False)


async def test_administrators_see_how_it_goes(slack: SlackDouble, start_bot: StartBot, sessions: Sessions) -> None:
    async with start_bot(FakeModel("Nothing of it."), admins=(ADMIN,)) as bot:
        await send_event(bot.url, slack.mention("What is the meaning of the Voynich manuscript?"))
        await settled(sessions)
        async with sessions() as session:
            assert (await session.execute(select(Answer.outcome))).scalar_one() == "not_in_documents"
        await send_event(bot.url, home())
        await slack.wait(lambda: ANNA in slack.homes)
        whole = json.dumps(slack.homes[ANNA], ensure_ascii=False)
        for part in ("For administrators", "cost $0.00 today", "Recent runs", "Voynich", "👍 0 👎 0"):
            assert part in whole
        slack.homes.clear()
        press = {
            "type": "block_actions", "user": {"id": ANNA, "team_id": TEAM}, "team": {"id": TEAM},
            "container": {"type": "view", "view_id": "V1"}, "trigger_id": slack.trigger(),
            "actions": [{"type": "button", "action_id": "home_refresh", "block_id": "b", "value": "home"}],
        }  # fmt: skip
        assert await send_click(bot.url, press) == 200
        await slack.wait(lambda: ANNA in slack.homes)


async def test_the_messages_tab_suggests_four_prompts_and_never_names_a_thread(slack: SlackDouble, bot: Bot) -> None:
    await send_event(bot.url, home(tab="messages"))
    await slack.wait(lambda: slack.prompts)
    [suggested] = slack.prompts
    assert "thread_ts" not in suggested
    assert suggested["channel_id"] == DM
    assert suggested["prompts"] == prompts("en")
    assert len(suggested["prompts"]) == 4
    assert slack.homes == {}


async def test_an_app_of_the_older_kind_is_suggested_prompts_in_its_thread(slack: SlackDouble, bot: Bot) -> None:
    slack.agent = False
    slack.people[ANNA] = person(ANNA, "Anna", "anna@example.com", "fr-FR")
    thread = {"user_id": ANNA, "channel_id": DM, "thread_ts": "1700000001.000100", "context": {}}
    await send_event(bot.url, envelope({"type": "assistant_thread_started", "assistant_thread": thread}))
    await slack.wait(lambda: slack.prompts)
    assert slack.prompts[0]["thread_ts"] == "1700000001.000100"
    assert slack.prompts[0]["prompts"] == prompts("fr")
