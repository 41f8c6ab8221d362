"""The linter and the strict type checker are part of the tests; each ignored rule has its reason in pyproject.toml."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import ROOT


def _tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; ./splitbrain selftest brings it")
    return found


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing() -> None:
    done = _run(_tool("ruff"), "check", "--output-format", "concise", ".")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_strict_type_checker_finds_nothing() -> None:
    done = _run(_tool("mypy"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_that_is_ignored_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wrong = []
    above = False  # a comment line stands for the whole group below it
    for line in re.search(r"(?ms)^ignore = \[\n(.*?)^\]", text)[1].splitlines():  # type: ignore[index]
        if line.strip().startswith("#"):
            above = True
        elif "#" in line:
            above = False
        elif not above:
            wrong.append(line.strip())
    assert wrong == []


def test_no_line_switches_the_linter_off_without_naming_the_rule() -> None:
    found = _run("git", "grep", "--untracked", "-nE", r"# (noqa|type: ignore)( |$)", "--", "*.py").stdout.splitlines()
    assert [line for line in found if not line.startswith("tests/test_lint.py")] == []
