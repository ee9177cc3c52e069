"""The processes that read files: limits, deaths, replacements, and what such a process can see."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from assistant.errors import DocumentUnreadable
from workers.ingestion import parse as package
from workers.ingestion.parse import Limits, ParserPool, dispatch
from workers.ingestion.parse import pool as pool_module

from .builders import excel_file, pdf_file, word_file

LONG = b"*a* [b](c) `d`\n\n" * 400_000  # seconds of Markdown
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True)
def alone() -> None:
    """The process's own pool, which other tests may have used, is closed: every child is then the test's own."""
    while pool_module._shared:
        pool_module._shared.pop().close()


def children() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was listed; a zombie is such a one, too
            if "workers.ingestion.parse.child" in " ".join(child.cmdline()):
                found.append(child)
    return found


def reason(pool: ParserPool, name: str, content: bytes) -> str:
    with pytest.raises(DocumentUnreadable) as caught:
        pool.parse(name, content)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.md", b"# T\n\ntext\n\n| a | b |\n|---|---|\n| 1 | |\n"), ("b.docx", word_file()), ("c.xlsx", excel_file())],
)
def test_what_comes_back_is_what_was_read(name: str, content: bytes) -> None:
    with ParserPool(1) as pool:
        assert pool.parse(name, content) == dispatch.parse(name, content)


def test_one_process_reads_many_files_whatever_the_worker_weighs() -> None:
    weight = b"x" * (600 * 2**20)  # as much as a model
    with ParserPool(1) as pool:
        pool.parse("a.md", b"text")
        (first,) = children()
        for number in range(20):
            pool.parse("a.md", b"text %d" % number)
        assert [child.pid for child in children()] == [first.pid]
        pool.parse("large.html", b"<p>text</p>" * 300_000)  # whose memory is given back with its process
        pool.parse("a.md", b"text")
        assert [child.pid for child in children()] != [first.pid]
    assert len(weight) > 0


def test_reasons_come_back_too() -> None:
    with ParserPool(1) as pool:
        assert reason(pool, "a.pdf", pdf_file(password="x")) == "the PDF is protected by a password"
        assert reason(pool, "a.bin", b"x").startswith(".bin files are not supported")
        with pytest.raises(DocumentUnreadable, match=r"too large: 2\.0 MiB, the limit is 1\.0 MiB"):
            pool.parse("a.txt", b"x" * 2**21, 2**20)
        assert len(children()) == 1


def test_a_file_that_takes_too_long_is_given_up_and_the_next_is_read() -> None:
    with ParserPool(1, Limits(seconds=1.5)) as pool:
        assert pool.parse("a.md", b"first").blocks
        assert reason(pool, "long.md", LONG) == "the file takes too long to read and was given up"
        assert pool.parse("a.md", b"text").blocks[0].text == "text"
        assert len(children()) == 1


def test_a_file_that_needs_too_much_memory_fails_alone() -> None:
    with ParserPool(1, Limits(memory=256 * 2**20)) as pool:
        found = reason(pool, "a.html", b"<p>x</p>" * 2_000_000)
        assert "memory" in found
        assert pool.parse("a.md", b"text").blocks


def test_a_process_that_was_killed_is_replaced() -> None:
    with ParserPool(1) as pool:
        pool.parse("a.md", b"text")
        (child,) = children()
        child.kill()
        child.wait()
        assert pool.parse("a.md", b"more").blocks[0].text == "more"


def test_a_file_that_kills_its_process_says_so() -> None:
    """What a crash in a library would do, done from outside: two deaths, for a worn process gets a second try."""
    with ParserPool(1) as pool:
        pool.parse("a.md", b"text")
        stop = threading.Event()
        hunter = threading.Thread(target=_hunt, args=(stop,))
        hunter.start()
        try:
            found = reason(pool, "long.md", LONG)
        finally:
            stop.set()
            hunter.join()
        assert found == "the file crashes its reader, or needs more memory than one file may take"
        assert pool.parse("a.md", b"text").blocks


def _hunt(stop: threading.Event) -> None:
    while not stop.wait(0.2):
        for child in children():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def test_more_callers_than_processes() -> None:
    with ParserPool(2) as pool, ThreadPoolExecutor(8) as threads:
        texts = [f"text number {number}" for number in range(60)]
        found = list(threads.map(lambda text: pool.parse("a.md", text.encode()), texts))
        assert [document.blocks[0].text for document in found] == texts
        assert 1 <= len(children()) <= 2
    assert children() == []


def test_killed_at_random_while_reading() -> None:
    """Every file is read or has a reason, whatever dies when; nothing hangs, and nothing is mixed up."""
    generator = random.Random(4)
    with ParserPool(2) as pool, ThreadPoolExecutor(4) as threads:
        pending = [threads.submit(_text_or_reason, pool, f"text number {number} " * 2_000) for number in range(40)]
        for _ in range(12):
            time.sleep(generator.random() / 10)
            for child in children()[:1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGKILL)
        outcomes = [future.result(timeout=60) for future in pending]
    assert all(text in (f"text number {number}", "reason") for number, text in enumerate(outcomes))
    assert "reason" not in outcomes[-4:]  # read after the last kill


def _text_or_reason(pool: ParserPool, text: str) -> str:
    try:
        return " ".join(pool.parse("a.md", text.encode()).blocks[0].text.split()[:3])
    except DocumentUnreadable:
        return "reason"


@LINUX
def test_the_process_sees_no_secrets_and_loads_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALMANAC_SLACK_BOT_TOKEN", "not-for-children")
    with ParserPool(1) as pool:
        pool.parse("a.html", b"<p>text</p>")
        (child,) = children()
        environment = Path(f"/proc/{child.pid}/environ").read_bytes()
        assert b"not-for-children" not in environment
        assert b"ALMANAC" not in environment
        assert "torch" not in Path(f"/proc/{child.pid}/maps").read_text()
        limits = child.rlimit(psutil.RLIMIT_AS), child.rlimit(psutil.RLIMIT_FSIZE)
        assert [most for _, most in limits] == [Limits().memory, 2**20]


@LINUX
def test_the_process_has_no_network_where_the_kernel_allows() -> None:
    allowed = subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True, check=False)
    if allowed.returncode != 0:
        pytest.skip("the kernel lets nobody here make a network namespace")
    with ParserPool(1) as pool:
        pool.parse("a.md", b"text")
        (child,) = children()
        assert os.readlink(f"/proc/{child.pid}/ns/net") != os.readlink("/proc/self/ns/net")


def test_no_process_outlives_its_worker() -> None:
    script = (
        "import os, psutil; from workers.ingestion.parse import parse; parse('a.md', b'text');"
        "print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_seam_of_the_pipeline_is_the_pool() -> None:
    assert package.parse("a.md", b"# T\n\ntext").title == "T"
    assert len(children()) == 1
