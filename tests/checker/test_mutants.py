"""Wrong checkers are caught by the suite: each mutant of `mutants.py` by a check of the battery."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import mutants
import pytest
from source_tree import ROOT

HERE = Path(__file__).parent


@functools.cache
def fates() -> dict[str, str]:
    """What caught each mutant, by name; empty: nothing. Under the empty name: what the battery says of the right checker."""
    done = subprocess.run(
        [sys.executable, str(HERE / "mutation.py")],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])},
        capture_output=True,
        text=True,
        check=True,
        timeout=500,
    )
    return {line["name"]: line["caught"] for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", mutants.ALL, ids=lambda mutant: mutant.name)
def test_each_wrong_checker_is_caught(mutant: mutants.Mutant) -> None:
    """Issue 4: "20 wrong versions ... are each caught by the suite"."""
    text = (ROOT / (mutant.module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
    assert text.count(mutant.before) == 1, "the mutant has to follow the source: its text does not stand there once"
    assert fates()[mutant.name], mutant.why


@pytest.mark.slow
def test_the_right_checker_is_not_accused() -> None:
    assert fates()[""] == ""


def test_there_are_at_least_twenty_wrong_checkers_and_no_two_are_alike() -> None:
    assert len({mutant.name for mutant in mutants.ALL}) == len(mutants.ALL) >= 20
    assert len({mutant[1:4] for mutant in mutants.ALL}) == len(mutants.ALL)
