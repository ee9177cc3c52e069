"""What this version makes of a text, as one number: a document that bears another was made otherwise.

The number follows from the analysis itself, run on a text that has something of everything. So nobody has to remember
to raise it, and a new version of a library that changes what comes out counts like a change of ours. It says nothing
of the parsers before it, nor of the embedding model, which has a name of its own.
"""

from __future__ import annotations

import hashlib
from functools import cache

from assistant.database.tables import TERM_SPACE
from assistant.knowledge.chunking import chunk
from assistant.knowledge.documents import SAYS_NOTHING, Block, ParsedDocument
from assistant.knowledge.lexical import K1, STOP_WORDS, B, frequencies

_TITLE = "The ferry's Handbook: Deploying v2.14 (naïve edition)"
_TEXT = """
Run `kubectl rollout undo deploy/kube-proxy -n=prod` when ERR_CONN_42 or HTTP-503 is logged in /var/log/app.log. It's.
getHTTPCode_v2, max_connections, C++, C#, .NET 8.0, 10.0.0.1, k8s, ann.lee@example.com, release-2026.05.01, I/O.
The companies' policies weren't running: studies, studied, studying, geese, e-mail, email, U.S.A., O’Reilly, co-operate.
Krankenversicherungsbeiträge der Größe nach; l’été à l'école, los años, Donaudampfschifffahrt, Straße, ﬁnance, ①②.
日本語の文書 и русский, Ελληνικά, 100% of 1,000,000 rows at 3.5 GB: https://docs.example/a_b/c-d?x=1#part, RFC 2119.
""".strip()


@cache
def analysis() -> int:
    """The number, 1 .. 2**31 - 1; the same in every process of one version."""
    pieces = chunk(_document(), _tokens)
    seen = [
        (one.text, one.heading_path, one.embedded_text(_TITLE), frequencies(one.text, one.context(_TITLE)))
        for one in pieces
    ]
    everything = repr((seen, sorted(STOP_WORDS), sorted(SAYS_NOTHING), K1, B, TERM_SPACE))
    return int.from_bytes(hashlib.sha256(everything.encode()).digest()[:8], "big") % (2**31 - 1) + 1


def _document() -> ParsedDocument:
    """Sections large and small, below one another, with every kind of block."""
    lines = _TEXT.splitlines()
    long = " ".join(f"{line} Part {number} ends." for number in range(6) for line in lines)
    return ParsedDocument(
        _TITLE,
        (
            Block("heading", _TITLE, 1),
            *(Block("paragraph", line) for line in lines),
            Block("heading", "Rolling back with kube-proxy", 2, anchor="back"),
            Block("paragraph", "Do this:"),
            Block("list_item", "1. Say so in #ops."),
            Block("list_item", "Wait for the errors to end.", 1),
            Block("code", "for host in $(cat hosts); do\n    ssh $host systemctl restart proxy\ndone"),
            Block("heading", "Limits", 3),
            Block("table", rows=(("setting", "value"), ("max_connections", "100"), ("timeout", "30 s"))),
            Block("heading", "History", 2),
            Block("paragraph", long, page=2),
        ),
    )


def _tokens(texts: list[str]) -> list[int]:
    """In the place of a model's, on which the number does not depend."""
    return [len(text) // 4 + 2 for text in texts]
