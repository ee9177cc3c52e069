import random
import re
import time

from assistant.knowledge.chunking import MIN_TOKENS, chunk
from assistant.knowledge.documents import Block, Chunk, ParsedDocument


def words(texts: list[str]) -> list[int]:
    """A tokenizer for tests: words and single marks, as WordPiece splits them first."""
    return [len(re.findall(r"\w+|[^\w\s]", text)) for text in texts]


def heading(text: str, level: int = 2, **place: object) -> Block:
    return Block("heading", text, level=level, **place)  # type: ignore[arg-type]


def prose(count: int, word: str = "word") -> Block:
    return Block("paragraph", " ".join([word] * (count - 1)) + ".")


def cut(*blocks: Block, title: str = "Doc", max_tokens: int = 220) -> list[Chunk]:
    return chunk(ParsedDocument(title, blocks), words, max_tokens)


def size(piece: Chunk, title: str = "Doc") -> int:
    return words([f"{piece.context(title)}\n{piece.text}"])[0]


def test_a_chunk_belongs_to_one_section() -> None:
    found = cut(
        prose(70),
        heading("Deploy", 2, anchor="deploy"),
        prose(80),
        heading("Roll back", 3, anchor="roll-back", page=2),
        Block("paragraph", "back " * 79 + "end.", page=2),
        heading("Owners", 2),
        prose(70),
    )
    assert [(c.ordinal, c.heading_path, c.anchor, c.page) for c in found] == [
        (0, (), None, None),
        (1, ("Deploy",), "deploy", None),
        (2, ("Deploy", "Roll back"), "roll-back", 2),
        (3, ("Owners",), None, None),
    ]


def test_small_siblings_share_a_chunk_under_their_parent() -> None:
    blocks = [heading("FAQ", 2, anchor="faq")]
    for name in ("One", "Two", "Three", "Four"):
        blocks += [heading(name, 3, anchor=name.lower()), prose(32)]
    found = cut(*blocks)
    assert [(c.heading_path, c.anchor) for c in found] == [(("FAQ",), "one"), (("FAQ",), "three")]
    assert found[0].text.split("\n\n")[::2] == ["One", "Two"]


def test_a_small_introduction_joins_its_first_part() -> None:
    found = cut(heading("Deploy", anchor="deploy"), prose(10), heading("Steps", 3), prose(60))
    assert [(c.heading_path, c.anchor) for c in found] == [(("Deploy",), "deploy")]
    assert found[0].text.split("\n\n")[1] == "Steps"


def test_a_small_last_section_joins_the_one_before() -> None:
    found = cut(heading("A"), prose(60), heading("B"), prose(10))
    assert [c.heading_path for c in found] == [()]
    assert found[0].text.startswith("A\n\nword")


def test_strangers_are_not_merged() -> None:
    found = cut(heading("A"), heading("A1", 3), prose(60), heading("B"), heading("B1", 3), prose(10))
    assert [c.heading_path for c in found] == [("A", "A1"), ("B", "B1")]


def test_headings_without_text_are_kept_as_text() -> None:
    assert [c.text for c in cut(heading("Only a heading"))] == ["Only a heading"]
    assert cut() == []


def test_rendering() -> None:
    found = cut(
        Block("paragraph", "Do this:"),
        Block("list_item", "1. First:"),
        Block("code", "a = 1\n  b"),
        Block("list_item", "under", level=1),
        Block("list_item", "2. Second"),
        Block("table", rows=(("A", "B"), ("1|2", "x"))),
        Block("paragraph", "End."),
    )
    assert [c.text for c in found] == [
        "Do this:\n\n1. First:\n```\na = 1\n  b\n```\n\n  - under\n2. Second\n\n"
        "| A | B |\n|---|---|\n| 1\\|2 | x |\n\nEnd."
    ]


def test_an_introduction_moves_with_what_it_introduces() -> None:
    code = Block("code", "\n".join(f"line {n}" for n in range(25)))
    found = cut(prose(60), prose(50, "next"), Block("paragraph", "Now run this:"), code, max_tokens=120)
    assert found[-1].text.startswith("Now run this:\n\n```\nline 0\n")
    assert "Now run" not in "".join(c.text for c in found[:-1])


def test_what_fits_is_never_cut() -> None:
    generator = random.Random(3)
    blocks = []
    for number in range(200):
        kind = generator.choice(["paragraph", "list_item", "code"])
        blocks.append(Block(kind, " ".join(f"w{number}x{i}" for i in range(generator.randint(1, 200)))))  # type: ignore[arg-type]
    found = cut(*blocks)
    for block in blocks:
        assert sum(block.text in c.text for c in found) == 1
    assert max(map(size, found)) <= 220


def test_a_long_table_repeats_its_header() -> None:
    rows = (("Name", "Owner"), *((f"service{n}", f"team{n}") for n in range(100)))
    found = cut(heading("Services"), Block("table", rows=rows))
    assert [c.text.count("| service") for c in found] == [40, 40, 20]  # the header is counted once a chunk
    assert all(c.text.startswith("| Name | Owner |\n|---|---|\n| service") for c in found)


def test_a_row_too_long_for_a_chunk_becomes_words() -> None:
    rows = (("Name", "Notes"), ("search", "note " * 300), ("mail", "short"))
    found = cut(Block("table", rows=rows))
    assert found[0].text.startswith("Name: search; Notes: note note")
    assert found[-1].text.endswith("Name: mail; Notes: short")
    assert max(map(size, found)) <= 220


def test_a_long_paragraph_is_cut_at_sentences_then_words() -> None:
    text = " ".join(f"Sentence {n} has exactly seven words." for n in range(100))
    found = cut(Block("paragraph", text))
    assert all(c.text.startswith("Sentence") and c.text.endswith("words.") for c in found)
    assert " ".join(c.text for c in found) == text
    endless = " ".join(f"word{n}" for n in range(1000))
    assert " ".join(c.text for c in cut(Block("paragraph", endless))) == endless
    blob = "x" * 5000
    assert "".join(c.text for c in cut(Block("paragraph", blob))) == blob


def test_long_code_is_cut_at_lines_and_each_part_is_fenced() -> None:
    lines = [f"    step_{n}()" for n in range(300)]
    found = cut(Block("code", "\n".join(lines)))
    assert all(c.text.startswith("```\n    step") and c.text.endswith(")\n```") for c in found)
    assert [line for c in found for line in c.text.split("\n")[1:-1]] == lines


def test_a_tiny_tail_is_filled_from_before() -> None:
    found = cut(*(prose(35) for _ in range(7)))
    assert [size(c) >= MIN_TOKENS for c in found] == [True, True]


def test_long_titles_and_headings_leave_room() -> None:
    long = "very long heading " * 30
    found = cut(heading(long, 1), heading(long, 2), heading(long, 3), prose(400), title="Title " * 20)
    assert max(size(c, "Title " * 20) for c in found) <= 220
    assert "very long heading" in found[0].text  # what the path shortens is kept in the text


def test_the_limit_holds_when_the_estimate_is_wrong() -> None:
    def grumpy(texts: list[str]) -> list[int]:
        return [int(len(text.split()) * (1.0 if len(text) < 600 else 1.5)) + 2 for text in texts]

    document = ParsedDocument("Doc", tuple(prose(60, f"w{n}") for n in range(30)))
    found = chunk(document, grumpy)
    assert max(grumpy([f"{c.context('Doc')}\n{c.text}" for c in found])) <= 220
    assert sum(c.text.count(".") for c in found) == 30


def test_random_documents_lose_nothing_and_keep_the_limit() -> None:
    for seed in range(40):
        generator = random.Random(seed)
        blocks = [_random_block(generator, number) for number in range(generator.randint(1, 60))]
        limit = generator.choice([60, 120, 220])
        found = cut(*blocks, max_tokens=limit)
        assert found == cut(*blocks, max_tokens=limit)
        assert [c.ordinal for c in found] == list(range(len(found)))
        assert all(c.text.strip() and size(c) <= limit for c in found)
        shown = " ".join(" ".join([*c.heading_path, c.text]) for c in found)
        for marker in re.findall(r"m\d+e", " ".join(block.text for block in blocks)):
            assert marker in shown


def _random_block(generator: random.Random, number: int) -> Block:
    kind = generator.choice(["heading", "heading", "paragraph", "list_item", "code"])
    length = generator.choice([1, 3, 10]) if kind == "heading" else generator.choice([1, 10, 50, 400])
    filler = generator.choice([" x", "\nx", " end. Next"]) if kind != "heading" else " h"
    return Block(kind, f"m{number}e" + filler * length, level=generator.randint(1, 4))  # type: ignore[arg-type]


def test_the_tokenizer_is_called_a_few_times_only() -> None:
    calls = []

    def counting(texts: list[str]) -> list[int]:
        calls.append(len(texts))
        return words(texts)

    chunk(ParsedDocument("Doc", tuple(prose(150) for _ in range(1000))), counting)
    assert len(calls) == 5  # contexts, blocks, finished chunks, what each may repeat, and those with it


def test_a_large_document_takes_no_longer_by_chunk() -> None:
    def cheap(texts: list[str]) -> list[int]:
        return [len(text) // 4 + 1 for text in texts]

    def seconds_by_chunk(sentences: int) -> float:
        text = "The queue is empty and the index is new. " * sentences
        document = ParsedDocument("Doc", (Block("paragraph", text), *(prose(40) for _ in range(sentences // 10))))
        begun = time.perf_counter()
        found = chunk(document, cheap)
        return (time.perf_counter() - begun) / len(found)

    assert seconds_by_chunk(100_000) < max(5 * seconds_by_chunk(5_000), 0.001)
