"""The process that reads files: ``python -m workers.ingestion.parse.child``. It answers one request at a time on its
standard input and output, under limits that it sets itself before the first byte of a file arrives.

It holds no secret (its environment is made by the pool), writes no file, and has no network where Linux allows it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import sys
from pathlib import Path
from typing import BinaryIO

from assistant.errors import DocumentUnreadable
from workers.ingestion.parse import dispatch, frames, progress

_LARGEST_FILE = 2**20  # byte code of its own modules, and nothing larger
_FRESH_ABOVE = 384 * 1024  # KiB of memory once used: the next file starts in a new process
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library that prints must not speak for us
    _limit(int(sys.argv[1]))
    _without_network()
    progress.listen(lambda seconds: frames.write(answers, {"extend": seconds}))
    serve(sys.stdin.buffer, answers)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Until the worker closes its end, however the worker ends."""
    while True:
        try:
            request, content = frames.read(requests)
        except EOFError:
            return
        answer = _answer(request["name"], content, request["max_bytes"])
        last = _used() > _FRESH_ABOVE
        frames.write(answers, {**answer, "last": last})
        if last:
            return


def _answer(name: str, content: bytes, max_bytes: int) -> dict[str, object]:
    try:
        return {"document": frames.packed(dispatch.parse(name, content, max_bytes))}
    except DocumentUnreadable as error:
        return {"reason": str(error)}


def _used() -> int:
    """The most memory this process has had, in KiB. What ``getrusage`` says begins, on Linux, with the worker's own."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    return int(peak[1]) if peak else 0


def _limit(memory: int) -> None:
    wanted = {resource.RLIMIT_AS: memory, resource.RLIMIT_FSIZE: _LARGEST_FILE, resource.RLIMIT_CORE: 0}
    for kind, most in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # macOS does not bound memory so; time it does everywhere
            resource.setrlimit(kind, (most, most))


def _without_network() -> None:
    """An empty network namespace, as far as the kernel lets a process without rights have one."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_NEW_NETWORK) != 0:
            libc.unshare(_NEW_USER | _NEW_NETWORK)


if __name__ == "__main__":
    main()
