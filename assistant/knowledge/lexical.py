"""Lexical analysis and the document's side of BM25. Pure functions over text.

BM25 (Robertson and Zaragoza 2009) scores a chunk by ``sum over query terms of idf(t) * w(t, chunk)`` with
``w = f * (k1 + 1) / (f + k1 * (1 - b + b * length / mean length))``. ``w`` does not depend on the query, so it is
stored with the chunk, and only ``idf`` is computed when a question comes.
"""

from __future__ import annotations

import re
import threading
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import Stemmer

from assistant.database.tables import TERM_SPACE

K1 = 1.2
B = 0.75
REMEMBERED = 50_000  # words whose terms are remembered,
LONGEST = 40  # and their characters: longer ones hardly come again
CONTEXT_WEIGHT = 2  # how often a word of the title or the headings counts (see benchmarks.md)

# English function words, and the words that questions are made of: they say nothing about what is asked.
STOP_WORDS = frozenset(
    """
    a about above after again against all also am an and any are aren't as at be because been before being below
    between both but by can cannot can't could couldn't did didn't do does doesn't doing don't down during each
    few for from further had hadn't has hasn't have haven't having he her here hers herself him himself his how
    i if in into is isn't it its itself just let's me more most mustn't my myself no nor not of off on once only
    or other ought our ours ourselves out over own same shan't she should shouldn't so some such than that the
    their theirs them themselves then there these they this those through to too under until up us very was
    wasn't we were weren't what when where which while who whom whose why will with won't would wouldn't you
    your yours yourself yourselves i'm i've i'd i'll we're we've you're you've it's that's there's what's who's
    where's how's please thanks hi hello hey anyone somebody someone tell
    """.split()
)

# Runs of letters and digits, joined inside by the characters that identifiers are joined with.
_TOKEN = re.compile(r"[^\W_]+(?:[-_./:'’@+][^\W_]+)*[+#]*")
_PARTS = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")

_local = threading.local()


def _stem(words: list[str]) -> list[str]:
    """Snowball's English stemmer; one stemmer a thread, for it keeps state. What it finds is remembered below."""
    stemmer = getattr(_local, "stemmer", None)
    if stemmer is None:
        stemmer = _local.stemmer = Stemmer.Stemmer("english", 0)
    stems: list[str] = stemmer.stemWords(words)
    return stems


def tokens(text: str) -> list[str]:
    """Stemmed terms in order. A compound (``kube-proxy``, ``ERR_CONN_42``, ``getUrl``) gives itself and its parts."""
    terms: list[str] = []
    for token in _TOKEN.findall(unicodedata.normalize("NFKC", text)):
        terms += _known(token) if len(token) <= LONGEST else _stem(_words(token))
    return terms


@lru_cache(maxsize=REMEMBERED)
def _known(token: str) -> list[str]:
    """The terms of one token: texts are made of the same words again and again."""
    return _stem(_words(token))


def _words(token: str) -> list[str]:
    """What a token is searched by, before it is stemmed."""
    token = token.replace("’", "'")
    folded = token.casefold()
    if folded in STOP_WORDS:
        return []
    parts = _split(token)
    if len(parts) < 2:
        return [parts[0] if parts else folded]
    words = [part for part in parts if part not in STOP_WORDS]
    return words if "'" in folded else [*words, folded]


def plain_terms(text: str) -> list[str]:
    """Stemmed terms in order, compounds only as their parts: less work than ``tokens``."""
    words = [word for word in _PARTS.findall(text.casefold()) if word not in STOP_WORDS]
    return [_stem_of(word) if len(word) <= LONGEST else _stem([word])[0] for word in words]


@lru_cache(maxsize=REMEMBERED)
def _stem_of(word: str) -> str:
    return _stem([word])[0]


def _split(token: str) -> list[str]:
    """``getHTTPCode_v2`` -> get, http, code, v2; a possessive loses its s."""
    token = token.removesuffix("'s").removesuffix("'S")
    parts: list[str] = []
    for part in _PARTS.findall(token):
        camel = _CAMEL.findall(part)
        pieces = camel if len(camel) > 1 and not part.isupper() and any(len(piece) > 2 for piece in camel) else [part]
        if len(pieces) > 1 and any(piece.isdigit() for piece in pieces):
            pieces = [part]  # v2, utf8, k8s: digits belong to their letters
        parts.extend(piece.casefold() for piece in pieces)
    return parts


def term_id(term: str) -> int:
    """A term's number, 1..TERM_SPACE, the same in every process."""
    return zlib.crc32(term.encode()) % TERM_SPACE + 1


def frequencies(text: str, context: str = "") -> dict[int, int]:
    """Term number -> count in the text, the words of ``context`` (title, headings) counted in."""
    counts = Counter(map(term_id, tokens(text)))
    if context:
        for term in map(term_id, tokens(context)):
            counts[term] += CONTEXT_WEIGHT
    return dict(counts)


def query_terms(text: str) -> list[int]:
    """The distinct term numbers of a question, sorted."""
    return sorted(set(map(term_id, tokens(text))))


def saturate(counts: Sequence[int], length: int, mean_length: float) -> list[float]:
    """The document's side of BM25 for each count."""
    norm = K1 * (1 - B + B * length / mean_length)
    return [count * (K1 + 1) / (count + norm) for count in counts]


def sparse_literal(terms: Iterable[int], values: Iterable[float]) -> str:
    """pgvector's text form of a sparse vector; ``terms`` ascending."""
    return "{" + ",".join(f"{term}:{value:.5g}" for term, value in zip(terms, values, strict=True)) + f"}}/{TERM_SPACE}"


def share_held(weights: Mapping[int, float], terms: Iterable[int]) -> float:
    """The share of the question's term weight that ``terms`` hold, 0..1."""
    total = sum(weights.values())
    return sum(weights.get(term, 0.0) for term in set(terms)) / total if total else 0.0
