"""The tools of `make audit` find what they are there for. They lie in .audit, which `make audit` makes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SEMGREP = ROOT / ".audit" / "bin" / "semgrep"
RULES = ROOT / "infra" / "audit" / "semgrep.yaml"
WRONG = {
    "nothing-is-unpickled": ["import pickle", "model = torch.load(path)", "np.load(path)"],
    "no-code-comes-with-a-model": [
        "AutoModel.from_pretrained(name, local_files_only=True, trust_remote_code=True)",
        "AutoModel.from_pretrained('some/name')",
        "SentenceTransformer(name)",
    ],
    "no-statement-from-text": ["session.execute(f'SELECT {name}')", "text('SELECT %s' % name)"],
    "no-certificate-goes-unchecked": ["client.get(url, ssl=False)", "requests.get(url, verify=False)"],
    "secrets-are-compared-in-constant-time": [
        "if given_token == expected_token: pass",
        "given == key.get_secret_value()",
    ],
    "what-is-fetched-passes-a-guard": ["requests.get(url)", "aiohttp.ClientSession()"],
}
RIGHT = [
    "np.load(file, allow_pickle=False)",
    "AutoModel.from_pretrained(folder, local_files_only=True)",
    "session.execute(text('SELECT 1'), {'name': name})",
    "hmac.compare_digest(given_token, expected_token)",
    "aiohttp.ClientSession(connector=guarded)",
]


@pytest.fixture
def semgrep() -> Path:
    if not SEMGREP.exists():
        pytest.skip("semgrep is not here: `make audit` installs it")
    return SEMGREP


def found(semgrep: Path, folder: Path, lines: list[str]) -> list[tuple[str, int]]:
    """Rule and line (from 0) of what is found in a module of these lines."""
    (folder / "assistant").mkdir(exist_ok=True)
    (folder / "assistant" / "module.py").write_text("\n".join(lines) + "\n")
    command = [str(semgrep), "scan", "--config", str(RULES), "--json", "--metrics", "off", "--disable-version-check",
               "--no-git-ignore", "."]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=150, check=False)
    results = json.loads(done.stdout)
    assert results["errors"] == []
    return [(it["check_id"].rpartition(".")[2], it["start"]["line"] - 1) for it in results["results"]]


def test_each_rule_finds_its_lines_and_no_other(semgrep: Path, tmp_path: Path) -> None:
    assert {rule["id"] for rule in yaml.safe_load(RULES.read_text("utf-8"))["rules"]} == set(WRONG)
    lines = [line for wrong in WRONG.values() for line in wrong]
    expected = {(rule, lines.index(line)) for rule, wrong in WRONG.items() for line in wrong}
    seen = set(found(semgrep, tmp_path, [*lines, *RIGHT]))
    assert expected - seen == set()
    assert {place for _, place in seen if place >= len(lines)} == set()
