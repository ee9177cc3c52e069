"""One model is loaded at a time.

While it loads a model, transformers replaces a method of a class that all models share, and puts back what it found
there: two threads that load at once can leave the empty replacement for ever, and every language model that the process
loads later has an output layer of nothing.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOADING = threading.Lock()
_TRACING = threading.Lock()


@contextmanager
def torchscript() -> Iterator[None]:
    """For calls of ``torch.jit``, which warn that it is deprecated, and of shapes that tracing cannot follow.

    What is caught is the whole process's: two threads here at once would take each other's filter away.
    """
    with _TRACING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
