"""Campaigns: a matrix from a TOML file, resumed after a kill, with its results in the forms that others read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pandas as pd
import pytest
from fake_cluster import FakeCluster

from harness import campaign as campaign_module
from harness import run as run_module
from harness.campaign import Campaign, Matrix, State, plans_of, read_campaign, run_campaign
from harness.evidence import INTERRUPTED
from harness.plan import Plan, UsageError
from harness.progress import Quiet, Watcher
from harness.run import Record, run

ROOT = Path(__file__).resolve().parents[2]
SMALL = Campaign(
    "small", (Matrix(seeds="1..2", builds=("current", "bug:no-dedup"), workloads=("register",), faults=("none",)),)
)


class Runner:
    """Stands for runs: makes a folder and a record with the outcome that `decide` gives, and remembers what was run."""

    def __init__(self, decide: Callable[[Plan], str] = lambda plan: "pass") -> None:
        self.ran: list[tuple[str, int]] = []
        self.decide = decide

    def __call__(self, plan: Plan, progress: Watcher, argv: list[str] | None) -> Record:
        self.ran.append((plan.build, plan.seed))
        outcome = self.decide(plan)
        interrupted = outcome == "interrupted"
        folder = Path(plan.out) / plan.name / f"20261124T000000.{len(self.ran):03d}Z-{plan.build}-{plan.seed}"
        folder.mkdir(parents=True)
        record = Record(
            outcome="inconclusive" if interrupted else outcome,
            reasons=[INTERRUPTED if interrupted else f"because of <{outcome}> \x00 & more"],
            run=str(folder),
            seed=plan.seed,
            build=plan.build,
            cluster=plan.cluster,
            workload=list(plan.workloads),
            faults=list(plan.faults),
            operations={"ok": 100, "fail": 1, "info": 2},
            wall_seconds=15.5,
            explanation=None,
            command=f"./splitbrain run --seed {plan.seed}",
        )
        (folder / "run.json").write_bytes(
            msgspec.json.encode(
                {
                    **msgspec.to_builtins(record),
                    "build": {"name": plan.build, "revision": "0123456789abcdef", "dirty": True},
                }
            )
        )
        return record


def campaign(out: Path, runner: Runner, what: Campaign = SMALL, *, fresh: bool = False) -> tuple[Path, State]:
    return run_campaign(what, "small.toml", out, Quiet(), fresh=fresh, runner=runner)


def test_every_combination_is_run_once_seed_by_seed(tmp_path: Path) -> None:
    runner = Runner()
    folder, state = campaign(tmp_path, runner)
    assert runner.ran == [("current", 1), ("bug:no-dedup", 1), ("current", 2), ("bug:no-dedup", 2)]
    assert (state.ended, state.outcome) == (True, "pass")
    assert (tmp_path / "small").resolve() == folder


def test_a_campaign_exits_by_its_worst_outcome(tmp_path: Path) -> None:
    """The order of DESIGN: violation > infrastructure > inconclusive > pass."""
    outcomes = {("current", 1): "inconclusive", ("current", 2): "infrastructure", ("bug:no-dedup", 1): "violation"}
    for count, worst in enumerate(["pass", "inconclusive", "infrastructure", "violation"]):
        chosen = dict(list(outcomes.items())[:count])
        _, state = campaign(
            tmp_path / str(count), Runner(lambda plan, of=chosen: of.get((plan.build, plan.seed), "pass"))
        )  # type: ignore[misc]
        assert state.outcome == worst


def test_after_a_kill_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    class KilledError(BaseException):
        """Nothing of ours may catch this, as nothing can catch a kill."""

    def die_at_third(plan: Plan) -> str:
        if len(first.ran) == 3:
            raise KilledError
        return "violation" if plan.build != "current" else "pass"

    first = Runner(die_at_third)
    with pytest.raises(KilledError):
        campaign(tmp_path, first)
    second = Runner()
    folder, state = campaign(tmp_path, second)
    assert second.ran == [("current", 2), ("bug:no-dedup", 2)]
    assert (state.ended, state.outcome) == (True, "violation"), "what was seen before the kill counts"
    assert len([path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]) == 1
    assert "4 of 4 runs done (1 violation, 3 pass)" in (folder / "summary.md").read_text()


@pytest.mark.parametrize("judged", [True, False], ids=["judged", "not judged"])
def test_a_violation_that_a_kill_kept_from_the_state_is_not_retried_away(tmp_path: Path, *, judged: bool) -> None:
    """DESIGN: "Nothing that is retried can turn a violation into a pass"."""

    class KilledError(BaseException):
        """As after the run's own file was written, or before its history was judged."""

    def die(plan: Plan) -> str:
        raise KilledError

    with pytest.raises(KilledError):
        campaign(tmp_path, Runner(die))
    plan = campaign_module.plans_of(SMALL, "results", "small")[0]
    folder = tmp_path / "small" / "20261124T000000.000Z-local-current-1"
    folder.mkdir()
    kept: dict[str, Any] = {"plan": plan, "build": {"name": "current"}}
    if judged:
        kept |= {"outcome": "violation", "reasons": ["safety: seen"]}
    else:
        event = {"workload": "register", "process": 0, "f": "read", "key": "r1", "value": None}
        events = [{**event, "type": "invoke"}, {**event, "type": "ok", "value": 7}]
        lines = [msgspec.json.encode({**each, "i": i, "t": i}) for i, each in enumerate(events)]
        (folder / "history.jsonl").write_bytes(b"\n".join([*lines, b'{"i":2,"t']))
    (folder / "run.json").write_bytes(msgspec.json.encode(kept))
    runner = Runner()
    _, state = campaign(tmp_path, runner)
    assert runner.ran == [("bug:no-dedup", 1), ("current", 2), ("bug:no-dedup", 2)]
    assert (state.ended, state.outcome) == (True, "violation")


def test_a_campaign_that_ended_begins_anew_in_a_folder_of_its_own(tmp_path: Path) -> None:
    first, _ = campaign(tmp_path, Runner())
    runner = Runner()
    second, _ = campaign(tmp_path, runner)
    assert len(runner.ran) == 4
    assert first != second
    assert (tmp_path / "small").resolve() == second


@pytest.mark.parametrize("change", ["matrix", "build", "fresh"])
def test_it_goes_on_only_with_the_same_campaign_and_the_same_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Else one campaign would mix what two builds did."""
    campaign(tmp_path, Runner(lambda plan: "interrupted" if plan.seed == 2 else "pass"))
    if change == "build":
        real = campaign_module.resolve_build
        changed = {"digest": "0123456789ab"}
        monkeypatch.setattr(
            campaign_module, "resolve_build", lambda *words: msgspec.structs.replace(real(*words), facts=changed)
        )
    what = msgspec.structs.replace(SMALL, matrix=(Matrix(seeds=(1, 2, 3)),)) if change == "matrix" else SMALL
    runner = Runner()
    _, state = campaign(tmp_path, runner, what, fresh=change == "fresh")
    assert len(runner.ran) == len(state.plans)


def test_an_interrupted_run_ends_the_campaign_and_is_run_again(tmp_path: Path) -> None:
    first = Runner(lambda plan: "interrupted" if len(first.ran) == 2 else "pass")
    _, state = campaign(tmp_path, first)
    assert first.ran == [("current", 1), ("bug:no-dedup", 1)]
    assert (state.ended, state.outcome) == (False, "inconclusive")
    second = Runner()
    campaign(tmp_path, second)
    assert second.ran[0] == ("bug:no-dedup", 1)


def test_a_failure_of_our_own_is_infrastructure_and_the_campaign_goes_on(tmp_path: Path) -> None:
    def fail(plan: Plan) -> str:
        if plan.seed == 1 and plan.build == "current":
            raise ZeroDivisionError("by us")
        return "pass"

    _, state = campaign(tmp_path, Runner(fail))
    assert [each.record.outcome for each in state.done] == ["infrastructure", "pass", "pass", "pass"]
    assert state.done[0].record.reasons == ["splitbrain itself failed: ZeroDivisionError: by us"]


def test_it_leaves_a_summary_junit_a_table_and_the_list_of_all_runs(tmp_path: Path) -> None:
    folder, _ = campaign(tmp_path, Runner(lambda plan: "violation" if plan.build != "current" else "pass"))
    summary = (folder / "summary.md").read_text()
    assert summary.startswith("# Campaign small: violation\n")
    assert "| bug:no-dedup | local | register | none | 2 | 2 |  |  |  | 200 |" in summary
    assert "again: `./splitbrain run --seed 1`" in summary
    what = "revision 0123456789ab, with uncommitted changes"
    assert f"Run on 2026-11-24. Harness and nodes: {what}." in summary
    suite = ET.fromstring((folder / "junit.xml").read_text(encoding="utf-8")).find("testsuite")  # noqa: S314 - our own
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "0")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "because of <violation> \N{REPLACEMENT CHARACTER} & more"
    table = pd.read_parquet(folder / "runs.parquet")
    assert sorted(table["outcome"]) == ["pass", "pass", "violation", "violation"]
    assert (tmp_path / "index.html").is_file()


def test_what_proved_nothing_is_an_error_for_build_servers(tmp_path: Path) -> None:
    folder, _ = campaign(tmp_path, Runner(lambda plan: "inconclusive"))
    text = (folder / "junit.xml").read_text()
    assert 'failures="0" errors="4"' in text
    assert 'type="inconclusive"' in text


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "name = 'x'\n[[matrix]]\nseeds = [1]\nbuild = ['current']",
            r"wrong\.toml, line 4: .*unknown field `build` .*; did you mean builds\?",
        ),
        (
            "name = 'x'\n[[matrix]]\nseeds = [1]\nnodes = 3\n[[matrix]]\nnodes = 'three'\nseeds = [2]",
            r"line 6: Expected `int`, got `str` - at `\$\.matrix\[1\]\.nodes`; campaigns/smoke.toml",
        ),
        ("nam = 'x'\n[[matrix]]\nseeds = [1]", r"line 1: .*unknown field `nam`; did you mean name\?"),
        ("name = 'x'\n[[matrix]]\nbuilds = ['current']", "missing required field `seeds`"),
        (
            "name = 'x'\n[[matrix]]\nseeds = [1]\ntime = 'long'",
            r"Expected `float`, got `str` - at `\$.matrix\[0\].time`",
        ),
        ("name = '../x'\nmatrix = []", "must be letters"),
        ("name = [", "campaigns/smoke.toml shows what is expected"),
    ],
)
def test_a_file_that_is_not_a_campaign_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as refused:
        read_campaign(path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_missing_or_no_text_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the campaign"):
        read_campaign(tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary\.toml"):
        read_campaign(tmp_path / "binary.toml")


@pytest.mark.parametrize(
    "matrix, words",
    [
        (Matrix(seeds=(1,), builds=("bug:no-dedupe",)), "did you mean no-dedup"),
        (Matrix(seeds=(1,), workloads=("registers",)), "did you mean register"),
        (Matrix(seeds=(1,), faults=("partitions",)), "did you mean partition"),
        (Matrix(seeds=(1, 1)), "asks twice"),
        (Matrix(seeds="5..1"), "seeds must be A..B"),
        (Matrix(seeds=()), "has no runs"),
        (Matrix(seeds="1..99999999999999"), "has more than 100000 runs"),
        (Matrix(seeds=(1,), time=1.0), "--time must be between"),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused_before_anything_starts(
    tmp_path: Path, matrix: Matrix, words: str
) -> None:
    runner = Runner()
    with pytest.raises(UsageError, match=words):
        campaign(tmp_path / "out", runner, Campaign("wrong", (matrix,)))
    assert runner.ran == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["smoke", "nightly"])
def test_the_campaigns_that_we_bring_make_sense(name: str) -> None:
    what = read_campaign(ROOT / "campaigns" / f"{name}.toml")
    plans = plans_of(what, "results", name)
    assert what.name == name
    if name == "smoke":
        # "campaigns/smoke.toml (<= 6 minutes)": the load, and what comes before and after it.
        assert sum(plan.seconds + 15 for plan in plans) <= 360


def test_real_runs_over_a_cluster_in_memory_make_a_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run_module.OPENERS, "local", lambda **_: FakeCluster())
    matrix = Matrix(seeds=(1,), workloads=("register", "append"), faults=("kill",), time=12, rate=100, concurrency=10)
    folder, state = run_campaign(Campaign("real", (matrix,)), "real.toml", tmp_path, Quiet(), runner=run)
    assert [each.record.outcome for each in state.done] == ["pass", "pass"]
    assert json.loads((folder / "campaign.json").read_text())["done"][1]["place"] == 1
    assert len(pd.read_parquet(folder / "runs.parquet")) == 2
