"""Filters in a search and in a question: what is found, what is said, and that they open nothing."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text

from assistant.answering import filtering
from assistant.answering.messages import Turn
from assistant.database import documents, sources
from assistant.database.session import Sessions
from assistant.errors import QuestionRejected
from assistant.knowledge.audience import Audience
from assistant.knowledge.filters import FilterError, parse
from assistant.knowledge.search import Searcher
from tests.core.parts import Page, WordEmbedder, prepared

EMBEDDER = WordEmbedder()
EVERYONE = Audience.everyone()
ANN = Audience(frozenset({"everyone", "user:ann"}))
WORDS = "deploy the ferry"

# kind and name of the source, external id, title, reader, details, days since it was read
PAGES = [
    ("git", "Runbooks", "a", "Deploy the ferry", "everyone", {"author": "Ann Lee", "updated": "2026-05-10"}, 0),
    ("git", "Runbooks", "b", "Rollback of ferries", "everyone", {"owner": "Team Harbour", "updated": "2026-04"}, 0),
    ("website", "Wiki", "c", "Configuration (old)", "everyone", {"updated": "long ago", "modified": "2025-12-31"}, 0),
    ("website", "Wiki", "d", "Deploy 50% in C++", "everyone", {"last_edited_by": "Böll, Heinrich"}, 4_000),
    ("folder", "Salaries", "e", "Deploy salaries", "user:ann", {"author": "Ann Lee", "updated": "2026-05-11"}, 0),
]


@pytest.fixture
async def searcher(sessions: Sessions) -> Searcher:
    for kind, source, external_id, title, reader, details, age in PAGES:
        ready = await prepared(Page(external_id, title, (f"How to {WORDS}.",), readers=(reader,)), EMBEDDER)
        async with sessions.begin() as session:
            await documents.ensure_statistics(session, EMBEDDER.name)
            location = f"https://{source.lower()}.example.com/pages"
            source_id, _ = await sources.ensure(session, kind, location, source, [reader])
            await documents.replace(session, source_id, ready)
            change = (
                "UPDATE documents SET details = CAST(:details AS jsonb),"
                " indexed_at = now() - make_interval(days => :age) WHERE external_id = :id"
            )
            await session.execute(text(change), {"details": json.dumps(details), "age": age, "id": external_id})
    return Searcher(sessions, EMBEDDER)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ("", "abcd"),
        ("source:runbooks", "ab"),
        ("source:RUNBOOKS source:wiki", "abcd"),
        ("source:git", "ab"),
        ("source:wiki.example", "cd"),
        ("-source:runbooks", "cd"),
        ("source:runbooks -source:git", ""),
        ("title:deploy", "ad"),
        ('title:"ferry deploy"', "a"),
        ("title:config title:rollback", "bc"),
        ("title:on", ""),
        ("-title:deploy", "bc"),
        ('title:"(old)"', "c"),
        ("title:c++ title:50%", "d"),
        ("title:.*", ""),
        ("author:ann", "a"),
        ('author:"lee ann"', "a"),
        ("author:harbour author:böll", "bd"),
        ("-author:ann", "bcd"),
        ("after:2026-05", "a"),
        ("before:2026-05", "bcd"),
        ("after:2026-04-01 before:2026-04-02", "b"),
        ("after:2025-12-31 before:2026", "c"),
        ("before:10y", "d"),
        ("source:runbooks title:deploy author:ann after:2026-05-10", "a"),
        ("source:runbooks title:deploy author:ann after:2026-05-11", ""),
    ],
)
async def test_a_search_finds_what_the_filters_say(searcher: Searcher, filters: str, found: str) -> None:
    result = await filtering.search(searcher, f"{WORDS} {filters}", audience=EVERYONE, limit=10)
    assert "".join(sorted(hit.external_id for hit in result.hits)) == found
    assert bool(result.note) is bool(filters)


async def test_filters_open_nothing_and_tell_nothing_of_what_is_hidden(searcher: Searcher) -> None:
    for words in ("source:salaries", "source:folder", "-source:salaries", "source:https://salaries.example.com/pages"):
        with pytest.raises(QuestionRejected) as hidden:
            await filtering.search(searcher, f"x {words}", audience=EVERYONE, limit=10)
        with pytest.raises(QuestionRejected) as unknown:
            await filtering.search(searcher, "x source:nowhere", audience=EVERYONE, limit=10)
        name, _, value = words.partition(":")
        assert str(hidden.value) == str(unknown.value).replace("source:nowhere", f"{name}:{value}")
        assert "Runbooks, Wiki" in str(hidden.value)
    for words in ("title:salaries", "author:ann", "after:2026-05-11"):
        result = await filtering.search(searcher, f"{WORDS} {words}", audience=EVERYONE, limit=10)
        assert "e" not in {hit.external_id for hit in result.hits}
    own = await filtering.search(searcher, f"{WORDS} source:salaries", audience=ANN, limit=10)
    assert [hit.external_id for hit in own.hits] == ["e"]


async def test_a_channels_sources_hold_beside_the_filters(searcher: Searcher, sessions: Sessions) -> None:
    async with sessions() as session:
        ids = {source.name: source.id for source in await sources.listed(session)}
    _, filters = parse("x title:deploy")
    within = [ids["Wiki"]]
    found = await searcher.search(WORDS, audience=ANN, sources=within, filters=filters)
    assert [hit.external_id for hit in found.hits] == ["d"]
    with pytest.raises(FilterError, match="there are: Wiki"):
        await searcher.search(WORDS, audience=ANN, sources=within, filters=parse("x source:runbooks")[1])


async def test_what_is_wrong_is_said_in_the_language_of_the_words(searcher: Searcher) -> None:
    asked = "Wie setze ich ein Deployment auf die letzte Version zurück? after:bald"
    with pytest.raises(QuestionRejected, match="`after:bald` ist kein Datum"):
        await filtering.search(searcher, asked, audience=EVERYONE, limit=3)
    with pytest.raises(QuestionRejected, match="only filters"):
        await filtering.search(searcher, "source:runbooks", audience=EVERYONE, limit=3)
    nothing = await filtering.search(searcher, "deploy title:xyz", audience=EVERYONE, limit=3, language="fr")
    assert nothing.note == "Rien n'a été trouvé avec les filtres : titre xyz."


@pytest.mark.parametrize("reply", ["without filters", "Without filters!", "Ohne Filter.", "sin filtros"])
def test_lifting_filters_asks_the_last_question_again(reply: str) -> None:
    assert filtering.lifts(reply)
    assert filtering.last_asked([reply, "deploy source:a", "rollback"]) == "deploy"
    assert filtering.last_asked([reply]) is None
    assert not filtering.lifts("deploy without filters on the proxy")
    asked = Turn("deploy source:a after:2026", "Like this.")
    assert filtering.without_filters([asked]) == (Turn("deploy", "Like this."),)
