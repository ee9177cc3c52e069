"""Pairs of replies to one prompt, the better and the worse: from votes on answers, or from a file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assistant.errors import AlmanacError
from assistant.evaluation.lines import objects
from assistant.guardrails.redacting import redact

if TYPE_CHECKING:
    from assistant.database.finetuning import Voted

HELD_OUT = 0.2
_TURNS = re.compile(r"\n\n(Human|Assistant):")


class BadPairs(AlmanacError):
    """A file of pairs cannot be read; the sentence names the line."""


def read_pairs(path: Path) -> list[dict[str, Any]]:
    """JSON Lines of {id, messages or prompt, chosen, rejected}. A ``prompt`` in the form of Anthropic's data ("Human:
    … Assistant:") becomes its turns, any other one turn of the user. Left out: pairs of equal replies, or with an
    empty one. Raises ``BadPairs``."""
    found = []
    for place, row in objects(path, BadPairs):
        if not all(isinstance(row.get(name), str) for name in ("chosen", "rejected")):
            raise BadPairs(f"{place}: a pair needs chosen and rejected, both texts.")
        messages = row.get("messages") or turns(str(row.get("prompt") or ""))
        if not messages:
            raise BadPairs(f"{place}: a pair needs a prompt.")
        chosen, rejected = row["chosen"].strip(), row["rejected"].strip()
        if chosen and rejected and chosen != rejected:
            name = str(row.get("id") or hashlib.sha256(json.dumps(row).encode()).hexdigest()[:12])
            found.append({"id": name, "messages": messages, "chosen": chosen, "rejected": rejected})
    return found


def from_votes(voted: Sequence[Voted], messages: Callable[[str, Sequence[str]], list[dict[str, str]]]) -> list[Any]:
    """Each up-voted answer against each down-voted one to the same question. The prompt shows the passages of the
    better one, so that what is learned is the better use of the same evidence. Secrets and personal data are
    replaced."""
    asked: dict[str, list[Voted]] = {}
    for answer in voted:
        asked.setdefault(" ".join(answer.question.lower().split()), []).append(answer)
    found = []
    for answers in asked.values():
        for better in (one for one in answers if one.votes > 0):
            for worse in (one for one in answers if one.votes < 0 and one.text.strip() != better.text.strip()):
                name = f"{better.id.hex[:8]}-{worse.id.hex[:8]}"
                texts = (better.question, better.text, worse.text, *better.passages)
                question, chosen, rejected, *passages = redact(texts, frozenset({"secrets", "pii"})).texts
                prompt = messages(question, passages)
                found.append({"id": name, "messages": prompt, "chosen": chosen, "rejected": rejected})
    return found


def turns(prompt: str) -> list[dict[str, str]]:
    """The prompt as messages, which end with the user's."""
    parts = _TURNS.split(prompt)
    if len(parts) == 1:
        return [{"role": "user", "content": prompt.strip()}] if prompt.strip() else []
    roles = {"Human": "user", "Assistant": "assistant"}
    said = [{"role": roles[who], "content": text.strip()} for who, text in zip(parts[1::2], parts[2::2], strict=True)]
    return [message for message in said if message["content"]]


def split(pairs: Sequence[Mapping[str, Any]], held_out: float = HELD_OUT) -> tuple[list[Any], list[Any]]:
    """(to train on, to measure with), by a hash of the prompt: the same prompt is always on one side, in every run."""
    sides: tuple[list[Any], list[Any]] = ([], [])
    for pair in pairs:
        digest = hashlib.sha256(json.dumps(pair["messages"], sort_keys=True).encode()).digest()
        sides[int.from_bytes(digest[:4], "big") < held_out * 2**32].append(pair)
    return sides


def tokenized(pairs: Sequence[Mapping[str, Any]], tokenizer: Any, most: int) -> list[dict[str, Any]]:
    """Pairs as ids: ``id``, ``prompt``, ``chosen``, ``rejected``. Left out: those of more than ``most`` tokens."""
    found = []
    for pair in pairs:
        head = tokenizer.apply_chat_template(pair["messages"], tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(head, add_special_tokens=False)["input_ids"]
        ends = {which: f"{pair[which].strip()}{tokenizer.eos_token}" for which in ("chosen", "rejected")}
        row = {"id": pair["id"], "prompt": prompt}
        row |= {which: tokenizer(text, add_special_tokens=False)["input_ids"] for which, text in ends.items()}
        if len(prompt) + max(len(row["chosen"]), len(row["rejected"])) <= most:
            found.append(row)
    return found


def write_pairs(path: Path, pairs: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs), encoding="utf-8")
