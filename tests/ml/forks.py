"""Lessons run in forks of one process: what each imports for seconds is imported once."""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from ml import __main__ as learn

ROOT = Path(__file__).parents[2]
PRELOAD = [
    "matplotlib.pyplot",
    "torch",
    "torch.nn.functional",
    "sklearn.linear_model",
    "transformers",
    "tests.ml.forks",
]


def forked(function: Callable[..., Any], *arguments: object) -> Any:
    """What the function returns, or raises, in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def cells(script: str) -> int:
    """Run the code of a notebook, cell by cell as far as Python can tell, awaits included; the number of statements."""
    tree = ast.parse(Path(script).read_text(encoding="utf-8"), script)
    names: dict[str, Any] = {"__name__": "__main__"}
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(_run(tree, script, names))
    return len(tree.body)


async def _run(tree: ast.Module, script: str, names: dict[str, Any]) -> None:
    for statement in tree.body:
        code = compile(ast.Module([statement], []), script, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, names)
        else:
            exec(code, names)


def experiment(*arguments: str) -> tuple[int, str]:
    """Exit code and standard error of ``python -m ml`` with these arguments."""
    errors = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(errors):
        try:
            learn.main(list(arguments))
        except SystemExit as ended:
            if isinstance(ended.code, str):
                errors.write(ended.code)
            return (ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1), errors.getvalue()
    return 0, errors.getvalue()
