"""The account of a data set: what is in it, where it is from, and what was left out and why."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

DataCard = dict[str, Any]
NAMED = 8  # licences and owners of a source; the others are counted together


def card(collected: Any, train: bytes, held_out: bytes) -> DataCard:
    """``collected``: of ``workers.finetuning.data``; the files' checksums say which rows it is about."""
    parts = {"train": (collected.train, train), "held_out": (collected.held_out, held_out)}
    return {
        "chosen": collected.chosen,
        "readers": list(collected.readers),
        "parts": {
            name: {
                "documents": sum(row["kind"] == "document" for row in rows),
                "answers": sum(row["kind"] == "answer" for row in rows),
                "characters": sum(_characters(row) for row in rows),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for name, (rows, content) in parts.items()
        },
        "sources": [
            {
                "kind": kind, "name": name, **{key: found[key] for key in ("documents", "characters", "from", "to")},
                "licences": _named(found["licences"]), "owners": _named(found["owners"]),
            }
            for (kind, name), found in sorted(collected.sources.items())
        ],
        "left_out": dict(sorted(collected.left_out.items())),
        "redacted": dict(sorted(collected.redacted.items())),
    }  # fmt: skip


def markdown(made: DataCard) -> str:
    """The card to be read."""
    train, held_out = made["parts"]["train"], made["parts"]["held_out"]
    readers = ", ".join(made["readers"])
    lines = [
        f"Trained on {_what(train)}; measured on {_what(held_out)} of other documents. Every text may be read by: "
        f"{readers}.",
        "",
        "| source | documents | characters | dated | licence | owner |",
        "|---|---|---|---|---|---|",
        *(_row(source) for source in made["sources"]),
        "",
        "Left out: " + (_listed(made["left_out"]) or "nothing") + ".",
        "",
        "Replaced by placeholders before anything was written: " + (_listed(made["redacted"]) or "nothing") + ".",
        "",
        f"Rows: `train.jsonl` (SHA-256 {train['sha256'][:16]}…), `held_out.jsonl` ({held_out['sha256'][:16]}…).",
    ]
    return "\n".join(lines) + "\n"


def _characters(row: Mapping[str, Any]) -> int:
    return len(row["text"]) if "text" in row else sum(len(turn["content"]) for turn in row["messages"])


def _named(counts: Counter[str]) -> dict[str, int]:
    """The most frequent, ties by name."""
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    others = sum(count for _, count in order[NAMED:])
    return dict(order[:NAMED]) | ({"others": others} if others else {})


def _what(part: Mapping[str, Any]) -> str:
    kinds = (("document", part["documents"]), ("voted-up answer", part["answers"]))
    counted = [f"{count:,} {kind}{'' if count == 1 else 's'}" for kind, count in kinds if count]
    return f"{' and '.join(counted)} ({part['characters']:,} characters)"


def _row(source: Mapping[str, Any]) -> str:
    cells = (
        f"{source['name']} ({source['kind']})", f"{source['documents']:,}", f"{source['characters']:,}",
        f"{source['from']} to {source['to']}", _listed(source["licences"]), _listed(source["owners"]),
    )  # fmt: skip
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _listed(counts: Mapping[str, int]) -> str:
    if len(counts) == 1 and "not stated" in counts:
        return "not stated"
    return ", ".join(f"{name} ({count:,})" for name, count in counts.items())
