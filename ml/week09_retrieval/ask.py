"""Questions to your own PDF: ``python -m ml.week09_retrieval.ask --pdf FILE "question"``.

Reads the pages, cuts them into passages, indexes them (MiniLM vectors in FAISS, BM25), finds the best by rank fusion,
and answers with page citations. With ``OPENAI_API_KEY`` or ``OPENAI_BASE_URL`` set, a language model writes the answer;
without, the document's own sentences are the answer, and the output says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from ml.lesson import LessonError
from ml.week09_retrieval.chat import ChatSettings, complete
from ml.week09_retrieval.embedding import MiniLM
from ml.week09_retrieval.pdf import passages, read_pages
from ml.week09_retrieval.rag import Answer, Library, cited, extract, prompt

QUOTE = 120  # characters of a source that are shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 for an answer, also for "not in the document"; 1 with one sentence for what can be mended."""
    given = _parser().parse_args(arguments)
    try:
        _run(given)
    except LessonError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    return 0


def answer(question: str, library: Library, k: int = 5) -> tuple[Answer, str]:
    """The answer, and who gave it: the model's name, or "extraction"."""
    if not question.strip():
        raise LessonError("The question is empty.")
    found = library.search(question, k)
    settings = ChatSettings.from_environment()
    if settings is None:
        return extract(question, found, library.embedder), "extraction"
    return cited(complete(prompt(question, found), settings), found), settings.model


def render(result: Answer) -> str:
    """The answer and its sources as plain text."""
    if not result.text:
        return "The document does not seem to answer this."
    sources = [f"[{n}] {source.pages}: {_quote(source.text)}" for n, source in enumerate(result.sources, start=1)]
    return "\n".join([result.text, "", *(sources or ["The answer names no passage: treat it as unsupported."])])


def _run(given: argparse.Namespace) -> None:
    console = Console()
    pages = read_pages(given.pdf)
    pieces = passages(pages, given.size)
    with console.status(f"reading {len(pages)} pages, {len(pieces)} passages"):
        library = Library(pieces, MiniLM())
    for question in given.questions or _typed():
        with console.status("thinking"):
            result, author = answer(question, library, given.passages)
        console.print(render(result), markup=False, highlight=False, soft_wrap=True)
        if author == "extraction":
            console.print(
                "\n(No language model: OPENAI_API_KEY and OPENAI_BASE_URL are unset. These are the document's own "
                "sentences, found by similarity.)",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def _typed() -> Iterator[str]:
    """Questions from the terminal, or piped in, a line each."""
    while True:
        if sys.stdin.isatty():
            print("question> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _quote(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= QUOTE else f"{line[:QUOTE].rsplit(' ', 1)[0]} …"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ml.week09_retrieval.ask",
        description="Ask a PDF. Settings: OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL.",
        epilog='example: python -m ml.week09_retrieval.ask --pdf manual.pdf "How long is the warranty?"',
    )
    parser.add_argument("--pdf", type=Path, required=True, help="the document")
    parser.add_argument("--passages", type=_positive, default=5, help="how many are put in the prompt (%(default)s)")
    parser.add_argument("--size", type=_positive, default=800, help="most characters of a passage (%(default)s)")
    parser.add_argument("questions", nargs="*", metavar="question", help="none: they are read line by line")
    return parser


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main())
