"""Builds the wheel and the source archive of the current commit: ``python infra/release/build.py [--tag v1.2.3] OUT``.

The same commit gives the same bytes, whoever builds it: what is built is what git has (nothing that merely lies in the
folder), all times are the commit's (SOURCE_DATE_EPOCH), and the archive is packed anew, since setuptools puts its own
times and users into it. Needs git and setuptools; fetches nothing.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOOK = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def build(out: Path, commit: str = "HEAD") -> list[Path]:
    """The wheel, the source archive and SHA256SUMS in ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    when = int(_git("log", "-1", "--format=%ct", commit))
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "source"), Path(folder, "made")
        source.mkdir()
        made.mkdir()
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as packed:
            packed.extractall(source, filter="data")
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(when), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
        for hook in ("build_sdist", "build_wheel"):
            command = [sys.executable, "-P", "-c", HOOK, hook, str(made)]
            done = subprocess.run(command, cwd=source, env=environment, umask=0o022, check=False, capture_output=True)
            if done.returncode:
                raise SystemExit(done.stderr.decode(errors="replace"))
        built = []
        for file in sorted(made.iterdir()):
            content = repacked(file.read_bytes(), when) if file.name.endswith(".tar.gz") else file.read_bytes()
            built.append(out / file.name)
            built[-1].write_bytes(content)
    sums = out / "SHA256SUMS"
    sums.write_text("".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in built))
    return [*built, sums]


def repacked(archive: bytes, when: int) -> bytes:
    """The same files in the order of their names, of nobody, at one time."""
    plain = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            entry = tarfile.TarInfo(member.name)
            entry.type, entry.size, entry.mtime = member.type, member.size, when
            entry.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(entry, old.extractfile(member) if member.isfile() else None)
    return gzip.compress(plain.getvalue(), mtime=when)


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tag", help="the tag that is built, which must be v and the version of pyproject.toml")
    given = parser.parse_args()
    if given.tag is not None and given.tag != f"v{version()}":
        sys.stderr.write(f"The tag is {given.tag}, and pyproject.toml says {version()}.\n")
        return 1
    for file in build(given.out):
        sys.stdout.write(f"{file}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
