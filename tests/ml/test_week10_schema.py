"""Week 10: the schema check against jsonschema, and decoding that can only write what is valid."""

from __future__ import annotations

import json
import random

import jsonschema
import numpy as np
import pytest

from ml.lesson import LessonError
from ml.week10_agents import exercises
from ml.week10_agents.automaton import compile_piece, repeat, sequence, word
from ml.week10_agents.constrained import Masks, Vocabulary, decode, decode_freely
from ml.week10_agents.grammar import Unsupported, call_schema, compile_schema
from ml.week10_agents.record import Asked
from ml.week10_agents.schema import UnknownKeyword, explain, problems, valid
from ml.week10_agents.small_model import SmallModel, calls_schema, own_cases

TYPES = ["object", "array", "string", "integer", "number", "boolean", "null"]
WORDS = ["", "a", "Zürich", "naïve café", 'quote " and \\ slash', "日本", "line\nbreak", "😀x", "true", "12"]


# ---- the check ----
def random_value(dice, depth=2):
    kind = dice.choice(TYPES if depth else TYPES[2:])
    if kind == "object":
        return {dice.choice("abc"): random_value(dice, depth - 1) for _ in range(dice.randrange(3))}
    if kind == "array":
        return [random_value(dice, depth - 1) for _ in range(dice.randrange(4))]
    scalars = {"string": WORDS, "integer": [-3, 0, 1, 7], "number": [0.0, 1.0, 2.5, -1e3], "boolean": [True, False]}
    return dice.choice(scalars.get(kind, [None]))


def random_schema(dice, depth=2):
    if depth and dice.random() < 0.15:
        return {dice.choice(["anyOf", "oneOf", "allOf"]): [random_schema(dice, depth - 1) for _ in range(2)]}
    schema = {}
    options = {
        "type": lambda: dice.choice([dice.choice(TYPES), dice.sample(TYPES, 2)]),
        "enum": lambda: [random_value(dice, 1) for _ in range(3)],
        "const": lambda: random_value(dice, 1),
        "minimum": lambda: dice.choice([-1, 0, 1.5]),
        "exclusiveMaximum": lambda: dice.choice([1, 7, 2.5]),
        "minLength": lambda: dice.randrange(3),
        "maxLength": lambda: dice.randrange(12),
        "pattern": lambda: dice.choice(["^[a-z]*$", "a", "^Z"]),
        "minItems": lambda: dice.randrange(3),
        "uniqueItems": lambda: dice.random() < 0.5,
        "items": lambda: random_schema(dice, depth - 1) if depth else True,
        "properties": lambda: {name: random_schema(dice, depth - 1) if depth else {} for name in "ab"},
        "required": lambda: dice.sample("abc", dice.randrange(3)),
        "additionalProperties": lambda: dice.choice([False, True, {"type": "string"}]),
        "maxProperties": lambda: dice.randrange(3),
        "not": lambda: {"type": dice.choice(TYPES)},
    }
    for keyword in dice.sample(list(options), dice.randrange(4)):
        schema[keyword] = options[keyword]()
    return schema


def test_every_verdict_is_jsonschemas():
    dice, verdicts = random.Random(10), {True: 0, False: 0}
    for _ in range(4000):
        schema, value = random_schema(dice), random_value(dice)
        theirs = jsonschema.Draft202012Validator(schema).is_valid(value)
        assert valid(value, schema) == theirs, (schema, value)
        verdicts[theirs] += 1
    assert min(verdicts.values()) > 500, "both verdicts must occur"


def test_every_objection_of_jsonschema_has_one_of_ours_at_the_same_place():
    schema = {
        "type": "object",
        "properties": {
            "stops": {"type": "array", "items": {"type": "object", "properties": {"city": {"type": "string"}}}},
            "days": {"type": "integer", "minimum": 1},
        },
        "required": ["stops", "name"],
        "additionalProperties": False,
    }
    value = {"stops": [{"city": "A"}, {"city": 3}], "days": 0, "extra": 1}
    ours = sorted(map(str, problems(value, schema)))
    assert ours == [
        "days must be at least 1, not 0",
        "extra is not a known argument (known: stops, days)",
        "name is missing",
        "stops[1].city must be of type string, not 3",
    ]
    assert len(list(jsonschema.Draft202012Validator(schema).iter_errors(value))) == len(ours)
    assert explain({"stops": [], "name": 1}, {**schema, "additionalProperties": True}) == ""


TREE = {"$defs": {"n": {"properties": {"a": {"$ref": "#/$defs/n"}}, "type": "object"}}, "$ref": "#/$defs/n"}


@pytest.mark.parametrize(
    ("value", "schema", "good"),
    [
        (True, {"type": "integer"}, False),
        (1.0, {"type": "integer"}, True),
        (True, {"enum": [1]}, False),
        (1, {"const": 1.0}, True),
        ([1, True], {"uniqueItems": True}, True),
        ("😀", {"maxLength": 1}, True),
        ("x", {"minimum": 5}, True),
        ({"a": {"a": {}}}, TREE, True),
        ({"a": {"a": 1}}, TREE, False),
    ],
)  # fmt: skip
def test_the_corners(value, schema, good):
    assert valid(value, schema) is good
    assert jsonschema.Draft202012Validator(schema).is_valid(value) is good


def test_a_keyword_that_is_not_checked_is_an_error_and_not_a_silence():
    for schema in ({"multipleOf": 2}, {"type": "dict"}, {"$ref": "other.json"}, {"items": {"if": {}}}):
        with pytest.raises(UnknownKeyword):
            list(problems([1], schema))


# ---- automata ----
def test_a_loop_and_a_count_accept_what_they_should():
    piece = sequence(word("a"), repeat(word("bc"), 1, 2), repeat(word("d"), 0, None), word("é"))
    automaton = compile_piece(piece)
    good = ["abcé", "abcbcé", "abcdddddé"]
    bad = ["aé", "abcbcbcé", "abcdd", "abcéé", ""]
    assert [automaton.matches(text.encode()) for text in (*good, *bad)] == [True] * 3 + [False] * 5
    assert automaton.forced(0) == b"abc"
    assert automaton.distance[0] == len("abcé".encode())


@pytest.mark.parametrize(
    ("low", "high"), [(0, 9), (7, 123), (-5, 5), (-120, -7), (995, 1005), (0, 0), (-1, 0), (10, 99), (-100, 1000)]
)
def test_integer_ranges_are_exact(low, high):
    automaton = compile_schema({"type": "integer", "minimum": low, "maximum": high})
    accepted = [number for number in range(-1300, 1300) if automaton.matches(str(number).encode())]
    assert accepted == list(range(low, high + 1))
    assert not any(automaton.matches(text) for text in (b"-0", b"007", b"1.0", b"+1", b"", b"-"))


def test_numbers_with_bounds_stay_within_them():
    schema = {"type": "number", "minimum": -1.5, "maximum": 90}
    automaton, dice = compile_schema(schema), random.Random(3)
    for _ in range(3000):
        number = round(dice.uniform(-4, 100), dice.randrange(4))
        text = str(number).encode()
        if automaton.matches(text):
            assert valid(number, schema), number
    assert all(automaton.matches(text) for text in (b"-1", b"0.5", b"-0.25", b"89.999", b"90"))
    assert not any(automaton.matches(text) for text in (b"-1.6", b"90.1", b"91", b"-2"))


@pytest.mark.parametrize("keyword", [{"pattern": "a"}, {"not": {}}, {"uniqueItems": True}, {"exclusiveMinimum": 1}])
def test_what_cannot_be_promised_is_refused(keyword):
    with pytest.raises(Unsupported):
        compile_schema({"type": "string", **keyword})
    with pytest.raises(Unsupported, match="at least 3 and at most 2"):
        compile_schema({"type": "string", "minLength": 3, "maxLength": 2})


# ---- decoding: random scores are the hardest model there is ----
PIECES = [
    b'{"',
    b'":',
    b'": "',
    b'", "',
    b'"}',
    b"}}",
    b"]}",
    b", ",
    b"true",
    b"fal",
    b"10",
    b"99",
    b"na",
    b'me"',
    b"\xe2\x82",
    b"\xac ",
]
LETTERS = Vocabulary([bytes([byte]) for byte in range(256)] + PIECES + [b"", b""])  # the last two: special tokens


class RandomScores:
    """Scores that mean nothing, with a liking for some tokens, so that long texts occur."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.liking = self.random.standard_normal(len(LETTERS.lengths)) * 3

    def start(self, prompt):
        return (self.random.standard_normal(len(LETTERS.lengths)) + self.liking).astype(np.float32)

    extend = start


def promised_schema(dice, depth=2):
    """Schemas of the kind that the grammar promises, nested."""
    flat = ["string", "integer", "number", "boolean", "enum"]
    kind = dice.choice([*flat, "object", "array", "anyOf", "map"] if depth else flat)
    if kind == "object":
        names = dice.sample(["a", "name", "größe", 'q"', "unit"], dice.randrange(1, 4))
        return {
            "type": "object",
            "properties": {name: promised_schema(dice, depth - 1) for name in names},
            "required": [name for name in names if dice.random() < 0.5],
            "additionalProperties": False,
        }
    least = dice.randrange(3)
    bounds = {
        "string": ("minLength", "maxLength"),
        "array": ("minItems", "maxItems"),
        "integer": ("minimum", "maximum"),
    }
    if kind == "enum":
        return {"enum": dice.sample([*WORDS, 1, 2.5, None, True, ["x"]], 3)}
    if kind == "anyOf":
        return {"anyOf": [promised_schema(dice, depth - 1), promised_schema(dice, 0)]}
    if kind == "map":
        return {"type": "object", "additionalProperties": promised_schema(dice, 0)}
    schema = {"type": kind}
    if kind in bounds:
        schema |= {bounds[kind][0]: least} if dice.random() < 0.5 else {}
        schema |= {bounds[kind][1]: least + dice.randrange(30)} if dice.random() < 0.5 else {}
    if kind == "number" and dice.random() < 0.5:
        schema |= {"minimum": dice.choice([-90, 0, 2.5]), "maximum": dice.choice([4, 90, 1e6])}
    return schema | ({"items": promised_schema(dice, depth - 1)} if kind == "array" else {})


def test_whatever_the_scores_are_the_text_is_valid_and_ends_within_the_budget():
    dice, lengths = random.Random(7), []
    for seed in range(250):
        schema = promised_schema(dice)
        masks = Masks(compile_schema(schema), LETTERS)
        shortest = int(masks.automaton.distance[0])
        budget = shortest + dice.choice([0, 1, 10, 60])
        encode = (lambda text: list(text.encode())) if seed % 2 else None
        written = decode(RandomScores(seed), [], masks, encode, budget, stop=len(LETTERS.lengths) - 1)
        value = json.loads(written.text)
        assert valid(value, schema), (schema, written.text)
        assert jsonschema.Draft202012Validator(schema).is_valid(value)
        assert written.chosen + written.forced <= budget
        assert json.dumps(value, ensure_ascii=False) == written.text or "." in written.text or ": {" in written.text
        lengths.append(len(written.text) - shortest)
    assert max(lengths) > 30, "some texts must be long, or the budget was never felt"
    with pytest.raises(ValueError, match="too small"):
        decode(RandomScores(0), [], Masks(compile_schema({"const": "long enough"}), LETTERS), None, 5)


def test_masks_say_what_a_walk_says():
    automaton = compile_schema(call_schema([{"name": "f", "parameters": promised_schema(random.Random(1))}]))
    masks = Masks(automaton, LETTERS)
    texts = [bytes(row[:length]) for row, length in zip(LETTERS.bytes, LETTERS.lengths, strict=True)]
    for state in range(0, len(automaton.table), 7):
        walked = [automaton.walk(state, text) if text else -1 for text in texts]
        assert masks.ends(state).tolist() == walked
    tight = masks.allowed(0, int(automaton.distance[0]))
    assert tight.sum() >= 1
    assert tight[:256].sum() >= 1
    assert masks.allowed(0, int(automaton.distance[0]) - 1)[:256].sum() == 0


def test_a_vocabulary_without_the_needed_bytes_is_refused():
    with pytest.raises(ValueError, match="single bytes"):
        Masks(compile_schema({"enum": ["a"]}), Vocabulary([b'"a', b'"']))


def test_a_call_goes_with_its_own_arguments_only():
    functions = [
        {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}},
        {"name": "fg", "parameters": {"type": "object", "properties": {"y": {"type": "boolean"}}, "required": []}},
    ]
    automaton = compile_schema({"type": "array", "items": call_schema(functions), "minItems": 1})
    good = [
        '[{"name": "f", "arguments": {"x": 5}}]',
        '[{"name": "fg", "arguments": {}}, {"name": "f", "arguments": {"x": 1}}]',
    ]
    bad = [
        '[{"name": "fg", "arguments": {"x": 5}}]',
        '[{"name": "f", "arguments": {}}]',
        "[]",
        '[{"name": "g", "arguments": {}}]',
    ]
    assert [automaton.matches(text.encode()) for text in good + bad] == [True] * 2 + [False] * 4


# ---- SmolLM2 ----
@pytest.fixture(scope="module")
def model():
    try:
        return SmallModel()
    except LessonError as error:
        pytest.skip(str(error))


def test_the_vocabulary_is_the_tokenizers(model):
    for text in ("naïve café 12,5 €\n\t", '{"name": "x", "arguments": {}}'):
        tokens = model.encode(text)
        pieces = [bytes(model.vocabulary.bytes[token, : model.vocabulary.lengths[token]]) for token in tokens]
        assert b"".join(pieces) == text.encode()
    assert model.vocabulary.lengths[model.tokenizer.eos_token_id] == 0


def test_smollm2_under_the_mask_writes_calls_that_fit_and_without_it_prose(model):
    for case in own_cases()[:2]:
        tools = case.tools()
        prompt, schema = model.prompt(case.question, tools), calls_schema(tools)
        written = model.constrained(prompt, schema)
        assert valid(json.loads(written.text), schema)
        assert 0 < written.best <= written.chosen
        assert written.forced > 10, "names and brackets are not the model's to choose"
        free = model.free(prompt, budget=12)
        with pytest.raises(ValueError, match=r"Expecting|Extra"):
            json.loads(free.text)


def test_the_scorer_gives_the_same_scores_with_and_without_its_memory(model):
    prompt = model.encode("The weather in Lisbon is mild, and the weather in Oslo is cold.")
    fresh = model.scorer.start(prompt).copy()
    model.scorer.start([*prompt[:6], 5, 6, 7])
    again = model.scorer.start(prompt)
    model.scorer.start(prompt[:-3])
    extended = model.scorer.extend(prompt[-3:])
    np.testing.assert_allclose(again, fresh, atol=2e-4)
    np.testing.assert_allclose(extended, fresh, atol=2e-4)


def test_decoding_freely_stops_at_the_stop_token_or_the_budget():
    class Fixed:
        def __init__(self, *tokens):
            self.tokens = list(tokens)

        def start(self, prompt):
            scores = np.zeros(len(LETTERS.lengths), np.float32)
            scores[self.tokens.pop(0)] = 1
            return scores

        extend = start

    stop = len(LETTERS.lengths) - 1
    written = decode_freely(Fixed(104, 105, stop), [], LETTERS, stop, 9)
    assert (written.text, written.finished, written.chosen) == ("hi", True, 2)
    assert decode_freely(Fixed(*[104] * 9), [], LETTERS, stop, 3).finished is False


# ---- exercises ----
@pytest.mark.parametrize(("value", "of"), [(0.3, 0.1), (1.1, 0.1), (7, 2), (4, 2), (0.35, 0.1), (1e3, 0.01), (-6, 3)])
def test_exercise_1_multiples(value, of):
    expected = {(0.3, 0.1): True, (1.1, 0.1): True, (7, 2): False, (0.35, 0.1): False}.get((value, of), True)
    assert exercises.is_multiple(value, of) is expected
    if value == 0.3:
        assert not exercises.naive_multiple(value, of)


def test_exercise_2_first_come_first_served_rejects_a_right_answer():
    from ml.week10_agents.bfcl_match import _perfect

    fits = [[True, True], [True, False]]
    assert not exercises.first_come(fits)
    assert _perfect(fits)
    dice = random.Random(0)
    for _ in range(300):
        table = [[dice.random() < 0.5 for _ in range(4)] for _ in range(4)]
        assert _perfect(table) or not exercises.first_come(table)


def test_exercise_3_patterns():
    automaton = compile_piece(exercises.pattern_piece("^[A-Z]{3}$"))
    assert automaton.matches(b'"EUR"')
    assert not any(automaton.matches(text) for text in (b'"EU"', b'"EURO"', b'"eur"', b"EUR"))
    flight = compile_piece(exercises.pattern_piece("^[A-Z]{2} [0-9]{2,4}$"))
    assert flight.matches(b'"LH 440"')
    assert not flight.matches(b'"LH 4"')
    for unsafe in ("[A-Z]{3}", "^a.*$", "^(a|b)$", "^[^a]$"):
        with pytest.raises(ValueError, match=r"bound|more than"):
            exercises.pattern_piece(unsafe)
    masks = Masks(automaton, LETTERS)
    for seed in range(20):
        text = decode(RandomScores(seed), [], masks).text
        assert valid(json.loads(text), {"type": "string", "pattern": "^[A-Z]{3}$"})


def test_exercise_4_what_is_read_again():
    asked = [Asked(step, 0, 0, 100 + 40 * (step - 1), 10) for step in range(1, 6)]
    read, new = exercises.read_again(asked)
    assert read == 5 * 100 + 40 * 10 == exercises.predicted(100, 40, 5)
    assert new == 260
