"""Planted bugs in real clusters: clients' histories alone convict them, and the right node is never accused.

A few of each; `campaigns/record.toml` has them all, and `campaigns/record.md` what came of it. Seeds fix load and faults,
not what processes, networks and the machine make of them: only what a run sees nearly always stands here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from source_tree import ROOT

from harness.plan import Plan
from harness.progress import Quiet
from harness.run import Record, run
from raftnode.bugs import BUGS

CLUSTERS = [pytest.param("local"), pytest.param("docker", marks=pytest.mark.docker)]
SENTENCE = re.compile(r"(Read|Write|Cas|Append)\b.* by process \d+ of key \w+ .*\d s, ")
TABLE = (ROOT / "campaigns" / "record.md").read_text(encoding="utf-8")


def made(folder: Path, cluster: str, build: str) -> Record:
    return run(Plan(cluster=cluster, build=build, seed=11, out=str(folder)), Quiet())


@pytest.mark.slow
@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("bug", ["read-without-quorum", "cas-before-log", "applies-on-append"])
def test_a_bug_is_caught_by_a_bare_run(cluster: str, bug: str, tmp_path: Path) -> None:
    """The issue: "each by a bare run and by clients' histories alone", "with a sentence that names the operation"."""
    record = made(tmp_path, cluster, f"bug:{bug}")
    assert record.outcome == "violation", record.reasons
    assert record.explanation
    assert SENTENCE.match(record.explanation), record.explanation
    assert (Path(record.run) / "counterexample" / "explain.md").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_the_right_node_is_not_accused(cluster: str, tmp_path: Path) -> None:
    """Whether a pass was earned is the machine's business, too: on a busy one a floor may not be met, and is named."""
    record = made(tmp_path, cluster, "current")
    assert record.outcome in {"pass", "inconclusive"}, record.reasons
    assert record.outcome == "pass" or all(reason.startswith("not earned: ") for reason in record.reasons)
    assert record.operations["ok"] > 100


@pytest.mark.parametrize("cluster", ["local", "docker"])
@pytest.mark.parametrize("bug", BUGS)
def test_the_track_record_has_every_bug_on_every_cluster(cluster: str, bug: str) -> None:
    assert re.search(rf"^\| bug:{bug} \| {cluster} \|", TABLE, re.MULTILINE)


def test_the_track_record_says_of_which_revision_and_day_it_is() -> None:
    assert re.search(r"\b[0-9a-f]{12}\b", TABLE)
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", TABLE)
