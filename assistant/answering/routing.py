"""What a question wants: the documents, a tool, or nothing but a friendly word. Decided in code, in a few milliseconds.

The documents are always searched, so that nothing here can keep an answer from resting on them. The router decides what
the model is given beside the passages: the tools that come near to the question, or none. Small talk is given neither.

How near a tool comes is told by its description (as a vector, and word for word) and by its parameters (an enumerated
value, a pattern such as ``INC-2291``, a number); how well the documents answer by what the search found.
``assistant.answering.weighing`` decides by these whether a tool is wanted, and whether any of them does what is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from assistant.answering.messages import Turn
from assistant.answering.smalltalk import SmallTalk, small_talk
from assistant.answering.weighing import Signals, weigh
from assistant.answering.wording import about_now, asks_for_procedure, filled, wants_action
from assistant.knowledge.embedders import pinned
from assistant.knowledge.embedding import Embedder, Vectors
from assistant.knowledge.lexical import query_terms, share_held
from assistant.knowledge.search import SearchResult
from assistant.models.port import Function
from assistant.strings import DEFAULT, identified
from assistant.tools.model import NO_ARGUMENTS, Tool

MOST_TOOLS = 12  # that a model is given at once; more is slow, dear, and confuses it
KEPT = 2_000  # tools whose vectors are remembered
THRESHOLD = 0.5
WORTH_A_TRY = 0.15  # where the documents did not answer


@dataclass(frozen=True, slots=True)
class Route:
    """``tools`` are those that a model is given, the nearest first; ``probability`` that the question wants the first
    of them, and that it does what is asked."""

    kind: Literal["documents", "tools", "small_talk"]
    tools: tuple[Tool, ...] = ()
    probability: float = 0.0
    small_talk: SmallTalk | None = None

    @property
    def worth_a_try(self) -> bool:
        """Whether a tool may help where the documents did not answer."""
        return bool(self.tools) and self.probability >= WORTH_A_TRY


@dataclass(frozen=True, slots=True)
class _Known:
    """A tool as the router sees it. ``vectors`` has shape (2, dimensions)."""

    vectors: Vectors
    terms: frozenset[int]
    name: frozenset[int]
    parameters: tuple[Mapping[str, Any], ...]


class Router:
    """Decides. ``learn`` may be called ahead, so that the first question need not wait for the tools' vectors."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, _Known] = {}

    async def route(
        self, asked: str, tools: Sequence[Tool], result: SearchResult | None, *,
        language: str = "en", query: str = "", turns: Sequence[Turn] = (),
    ) -> Route:  # fmt: skip
        """``asked`` is the question; ``query`` the same, understood alone; ``result`` what was found for it."""
        if said := small_talk(asked, language, turns):
            return Route("small_talk", small_talk=said)
        if not tools:
            return Route("documents")
        signals = await self.signals(query or asked, tools, result)
        weighed = weigh(signals, is_foreign(query or asked, language))
        chosen = tuple(tools[place] for place in weighed.order[:MOST_TOOLS])
        return Route("tools" if weighed.probability >= THRESHOLD else "documents", chosen, weighed.probability)

    async def choose(self, asked: str, functions: Sequence[Function]) -> str | None:
        """The name of the function that a question wants, or None; for evaluation, without documents."""
        route = await self.route(asked, [tool_of(function["function"]) for function in functions], None)
        return route.tools[0].name if route.kind == "tools" else None

    async def signals(self, asked: str, tools: Sequence[Tool], result: SearchResult | None) -> list[Signals]:
        """Those of each tool."""
        embedder = pinned(self._embedder)
        known = await self._learned(embedder, tools)
        question = await embedder.embed_query(asked)
        shared = _of_question(asked, result)
        weights = dict(result.term_weights) if result is not None and result.term_weights else {}
        weights = weights or dict.fromkeys(query_terms(asked), 1.0)
        asked_terms = set(query_terms(asked))
        found = []
        for one in known:
            given, exact = filled(asked, one.parameters)
            near = max(0.0, float((one.vectors @ question).max()))
            named = len(one.name & asked_terms) / len(one.name) if one.name else 0.0
            words = share_held(weights, one.terms)
            found.append(shared._replace(near=near, words=words, given=given, exact=exact, named=named))
        return found

    async def learn(self, tools: Sequence[Tool]) -> None:
        await self._learned(pinned(self._embedder), tools)

    async def _learned(self, embedder: Embedder, tools: Sequence[Tool]) -> list[_Known]:
        keys = [_key(embedder.name, tool) for tool in tools]
        new = {key: tool for key, tool in zip(keys, tools, strict=True) if key not in self._known}
        if new:
            await asyncio.to_thread(identified, "")  # its model takes half a second to load: not on the loop
            texts = [text for tool in new.values() for text in descriptions(tool)]
            vectors = await embedder.embed(texts)
            if len(self._known) + len(new) > KEPT:
                self._known.clear()
            for number, (key, tool) in enumerate(new.items()):
                terms = frozenset(query_terms(" ".join([*descriptions(tool), tool.name, *_values(tool)])))
                own = vectors[2 * number : 2 * number + 2]
                name = frozenset(query_terms(f"{re.sub(r'[_.-]', ' ', tool.name)} {tool.title}"))
                self._known[key] = _Known(own, terms, name, tuple(_parameters(tool)))
            return await self._learned(embedder, tools)
        return [self._known[key] for key in keys]


def is_foreign(asked: str, language: str) -> bool:
    """Whether a question is in another language than English: said so (``language``), or plainly so."""
    return language != DEFAULT or identified(asked) not in (None, DEFAULT)


def descriptions(tool: Tool) -> tuple[str, str]:
    """A tool in words: what it does, and what it wants."""
    does = f"{tool.title or tool.name.replace('_', ' ')}. {tool.description}"
    wants = [f"{name} {schema.get('description', '')}" for name, schema in _properties(tool).items()]
    return does, f"{tool.title or tool.name.replace('_', ' ')}: {', '.join(wants)}"


def _parameters(tool: Tool) -> Iterator[Mapping[str, Any]]:
    """The schema of each parameter; an array counts as what it is made of. ``required`` says whether it is."""
    required = tool.parameters.get("required", ())
    for name, schema in _properties(tool).items():
        inner = schema.get("items") if schema.get("type") == "array" else schema
        yield {**(inner if isinstance(inner, Mapping) else {}), "required": name in required}


def _properties(tool: Tool) -> Mapping[str, Any]:
    found = tool.parameters.get("properties", {})
    return {name: schema for name, schema in found.items() if isinstance(schema, Mapping)}


def _values(tool: Tool) -> list[str]:
    return [str(value) for schema in _properties(tool).values() for value in schema.get("enum", ())]


def _of_question(asked: str, result: SearchResult | None) -> Signals:
    """What does not depend on the tool."""
    hits = result.hits if result is not None else ()
    best = max((hit.cosine for hit in hits), default=0.0)
    weights = result.term_weights if result is not None else {}
    held = frozenset(
        term for hit in hits[:3] for term in query_terms(f"{hit.title} {' '.join(hit.heading_path)} {hit.text}")
    )
    return Signals(
        near=0.0, words=0.0, given=0.0, exact=0.0, named=0.0, documents=max(0.0, best),
        covered=share_held(weights, held), now=float(about_now(asked)),
        action=float(wants_action(asked)), procedure=float(asks_for_procedure(asked)),
    )  # fmt: skip


def tool_of(function: Mapping[str, Any]) -> Tool:
    """A function in OpenAI's form, for evaluation."""
    return Tool(str(function["name"]), str(function.get("description", "")), function.get("parameters") or NO_ARGUMENTS)


def _key(embedder: str, tool: Tool) -> str:
    seen = json.dumps([embedder, tool.name, tool.title, tool.description, tool.parameters], default=str, sort_keys=True)
    return hashlib.sha256(seen.encode()).hexdigest()
