"""From votes to another order, and back: the whole loop against Postgres, under row-level security."""

from __future__ import annotations

import uuid
from itertools import pairwise

import pytest
from sqlalchemy import delete, select, update

from assistant.database import documents, preferences, votes
from assistant.database.session import Sessions
from assistant.database.tables import Answer, Document
from assistant.knowledge.audience import Audience
from assistant.knowledge.ranking import PER_LOG_ODDS
from assistant.preferences import loop
from assistant.preferences.model import CAP
from assistant.preferences.policy import drawn
from tests.core.parts import Page, document_ids, shelve
from tests.preferences.town import PEOPLE, THINGS, Town, asks, guide

TEMPLATE = "shelved_template"


async def test_votes_change_the_order_and_rollback_changes_it_back(town: Town, sessions: Sessions) -> None:
    before = await town.firsts()
    assert before.count("diary") == len(THINGS)
    assert await town.first("gateway", lot="any") == "diary"
    await town.votes()
    version = await town.learn()
    assert version is not None
    assert (version.state, version.reason) == ("promoted", None), version.report
    assert (await town.firsts()).count("guide") > len(THINGS) / 2
    assert version.report["verdict"]["held_out"]["interval"][0] > 0
    assert version.report["changes"]["first_changed"] > len(THINGS) / 2
    assert not any(person in str(version.report) for person in PEOPLE)
    await a_new_answer_says_what_ordered_it(town, sessions, version.id)
    assert await town.learn() is None  # nothing new
    async with sessions.begin() as session:
        assert await preferences.rollback(session) == (version.id, None)
    await town.policies.refresh()
    assert await town.firsts() == before
    await town.votes(THINGS[:1], PEOPLE[3:])  # what somebody took back does not come back by itself
    again = await town.learn()
    assert again is not None
    assert (again.state, await town.first("gateway")) == ("candidate", "diary")


async def a_new_answer_says_what_ordered_it(town: Town, sessions: Sessions, number: int) -> None:
    answer = await town.ask(asks("gateway"))
    async with sessions() as session:
        row = (await session.execute(select(Answer).where(Answer.id == answer.id))).scalar_one()
    assert row.searched == {"version": number}
    [cited] = [kept for kept in row.retrieval if kept.get("cited")]
    assert (cited["external_id"], cited["cited"], cited["shown"]) == ("gateway-guide.md", 1, True)
    assert 0 < cited["moved"] <= CAP
    first, second = row.retrieval[:2]
    assert first["base"] < second["base"]  # votes turned them round
    assert "pool" not in str(row.retrieval)  # no text
    assert len(str(row.retrieval)) / len(row.retrieval) < 500


async def test_few_votes_of_few_people_change_nothing(town: Town) -> None:
    await town.votes(THINGS[:6], PEOPLE[:3])
    version = await town.learn()
    assert version is not None
    assert (version.state, version.reason) == (
        "refused", "There are 18 new votes that say something, and it takes 20.",
    )  # fmt: skip
    assert await town.firsts() == ["diary"] * len(THINGS)
    await town.votes(THINGS, PEOPLE[:2])
    version = await town.learn()
    assert version is not None
    assert (version.state, await town.firsts()) == ("promoted", ["guide"] * len(THINGS))


async def test_one_voter_alone_lifts_nothing(town: Town) -> None:
    """Whoever votes for everything that is wrong, again and again, is one person."""
    town.model.fooled = True
    for _ in range(3):
        await town.votes(people=PEOPLE[4:])
    version = await town.learn()
    assert version is not None
    assert (version.state, version.reason) == ("refused", "Too few people have voted since: 1, and it takes 3.")
    assert version.votes == len(THINGS)  # the last word on each question


async def test_noise_is_refused(town: Town) -> None:
    """Three people's coins: as many up as down, of either kind of page."""
    coins = 0
    for thing in THINGS:
        for person in PEOPLE[:3]:
            coins = (coins * 1_103_515_245 + 12_345) % 2**31
            town.model.fooled = bool(coins >> 16 & 1)
            await town.vote(await town.ask(asks(thing), person), person, 1 if coins >> 18 & 1 else -1)
    version = await town.learn()
    assert version is not None
    assert version.state == "refused", version.report["verdict"]
    assert version.report["verdict"]["refusal"] == "no_gain"
    assert await town.firsts() == ["diary"] * len(THINGS)


async def test_votes_move_no_passage_further_than_the_cap(town: Town) -> None:
    await town.votes(people=PEOPLE)
    await town.votes(people=PEOPLE)
    assert await town.learn() is not None
    for thing in THINGS:
        found = await town.searcher.search(asks(thing), audience=Audience.everyone())
        looks = [hit.look for hit in found.hits if hit.look]
        assert all(abs(look.moved) <= CAP for look in looks)
        for above, below in pairwise(looks):
            assert below.score - above.score <= 2 * CAP * PER_LOG_ODDS + 0.02  # and what recency may turn round


async def test_a_vote_survives_another_cut_of_its_passage_and_not_its_end(town: Town, sessions: Sessions) -> None:
    await town.votes()
    await shelve(sessions, town.embedder, *(recut(thing) for thing in THINGS))
    parts, embedding = town.parts, town.embedder.name

    async def counted() -> int:
        async with sessions() as session:
            cast = await votes.voted(session)
        return len((await loop.gathered(parts, cast, embedding, watch)).counted)

    async def watch(_done: int, _total: int) -> None:
        pass

    assert await counted() == 3 * len(THINGS)
    version = await town.learn()
    assert version is not None
    assert (version.state, await town.firsts()) == ("promoted", ["guide"] * len(THINGS))
    async with sessions.begin() as session:
        gone = await session.execute(select(Document.id).where(Document.external_id == "gateway-guide.md"))
        await documents.remove(session, list(gone.scalars()))
    assert await counted() == 3 * (len(THINGS) - 1)


def recut(thing: str) -> Page:
    """The guide with more in it, cut otherwise: its chunk is another, with most of the old words."""
    page = guide(thing, more=f" Then write to the {thing} channel that it is back.")
    return Page(page.external_id, page.title, (page.passages[0], "See also the other runbooks of this team."))


async def test_votes_count_only_over_what_their_readers_may_read(town: Town, sessions: Sessions) -> None:
    secret = [guide(thing, ("group:ops",)) for thing in THINGS]
    await shelve(sessions, town.embedder, *secret)
    for thing in THINGS:
        for person in PEOPLE[:3]:
            await town.vote(await town.ask(asks(thing), person, None, "group:ops"), person)
    version = await town.learn()
    assert version is not None
    assert version.votes == 3 * len(THINGS)
    async with sessions.begin() as session:  # from now on for others only
        await session.execute(update(Document).values(readers=["group:board"]))
        await session.execute(delete(preferences.PreferenceVersion))
    await shelve(sessions, town.embedder, *(guide(thing, ("group:board",)) for thing in THINGS))
    with pytest.raises(loop.NothingLearned, match="passages can still be found"):
        await town.learn()


async def test_a_canary_orders_its_share_of_the_conversations(sessions: Sessions, database_url: str) -> None:
    town = Town(sessions, database_url, preferences="canary", preferences_share=0.3)
    await town.votes()
    version = await town.learn()
    assert version is not None
    assert (version.state, version.share) == ("canary", 0.3)
    lots = [uuid.uuid5(uuid.NAMESPACE_URL, str(n)).hex for n in range(400)]
    tried = [lot for lot in lots if town.policies.chosen(lot, "words").tried]
    assert 0.2 < len(tried) / len(lots) < 0.4
    assert tried == [lot for lot in lots if drawn(version.id, lot) < 0.3]
    assert not town.policies.chosen(tried[0], "another model").tried
    others = [lot for lot in lots if lot not in tried]
    assert await town.first("gateway", tried[0]) == "guide"
    assert await town.first("gateway", others[0]) == "diary"
    assert await town.first("gateway") == "diary"
    async with sessions.begin() as session:
        assert (await preferences.promote(session, version.id)).state == "promoted"
    await town.policies.refresh()
    assert await town.first("gateway", others[0]) == "guide"
    await town.close()


async def test_old_votes_fade(town: Town) -> None:
    """What people liked three years ago does not hold against what they like now."""
    town.model.fooled = True
    await town.votes(people=PEOPLE[:3], days_ago=1_000)
    town.model.fooled = False
    await town.votes(people=PEOPLE[2:5])
    version = await town.learn()
    assert version is not None
    assert (version.state, await town.firsts()) == ("promoted", ["guide"] * len(THINGS)), version.report["verdict"]


async def test_answers_from_before_passages_had_keys_still_teach(town: Town, sessions: Sessions) -> None:
    await town.votes()
    async with sessions.begin() as session:
        for table in ("answers", "votes"):
            await session.execute(_without_keys(table))
    version = await town.learn()
    assert version is not None
    assert (version.votes, version.state) == (3 * len(THINGS), "promoted")


def _without_keys(table: str):  # type: ignore[no-untyped-def]
    from sqlalchemy import text

    return text(
        f"UPDATE {table} SET retrieval = (SELECT jsonb_agg(one - 'key' - 'sketch' - 'shown' - 'cited' - 'base') "
        "FROM jsonb_array_elements(retrieval) one)"
    )


async def test_questions_answered_to_their_askers_alone_teach_and_are_not_told(town: Town, sessions: Sessions) -> None:
    await town.votes()
    private = [asks(thing) for thing in THINGS[:4]]
    async with sessions.begin() as session:
        await session.execute(update(Answer).where(Answer.question.in_(private)).values(private=True))
    version = await town.learn()
    assert version is not None
    assert version.votes == 3 * len(THINGS)
    told = {one["question"] for one in version.report["changes"]["questions"]}
    assert told == {asks(thing) for thing in THINGS[4:]}


async def test_document_ids_are_not_needed(town: Town, sessions: Sessions) -> None:
    """A document that was deleted and read again has other numbers, and the same words."""
    await town.votes()
    async with sessions.begin() as session:
        source = (await session.execute(select(Document.source_id).limit(1))).scalar_one()
    ids = await document_ids(sessions, source)
    async with sessions.begin() as session:
        await documents.remove(session, list(ids.values()))
    await town.open()
    version = await town.learn()
    assert version is not None
    assert (version.votes, version.state) == (3 * len(THINGS), "promoted")
