"""Week 11, reading: checksums, spans, personal data by pattern, broken JSON, schemas."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import jsonschema
import numpy as np
import pytest

from ml.lesson import data_folder
from ml.week11_guardrails import breakage, checksums, exercises, pii, spans
from ml.week11_guardrails.data import read_pii
from ml.week11_guardrails.json_repair import Unrepairable, repair
from ml.week11_guardrails.json_schema import coerce, faults, read, read_schema, same
from ml.week11_guardrails.spans import Span

# ---- checksums ----


@pytest.mark.parametrize("number", ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "79927398713"])
def test_published_card_numbers_pass_luhn(number: str) -> None:
    assert checksums.is_luhn(number)


def test_luhn_catches_every_wrong_digit_and_every_swap_but_one() -> None:
    number = "4539148803436467"
    assert checksums.is_luhn(number)
    for place, digit in enumerate(number):
        others = set("0123456789") - {digit}
        assert not any(checksums.is_luhn(number[:place] + other + number[place + 1 :]) for other in others)
    assert exercises.missed_swaps() == {"09", "90"}
    assert not checksums.is_luhn("0000 0000 0000 0000")


@pytest.mark.parametrize(
    "iban", ["DE89 3704 0044 0532 0130 00", "GB82 WEST 1234 5698 7654 32", "FR1420041010050500013M02606"]
)
def test_published_ibans_pass_and_their_slips_do_not(iban: str) -> None:
    assert checksums.is_iban(iban)
    plain = iban.replace(" ", "")
    rng = random.Random(0)
    for _ in range(50):
        place = rng.randrange(4, len(plain) - 1)
        if plain[place] != plain[place + 1]:  # ISO 7064 catches every swap of neighbours
            assert not checksums.is_iban(plain[:place] + plain[place + 1] + plain[place] + plain[place + 2 :])
        wrong = rng.choice("0123456789".replace(plain[place], ""))
        assert not checksums.is_iban(plain[:place] + wrong + plain[place + 1 :])
    assert not checksums.is_iban(plain[:-1])
    assert not checksums.is_iban("no number")


def test_social_security_numbers_that_were_never_given_out() -> None:
    assert checksums.is_ssn("460-89-9847")
    assert not [
        s for s in ("000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000") if checksums.is_ssn(s)
    ]


# ---- spans ----


def test_spans_are_scored_by_hand() -> None:
    labelled = [[Span(0, 4, "A"), Span(5, 9, "B")], [Span(0, 3, "A")], []]
    found = [[Span(0, 4, "A"), Span(6, 9, "B")], [], [Span(1, 2, "A"), Span(1, 2, "A")]]
    scores = spans.score(labelled, found)
    assert scores["A"] == spans.Score(right=1, found=2, labelled=2, touched=1)
    assert scores["B"] == spans.Score(right=0, found=1, labelled=1, touched=1)
    assert (scores["A"].precision, scores["A"].recall, scores["A"].f1) == (0.5, 0.5, 0.5)
    assert (scores["B"].recall, scores["B"].lenient_recall) == (0.0, 1.0)
    assert spans.total(scores) == spans.Score(1, 3, 3, 2)
    assert spans.total({}) == spans.Score(0, 0, 0, 0)
    assert spans.Score(0, 0, 0, 0).f1 == 0.0


# ---- personal data ----


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("card 4111 1111 1111 1111, order 4111 1111 1111 1112", "card [CREDIT_CARD], order 4111 1111 1111 1112"),
        ("write to ada.lovelace+x@example.co.uk.", "write to [EMAIL_ADDRESS]."),
        ("pip install package@1.23", "pip install package@1.23"),
        ("see https://example.org/a?b=c.", "see [DOMAIN_NAME]."),
        ("from 10.0.0.7 with version 1.2.3", "from [IP_ADDRESS] with version 1.2.3"),
        ("not 999.1.1.1 but 2001:db8::1", "not 999.1.1.1 but [IP_ADDRESS]"),
        ("pay DE89370400440532013000", "pay [IBAN_CODE]"),
        ("pay DE89370400440532013001", "pay DE89370400440532013001"),
        ("my SSN is 460-89-9847, not 666-89-9847", "my SSN is [US_SSN], not 666-89-9847"),
        ("I just turned 47 and own 47 books", "I just turned [AGE] and own 47 books"),
        ("a 31 year old with 31 servers", "a [AGE] year old with 31 servers"),
        ("born on 2/8/1935, since 1977, room 1977", "born on [DATE_TIME], since [DATE_TIME], room 1977"),
        ("call +44 20 7946 0018 in the morning", "call [PHONE_NUMBER] in the morning"),
        ("Questions go to +44 20 7946 0018 in the afternoon", "Questions go to [PHONE_NUMBER] in the afternoon"),
        ("He lives at 3784 216 Archwood Lane", "He lives at 3784 [STREET_ADDRESS]"),
        ("My name is Ada Okafor", "My name is [PERSON]"),
        ("Dr. Haddad and Rubija", "[TITLE] [PERSON] and Rubija"),
        ("at 45 minutes, 1 per cent, 10,000 messages, 2026-11", "at 45 minutes, 1 per cent, 10,000 messages, 2026-11"),
        ("", ""),
    ],
)
def test_what_is_personal_is_redacted_and_nothing_beside_it(text: str, redacted: str) -> None:
    assert pii.redact(text) == redacted


def test_findings_never_overlap_and_are_in_order() -> None:
    rng = random.Random(1)
    pieces = [
        "4111 1111 1111 1111",
        "+1-202-555-0143",
        "10.0.0.1",
        "2024-05-06",
        "a@b.de",
        "Mr. Smith",
        "47",
        " ",
        ",",
        "call",
    ]
    for _ in range(300):
        found = pii.find("".join(rng.choices(pieces, k=8)))
        assert all(a.end <= b.start for a, b in pairwise(found))


@pytest.mark.skipif(data_folder("pii") is None, reason="needs ../shared/data/pii")
def test_on_templates_that_were_not_in_view_forms_are_found_and_names_are_not() -> None:
    folder = data_folder("pii")
    assert folder is not None
    texts, labelled, template = read_pii(folder)
    held = [i for i in range(len(texts)) if template[i] % 2]
    scores = spans.score([labelled[i] for i in held], [pii.find(texts[i]) for i in held])
    naked = spans.score([labelled[i] for i in held], [pii.find(texts[i], pii.unchecked()) for i in held])
    for kind in ("CREDIT_CARD", "US_SSN", "IP_ADDRESS", "AGE", "DATE_TIME", "PHONE_NUMBER", "DOMAIN_NAME"):
        assert scores[kind].f1 > 0.93, kind
    assert naked["IP_ADDRESS"].precision < 0.5 < scores["IP_ADDRESS"].precision
    assert scores["PERSON"].recall < 0.2
    assert scores["GPE"].recall == scores["ORGANIZATION"].recall == 0


# ---- JSON ----


def test_valid_json_is_never_touched() -> None:
    rng = np.random.default_rng(0)
    for _ in range(1_000):
        value = breakage.random_value(rng)
        for text in (json.dumps(value), json.dumps(value, indent=2, ensure_ascii=False)):
            found = repair(text)
            assert found.value == value
            assert found.notes == ()
    assert repair(' "a string" ').value == "a string"
    assert repair("-12.5e1").value == -125


@pytest.mark.parametrize("way", [way for way in breakage.WAYS if way != "raw quotes, newlines"])
def test_each_habit_of_models_is_mended_without_loss(way: str) -> None:
    assert breakage.measure(way, np.random.default_rng(7), 300)["same"] == 1  # another seed than the experiment's


def test_whatever_comes_the_result_is_json_or_a_clear_error() -> None:
    rng = random.Random(0)
    marks = [*"{}[]\",:'`\\/*#\n ", *"true nul 12 - 1e9 é \\u00e9 \\ud800 ``` NaN word // /*".split()]
    errors = 0
    for _ in range(4_000):
        text = "".join(rng.choices(marks, k=rng.randrange(1, 25)))
        try:
            value = repair(text).value
        except Unrepairable:
            errors += 1
            continue
        assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert 0 < errors < 4_000


@pytest.mark.parametrize(
    ("text", "value", "notes"),
    [
        ('{"a": "the "best" one", "b": 2}', {"a": 'the "best" one', "b": 2}, ("quote inside a string",)),
        ("{'it': 'it\\'s', 'n': None}", {"it": "it's", "n": None}, ("quotes", "literal")),
        ('{"a": [1, 2}', {"a": [1, 2]}, ("missing bracket",)),
        ('{"a": tr', {"a": True}, ("cut off",)),
        ('{"a": "b", "c":', {"a": "b"}, ("cut off",)),
        ('{"a": 0x1F, "b": +5, "c": .5, "d": 1_000}', {"a": 31, "b": 5, "c": 0.5, "d": 1000}, ("number",)),
        ('{"a": NaN, "b": -Infinity}', {"a": None, "b": None}, ("literal",)),
        ('{"url": https://x.org/y, "b": 1}', {"url": "https://x.org/y", "b": 1}, ("bare string",)),
        ('{"a": "\\ud83d\\ude00 \\q"}', {"a": "😀 q"}, ("escape",)),
        ('{"a": "one\ntwo"}', {"a": "one\ntwo"}, ("control character",)),
        ('{“a”: “b”}', {"a": "b"}, ("quotes",)),
        ('["a" "b"]', ["a", "b"], ("missing comma",)),
        ('```json\n{"code": "```\\nx\\n```"}\n```', {"code": "```\nx\n```"}, ("code fence",)),
    ],
)  # fmt: skip
def test_a_repair_says_what_it_forgave(text: str, value: Any, notes: tuple[str, ...]) -> None:
    found = repair(text)
    assert found.value == value
    assert found.notes == notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I cannot help with that.", "no JSON object or list begins"),
        ('{"a": 1} or {"a": 2}', "A second value follows at character 9"),
        ('{"a" 1}', "No colon after the key 'a'"),
        ('{"a": 1e999}', "A number too large"),
        ('{"a": ["x"}, "b": 1}', "the text goes on"),
        ('{"a": 1 : 2}', "A colon where a comma belongs"),
        ("[" * 300, "More than 100 levels deep"),
        ("", "no JSON object or list begins"),
    ],
)
def test_what_has_no_one_reading_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(Unrepairable, match=words):
        repair(text)


def test_a_long_text_takes_no_square_of_its_length() -> None:
    text = '{"a": [' + '"x "y" z", ' * 20_000 + "]}"
    assert len(repair(text).value["a"]) == 20_000  # quadratic reading would run into the test's time limit


def test_exercise_3_only_changes_of_form_are_safe_to_act_upon() -> None:
    rngs = [np.random.default_rng(0) for _ in range(2)]
    everything = exercises.silently_different("raw quotes, newlines", 400, rngs[0], lambda found: True)
    careful = exercises.silently_different("raw quotes, newlines", 400, rngs[1], exercises.safe_to_act)
    assert careful == 0 < everything
    assert exercises.safe_to_act(repair("```\n{a: 'x',}\n```"))
    assert not exercises.safe_to_act(repair('{"service": "ledger", "version": "1'))


# ---- schema ----


def random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A schema of the keywords that the lesson knows."""
    kind = rng.choice(["string", "integer", "number", "boolean", "null"] + ["object", "array"] * (depth < 2))
    schema: dict[str, Any] = {"type": kind if rng.random() < 0.8 else [kind, "null"]}
    if kind in ("integer", "number"):
        schema |= {
            rng.choice(["minimum", "exclusiveMinimum"]): rng.randint(-3, 1),
            rng.choice(["maximum", "exclusiveMaximum"]): rng.randint(2, 5),
        }
    if kind == "string":
        schema |= rng.choice(
            [{"minLength": 2}, {"maxLength": 3}, {"pattern": "^[ab]"}, {"enum": ["a", "bb", "ccc"]}, {}]
        )
    if kind == "array":
        schema |= {"items": random_schema(rng, depth + 1)} | rng.choice([{"minItems": 1}, {"maxItems": 2}, {}])
    if kind == "object":
        schema["properties"] = {name: random_schema(rng, depth + 1) for name in rng.sample("xyz", rng.randint(0, 3))}
        schema["required"] = rng.sample("xyz", rng.randint(0, 2))
        schema |= rng.choice([{"additionalProperties": False}, {"additionalProperties": {"type": "integer"}}, {}])
    return schema | ({"const": random_instance(rng)} if rng.random() < 0.05 else {})


def random_instance(rng: random.Random, depth: int = 0) -> Any:
    if depth < 3 and rng.random() < 0.5:
        items = [random_instance(rng, depth + 1) for _ in range(rng.randint(0, 3))]
        return items if rng.random() < 0.4 else dict(zip("xyz", items, strict=False))
    return rng.choice(["a", "bb", "abcd", "", 0, 1, 3, -3, 2.0, 2.5, True, False, None])


def fitting(rng: random.Random, schema: dict[str, Any]) -> Any:
    """An instance that is not far from the schema, so that about half are valid."""
    kind = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    if rng.random() < 0.1:
        return random_instance(rng)
    if kind == "object":
        names = set(schema["properties"]) | set(schema["required"])
        return {n: fitting(rng, schema["properties"].get(n, {"type": "integer"})) for n in sorted(names)}
    if kind == "array":
        return [fitting(rng, schema["items"]) for _ in range(rng.randint(0, 3))]
    leaves = {
        "string": ["a", "bb", "ab"],
        "integer": [1, 2, 2.0],
        "number": [1.5, 2],
        "boolean": [True],
        "null": [None],
    }
    return rng.choice(leaves[kind])


def test_faults_are_jsonschemas_on_random_schemas_and_values() -> None:
    rng = random.Random(0)
    valid = 0
    for _ in range(3_000):
        schema = read_schema(random_schema(rng))
        value = fitting(rng, schema)
        expected = jsonschema.Draft202012Validator(schema).is_valid(value)
        assert (not faults(value, schema)) == expected, (schema, value, faults(value, schema))
        valid += expected
    assert 800 < valid < 2_200


def test_coercion_leaves_the_valid_alone_and_never_breaks_it() -> None:
    rng = random.Random(1)
    for _ in range(2_000):
        schema = random_schema(rng)
        value = fitting(rng, schema)
        bent, notes = coerce(value, schema)
        if not faults(value, schema):
            assert same(bent, value)
            assert notes == []
        assert coerce(bent, schema) == (bent, []), "what is bent once is not bent again"


WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1},
        "unit": {"enum": ["Celsius", "Fahrenheit"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "rain": {"type": "boolean"},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}


def test_form_is_bent_and_meaning_is_not() -> None:
    text = '{city: 7, "days": "1,000", "unit": "celsius", "tags": "a", "rain": "True", "extra": 1,}'
    found = read(text, WEATHER)
    assert found.value == {"city": "7", "days": 1000, "unit": "Celsius", "tags": ["a"], "rain": True}
    assert len(found.notes) == 2 + 6
    for wrong, words in (
        ({"days": 2}, r"\$.city is missing"),
        ({"city": "x", "days": "many"}, 'must be integer, not "many"'),
        ({"city": "x", "days": 2.5}, "must be integer"),
        ({"city": "x", "days": 0}, "at least 1"),
        ({"city": "x", "days": 1, "rain": "yes"}, "must be boolean"),
        ({"city": "x", "days": 1, "unit": "Kelvin"}, "must be one of"),
    ):
        with pytest.raises(Unrepairable, match=words):
            read(json.dumps(wrong), WEATHER)
    assert read('{"city": "x", "days": 1, "rain": null}', WEATHER).value == {"city": "x", "days": 1}


@pytest.mark.parametrize(
    "schema", [{"anyOf": []}, {"properties": {"a": {"format": "date"}}}, {"items": {"type": "int"}}]
)
def test_a_schema_that_would_not_be_checked_whole_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not implemented|there is no type"):
        read_schema(schema)
