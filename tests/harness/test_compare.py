"""Comparisons: the same seeds and schedules on two builds, interleaved; exit 1 if and only if B is worse than A."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from fake_cluster import FakeCluster, right_answer

from harness import run as run_module
from harness.builds import Build
from harness.clusters.cluster import Attempt, Request
from harness.commands import compare as compare_command
from harness.compare import Comparison, Sample, compare, judge, render_table, sample_of, table_of
from harness.evidence import INTERRUPTED
from harness.plan import Plan, UsageError
from harness.progress import Quiet, Watcher
from harness.run import Record, run

STALE = "safety: register is not linearizable: a read saw 1"
LOST = "safety: append is not linearizable: an element was lost"
DEAD = "liveness: after all faults had healed, 2 of 9 keys could not be read"
BUG = "bug:no-dedup"


def record(outcome: str, reason: str = "because", *, build: str = "current", seed: int = 1, run: str = "") -> Record:
    return Record(
        outcome=outcome,
        reasons=[reason],
        run=run,
        seed=seed,
        build=build,
        cluster="local",
        workload=["register"],
        faults=[],
        operations={"ok": 1},
        wall_seconds=1.0,
        explanation=None,
        command="",
    )


def sample(outcome: str, reason: str = "because", *, seed: int = 1, latency: float = 2.0) -> Sample:
    latencies = np.sort(np.array([latency, 2 * latency, 3 * latency]))
    return Sample(record(outcome, reason, seed=seed), latencies, np.array([0.5]), asked=4, answered=3, seconds=10.0)


def judged(first: Sequence[Sample], second: Sequence[Sample], tmp_path: Path) -> Comparison:
    return judge("current", BUG, [*(("a", each) for each in first), *(("b", each) for each in second)], tmp_path)


class TestTheOutcome:
    @pytest.mark.parametrize(
        "first, second, outcome, words",
        [
            (("pass", ""), ("pass", ""), "pass", "neither current nor bug:no-dedup violates"),
            (
                ("pass", ""),
                ("violation", STALE),
                "violation",
                "bug:no-dedup violates in 1 of 1 runs (not linearizable), and",
            ),
            (("violation", STALE), ("violation", LOST), "pass", "both violate in the same way (not linearizable)"),
            (
                ("violation", STALE),
                ("violation", DEAD),
                "violation",
                "does violate, too, but otherwise (not linearizable)",
            ),
            (("violation", STALE), ("pass", ""), "pass", "only current violates (not linearizable)"),
            (("inconclusive", "no ok"), ("pass", ""), "inconclusive", "no run of current proved anything: no ok"),
            (("pass", ""), ("infrastructure", "no port"), "infrastructure", "no run of bug:no-dedup proved anything"),
            (("inconclusive", "no ok"), ("violation", STALE), "violation", "bug:no-dedup violates"),
        ],
    )
    def test_is_a_violation_only_if_b_breaks_what_a_keeps(
        self, tmp_path: Path, first: tuple[str, str], second: tuple[str, str], outcome: str, words: str
    ) -> None:
        """The issue: exit 1 if and only if B violates in a way that A does not; both violating is reported."""
        result = judged([sample(*first)], [sample(*second)], tmp_path)
        assert result.outcome == outcome
        assert words in result.sentence

    def test_one_violation_among_many_runs_is_enough(self, tmp_path: Path) -> None:
        result = judged(
            [sample("pass", seed=seed) for seed in range(5)],
            [sample("violation" if seed == 3 else "pass", STALE, seed=seed) for seed in range(5)],
            tmp_path,
        )
        assert (result.outcome, result.broken_by_a, result.broken_by_b) == ("violation", [], ["not linearizable"])

    @pytest.mark.parametrize(
        "proved, failure, outcome",
        [(1, "infrastructure", "infrastructure"), (2, "inconclusive", "inconclusive"), (3, "infrastructure", "pass")],
    )
    def test_is_a_pass_only_if_most_pairs_proved_something_on_both_sides(
        self, tmp_path: Path, proved: int, failure: str, outcome: str
    ) -> None:
        result = judged(
            [sample("pass", seed=seed) for seed in range(5)],
            [sample("pass" if seed < proved else failure, seed=seed) for seed in range(5)],
            tmp_path,
        )
        assert result.outcome == outcome
        told = (
            f"only {proved} of 5 pairs of runs proved something on both sides"
            f" (5 of 5 runs of current, {proved} of 5 of bug:no-dedup): too few to compare"
        )
        assert result.sentence == ("neither current nor bug:no-dedup violates" if outcome == "pass" else told)

    def test_runs_of_different_seeds_are_no_pairs(self, tmp_path: Path) -> None:
        first = [sample("pass" if seed < 2 else "inconclusive", seed=seed) for seed in range(4)]
        second = [sample("inconclusive" if seed < 2 else "pass", seed=seed) for seed in range(4)]
        result = judged(first, second, tmp_path)
        assert (result.outcome, result.sentence[:12]) == ("inconclusive", "only 0 of 4 ")

    def test_reasons_of_a_run_that_is_no_violation_break_no_promise(self, tmp_path: Path) -> None:
        assert judged([sample("pass")], [sample("pass", STALE)], tmp_path).broken_by_b == []


class TestTheTable:
    def test_has_counts_shares_quantiles_and_ratios_with_intervals(self, tmp_path: Path) -> None:
        first = [sample("pass", seed=seed, latency=2.0 + seed) for seed in range(4)]
        second = [sample("violation", STALE, seed=seed, latency=4.0 + 2 * seed) for seed in range(4)]
        result = judged(first, second, tmp_path)
        rows = {row[0]: row[1:] for row in table_of(result)[1:]}
        assert rows["runs"] == ("4", "4", "-")
        assert rows["violation (share of runs)"] == ("0  [0, 0.4899]", "1  [0.5101, 1]", "-")
        assert rows["availability (share of operations answered)"][0].startswith("0.75  [0.75, 0.75]")
        assert rows["latency p50 (ms)"][2] == "2  [2, 2]"
        assert rows["without an answered write after a killed leader, median (s)"][0].startswith("0.5")
        text = render_table(result)
        assert "| latency p99 (ms) |" in text
        assert text.count("| violation |") == 4

    def test_runs_without_tables_have_no_numbers_and_no_false_ones(self, tmp_path: Path) -> None:
        empty = sample_of(record("infrastructure", "no port", run=str(tmp_path / "nowhere")))
        rows = {row[0]: row[1:] for row in table_of(judged([empty], [sample("pass")], tmp_path))[1:]}
        assert rows["latency p50 (ms)"] == ("-", "4", "-")
        assert rows["availability (share of operations answered)"][0] == "-"

    def test_a_refused_comparison_is_an_answer(self, tmp_path: Path) -> None:
        (tmp_path / "tables").mkdir()
        rows = [
            ("ok", "", 4e6, 1e9),
            ("fail", "cas-mismatch", 2e6, 2e9),
            ("fail", "no-leader", 1e6, 3e9),
            ("info", "timeout", None, None),
        ]
        pd.DataFrame(rows, columns=["type", "error", "latency", "end"]).to_parquet(
            tmp_path / "tables" / "operations.parquet"
        )
        gaps = [("longest", 2.0), ("leader-kill", 0.7), ("leader-kill", None)]
        pd.DataFrame(gaps, columns=["kind", "seconds"]).to_csv(tmp_path / "tables" / "unavailability.csv")
        seen = sample_of(record("pass", run=str(tmp_path)))
        assert (seen.asked, seen.answered, seen.seconds) == (4, 2, 3.0)
        assert (seen.latencies.tolist(), seen.outages.tolist()) == ([4.0], [0.7])


class Runs:
    """Real runs over clusters in memory; the bug forgets every fiftieth append."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.ran: list[tuple[str, int]] = []
        self.interrupt_after = 1000
        self.plan = Plan(
            workloads=("append",), faults=("kill",), seconds=10.0, rate=60.0, concurrency=5, out=str(tmp_path)
        )

        def open_fake(build: Build, **_: Any) -> FakeCluster:
            cluster = FakeCluster()
            count = itertools.count()

            def forgetful(request: Request, state: dict[str, Any]) -> Attempt:
                if request.f == "append" and next(count) % 50 == 49:
                    return Attempt("n1", 200, body={"index": 1})
                return right_answer(request, state)

            if build.text == BUG:
                cluster.answers = forgetful
            return cluster

        monkeypatch.setitem(run_module.OPENERS, "local", open_fake)

    def __call__(self, plan: Plan, progress: Watcher, argv: list[str] | None) -> Record:
        self.ran.append((plan.build, plan.seed))
        if len(self.ran) > self.interrupt_after:
            return record("inconclusive", INTERRUPTED, build=plan.build, seed=plan.seed)
        return run(plan, progress, argv)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runs:
    return Runs(monkeypatch, tmp_path)


@pytest.mark.slow
class TestWholeComparisons:
    def test_a_bug_against_the_right_build(self, runs: Runs) -> None:
        result = compare(runs.plan, "current", BUG, (1, 2), Quiet(), runs)
        assert runs.ran == [("current", 1), (BUG, 1), (BUG, 2), ("current", 2)], "interleaved, in turns"
        assert (result.outcome, result.same_schedules) == ("violation", True)
        folder = Path(result.folder)
        assert len(list(folder.glob("*/schedule.json"))) == 4
        assert f"# current against {BUG}: {BUG} violates in 2 of 2 runs" in (folder / "compare.md").read_text()
        kept = json.loads((folder / "compare.json").read_text())
        assert kept == msgspec.to_builtins(result)
        assert {"outcome", "sentence", "a", "b", "seeds", "rows", "runs", "folder"} <= kept.keys()
        assert (folder.parent / "index.html").is_file()

    def test_a_build_against_itself(self, runs: Runs) -> None:
        result = compare(runs.plan, "current", "current", (1,), Quiet(), runs)
        assert (result.outcome, result.sentence) == ("pass", "neither current nor current violates")

    def test_an_interrupted_comparison_tells_what_there_is(self, runs: Runs) -> None:
        runs.interrupt_after = 2
        result = compare(runs.plan, "current", BUG, (1, 2, 3), Quiet(), runs)
        assert len(runs.ran) == 3
        assert (result.interrupted, result.outcome) == (True, "violation")


@pytest.mark.parametrize(
    "a, b, seeds, words",
    [
        ("current", "bug:no-dedupe", (1,), "did you mean no-dedup"),
        ("git:nowhere", "current", (1,), "no revision 'nowhere'|needs a git clone"),
        ("current", "current", (), "at least one seed"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_starts(
    runs: Runs, tmp_path: Path, a: str, b: str, seeds: tuple[int, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        compare(runs.plan, a, b, seeds, Quiet(), runs)
    assert runs.ran == []
    assert list(tmp_path.iterdir()) == []


def test_the_table_shows_builds_whole_however_narrow_the_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of builds differ at their ends, which used to be cut off."""
    monkeypatch.setenv("COLUMNS", "60")
    build = "bug:read-without-quorum-and-more"
    compare_command._tell(judge("current", build, [], Path("/nowhere")))
    table = capsys.readouterr().out.partition("violation")[0]
    assert "and-more" in table
    assert "…" not in table
