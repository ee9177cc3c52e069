"""Source code by its structure."""

import pytest

from workers.ingestion.parse.code_tree import LANGUAGES, units
from workers.ingestion.parse.dispatch import parse

BODY = "\n".join(f"    def method_{n}(self):\n        # does it\n        return {n}\n" for n in range(30))
PYTHON = f'''"""Module text."""
import os

LIMIT = 5


# Comes with the function.
@cache
def first(a: int) -> int:
    return a


class Search(Base):
    """Finds."""

    size = 3

{BODY}

    async def close(self) -> None:
        pass
'''

SAMPLES = {
    ".js": ("const add = (a, b) => {\n  return a + b;\n};\nexport function run() {}\nconst x = 1;\n", ["add", "run"]),
    ".ts": (
        "export interface Pet { name: string }\ntype Id = string;\nfunction f(): void {}\n",
        ["interface Pet", "Id", "f"],
    ),
    ".go": ("package a\n\n// Run runs.\nfunc Run() {}\n\ntype T struct{}\n\nfunc (t *T) Do() {}\n", ["Run", "T", "Do"]),
    ".rs": ("struct A;\n\n/// Does.\nfn run() {}\n\nimpl A { fn go(&self) {} }\n", ["A", "run", "impl A"]),
    ".java": ("class A { void run() {} }\ninterface B {}\n", ["class A", "interface B"]),
    ".c": ("#include <a.h>\n\nstatic int add(int a) { return a; }\n", ["add"]),
    ".cpp": ("namespace n { int f() { return 1; } }\nclass A {};\n", ["n", "class A"]),
    ".cs": ("class A { void Run() {} }\n", ["class A"]),
    ".rb": ("class A\n  def run\n  end\nend\n\ndef go; end\n", ["class A", "go"]),
    ".php": ("<?php\nfunction f() {}\nclass A {}\n", ["f", "class A"]),
    ".kt": ("fun run() {}\nclass A\n", ["run", "class A"]),
    ".sh": ("set -e\nrun() {\n  echo 1\n}\n", ["run"]),
    ".sql": (
        "CREATE TABLE users (\n  id int\n);\n\n-- by name\nCREATE INDEX byname ON users(name);\n",
        ["CREATE TABLE users", "CREATE INDEX byname"],
    ),
    ".tf": ('resource "aws_s3_bucket" "logs" {\n  a = 1\n}\n', ["resource aws_s3_bucket logs"]),
    ".toml": ("[tool.ruff]\na = 1\n\n[tool.mypy]\nb = 2\n", ["tool.ruff", "tool.mypy"]),
    ".proto": ("message Pet {\n  string name = 1;\n}\n", ["message Pet"]),
}


def test_python_functions_and_methods_are_sections() -> None:
    document = parse("search.py", PYTHON.encode())
    assert document.title == "search.py"
    headings = [(b.text, b.level, b.anchor) for b in document.blocks if b.kind == "heading"]
    assert headings[:3] == [("first", 2, "L8"), ("class Search", 2, "L13"), ("method_0", 3, "L18")]
    assert headings[-1] == ("close", 3, "L139")
    codes = [block.text for block in document.blocks if block.kind == "code"]
    assert codes[1] == "# Comes with the function.\n@cache\ndef first(a: int) -> int:\n    return a"
    assert codes[2] == 'class Search(Base):\n    """Finds."""\n\n    size = 3'
    assert codes[3] == "    def method_0(self):\n        # does it\n        return 0"


@pytest.mark.parametrize("extension", sorted(SAMPLES))
def test_definitions_are_headings_and_no_line_is_lost(extension: str) -> None:
    source, expected = SAMPLES[extension]
    document = parse(f"a{extension}", source.encode())
    assert [block.text for block in document.blocks if block.kind == "heading"] == expected
    shown = "\n".join(block.text for block in document.blocks if block.kind == "code")
    for line in filter(str.strip, source.split("\n")):
        assert line.rstrip() in shown


def test_every_grammar_loads_and_keeps_every_word() -> None:
    for extension, grammar in LANGUAGES.items():
        source = SAMPLES.get(extension, ("a b c\nd\n", []))[0]
        assert "".join(unit.text for unit in units(source, grammar)).split() or not source.split(), extension


def test_code_that_does_not_parse_is_kept() -> None:
    document = parse("a.py", b"def broken(:\n  ???\nclass X\n print 'old'\n")
    shown = "\n".join(block.text for block in document.blocks)
    assert "???" in shown
    assert "print 'old'" in shown


def test_makefiles_by_target_and_dockerfiles_by_stage() -> None:
    found = parse("Makefile", b"A := 1\n\n# builds\nbuild: a b\n\tmake a\n\ntest:\n\tpytest\n")
    assert [block.text for block in found.blocks if block.kind == "heading"] == ["build", "test"]
    found = parse("Dockerfile", b"FROM python AS base\nRUN a\nFROM base\nCOPY b c\n")
    assert [block.text for block in found.blocks if block.kind == "heading"] == ["FROM python AS base", "FROM base"]
