"""A knowledge assistant in one file: retrieval, tools and guardrails, with no language model and no framework.

The idea: everything that makes an assistant trustworthy surrounds the model, and all of it is small. A question is
screened, then either matched to a tool or answered from documents; the answer is made of sentences *selected* from
passages (so it cannot say what the documents do not), checked, redacted, and ends in exactly one visible outcome.

    question -> screen -> budget -> tool?  -> validate -> approve if it changes something -> call -> answer
                                 -> search (only what the asker may read) -> select -> ground -> redact -> answer

Sources: BM25 (Robertson and Zaragoza 2009), reciprocal rank fusion (Cormack et al. 2009), sentence embeddings (Reimers
and Gurevych 2019), JSON Schema. Left out, and found in Almanac: a language model that writes, a database (permissions
in the SQL), conversations, streaming, votes. Week 9 takes retrieval apart; this file imports no other lesson.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

Embed = Callable[[list[str]], np.ndarray]  # N texts -> (N, D) float32, rows of length 1


# ---- 1. Documents: a passage is a section of a page, a unit is a sentence, list item or table row of it ----
@dataclass(frozen=True)
class Passage:
    """A section of a page, and the groups that may read it (``everyone`` for all)."""

    page: str
    heading: str
    units: tuple[str, ...]
    readers: frozenset[str] = frozenset({"everyone"})

    @property
    def text(self) -> str:
        return f"{self.heading}. {' '.join(self.units)}"


def read_folder(folder: Path, readers: Mapping[str, set[str]] | None = None) -> list[Passage]:
    """Passages of every Markdown file under ``folder``; ``readers`` maps a path prefix to the groups allowed there."""
    passages = []
    for path in sorted(folder.rglob("*.md")):
        page = path.relative_to(folder).as_posix()
        groups = next((groups for prefix, groups in (readers or {}).items() if page.startswith(prefix)), {"everyone"})
        body = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        title = ""
        for match in re.finditer(r"^(#+) ([^\n]+)\n(.*?)(?=^#+ |\Z)", body, re.MULTILINE | re.DOTALL):
            title = match[2] if len(match[1]) == 1 else title
            heading = title if match[2] == title else f"{title}: {match[2]}"
            if units := split_units(match[3]):
                passages.append(Passage(page, heading, tuple(units), frozenset(groups)))
    return passages


def split_units(section: str) -> list[str]:
    """Sentences, list items and table rows. A row carries its header (`Service: ledger; Kept: 45 minutes`), because a
    cell without its column's name answers nothing."""
    units, header = [], []
    section = re.sub(r"```.*?```", "", section, flags=re.DOTALL)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=\|)", section):
        line = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(block.split()))  # a link is its text
        line = re.sub(r"[*`]+", "", line).strip()
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not header:
                header = cells
            elif not set(line) <= set("|-: "):
                named = zip(header, cells, strict=False)
                units.append("; ".join(f"{name}: {cell}" if name else cell for name, cell in named))
            continue
        header = []
        units += [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z\d])", re.sub(r"^([-*]|\d+\.) ", "", line)) if part]
    return units


# ---- 2. Retrieval: BM25 and vectors, fused by rank, over what the asker may read (weeks 3, 5, 9) ----

STOP = set(
    "a an and are as at be by can do does for from has have how i if in is it me my of on or our should that the there "
    "this to was we what when where which who whom why will with you your".split()
)


def words(text: str) -> list[str]:
    """Lower-case words without stop words; a plural's last letter is dropped."""
    found = (word.strip(".-") for word in re.findall(r"[a-z0-9][a-z0-9.\-]*", text.lower()))
    return [word[:-1] if len(word) > 3 and word.endswith("s") else word for word in found if word and word not in STOP]


class Index:
    """Two rankings of the same N passages and their fusion."""

    def __init__(self, passages: list[Passage], embed: Embed, k1: float = 1.2, b: float = 0.75) -> None:
        if not passages:
            raise ValueError("There is nothing to search: no passage was read.")
        self.passages, self.embed = passages, embed
        counts = [Counter(words(passage.text)) for passage in passages]
        frequency = Counter(word for count in counts for word in count)  # in how many passages a word occurs
        # idf(w) = ln(1 + (N - n + 1/2) / (n + 1/2)); a word nobody uses is the rarest of all
        self.idf = {word: float(np.log1p((len(counts) - n + 0.5) / (n + 0.5))) for word, n in frequency.items()}
        self.rarest = float(np.log1p(2 * len(counts) + 1))
        mean = sum(count.total() for count in counts) / len(counts)
        self.weights: list[dict[str, float]] = []
        for count in counts:  # BM25: idf * f (k1 + 1) / (f + k1 (1 - b + b * length / mean length))
            damp = k1 * (1 - b + b * count.total() / mean)
            self.weights.append({word: self.idf[word] * f * (k1 + 1) / (f + damp) for word, f in count.items()})
        self.vectors = embed([passage.text for passage in passages])  # (N, D)

    def rank(self, question: str, groups: set[str]) -> tuple[list[int], list[int]]:
        """The passages that one of ``groups`` may read, best first: by BM25, and by cosine. The others do not exist."""
        allowed = [i for i, passage in enumerate(self.passages) if passage.readers & (groups | {"everyone"})]
        lexical = [sum(self.weights[i].get(word, 0.0) for word in words(question)) for i in allowed]  # (A,)
        similar = self.vectors[allowed] @ self.embed([question])[0]  # (A, D) @ (D,) -> (A,)
        return tuple([allowed[i] for i in np.argsort(-np.asarray(by), kind="stable")] for by in (lexical, similar))

    def search(self, question: str, groups: set[str], k: int = 4) -> list[Passage]:
        """The best ``k`` passages by reciprocal rank fusion: sum over rankings of 1 / (60 + rank)."""
        fused: Counter[int] = Counter()
        for ranking in self.rank(question, groups):
            fused.update({i: 1 / (60 + rank) for rank, i in enumerate(ranking, 1)})
        return [self.passages[i] for i, _ in fused.most_common(k)]


# ---- 3. Selecting an answer, or saying that there is none (weeks 1 and 9) ----
def select(question: str, passages: list[Passage], index: Index) -> list[tuple[float, Passage, str]]:
    """Every unit of ``passages`` with its score in 0 to 1, best first.

    The score is the mean of the cosine of question and unit, and of the share of the question's idf that the unit, with
    its heading, covers. One of them alone is fooled: cosine by the topic, coverage by a rare word in another sense.
    """
    pairs = [(passage, unit) for passage in passages for unit in passage.units if not attacks(unit)]
    if not pairs:
        return []
    asked = {word: index.idf.get(word, index.rarest) for word in words(question)}
    cosine = index.embed([f"{passage.heading}: {unit}" for passage, unit in pairs]) @ index.embed([question])[0]  # (U,)
    found = []
    for (passage, unit), similarity in zip(pairs, cosine, strict=True):
        covered = sum(asked[word] for word in set(words(f"{passage.heading} {unit}")) & set(asked))
        found.append(((float(similarity) + covered / max(sum(asked.values()), 1e-9)) / 2, passage, unit))
    return sorted(found, key=lambda item: item[0], reverse=True)


# ---- 4. Tools: a schema, a check, and an approval bound to the arguments ----
@dataclass(frozen=True)
class Tool:
    """A function that the assistant may call when the question matches ``when``. ``schema`` is the JSON Schema of its
    arguments; a property's ``pattern`` also finds the argument in the question."""

    name: str
    when: str
    schema: dict[str, Any]
    call: Callable[..., str]
    writes: bool = False


def plan(question: str, tools: Iterable[Tool]) -> tuple[Tool, dict[str, str]] | None:
    """The tool whose ``when`` the question matches, and its arguments; None when the question lacks a required one."""
    for tool in tools:
        if re.search(tool.when, question, re.IGNORECASE):
            found = {name: re.search(part["pattern"], question) for name, part in tool.schema["properties"].items()}
            arguments = {name: match[0] for name, match in found.items() if match}
            if not invalid(arguments, tool.schema):
                return tool, arguments
    return None


def invalid(arguments: Mapping[str, str], schema: Mapping[str, Any]) -> str | None:
    """Why ``arguments`` break ``schema`` (the parts of JSON Schema that our tools use), or None."""
    for name in schema.get("required", ()):
        if name not in arguments:
            return f"{name} is missing"
    for name, value in arguments.items():
        part = schema["properties"].get(name)
        if part is None:
            return f"{name} is not an argument"
        if not re.fullmatch(part["pattern"], value):
            return f"{name} may not be {value!r}"
    return None


def fingerprint(tool: Tool, arguments: Mapping[str, str]) -> str:
    """What an approval is for: this tool with exactly these arguments, and nothing else."""
    return hashlib.sha256(json.dumps([tool.name, arguments], sort_keys=True).encode()).hexdigest()[:12]


# ---- 5. Guardrails ----

ATTACK = re.compile(
    r"\b(ignore|disregard|forget|override)\b.{0,40}\b(instruction|rule|prompt|guideline|above|previous)"
    r"|\b(reveal|print|show|repeat)\b.{0,30}\b(system prompt|your (instructions|prompt|rules))"
    r"|\byou are now\b|\bpretend (to be|you)\b|\bact as (if|an? un)|\bdeveloper mode\b", re.IGNORECASE)  # fmt: skip
SECRET = re.compile(r"\bAKIA[0-9A-Z]{16}\b|\bxox[abp]-[\w-]{10,}|\bgh[pousr]_\w{20,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
                    r"|(?<=password )\S+|\b\d(?:[ -]?\d){12,15}\b")  # fmt: skip
MENTION = re.compile(r"@(channel|here|everyone)\b|<!(channel|here|everyone)>")


def attacks(text: str) -> bool:
    """Whether ``text`` tries to give the assistant orders, in a question or inside a document."""
    return bool(ATTACK.search(text))


def redact(text: str) -> str:
    """Secrets become ``[secret]``, and a mention that would ring everybody's phone becomes plain text."""
    return MENTION.sub(lambda match: f"({match[1] or match[2]})", SECRET.sub("[secret]", text))


class Budget:
    """At most ``limit`` questions of one asker in ``seconds``."""

    def __init__(self, limit: int = 20, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.seconds, self.clock = limit, seconds, clock
        self.asked: dict[str, deque[float]] = {}

    def spend(self, asker: str) -> bool:
        now, times = self.clock(), self.asked.setdefault(asker, deque())
        while times and now - times[0] >= self.seconds:
            times.popleft()
        if len(times) >= self.limit:
            return False
        times.append(now)
        return True


# ---- 6. The assistant: one question in, exactly one outcome out ----
@dataclass(frozen=True)
class Outcome:
    """``kind`` is one of: answered, not in the documents, waiting for approval, refused, over a limit, failed."""

    kind: str
    text: str
    citations: tuple[str, ...] = ()
    milliseconds: dict[str, float] = field(default_factory=dict)


@dataclass
class Assistant:
    """Answers from ``index``, calls ``tools``. ``threshold`` is the least score at which a unit counts as an answer."""

    index: Index
    tools: tuple[Tool, ...] = ()
    threshold: float = 0.6
    budget: Budget = field(default_factory=Budget)
    pending: dict[str, tuple[Tool, dict[str, str]]] = field(default_factory=dict)

    def ask(self, question: str, asker: str = "someone", groups: frozenset[str] = frozenset()) -> Outcome:
        """Answer ``question`` for ``asker``, who belongs to ``groups``. Never raises: what fails is an outcome, too."""
        started = time.perf_counter()
        try:
            outcome = self._answer(question.strip(), asker, set(groups))
        except Exception:  # a service logs the traceback under the reference; the asker gets a sentence
            outcome = Outcome("failed", f"Something went wrong (reference {uuid.uuid4().hex[:8]}).")
        spent = outcome.milliseconds | {"all": (time.perf_counter() - started) * 1000}
        return replace(outcome, text=redact(outcome.text), milliseconds=spent)

    def _answer(self, question: str, asker: str, groups: set[str]) -> Outcome:
        if not question or attacks(question):
            return Outcome("refused", "I answer questions from the documents; I cannot follow instructions like these.")
        if not self.budget.spend(asker):
            return Outcome("over a limit", "That was many questions in a short time; please try again in a minute.")
        if planned := plan(question, self.tools):
            return self._call(*planned)
        clock = time.perf_counter()
        passages = self.index.search(question, groups)
        searched = time.perf_counter()
        units = select(question, passages, self.index)
        spent = {"search": (searched - clock) * 1000, "select": (time.perf_counter() - searched) * 1000}
        if not units or units[0][0] < self.threshold:
            near = ", ".join(dict.fromkeys(passage.page for passage in passages[:2]))
            return Outcome("not in the documents", f"I did not find this. The nearest pages are {near}.", (), spent)
        # A second unit is added only when it is nearly as good as the first: a longer answer is not a better one.
        best = [item for item in units[:2] if item[0] >= max(self.threshold, units[0][0] - 0.05)]
        cited = tuple(dict.fromkeys(f"{passage.page}, {passage.heading}" for _, passage, _ in best))
        lines = [f"{unit} [{cited.index(f'{passage.page}, {passage.heading}') + 1}]" for _, passage, unit in best]
        return Outcome("answered", "\n".join(lines), cited, spent)

    def _call(self, tool: Tool, arguments: dict[str, str]) -> Outcome:
        if tool.writes:
            token = fingerprint(tool, arguments)
            self.pending[token] = (tool, arguments)
            shown = ", ".join(f"{name} = {value}" for name, value in arguments.items())
            return Outcome("waiting for approval", f"I would call {tool.name} with {shown}. Approve {token}?")
        return Outcome("answered", tool.call(**arguments), (f"tool {tool.name}",))

    def approve(self, token: str) -> Outcome:
        """Run the call that ``token`` stands for, once. A token that nobody was shown runs nothing."""
        if token not in self.pending:
            return Outcome("refused", f"Nothing waits for the approval {token}.")
        tool, arguments = self.pending.pop(token)
        return Outcome("answered", redact(tool.call(**arguments)), (f"tool {tool.name}",))
