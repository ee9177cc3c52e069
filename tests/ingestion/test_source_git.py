"""A git repository as a source: by commit, renames followed, and nothing but what git may be used for."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from assistant.database import sources
from assistant.database.session import Sessions
from assistant.settings import Credential
from tests.ingestion.source_station import Station, serving, station

PERSON = {
    "GIT_AUTHOR_NAME": "Mia", "GIT_AUTHOR_EMAIL": "mia@example.com", "GIT_COMMITTER_NAME": "Mia",
    "GIT_COMMITTER_EMAIL": "mia@example.com", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
}  # fmt: skip


class Remote:
    """A repository that people work in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        run = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=os.environ | PERSON, check=True, capture_output=True, text=True
        )
        return run.stdout

    def write(self, name: str, text: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=x")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "remote")


LONG = "\n\n".join(f"Step {n} of the rollback is done by hand, slowly and with care." for n in range(8))


async def test_the_index_follows_the_commits(desk: Station, remote: Remote) -> None:
    remote.write("a.md", "# A\n\nDeploy with ferry.")
    remote.write("docs/b.md", f"# B\n\n{LONG}")
    remote.write("docs/c.md", "# C\n\nAsk Mia.")
    remote.write(".github/hidden.md", "Hidden.")
    remote.write("logo.bin", b"\0\1")
    os.symlink("/etc/passwd", remote.folder / "link.md")
    remote.commit()
    source = await desk.add("git", str(remote.folder))
    assert await desk.sync(source) == {"added": 3}
    assert set(await desk.held(source)) == {"a.md", "docs/b.md", "docs/c.md"}
    embedded, ids = len(desk.embedder.texts), await desk.ids(source)
    assert await desk.sync(source) == {}
    remote.git("mv", "docs/b.md", "docs/moved.md")
    remote.git("mv", "docs/c.md", "c.txt")
    remote.git("rm", "--quiet", "a.md")
    remote.write("new.md", "Page Tom.")
    remote.commit()
    result = await desk.sync(source)
    assert (result["added"], result["removed"]) == (1, 1)
    held = await desk.held(source)
    assert set(held) == {"docs/moved.md", "c.txt", "new.md"}
    committed = remote.git("show", "--no-patch", "--format=%cs").strip()
    assert (await desk.details(source))["new.md"] == {"modified": committed}
    after = await desk.ids(source)
    assert after["docs/moved.md"] == ids["docs/b.md"]  # votes and citations stay with the document
    assert after["c.txt"] == ids["docs/c.md"]
    assert len(desk.embedder.texts) > embedded
    again = len(desk.embedder.texts)
    assert await desk.sync(source, "reconcile") == {"unchanged": 3}
    assert len(desk.embedder.texts) == again
    assert (await desk.row(source)).drift == {"missing": 0, "changed": 0, "access": 0, "gone": 0}


async def test_names_that_swap_and_follow_each_other_arrive(desk: Station, remote: Remote) -> None:
    for name in "abc":
        remote.write(f"{name}.md", f"{LONG}\n\nThis is the page of {name * 3}.")
    remote.commit()
    source = await desk.add("git", str(remote.folder))
    await desk.sync(source)
    for old, new in (("a", "x"), ("b", "a"), ("c", "b"), ("x", "c")):
        remote.git("mv", f"{old}.md", f"{new}.md")
    remote.commit()
    await desk.sync(source)
    held = await desk.held(source)
    assert {name: text.split()[-1] for name, text in held.items()} == {"a.md": "bbb.", "b.md": "ccc.", "c.md": "aaa."}


async def test_a_history_that_was_rewritten_is_listed_anew(desk: Station, remote: Remote) -> None:
    remote.write("a.md", "Deploy.")
    remote.write("b.md", "Roll back.")
    remote.commit()
    source = await desk.add("git", str(remote.folder))
    await desk.sync(source)
    async with desk.sessions.begin() as session:
        await sources.save_cursor(session, source, {"commit": "0" * 40})
    remote.git("rm", "--quiet", "b.md")
    remote.commit()
    assert await desk.sync(source) == {"unchanged": 1, "removed": 1}


async def test_branch_path_and_patterns_choose(desk: Station, remote: Remote) -> None:
    remote.write("docs/a.md", "Deploy.")
    remote.write("docs/code.py", "print('x')")
    remote.write("b.md", "Roll back.")
    remote.commit()
    remote.git("checkout", "--quiet", "-b", "next")
    remote.write("docs/n.md", "Next.")
    remote.commit()
    remote.git("checkout", "--quiet", "main")
    source = await desk.add("git", str(remote.folder), branch="next", path="docs", include="*.md")
    await desk.sync(source)
    assert set(await desk.held(source)) == {"docs/a.md", "docs/n.md"}


@pytest.mark.parametrize(
    ("location", "config", "words"),
    [
        ("/nowhere/at/all.git", {}, "no git repository"),
        ("ext::sh -c touch% /tmp/x", {}, "https address or an absolute path"),
        ("--upload-pack=/bin/false", {}, "https address or an absolute path"),
        ("https://10.0.0.1/x.git", {}, "lies inside a private network"),
        ("https://localhost/x.git", {}, "lies inside a private network"),
    ],
)
async def test_what_cannot_be_cloned_is_one_sentence(
    desk: Station, location: str, config: dict[str, str], words: str
) -> None:
    source = await desk.add("git", location, **config)
    run = await desk.run(source=source)
    assert run.state == "failed"
    assert words in (run.error or "")
    assert words in ((await desk.row(source)).error or "")


async def test_a_branch_that_is_not_there_is_named(desk: Station, remote: Remote) -> None:
    remote.write("a.md", "Deploy.")
    remote.commit()
    run = await desk.run(source=await desk.add("git", str(remote.folder), branch="gone"))
    assert run.error == "The git repository has no such branch, or is empty."


async def test_a_credential_is_for_its_own_host(
    database_url: str, sessions: Sessions, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    credentials = {"docs": Credential(host="git.example.com", user="bot", token=SecretStr("s3cret-token"))}
    async with station(database_url, sessions, tmp_path, credentials=credentials) as desk:
        elsewhere = await desk.run(source=await desk.add("git", "https://127.0.0.1/x.git", credential="docs"))
        assert elsewhere.error == "The credential docs is for git.example.com, not for 127.0.0.1."
        unknown = await desk.run(source=await desk.add("git", "https://127.0.0.1/y.git", credential="nope"))
        assert unknown.error == "ALMANAC_CREDENTIALS has no credential nope."
    assert "s3cret" not in capfd.readouterr().err


class Server:
    """git's own HTTP server, behind a door that asks for a credential."""

    def __init__(self, folder: Path, authorization: str) -> None:
        self._folder = folder
        self._authorization = authorization
        self.refused = 0

    async def __call__(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != self._authorization:
            self.refused += 1
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self._folder), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path, "QUERY_STRING": request.query_string, "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""), "REMOTE_USER": "bot",
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""), "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(await request.read())
        head, _, body = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, body=body, headers=headers)


async def test_a_token_opens_a_repository_over_http_and_is_stored_nowhere(
    database_url: str, sessions: Sessions, tmp_path: Path, remote: Remote, capfd: pytest.CaptureFixture[str]
) -> None:
    remote.write("a.md", "Deploy with ferry.")
    remote.commit()
    basic = "Basic " + base64.b64encode(b"bot:s3cret-token").decode()
    server = Server(tmp_path, basic)
    credentials = {
        "docs": Credential(host="127.0.0.1", user="bot", token=SecretStr("s3cret-token")),
        "wrong": Credential(host="127.0.0.1", user="bot", token=SecretStr("s3cret-wrong")),
    }
    async with (
        serving(server) as base,
        station(database_url, sessions, tmp_path / "home", credentials=credentials) as desk,
    ):
        source = await desk.add("git", f"{base}/remote/.git", credential="docs")
        assert await desk.sync(source) == {"added": 1}
        remote.write("a.md", "Deploy with barge.")
        remote.commit()
        assert await desk.sync(source) == {"updated": 1}
        assert await desk.held(source) == {"a.md": "Deploy with barge."}
        run = await desk.run(source=await desk.add("git", f"{base}/remote", credential="wrong"))
        assert run.error == "The git server does not let us in; the credential is missing or lacks a right."
        row = await desk.row(source)
    kept = "".join(
        path.read_bytes().decode("utf-8", "replace") for path in (tmp_path / "home").rglob("*") if path.is_file()
    )
    captured = capfd.readouterr()
    for text in (kept, f"{row}", captured.out + captured.err):
        assert "s3cret" not in text
        assert basic.split()[1] not in text


async def test_other_braces_of_a_link_are_part_of_it(desk: Station, remote: Remote) -> None:
    remote.write("docs/how to.md", "# How\n\nAsk Mia.")
    remote.commit()
    source = await desk.add(
        "git", str(remote.folder), url="https://x.example/{ref}/{path}?of={team}&n={page:>9}&{}{0}", branch="main"
    )
    assert await desk.sync(source) == {"added": 1}
    assert await desk.urls(source) == {
        "docs/how to.md": "https://x.example/main/docs/how%20to.md?of={team}&n={page:>9}&{}{0}"
    }


async def test_a_clone_that_a_crash_left_locked_or_broken_is_made_anew(
    desk: Station, remote: Remote, tmp_path: Path
) -> None:
    remote.write("a.md", "# A\n\nDeploy with ferry.")
    remote.commit()
    source = await desk.add("git", str(remote.folder))
    assert await desk.sync(source) == {"added": 1}
    [clone] = (tmp_path / "home").rglob("repository.git")
    ids = await desk.ids(source)

    def locked() -> None:
        (clone / "shallow.lock").write_text("")

    def emptied() -> None:
        for path in (clone / "objects").rglob("*"):
            if path.is_file():
                path.chmod(0o600)
                path.write_bytes(b"")

    def half_made() -> None:
        shutil.rmtree(clone / "objects")

    for number, harm in enumerate((locked, emptied, half_made)):
        remote.write("a.md", f"# A\n\nDeploy with ferry {number}.")
        remote.commit()
        harm()
        assert await desk.sync(source) == {"updated": 1}
        assert f"ferry {number}." in (await desk.held(source))["a.md"]
    assert await desk.ids(source) == ids


async def test_a_name_that_is_not_utf8_is_found_again(desk: Station, remote: Remote) -> None:
    (remote.folder / os.fsdecode(b"caf\xe9.docx")).write_bytes(b"no document")
    remote.commit()
    source = await desk.add("git", str(remote.folder))
    assert await desk.sync(source) == {"failed": 1}
    run = await desk.run(source=source, failures="all")
    assert run.state == "succeeded"
    assert set(await desk.failures(source)) == {"caf\\xe9.docx"}
