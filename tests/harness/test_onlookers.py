"""Processes that check a run while it goes on: they end when they have proved a violation, and never outlive the run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.cluster import NANOSECONDS
from harness.onlookers import Onlookers
from harness.plan import Plan
from harness.progress import Quiet
from harness.run import run

PATIENCE = 60.0


def event(workload: str, process: int, kind: str, f: str, value: Any = None) -> str:
    said = {"type": kind, "process": process, "workload": workload, "f": f, "key": "k", "value": value}
    return json.dumps(said) + "\n"


def test_one_of_them_ends_when_it_has_proved_a_violation_of_its_workload(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    fine = event("register", 0, "invoke", "write", 1) + event("append", 1, "invoke", "append", 1)
    history.write_text(fine + event("register", 0, "ok", "write", 1) + event("append", 1, "ok", "append", 1))
    onlookers = Onlookers(history, ["register", "append"])
    try:
        assert not onlookers.proved()
        with history.open("a") as file:
            file.write(event("append", 1, "invoke", "read") + event("append", 1, "ok", "read", []))
        deadline = time.monotonic() + PATIENCE
        while not onlookers.proved() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert onlookers.proved()
    finally:
        assert onlookers.close() == []
    assert onlookers.ended() == ["register"]  # the other one, which had proved nothing: nobody is left


def test_one_that_cannot_read_the_history_proves_nothing_and_is_named(tmp_path: Path) -> None:
    onlookers = Onlookers(tmp_path / "missing", ["register"])
    deadline = time.monotonic() + PATIENCE
    while onlookers.ended() != ["register"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not onlookers.proved()
    assert onlookers.close() == ["register"]


@pytest.mark.slow
def test_a_real_run_with_a_planted_bug_ends_at_its_first_violation(tmp_path: Path) -> None:
    """Issue: "the run can stop at the first violation"; without it this one takes two minutes."""
    plan = Plan(
        build="bug:read-without-quorum", seconds=120.0, seed=5, out=str(tmp_path), stop_at_violation=True, nodes=5
    )
    record = run(plan, Quiet())
    assert record.outcome == "violation", record.reasons
    assert record.explanation
    assert "stopped before the end, at the first violation" in record.reasons
    events = [json.loads(line) for line in (Path(record.run) / "history.jsonl").read_text().splitlines()]
    assert events[-1]["t"] < 110 * NANOSECONDS
    steps = [json.loads(line)["phase"] for line in (Path(record.run) / "faults.jsonl").read_text().splitlines()]
    assert steps.count("installed") == steps.count("heal-shown")
