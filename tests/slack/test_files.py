"""Files that are shared become documents of their channel; links to known documents unfold."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import select, update

from assistant.database.session import Sessions
from assistant.database.tables import Run, Source, Upload
from bot.slack.files import at_slack, wants_adding
from tests.slack.conftest import StartBot
from tests.slack.double import (
    ANNA,
    BOT,
    BOT_TOKEN,
    CHANNEL,
    TEAM,
    Fault,
    SlackDouble,
    envelope,
    send_click,
    send_event,
    send_form,
    shown,
)
from tests.slack.limits import refused_blocks
from tests.slack.test_commands import ADMIN
from tests.slack.world import QUESTION, Bot, FakeEmbedder, Page, index, settled

REPORT = b"# Report\n\nThe ledger is rolled back within ten minutes.\n"


async def finish_runs(sessions: Sessions, count: int = 1) -> None:
    """What a worker does, as far as the bot sees it."""
    async with asyncio.timeout(60):
        while True:
            async with sessions.begin() as session:
                ids = (await session.execute(select(Run.id).where(Run.state == "queued"))).scalars().all()
                if len(ids) >= count:
                    result = {"added": 1, "updated": 0, "unchanged": 0, "removed": 0, "failed": []}
                    await session.execute(update(Run).values(state="succeeded", result=result))
                    return
            await asyncio.sleep(0.05)


async def uploads(sessions: Sessions) -> list[tuple[str, str, bytes, list[str]]]:
    async with sessions() as session:
        rows = await session.execute(
            select(Upload.name, Upload.external_id, Upload.content, Source.readers)
            .join(Source, Source.id == Upload.source_id)
            .order_by(Upload.name)
        )
        return [tuple(row) for row in rows]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assistant.commands.following.POLL_SECONDS", 0.05)
    monkeypatch.setattr("bot.slack.files.UPDATE_SECONDS", 0.05)


def shares(slack: SlackDouble, text: str, *files: dict[str, object]) -> dict[str, object]:
    message = slack.says(ANNA, f"<@{BOT}> {text}", files=list(files), subtype="file_share")
    return envelope({**message, "channel_type": "channel"})


async def test_files_are_added_on_request_for_the_channel_and_the_end_is_told(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    one, two = slack.share("report.md", REPORT), slack.share("notes.txt", b"Notes.")
    event = shares(slack, "add this please", one, two)
    await send_event(bot.url, event)
    await send_event(bot.url, event, retry=1)
    await finish_runs(sessions, 2)
    await settled(sessions)
    [message] = slack.visible
    assert message["thread_ts"] == event["event"]["ts"]  # type: ignore[index]
    assert shown(message).count("Done: 1 added") == 2
    assert "report.md" in shown(message)
    readers = [f"channel:slack:{TEAM}:{CHANNEL}"]
    assert await uploads(sessions) == [
        ("notes.txt", two["id"], b"Notes.", readers),
        ("report.md", one["id"], REPORT, readers),
    ]


async def test_a_file_without_words_is_offered_and_added_by_the_button(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    file = slack.share("report.md", REPORT)
    await send_event(bot.url, slack.direct("", files=[file], subtype="file_share"))
    [offer] = await slack.until(1)
    await settled(sessions)
    assert "Shall I add report.md" in shown(offer)
    press = slack.press(offer, "file_add")
    await send_click(bot.url, press)
    await send_click(bot.url, press)
    await finish_runs(sessions)
    await settled(sessions)
    assert "Done: 1 added" in shown(slack.visible[1])
    assert await uploads(sessions) == [("report.md", file["id"], REPORT, [f"user:slack:{TEAM}:{ANNA}"])]


async def test_a_question_with_a_file_is_answered_and_the_file_offered(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    file = slack.share("report.md", REPORT)
    await send_event(bot.url, shares(slack, QUESTION, file))
    [answer] = await slack.until(1)
    await settled(sessions)
    assert "deployctl" in shown(answer)
    assert "Add report.md to the documents" in json.dumps(answer["blocks"])
    assert await uploads(sessions) == []


async def test_the_shortcut_adds_the_files_of_a_message_and_says_where_there_are_none(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    message = slack.says(ANNA, "the report", files=[slack.share("report.md", REPORT)])
    await send_click(bot.url, slack.chooses("add_files_of_message", message))
    await finish_runs(sessions)
    await settled(sessions)
    assert len(await uploads(sessions)) == 1
    await send_click(bot.url, slack.chooses("add_files_of_message", slack.says(ANNA, "words only")))
    [told] = await slack.until_ephemeral(1)
    assert "There is no file" in told["text"]


async def test_ingest_upload_opens_a_modal_that_takes_files(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    async with start_bot(admins=(ADMIN,)) as bot:
        await send_form(bot.url, slack.types("ingest upload"))
        await slack.wait(lambda: slack.views)
        file = slack.share("report.md", REPORT)
        values = {"files": {"files": {"type": "file_input", "files": [file]}}}
        status, _ = await send_form(bot.url, {"payload": json.dumps(slack.submits(slack.views[0], values))})
        assert status == 200
        await finish_runs(sessions)
        await settled(sessions)
    assert len(await uploads(sessions)) == 1
    assert "Done: 1 added" in shown(slack.visible[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": 60 * 2**20}, "has 60.0 MiB; the limit is 50 MiB"),
        ({"url_private_download": "https://evil.example/report.md"}, "not stored at Slack"),
        ({"url_private_download": "http://files.slack.com/report.md"}, "not stored at Slack"),
        ({"url_private_download": "https://files.slack.com.evil.example/x"}, "not stored at Slack"),
    ],
    ids=["large", "elsewhere", "plain-http", "lookalike"],
)
async def test_what_is_not_fetched_is_said(
    slack: SlackDouble, bot: Bot, sessions: Sessions, change: dict[str, object], said: str
) -> None:
    file = slack.share("report.md", REPORT)
    slack.files[str(file["id"])].update(change)
    await send_event(bot.url, shares(slack, "add this", file))
    await slack.until(1)
    await settled(sessions)
    assert said in shown(slack.visible[0])
    assert await uploads(sessions) == []


async def test_a_size_that_lies_is_found_while_reading(
    slack: SlackDouble, start_bot: StartBot, sessions: Sessions
) -> None:
    file = slack.share("big.md", b"x" * 2**21)
    slack.files[str(file["id"])]["size"] = 10
    async with start_bot(file_max_mb=1) as bot:
        await send_event(bot.url, shares(slack, "add this", file))
        await slack.until(1)
        await settled(sessions)
    assert "the limit is 1 MiB" in shown(slack.visible[0])


@pytest.mark.parametrize("how", ["info", "download"])
async def test_a_missing_scope_is_named_to_the_asker(
    slack: SlackDouble, bot: Bot, sessions: Sessions, how: str
) -> None:
    file = slack.share("report.md", REPORT)
    slack.missing.add("files:read")
    if how == "download":
        slack.faults["files.info"].append(Fault(effect_first=True))
        slack.files[str(file["id"])]["url_private_download"] = f"http://{slack.root}/files/unknown"
        slack.missing.clear()
        slack.files["unknown"] = {"content": b""}
        slack.files[str(file["id"])]["url_private_download"] = f"http://{slack.root}/response/none"
    await send_event(bot.url, shares(slack, "add this", file))
    await slack.until(1)
    if how == "info":
        await settled(sessions)
        assert "lacks the permission `files:read`" in shown(slack.visible[0])


def test_the_token_goes_to_slacks_own_hosts_and_to_nobody_else() -> None:
    slack, stand_in = "https://slack.com/api/", "http://127.0.0.1:4000/api/"
    for url in (
        "https://files.slack.com/a",
        "https://slack-files.com/a",
        "https://x.slack-edge.com/a",
        "https://files.slack-gov.com/a",
    ):
        assert at_slack(url, slack)
    for url in (
        "https://evilslack.com/a", "https://slack.com.evil.example/a", "https://user@files.slack.com/a",
        "https://files.slack.com:8443/a", "http://files.slack.com/a", "file:///etc/passwd", "",
        "http://127.0.0.1:4000/files/a",
    ):  # fmt: skip
        assert not at_slack(url, slack)
    assert at_slack("http://127.0.0.1:4000/files/a", stand_in)
    assert not at_slack("http://127.0.0.1:4001/files/a", stand_in)
    assert BOT_TOKEN


@pytest.mark.parametrize(
    "text", ["add this", "Add these files please", "Bitte aufnehmen", "ajoute ce fichier", "Añade"]
)
def test_people_say_in_their_own_words_that_a_file_is_to_be_added(text: str) -> None:
    assert wants_adding(text)
    assert not wants_adding(f"why {text}?")


# unfurls

URL = "https://docs.example.com/payments?a=1&b=2"


def linked(url: str, **more: object) -> dict[str, object]:
    return envelope(
        {
            "type": "link_shared", "user": ANNA, "channel": CHANNEL, "message_ts": "1700000001.000100",
            "links": [{"domain": "docs.example.com", "url": url}, {"domain": "x", "url": "https://x.example/none"}],
            **more,
        }
    )  # fmt: skip


async def test_a_link_to_a_known_document_unfolds_into_a_summary(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    event = linked(URL)
    await send_event(bot.url, event)
    await send_event(bot.url, event, retry=1)
    await slack.wait(lambda: slack.unfurls)
    await settled(sessions)
    [unfurl] = slack.unfurls
    assert unfurl["channel"] == CHANNEL
    assert list(unfurl["unfurls"]) == [URL]
    blocks = unfurl["unfurls"][URL]["blocks"]
    assert refused_blocks(blocks) is None
    text = json.dumps(blocks)
    assert "Payments runbook" in text
    assert "deployctl rollback payments" in text
    assert "payments team" in text


async def test_what_the_channel_may_not_read_stays_a_link(slack: SlackDouble, bot: Bot, sessions: Sessions) -> None:
    secret = "https://docs.example.com/secret"
    page = Page("s.md", "Secret", "It is secret.", secret, readers=(f"user:slack:{TEAM}:{ANNA}",))
    await index(sessions, FakeEmbedder(), page)
    await send_event(bot.url, linked(secret))
    await send_event(bot.url, {**linked(URL, message_ts="1700000002.000100"), "is_ext_shared_channel": True})
    await settled(sessions)
    assert slack.unfurls == []


async def test_a_link_is_unfolded_by_its_id_once_it_is_known_where_it_is_posted(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    composed = linked(URL, unfurl_id="u.1", source="composer", channel="COMPOSER", message_ts="u.1")
    await send_event(bot.url, composed)
    await settled(sessions)
    assert slack.unfurls == []
    await send_event(bot.url, linked(URL, unfurl_id="C.1.2", source="conversations_history"))
    await slack.wait(lambda: slack.unfurls)
    assert slack.unfurls[0]["unfurl_id"] == "C.1.2"
    assert slack.unfurls[0]["source"] == "conversations_history"


async def test_a_missing_scope_to_unfurl_is_told_once_to_the_person(
    slack: SlackDouble, bot: Bot, sessions: Sessions
) -> None:
    slack.missing.add("links:write")
    await send_event(bot.url, linked(URL))
    [told] = await slack.until_ephemeral(1)
    await settled(sessions)
    assert "`links:write`" in told["text"]
