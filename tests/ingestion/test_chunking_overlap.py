"""What is embedded of a chunk repeats the end of the one before it; what is shown does not."""

import uuid
from dataclasses import replace
from itertools import pairwise

import pytest

from assistant.knowledge.chunking import chunk
from assistant.knowledge.documents import Block, Chunk, ParsedDocument, text_hash
from assistant.knowledge.overlap import MOST_TOKENS, embedded_as, endings, overlapped
from tests.ingestion.test_chunking import heading, words
from tests.ingestion.test_chunking_properties import SEEDS, Maker, own

STEPS = tuple(f"Step {number} takes the key of service {number} out of its vault" for number in range(40))


def of(*texts: str) -> list[Chunk]:
    return [Chunk(ordinal, text, ("Keys",)) for ordinal, text in enumerate(texts)]


def repeated(*texts: str, room: int = 100, max_tokens: int = 256) -> list[str]:
    found = overlapped(of(*texts), [room] * len(texts), "Doc", words, max_tokens)
    assert [replace(piece, before="") for piece in found] == of(*texts)
    return [piece.before for piece in found]


def test_whole_sentences_and_lines_as_many_as_there_is_room_for() -> None:
    first = "Keys live in the vault. They expire. Ask the owner first:\n- by mail\n- or in #ops"
    second = "It takes a day."
    assert repeated(first, second) == ["", first]
    assert repeated(first, second, room=16) == ["", "They expire. Ask the owner first:\n- by mail\n- or in #ops"]
    assert repeated(first, second, room=5) == ["", "- or in #ops"]
    assert repeated(first, second, room=3) == ["", ""]
    assert repeated(first, second, first, room=5) == ["", "- or in #ops", second]


def test_of_a_sentence_that_is_too_long_its_last_words() -> None:
    long = " ".join(f"word{number}" for number in range(300)) + "."
    _, before = repeated(long, "It ends.")
    assert long.endswith(before)
    assert before.split()[0] in long.split()
    assert 15 <= words([before])[0] <= MOST_TOKENS
    assert repeated("語" * 900, "It ends.") == ["", ""]  # no blank to cut at


def test_the_longer_title_and_headings_are_the_less_is_repeated() -> None:
    lines = [f"- line {number}" for number in range(30)]
    texts = ("\n".join(lines), "It ends.")
    room = [200, 200]

    def size(title: str) -> int:
        _, second = overlapped(of(*texts), room, title, words, 256)
        return words([second.before])[0] - words([""])[0]

    short, long = "Doc", " ".join(f"part{number}" for number in range(40))
    context = {title: words([of("")[0].context(title)])[0] - words([""])[0] for title in (short, long)}
    assert MOST_TOKENS - 3 <= size(short) + context[short] <= MOST_TOKENS
    assert MOST_TOKENS - 3 <= size(long) + context[long] <= MOST_TOKENS
    assert size(long) < size(short)
    assert size(long * 2) == 0


def test_a_title_that_says_nothing_is_not_embedded() -> None:
    piece = Chunk(1, "It takes a day.", ("Keys",), before="Ask the owner.")
    assert piece.embedded_text("Passage") == "Keys\nAsk the owner.\nIt takes a day."
    assert Chunk(0, "It takes a day.").embedded_text("Untitled document") == "It takes a day."
    assert piece.embedded_text("Passage of goods") == "Passage of goods > Keys\nAsk the owner.\nIt takes a day."


def test_marks_alone_are_not_repeated() -> None:
    assert endings("Run this:\n```\nferry rollback\n```")[-1] == "ferry rollback\n```"
    assert endings("") == []


def test_a_text_that_is_counted_too_long_repeats_nothing() -> None:
    """The rooms are an estimate: a tokenizer may count two parts together higher than each by itself."""
    texts = ("One two three.", "Four five six.", "Seven.")
    limit = words(["Doc Keys Four five six. Seven."])[0] + 1  # the mark between the headings
    assert repeated(*texts, max_tokens=limit) == ["", "", texts[1]]


def test_a_document_repeats_from_section_to_section_and_shows_nothing_twice() -> None:
    blocks = []
    for number, step in enumerate(STEPS):
        blocks += [heading(f"Part {number}"), Block("paragraph", f"{step}. " * 6 + f"Then comes {number}.")]
    found = chunk(ParsedDocument("Keys", tuple(blocks)), words)
    assert len(found) == len(STEPS)
    assert found[0].before == ""
    for last, piece in pairwise(found):
        assert last.text.endswith(piece.before)
        assert piece.before.endswith(f"Then comes {last.ordinal}.")
        assert piece.embedded_text("Keys") == f"{piece.context('Keys')}\n{piece.before}\n{piece.text}"
        assert f"comes {last.ordinal}." not in piece.text


@pytest.mark.parametrize("limit", [80, 256])
def test_the_hash_tells_what_was_embedded(limit: int) -> None:
    count = own()
    repeats = 0
    for seed in range(SEEDS):
        document = Maker(seed).document()
        previous = ""
        for piece in chunk(document, count, limit):
            text = piece.embedded_text(document.title)
            stored = replace(piece, before="")
            assert embedded_as(text_hash(text), stored, document.title, previous) == text
            plain = stored.embedded_text(document.title)
            assert embedded_as(text_hash(plain), stored, document.title, previous) == plain
            assert embedded_as(uuid.UUID(int=0), stored, document.title, previous) == plain
            repeats += bool(piece.before)
            previous = piece.text
    assert repeats > SEEDS
