"""``almanac eval tools``: BFCL's AST match by its published rules, on examples worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from assistant.errors import ModelError
from assistant.evaluation.ast_match import accepts, arguments_right, mistake
from assistant.evaluation.results import ratio
from assistant.evaluation.source_values import literal
from assistant.evaluation.tool_cases import (
    BUILT_IN,
    BadTasks,
    ToolTask,
    read_agentdojo,
    read_file,
    read_folder,
    schema_of,
)
from assistant.evaluation.tools import Chosen, call_all, published_summary, route_all, score, spread

WEATHER = {
    "name": "weather", "description": "The weather.",
    "parameters": {
        "type": "dict",
        "properties": {
            "city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"type": "string"},
        },
        "required": ["city"],
    },
}  # fmt: skip
RATE = {
    "name": "rate",
    "parameters": {"type": "dict", "properties": {"amount": {"type": "float"}}, "required": ["amount"]},
}
OPTIONS = {"city": ["Leeds", "Leeds, UK"], "days": [3], "unit": ["", "celsius"]}
TRUTH = (("weather", OPTIONS),)


# One call


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"city": "Leeds", "days": 3}, ""),
        ({"city": "leeds,uk", "days": 3, "unit": "Celsius"}, ""),  # case, spaces and commas do not count
        ({"days": 3}, "city is missing"),  # required
        ({"city": "Leeds"}, "days is missing"),  # optional in the schema, but the list holds no ""
        ({"city": "Leeds", "days": "3"}, "days is wrong"),  # the type
        ({"city": "Leeds", "days": 4}, "days is wrong"),  # the value
        ({"city": "Leeds", "days": True}, "days is wrong"),  # true is no integer
        ({"city": "York", "days": 3}, "city is wrong"),
        ({"city": "Leeds", "days": 3, "hour": 9}, "hour is unexpected"),
        ({"city": "Leeds", "days": 3, "unit": "kelvin"}, "unit is wrong"),
    ],
)
def test_a_call_is_right_by_name_parameters_types_and_values(given: Mapping[str, Any], wrong: str) -> None:
    assert mistake([WEATHER], [("weather", given)], TRUTH) == wrong


def test_the_number_of_calls_and_the_function_count() -> None:
    right = ("weather", {"city": "Leeds", "days": 3})
    assert mistake([WEATHER], [], TRUTH) == "0 calls instead of 1"
    assert mistake([WEATHER], [right, right], TRUTH) == "2 calls instead of 1"
    assert mistake([WEATHER, RATE], [("rate", {"amount": 1.0})], TRUTH) == "rate instead of weather"
    assert mistake([WEATHER], [], ()) == ""  # irrelevance: no call is right
    assert mistake([WEATHER], [right], ()) == "1 calls instead of 0"


def test_calls_may_come_in_any_order_each_for_one_expected_call() -> None:
    truth = [("weather", {"city": [city], "days": ["", 1]}) for city in ("Leeds", "York")]
    leeds, york = ("weather", {"city": "Leeds"}), ("weather", {"city": "York", "days": 1})
    assert mistake([WEATHER], [york, leeds], truth) == ""
    assert mistake([WEATHER], [leeds, leeds], truth) == "a call is missing or wrong"
    # First come, first served would give the call for York to the first, and leave the second without one.
    either = [("weather", {"city": ["York", "Leeds"]}), ("weather", {"city": ["York"]})]
    assert mistake([WEATHER], [("weather", {"city": "York"}), leeds], either) == ""


@pytest.mark.parametrize(
    ("value", "options", "described", "right"),
    [
        (5, [5.0], {"type": "float"}, True),  # Python turns an integer into a float
        (5.0, [5], {"type": "integer"}, False),  # and never the reverse
        (True, [1.0], {"type": "float"}, False),
        (False, [False], {"type": "boolean"}, True),
        (0, [False], {"type": "boolean"}, False),
        ("April 1, 2024", ["april 1 2024"], {"type": "string"}, True),
        ("it's", ['it"s'], {"type": "string"}, True),
        ("ab", ["a", "b"], {"type": "string"}, False),
        ("data", ["data"], {"type": "array", "items": {"type": "integer"}}, True),  # a variable's name
        ("Data", ["data"], {"type": "array", "items": {"type": "integer"}}, False),  # exactly as it is
        ([1, 2], [[1, 2], [3]], {"type": "array", "items": {"type": "integer"}}, True),
        ([2, 1], [[1, 2]], {"type": "array", "items": {"type": "integer"}}, False),  # the order counts
        ([1, "2"], [[1, 2]], {"type": "array", "items": {"type": "integer"}}, False),
        ([1, 2], [[1, 2]], {"type": "array", "items": {"type": "float"}}, True),  # as the truth writes them
        (["New York"], [["new york"]], {"type": "array", "items": {"type": "string"}}, True),
        ([], ["", ["a"]], {"type": "array", "items": {"type": "string"}}, True),  # nothing is like leaving it out
        ((1, 2), [[1, 2]], {"type": "tuple", "items": {"type": "integer"}}, True),
        ({"a": 1}, [{"a": [1, 2]}], {"type": "dict"}, True),  # its values are options again
        ({"a": 3}, [{"a": [1, 2]}], {"type": "dict"}, False),
        ({"a": 1}, [{"a": [1], "b": ["", 2]}], {"type": "dict"}, True),
        ({"a": 1}, [{"a": [1], "b": [2]}], {"type": "dict"}, False),
        ({"a": 1, "c": 1}, [{"a": [1]}], {"type": "dict"}, False),
        ({"a": "X Y"}, [{"a": ["xy"]}], {"type": "dict"}, True),
        ([{"a": 1}], [[{"a": [1]}]], {"type": "array", "items": {"type": "dict"}}, True),
        ([{"a": 1}], [[{"a": [1]}, {"a": [1]}]], {"type": "array", "items": {"type": "dict"}}, False),
        ("x", ["x"], {"type": "any"}, True),
    ],
)  # fmt: skip
def test_values_by_type(value: Any, options: list[Any], described: Mapping[str, Any], right: bool) -> None:
    assert accepts(value, options, described) is right


@pytest.mark.parametrize(
    ("source", "language", "value"),
    [
        ("5L", "java", 5), ("1.5f", "java", 1.5), ("2d", "java", 2.0), ("true", "java", True), ("null", "java", None),
        ("new int[]{1, 2}", "java", [1, 2]), ("'c'", "java", "c"),
        ('new ArrayList<>(Arrays.asList("a, b", "c)"))', "java", ["a, b", "c)"]),
        ("new ArrayList<String>()", "java", []), ("new HashMap<String, Object>()", "java", {}),
        ('new HashMap<String, Object>() {{ put("limit", 50); put("tags", List.of("x", "y")); }}', "java",
         {"limit": 50, "tags": ["x", "y"]}),
        ("controller.getMap()", "java", "controller.getMap()"), ("new Path('/x')", "java", "new Path('/x')"),
        ("new int[]{1, 2", "java", "new int[]{1, 2"),
        ("{limit: [50], 'x-y': {z: null}, n: -1.5e3}", "javascript", {"limit": [50], "x-y": {"z": None}, "n": -1500.0}),
        ("new Array('a', 12n)", "javascript", ["a", 12]), ("x => x + 1", "javascript", "x => x + 1"),
        ("__import__('os').system('true')", "javascript", "__import__('os').system('true')"),
    ],
)  # fmt: skip
def test_literals_of_source(source: str, language: str, value: Any) -> None:
    found = literal(source, language)
    assert (type(found), found) == (type(value), value)


def test_java_and_javascript_may_come_as_source_or_as_json() -> None:
    described = {"type": "HashMap"}
    options = [{"limit": [50], "schema": ["public"]}]
    written = 'new HashMap<String, Object>() {{ put("limit", 50); put("schema", "public"); }}'
    assert accepts(written, options, described, "java")
    assert accepts({"limit": 50, "schema": "public"}, options, described, "java")
    assert not accepts(written.replace("50", "51"), options, described, "java")
    assert accepts("5", [5], {"type": "integer"}, "javascript")
    assert not accepts("5", [5], {"type": "integer"})  # Python's values are no source


def test_arguments_are_counted_call_by_call() -> None:
    described = {function["name"]: function["parameters"] for function in (WEATHER, RATE)}
    truth = [("weather", OPTIONS), ("rate", {"amount": [2.0]})]
    both = [("rate", {"amount": 2}), ("weather", {"city": "Leeds", "days": 4})]
    assert arguments_right(described, both, truth) == (2, 3)  # city and amount of city, days, amount
    assert arguments_right(described, both[:1], truth) == (1, 3)  # a call that is missing has none right
    surplus = [("weather", {"city": "Leeds", "days": 3, "hour": 1})]
    assert arguments_right(described, surplus, truth[:1]) == (2, 3)


# Tasks


def task(category: str, truth: Sequence[tuple[str, Any]], functions: Sequence[Any] = (WEATHER, RATE)) -> ToolTask:
    schemas = tuple(schema_of(function["parameters"]) for function in functions)
    question = ({"role": "user", "content": f"A question of {category}"},)
    return ToolTask(f"{category}_0", category, question, tuple(functions), schemas, tuple(truth))


def test_what_a_task_gives_to_each_metric() -> None:
    right = Chosen([("weather", {"city": "Leeds", "days": 3})])
    wrong, counts = score(task("simple_python", TRUTH), right)
    assert wrong == ""
    assert counts == {
        "ast_match": (1, 1), "ast_simple_python": (1, 1), "tool_choice": (1, 1), "argument_accuracy": (2, 2),
        "unreadable": (0, 1),
    }  # fmt: skip
    wrong, counts = score(task("simple_python", TRUTH), Chosen([("weather", {"city": "York", "days": 3})]))
    assert (wrong, counts["ast_match"], counts["tool_choice"], counts["argument_accuracy"]) == (
        "city is wrong", (0, 1), (1, 1), (1, 2)
    )  # fmt: skip
    wrong, counts = score(task("simple_python", TRUTH), Chosen([], unreadable=1))
    assert (wrong, counts["tool_choice"], counts["unreadable"]) == ("a call could not be read", (0, 1), (1, 1))
    assert score(task("irrelevance", ()), Chosen([]))[1] == {"irrelevance": (1, 1), "tool_choice": (1, 1)}
    assert score(task("irrelevance", ()), right)[1]["irrelevance"] == (0, 1)


def test_of_a_chain_of_calls_the_first_step_counts() -> None:
    chain = [("weather", {"city": ["Leeds"]}), ("rate", {"amount": [2.0]}), ("weather", {"city": ["York"]})]
    many = task("agentdojo", chain)
    assert score(many, Chosen([("weather", {"city": "York"})]))[1] == {
        "first_call": (1, 1), "first_arguments": (1, 1), "unreadable": (0, 1),
    }  # fmt: skip
    assert score(many, Chosen([]))[1]["first_call"] == (0, 1)
    wrong, counts = score(many, Chosen([("rate", {"amount": 9.0}), ("delete", {})]))
    assert (wrong, counts["first_call"]) == ("delete is not among the right tools", (0, 1))
    assert counts["first_arguments"] == (0, 1)


class Answers:
    """A model that gives the first of the values that count; of ``fails`` it says nothing."""

    def __init__(self, tasks: Sequence[ToolTask], fails: Sequence[str] = ()) -> None:
        self.known = {one.question: one for one in tasks}
        self.fails = fails

    async def __call__(self, messages: Sequence[Mapping[str, Any]], functions: Sequence[Mapping[str, Any]]) -> Chosen:
        one = self.known["\n".join(message["content"] for message in messages)]
        assert [function["function"]["name"] for function in functions] == [each["name"] for each in one.functions]
        if one.id in self.fails:
            raise ModelError("The language model is not reachable.")
        calls = [
            (name, {key: values[0] for key, values in options.items() if values[0] != ""})
            for name, options in reversed(one.truth)
        ]
        return Chosen(calls)


async def test_the_built_in_tasks_are_right_with_their_own_truth_and_wrong_without() -> None:
    tasks = read_file(BUILT_IN)
    assert {one.category for one in tasks} == {
        "simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance"
    }  # fmt: skip
    found = await call_all(Answers(tasks), tasks)
    assert [case.detail["mistake"] for case in found] == [""] * len(tasks)
    for name in ("ast_match", "tool_choice", "argument_accuracy", "irrelevance"):
        assert ratio(found, name) == 1
    failing = [tasks[0].id, tasks[-1].id]
    found = await call_all(Answers(tasks, failing), tasks)
    assert ratio(found, "failed") == pytest.approx(2 / len(tasks))
    assert ratio(found, "irrelevance") == pytest.approx(3 / 4)
    assert ratio(found, "ast_match") == pytest.approx(10 / 11)


async def test_the_router_alone_is_measured_by_its_choice() -> None:
    tasks = [
        task("multiple", TRUTH), task("simple_python", TRUTH), task("irrelevance", ()), task("simple_java", TRUTH),
    ]  # fmt: skip
    answers = iter(["weather", None, "rate", "rate"])

    async def router(question: str, functions: Sequence[Mapping[str, Any]]) -> str | None:
        return next(answers)

    found = await route_all(router, tasks)
    assert ratio(found, "route_choice") == pytest.approx(1 / 4)
    assert ratio(found, "route_found") == pytest.approx(2 / 3)
    assert ratio(found, "route_tool") == pytest.approx(1 / 2)
    assert ratio(found, "route_none") == 0


async def test_the_published_summary_is_a_mean_of_means() -> None:
    categories = ("simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple")
    tasks = [task(category, TRUTH) for category in categories]
    found = await call_all(Answers(tasks, ["simple_java_0", "parallel_0"]), tasks)
    assert published_summary(found) == {"bfcl_ast_summary": round((2 / 3 + 1 + 0 + 1) / 4, 4)}
    assert published_summary(found[:3]) == {}
    assert [one.category for one in spread([*tasks, *tasks], 1)] == list(categories)


def test_schemas_are_json_schema() -> None:
    described = {
        "type": "dict",
        "properties": {
            "when": {"type": "tuple", "items": {"type": "float"}, "description": "Two hours."},
            "kind": {"type": "array", "enum": ["a", "b"], "items": {"type": "String"}},
            "more": {"type": "HashMap"},
            "odd": {"type": "any", "default": "x"},
        },
        "required": ["when", "gone"],
    }
    assert schema_of(described) == {
        "type": "object",
        "properties": {
            "when": {"type": "array", "items": {"type": "number"}, "description": "Two hours."},
            "kind": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}},
            "more": {"type": "object", "properties": {}},
            "odd": {"type": "string", "default": "x"},
        },
        "required": ["when"],
    }


# Folders


def test_folders_that_hold_no_tasks_or_broken_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTasks, match="holds no tasks"):
        read_folder(tmp_path)
    path = tmp_path / "simple_python.jsonl"
    path.write_text('{"id": "a", "question": []}\n')
    with pytest.raises(BadTasks, match=r"simple_python.jsonl, line 1: this is no task of BFCL"):
        read_folder(tmp_path)
    path.write_text("[]\n")
    with pytest.raises(BadTasks, match="this is not a JSON object"):
        read_folder(tmp_path)
    path.write_text('{"id": "a", "category": "live"}\n')
    with pytest.raises(BadTasks, match="the category 'live' is none of"):
        read_file(path)
    (tmp_path / "tools.jsonl").write_text("")
    (tmp_path / "user_tasks.jsonl").write_text('{"suite": "x", "id": "t", "prompt": "p", "ground_truth_calls": []}\n')
    with pytest.raises(BadTasks, match="there are no tools of the suite x"):
        read_agentdojo(tmp_path)


async def test_every_task_of_the_benchmarks_is_right_with_its_own_truth(shared_data: Path) -> None:
    tasks = read_folder(shared_data / "bfcl")
    assert len(tasks) == 1_590
    assert len({(one.category, one.id) for one in tasks}) == len(tasks)
    for one in tasks:
        json.dumps(one.as_openai())
    whole = [one for one in tasks if not one.first_step_only]
    for one in whole:
        described = {function["name"]: function["parameters"] for function in one.functions}
        calls = []
        for name, options in one.truth:
            chosen = {}
            for key, values in options.items():
                # What is required is given, even where leaving it out would count.
                value = next((value for value in values if value != ""), "")
                wanted = values[0] != "" or key in described[name].get("required", ())
                if wanted and value != "" and key in described[name]["properties"]:
                    chosen[key] = _first(value)
            calls.append((name, chosen))
        assert mistake(one.functions, list(reversed(calls)), one.truth, one.language) == "", one.id
        if calls:
            assert mistake(one.functions, calls[:-1], one.truth, one.language), one.id
            assert mistake(one.functions, [*calls[:-1], (f"{calls[-1][0]}_2", calls[-1][1])], one.truth), one.id
    turns = [one for one in tasks if one.first_step_only]
    assert len(turns) == 200
    assert all(one.truth for one in turns)
    dojo = read_agentdojo(shared_data / "agentdojo")
    assert len(dojo) == 57
    names = {function["name"] for one in dojo for function in one.functions}
    assert {name for one in dojo for name, _ in one.truth} <= names


def _first(value: Any) -> Any:
    """A dictionary's values are lists of options: the first of each."""
    if isinstance(value, list):
        return [_first(item) for item in value]
    if not isinstance(value, dict):
        return value
    chosen = {key: options[0] if isinstance(options, list) and options else options for key, options in value.items()}
    return {key: _first(option) for key, option in chosen.items() if option != ""}
