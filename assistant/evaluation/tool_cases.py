"""Tasks for functions, from the folders of two benchmarks: what is asked, the functions there are, the calls wanted.

BFCL (Berkeley function-calling leaderboard): one file a category, {id, question, function, ground_truth}. Of its
conversations of several turns the first turn is asked, for later ones depend on what the calls bring. AgentDojo:
``user_tasks.jsonl`` with ``ground_truth_calls`` and ``tools.jsonl``, by suite; of these, too, the first step is asked.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import AlmanacError
from assistant.evaluation.ast_match import TYPES, Options
from assistant.evaluation.lines import objects

WHOLE = ("simple_python", "simple_java", "simple_javascript", "multiple", "parallel", "parallel_multiple")
IRRELEVANCE, MULTI_TURN, AGENTDOJO = "irrelevance", "multi_turn_base", "agentdojo"
CATEGORIES = (*WHOLE, IRRELEVANCE, MULTI_TURN, AGENTDOJO)
BUILT_IN = Path(__file__).parent / "tool_tasks.jsonl"
LANGUAGES = {"simple_java": "java", "simple_javascript": "javascript"}
FUNCTION_FILES = {
    "GorillaFileSystem": "gorilla_file_system", "MathAPI": "math_api", "MessageAPI": "message_api",
    "TwitterAPI": "posting_api", "TicketAPI": "ticket_api", "TradingBot": "trading_bot", "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}  # fmt: skip
_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


class BadTasks(AlmanacError):
    """The folder holds no tasks that can be measured; the sentence names the file and the line."""


@dataclass(frozen=True, slots=True)
class ToolTask:
    """``functions``: {name, description, parameters} as the benchmark writes them; ``schemas``: their parameters as
    JSON Schema, in the same order; ``truth``: the calls that are right, with the values that count."""

    id: str
    category: str
    messages: tuple[Mapping[str, str], ...]
    functions: tuple[Mapping[str, Any], ...]
    schemas: tuple[Mapping[str, Any], ...]
    truth: tuple[tuple[str, Options], ...]

    @property
    def question(self) -> str:
        return "\n".join(message["content"] for message in self.messages)

    @property
    def language(self) -> str:
        return LANGUAGES.get(self.category, "python")

    @property
    def first_step_only(self) -> bool:
        """The rest of the calls depends on what the first ones bring."""
        return self.category in (MULTI_TURN, AGENTDOJO)

    def as_openai(self) -> list[dict[str, Any]]:
        """The functions in OpenAI's form."""
        return [
            {"type": "function", "function": {
                "name": function["name"], "description": function.get("description", ""), "parameters": schema,
            }}
            for function, schema in zip(self.functions, self.schemas, strict=True)
        ]  # fmt: skip


def read_bfcl(folder: Path, categories: Sequence[str] = CATEGORIES) -> list[ToolTask]:
    """The tasks of the categories whose file is there; raises ``BadTasks``."""
    found: list[ToolTask] = []
    for category in categories:
        path = folder / f"{category}.jsonl"
        if path.is_file():
            found += [_bfcl(folder, category, place, row) for place, row in objects(path, BadTasks)]
    return found


def read_file(path: Path) -> list[ToolTask]:
    """Tasks of BFCL's form in one file, each with its category; raises ``BadTasks``."""
    found = []
    for place, row in objects(path, BadTasks):
        category = row.get("category")
        if category not in (*WHOLE, IRRELEVANCE):
            raise BadTasks(f"{place}: the category {category!r} is none of {', '.join((*WHOLE, IRRELEVANCE))}.")
        found.append(_bfcl(path.parent, category, place, row))
    return found


def read_folder(folder: Path, categories: Sequence[str] = CATEGORIES) -> list[ToolTask]:
    """A folder of BFCL, one of AgentDojo, or one that holds both; raises ``BadTasks`` where it is neither."""
    found: list[ToolTask] = []
    for place in (folder, folder / "bfcl", folder / AGENTDOJO):
        found += read_bfcl(place, categories)
        if AGENTDOJO in categories and (place / "user_tasks.jsonl").is_file():
            found += read_agentdojo(place)
    if not found:
        raise BadTasks(f"{folder} holds no tasks: neither {WHOLE[0]}.jsonl and its like nor user_tasks.jsonl is there.")
    return found


def read_agentdojo(folder: Path) -> list[ToolTask]:
    """One task for each that calls something; raises ``BadTasks``."""
    tools: dict[str, list[dict[str, Any]]] = {}
    for _, row in objects(folder / "tools.jsonl", BadTasks):
        tools.setdefault(row["suite"], []).append(row)
    found = []
    for place, row in objects(folder / "user_tasks.jsonl", BadTasks):
        own = tuple(tools.get(row["suite"], ()))
        calls = row.get("ground_truth_calls") or []
        if not own:
            raise BadTasks(f"{place}: there are no tools of the suite {row['suite']}.")
        if calls:
            truth = tuple((call["function"], {key: [value] for key, value in call["args"].items()}) for call in calls)
            message = {"role": "user", "content": row["prompt"]}
            schemas = tuple(tool["parameters"] for tool in own)
            name = f"{row['suite']}/{row['id']}"
            found.append(ToolTask(name, AGENTDOJO, (message,), own, schemas, truth))
    return found


def _bfcl(folder: Path, category: str, place: str, row: Mapping[str, Any]) -> ToolTask:
    try:
        messages = tuple(row["question"][0])
        if category == MULTI_TURN:
            functions = _of_classes(folder, row["involved_classes"], row.get("excluded_function", ()))
            described = {function["name"]: function["parameters"] for function in functions}
            truth = tuple(call for source in row["ground_truth"][0] if (call := _written(source, described)))
        else:
            functions = tuple(row["function"])
            truth = tuple(next(iter(call.items())) for call in row["ground_truth"])
        schemas = tuple(schema_of(function["parameters"]) for function in functions)
        return ToolTask(row["id"], category, messages, functions, schemas, truth)
    except (KeyError, TypeError, IndexError, StopIteration, AttributeError) as error:
        raise BadTasks(f"{place}: this is no task of BFCL ({type(error).__name__}: {error}).") from None


def _of_classes(folder: Path, classes: Sequence[str], excluded: Sequence[str]) -> tuple[dict[str, Any], ...]:
    found = []
    for name in classes:
        for _, function in objects(folder / "multi_turn_func_doc" / f"{FUNCTION_FILES[name]}.jsonl", BadTasks):
            if function["name"] not in excluded:
                found.append(function)
    return tuple(found)


def _written(source: str, described: Mapping[str, Mapping[str, Any]]) -> tuple[str, Options] | None:
    """``mv(source='a', destination='b')`` as a call; None where it is none of the functions."""
    call = ast.parse(source, mode="eval").body
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id not in described:
        return None
    names = list(described[call.func.id]["properties"])
    given = {name: ast.literal_eval(value) for name, value in zip(names, call.args, strict=False)}
    given |= {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    return call.func.id, {name: [value] for name, value in given.items()}


def schema_of(described: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark's description of a value as JSON Schema; "any" is a text, as it is compared."""
    kind = TYPES.get(str(described.get("type")), str)
    schema: dict[str, Any] = {"type": _JSON_TYPES[kind]}
    for key in ("description", "default"):
        if key in described:
            schema[key] = described[key]
    if "enum" in described and kind is not list:
        schema["enum"] = described["enum"]
    if kind is list:
        items = dict(described.get("items") or {})
        if "enum" in described and "enum" not in items:  # some write the items' choices beside the list's type
            items["enum"] = described["enum"]
        schema["items"] = schema_of(items) if items else {}
    if kind is dict and described.get("properties"):
        schema["properties"] = {name: schema_of(part) for name, part in described["properties"].items()}
        schema["required"] = [name for name in described.get("required", ()) if name in schema["properties"]]
    elif kind is dict:
        schema["properties"] = {}
    return schema
