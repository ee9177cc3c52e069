import random

from assistant.knowledge.boilerplate import MINIMUM, block_key, block_keys, left_out, to_prepare_again, without
from assistant.knowledge.chunking import chunk
from assistant.knowledge.documents import Block, ParsedDocument

FOOTER = Block("paragraph", "Need help? Ask the platform team in #ops during office hours.")
TABLE = Block("table", rows=(("Team", "Channel"), ("platform team", "ops and on call"), ("web team", "web")))


def page(name: str, *extra: Block) -> ParsedDocument:
    body = Block("paragraph", f"The page of {name} says what {name} does and who owns {name} now.")
    return ParsedDocument(name, (Block("heading", "About", level=2), body, *extra))


def holders_of(pages: dict[str, ParsedDocument]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in sorted(pages):
        for key in block_keys(pages[name]):
            found.setdefault(key, []).append(name)
    return found


def test_keys_go_by_words_and_kind() -> None:
    assert block_key(FOOTER) == block_key(
        Block("paragraph", "need  help?\nAsk the platform team in #ops, during office hours")
    )
    assert block_key(FOOTER) != block_key(Block("list_item", FOOTER.text))
    assert block_key(FOOTER) != block_key(Block("paragraph", FOOTER.text.replace("platform", "search")))
    assert block_key(Block("heading", FOOTER.text)) is None
    assert block_key(Block("paragraph", "On this page")) is None
    assert block_key(TABLE) is not None
    assert -(2**63) <= (block_key(FOOTER) or 0) < 2**63


def test_the_first_keeps_it_and_the_others_are_cut_without_it() -> None:
    help_section = (Block("heading", "Help", level=2), FOOTER, TABLE)
    pages = {f"p{n}": page(f"p{n}", *help_section) for n in range(6)}
    holders = holders_of(pages)
    shown = {name: without(one, left_out(name, block_keys(one), holders)) for name, one in pages.items()}
    assert shown["p0"] == pages["p0"]
    for name in list(pages)[1:]:
        assert [block.text for block in shown[name].blocks] == ["About", pages[name].blocks[1].text]  # nor its heading
    texts = [piece.text for one in shown.values() for piece in chunk(one, lambda ts: [len(t.split()) for t in ts])]
    assert sum("Need help" in text for text in texts) == 1
    assert all(any(f"page of {name} " in text for text in texts) for name in pages)


def test_a_few_copies_are_no_boilerplate() -> None:
    pages = {f"p{n}": page(f"p{n}", FOOTER) for n in range(MINIMUM - 1)}
    holders = holders_of(pages)
    assert all(not left_out(name, block_keys(one), holders) for name, one in pages.items())


def test_a_page_of_nothing_but_boilerplate_stays() -> None:
    alone = ParsedDocument("Help", (Block("heading", "Help", level=2), FOOTER))
    assert without(alone, {block_key(FOOTER) or 0}) == alone


def test_what_to_prepare_again_keeps_every_state_right() -> None:
    """Pages come, change and go at random; whoever is told to be prepared again is, and nobody else. In the end each
    repeated block is searched once, all others where they stand."""
    for seed in range(30):
        generator = random.Random(seed)
        shared = [Block("paragraph", f"Shared text number {n} that stands on many of these pages.") for n in range(4)]
        pages: dict[str, ParsedDocument] = {}
        shown: dict[str, ParsedDocument] = {}
        for _ in range(40):
            before = holders_of(pages)
            name = f"p{generator.randrange(12)}"
            if generator.random() < 0.3:
                pages.pop(name, None)
                shown.pop(name, None)
                changed: set[str] = set()
            else:
                pages[name] = page(name, *generator.sample(shared, generator.randrange(5)))
                changed = {name}
            after = holders_of(pages)
            for each in (changed | to_prepare_again(before, after)) & set(pages):
                shown[each] = without(pages[each], left_out(each, block_keys(pages[each]), after))
        holders = holders_of(pages)
        for block in shared:
            key = block_key(block) or 0
            copies = [name for name, one in shown.items() if block in one.blocks]
            held = holders.get(key, [])
            assert sorted(copies) == (held[:1] if len(held) >= MINIMUM else held)
