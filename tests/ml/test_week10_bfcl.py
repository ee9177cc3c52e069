"""Week 10: BFCL's match against its ground truth and its mutants, Java's and JavaScript's literals, the baseline."""

from __future__ import annotations

import copy

import pytest

from ml.lesson import data_folder
from ml.week10_agents import bfcl_study
from ml.week10_agents.baseline import Chooser, fill, number, words
from ml.week10_agents.bfcl import CATEGORIES, concrete, first_answer, load, make_case, sample, schema_of
from ml.week10_agents.bfcl_match import accepts, mistake
from ml.week10_agents.bfcl_mutations import mutants
from ml.week10_agents.bfcl_source import read, write
from ml.week10_agents.grammar import compile_schema
from ml.week10_agents.schema import valid
from ml.week10_agents.small_model import calls_schema, own_cases

needs_data = pytest.mark.skipif(data_folder("bfcl") is None, reason="needs shared/data/bfcl")


def case(truth, properties, required=(), category="simple_python", question="?"):
    function = {"name": "f", "description": "", "parameters": {"type": "dict", "properties": properties,
                "required": list(required)}}  # fmt: skip
    asked = [[{"role": "user", "content": question}]]
    row = {"id": "x", "category": category, "question": asked, "function": [function], "ground_truth": truth}
    return make_case(row)


# ---- the match ----
@pytest.mark.parametrize(
    ("value", "options", "described", "good"),
    [
        ("April 1, 2024", ["april 1 2024"], {"type": "string"}, True),
        ("new-york", ["New York"], {"type": "string"}, True),
        ("York", ["New York"], {"type": "string"}, False),
        (5, [5.0], {"type": "float"}, True),
        (5.0, [5], {"type": "integer"}, False),
        (True, [1], {"type": "integer"}, False),
        (1, [True], {"type": "boolean"}, False),
        ("5", [5], {"type": "integer"}, False),
        ([1, 2], [[1, 2]], {"type": "array", "items": {"type": "integer"}}, True),
        ([2, 1], [[1, 2]], {"type": "array", "items": {"type": "integer"}}, False),
        ((1.5, 2.5), [[1.5, 2.5]], {"type": "tuple", "items": {"type": "float"}}, True),
        ([1, 2], [[1, 2]], {"type": "array", "items": {"type": "float"}}, True),
        (["A b"], [["a-b"]], {"type": "array", "items": {"type": "string"}}, True),
        (["1"], [[1]], {"type": "array", "items": {"type": "integer"}}, False),
        ("data", ["data"], {"type": "array", "items": {"type": "integer"}}, True),
        ("DATA", ["data"], {"type": "array", "items": {"type": "integer"}}, False),
        ({"min": 1}, [{"min": [1, 2]}], {"type": "dict"}, True),
        ({"min": 3}, [{"min": [1, 2]}], {"type": "dict"}, False),
        ({}, [{"min": [1, ""]}], {"type": "dict"}, True),
        ({}, [{"min": [1]}], {"type": "dict"}, False),
        ({"max": 1}, [{"min": [1, ""]}], {"type": "dict"}, False),
        ([{"a": "x"}], [[{"a": ["X", "y"]}]], {"type": "array", "items": {"type": "dict"}}, True),
        ([{"a": "z"}], [[{"a": ["X", "y"]}]], {"type": "array", "items": {"type": "dict"}}, False),
        ("", [""], {"type": "string"}, False),
    ],
)
def test_a_value_against_its_options(value, options, described, good):
    assert accepts(value, options, described) is good


def test_parameters_that_may_be_missing_and_those_that_may_not():
    properties = {name: {"type": "integer"} for name in "abc"}
    asked = case([{"f": {"a": [1], "b": [2, ""], "c": [3]}}], properties, ["a"])
    assert mistake(asked, [("f", {"a": 1, "c": 3})]) == ""
    assert mistake(asked, [("f", {"a": 1, "b": 2, "c": 3})]) == ""
    assert mistake(asked, [("f", {"b": 2, "c": 3})]) == "a is missing"
    assert mistake(asked, [("f", {"a": 1})]) == "c is missing"
    assert mistake(asked, [("f", {"a": 1, "b": 9, "c": 3})]) == "b is wrong"
    assert mistake(asked, [("f", {"a": 1, "d": 9, "c": 3})]) == "d is unexpected"
    assert mistake(asked, [("g", {"a": 1, "c": 3})]) == "wrong function"
    assert mistake(asked, []) == "0 calls instead of 1"


def test_several_calls_come_in_any_order_and_each_counts_once():
    truth = [{"f": {"a": [1, 2]}}, {"f": {"a": [1]}}]
    asked = case(truth, {"a": {"type": "integer"}}, ["a"], "parallel")
    for first, second, good in ((1, 2, True), (2, 1, True), (1, 1, True), (2, 2, False), (1, 3, False)):
        assert (mistake(asked, [("f", {"a": first}), ("f", {"a": second})]) == "") is good
    assert mistake(asked, [("f", {"a": 1})]) == "1 calls instead of 2"


def test_where_nothing_fits_no_call_is_right():
    asked = case([], {"a": {"type": "integer"}}, [], "irrelevance")
    assert mistake(asked, []) == ""
    assert mistake(asked, [("f", {})]) == "1 calls instead of 0"


@needs_data
def test_the_ground_truth_is_right_in_every_category_whatever_option_is_taken():
    cases = load(data_folder("bfcl"))
    assert len(cases) == 400 + 100 + 50 + 200 + 200 + 200 + 240
    for option in (0, 1, 9):
        wrong = {one.id: mistake(one, first_answer(one, option)) for one in cases}
        assert {name: why for name, why in wrong.items() if why} == {}


@needs_data
def test_every_mutant_of_the_ground_truth_is_wrong():
    kinds = {}
    for one in load(data_folder("bfcl")):
        right = first_answer(one)
        before = copy.deepcopy(right)
        for kind, calls in mutants(one, right):
            assert mistake(one, calls), (one.id, kind, calls)
            kinds[kind] = kinds.get(kind, 0) + 1
        assert right == before
    assert len(kinds) == 14
    assert sum(kinds.values()) > 18_000


@needs_data
def test_java_and_javascript_source_of_the_ground_truth_is_right_too():
    for one in load(data_folder("bfcl"), ["simple_java", "simple_javascript"]):
        kinds = {name: part.get("type", "") for name, part in one.functions[0]["parameters"]["properties"].items()}
        calls = [
            (name, {key: write(value, kinds[key], one.language) for key, value in given.items()})
            for name, given in first_answer(one)
        ]
        assert all(isinstance(value, str) for _, given in calls for value in given.values())
        assert mistake(one, calls) == "", (one.id, calls)
        assert mistake(one, [(name, {**given, "surplus": "1"}) for name, given in calls])


# ---- source ----
@pytest.mark.parametrize(
    ("text", "language", "value"),
    [
        ("5L", "java", 5),
        ("-2.5f", "java", -2.5),
        ("true", "java", True),
        ("new int[]{1, 2, 3}", "java", [1, 2, 3]),
        ('new String[] {"a, b", "c"}', "java", ["a, b", "c"]),
        ('new ArrayList<>(Arrays.asList("a", 1, true))', "java", ["a", 1, True]),
        ("Arrays.asList(1, 2)", "java", [1, 2]),
        ("new ArrayList<String>()", "java", []),
        ("new HashMap<>()", "java", {}),
        ('new HashMap<String, Object>() {{ put("k", 1); put("l", new int[]{2}); }}', "java", {"k": 1, "l": [2]}),
        ("myVariable", "java", "myVariable"),
        ("new Foo(1)", "java", "new Foo(1)"),
        ("new int[]{1, x}", "java", "new int[]{1, x}"),
        ("[1, 'a', [true]]", "javascript", [1, "a", [True]]),
        ("new Array(1, 2)", "javascript", [1, 2]),
        ("{limit: [50], 'key-a': {b: null},}", "javascript", {"limit": [50], "key-a": {"b": None}}),
        ("10n", "javascript", 10),
        ('"it\\"s"', "javascript", 'it"s'),
        ("[1, 2", "javascript", "[1, 2"),
        ("1 + 1", "javascript", "1 + 1"),
        ("applyMiddleware('x')", "javascript", "applyMiddleware('x')"),
        ("", "javascript", ""),
    ],
)
def test_literals_are_read_and_everything_else_stays_text(text, language, value):
    assert read(text, language) == value
    assert type(read(text, language)) is type(value)


# ---- schemas ----
def test_the_three_languages_types_become_json_schema():
    described = {
        "type": "dict",
        "properties": {
            "ids": {"type": "ArrayList", "items": {"type": "long"}},
            "size": {"type": "array", "enum": ["S", "M"], "items": {"type": "string"}},
            "flag": {"type": "Boolean"},
            "what": {"type": "any"},
        },
        "required": ["ids", "gone"],
    }
    schema = schema_of(described)
    assert schema["required"] == ["ids"]
    assert schema["properties"]["ids"] == {"type": "array", "items": {"type": "integer"}}
    assert schema["properties"]["size"]["items"] == {"type": "string", "enum": ["S", "M"]}
    assert valid({"ids": [1], "flag": True, "what": "x"}, schema)
    assert not valid({"ids": ["1"]}, schema)


@needs_data
def test_every_function_can_be_promised_and_right_calls_can_be_written():
    cases = load(data_folder("bfcl"))
    written = 0
    for one in sample(cases, 12):
        automaton = compile_schema(calls_schema(one.tools()))
        assert automaton.distance[0] > 0
        written += len(automaton.table) < 5_000
    assert written == 12 * len(CATEGORIES)
    fitting = sum(
        all(valid(given, schemas[name]) for name, given in first_answer(one))
        for one in cases
        for schemas in [{tool["name"]: tool["parameters"] for tool in one.tools()}]
    )
    assert fitting >= 0.98 * len(cases), "the rest are variables' names where the schema wants a list or a number"


def test_a_dictionary_in_the_ground_truth_lists_options_at_every_level():
    assert concrete([{"a": [["x"]], "b": ["", 1]}, {"c": "bare"}]) == [{"a": ["x"]}, {"c": "bare"}]


# ---- the baseline ----
@pytest.mark.parametrize(
    ("text", "value"), [("$1,000", 1000), ("5%", 0.05), ("-3", -3), ("2.50", 2.5), ("7.0", 7.0), ("$2.5", 2.5)]
)
def test_numbers_as_people_write_them(text, value):
    assert number(text) == value
    assert type(number(text)) is type(value)


def test_words_take_names_apart():
    assert words("calculateTriangle_area.of the Sides") == ("triangle", "area", "side")


def test_the_rules_fill_in_what_they_can_see():
    whole = {"type": "integer"}
    properties = {"base": whole, "height": whole, "unit": {"type": "string", "enum": ["m", "cm"]}}
    function = {"name": "area", "parameters": {"properties": properties, "required": ["base", "height"]}}
    text = "The area with a height of 5 and a base of 10 cm?"
    assert fill(text, function) == [("area", {"base": 10, "height": 5, "unit": "cm"})]
    twice = "Areas of the triangles with 3 and 4, and with 5 and 6?"
    assert fill(twice, function) == [("area", {"base": 3, "height": 4}), ("area", {"base": 5, "height": 6})]
    music = {"name": "play", "parameters": {"properties": {"artist": {"type": "string"}}, "required": ["artist"]}}
    assert fill("Play songs of Taylor Swift and 'Maroon 5'", music) == [
        ("play", {"artist": "Maroon 5"}),
        ("play", {"artist": "Taylor Swift"}),
    ]


@needs_data
def test_the_baseline_is_better_than_chance_and_worse_than_a_model():
    cases = load(data_folder("bfcl"))
    chooser = Chooser.learn(cases)
    found = bfcl_study.scores(cases[1::4], chooser.calls)
    assert 0.2 < bfcl_study.overall(found) < 0.5
    assert found["simple_python"].rate > 0.25
    assert all(score.right <= score.named for score in found.values())
    silent = bfcl_study.scores(cases[1::4], lambda one: [])
    assert {name for name, score in silent.items() if score.rate} == {"irrelevance"}
    perfect = bfcl_study.scores(cases[1::4], first_answer)
    assert all(score.rate == 1 for score in perfect.values())


def test_the_baseline_sees_neither_the_category_nor_the_truth():
    one = own_cases()[1]
    chooser = Chooser.learn(own_cases())
    blind = type(one)("?", "irrelevance", one.question, one.functions, ())
    assert chooser.calls(one) == chooser.calls(blind)


def test_a_models_text_as_calls():
    text = '```json\n[{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"x": 1}}, {"name": 3}]\n```'
    assert bfcl_study.as_calls(bfcl_study.parse(text)) == [("f", {"x": 1})]
    assert bfcl_study.as_calls(bfcl_study.parse('{"name": "f", "arguments": {}}')) == [("f", {})]
    assert bfcl_study.as_calls(bfcl_study.parse("Sure! [1]")) == []
