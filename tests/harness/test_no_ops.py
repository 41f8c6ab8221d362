"""A real cluster whose faults do nothing: the run says so, family by family, and does not pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.link_control import Links
from harness.clusters.processes import NodeProcess
from harness.nemesis import FAMILIES
from harness.plan import Plan
from harness.progress import Quiet
from harness.run import run


def nothing(*_: Any) -> None:
    """What the fault does."""


def pretended(node: NodeProcess) -> bool:
    """A pause that sends no signal."""
    return node.serving


DOES_NOTHING: dict[str, dict[tuple[type, str], Callable[..., Any]]] = {
    "partition": {(Links, "cut"): nothing},
    "kill": {(NodeProcess, "kill"): nothing},
    "pause": {(NodeProcess, "pause"): pretended},
    "delay": {(Links, "slow"): nothing, (Links, "quicken"): nothing},
}


def test_no_family_is_left_out() -> None:
    assert set(DOES_NOTHING) == set(FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("family", DOES_NOTHING)
def test_a_run_whose_faults_do_nothing_does_not_pass(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN: "each fault requested must have been shown to bite ... else the run is `inconclusive` and says what was missing"."""
    for (where, name), instead in DOES_NOTHING[family].items():
        monkeypatch.setattr(where, name, instead)
    # Trying a family out before the run would refuse it at once.
    monkeypatch.setattr("harness.clusters.local_faults.LocalFaults.refusal", lambda *_: "")
    plan = Plan(nodes=3, faults=(family,), seconds=10.0, rate=100.0, concurrency=9, seed=1, out=str(tmp_path))
    record = run(plan, Quiet())
    assert record.outcome == "inconclusive", record.reasons
    assert any(f"{family}-1 (" in reason and "shown to bite" in reason for reason in record.reasons), record.reasons
