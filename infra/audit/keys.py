"""Looks for keys and passwords in the files that git has: ``python infra/audit/keys.py [--update] [FILE …]``.

detect-secrets' own detectors, held against .secrets.baseline: the values there (their hashes) were looked at and are
made up. Where a value stands in its file plays no part, unlike for detect-secrets-hook, which fails where lines moved.
``--update`` takes what is found now as looked at. Exit code 1 where there is something new, 0 where not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from detect_secrets.core import baseline
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

ROOT = Path(__file__).parents[2]
BASELINE = ROOT / ".secrets.baseline"


def found(files: Sequence[str], known: Path = BASELINE) -> list[PotentialSecret]:
    """What the baseline at ``known`` does not name, by file. ``files`` are relative to the working folder."""
    document = json.loads(known.read_text("utf-8"))
    looked_at = {(file, it["hashed_secret"]) for file, rows in document["results"].items() for it in rows}
    collection = scanned(files, document)
    return sorted(
        (secret for _, secret in collection if (secret.filename, secret.secret_hash) not in looked_at),
        key=lambda secret: (secret.filename, secret.line_number),
    )


def scanned(files: Sequence[str], document: dict[str, object]) -> SecretsCollection:
    """With the detectors and the exceptions that the baseline names."""
    collection = SecretsCollection()
    with transient_settings({name: document[name] for name in ("plugins_used", "filters_used")}):
        for file in files:
            collection.scan_file(file)
    return collection


def update(files: Sequence[str]) -> None:
    document = json.loads(BASELINE.read_text("utf-8"))
    with transient_settings({name: document[name] for name in ("plugins_used", "filters_used")}):
        document = baseline.format_for_output(scanned(files, document))
    document.pop("generated_at")
    for rows in document["results"].values():
        for row in rows:
            row.pop("line_number", None)
            row["is_secret"] = False
    BASELINE.write_text(json.dumps(document, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--update", action="store_true")
    given = parser.parse_args()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    files = given.files or [file for file in listed.split("\0") if file and Path(file).is_file()]
    if given.update:
        update(files)
        return 0
    new = found(files)
    for secret in new:
        sys.stderr.write(f"{secret.filename}:{secret.line_number}: this looks like a secret ({secret.type}).\n")
    if new:
        sys.stderr.write("If all of them are made up, take them over: python -P infra/audit/keys.py --update\n")
    return int(bool(new))


if __name__ == "__main__":
    sys.exit(main())
