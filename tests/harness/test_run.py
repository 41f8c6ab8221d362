"""A run from top to bottom, over a cluster in memory and virtual time."""

from __future__ import annotations

import errno
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from fake_cluster import MILLISECOND, FakeCluster, right_answer

from checker import Budget, History, Model, Verdict
from harness import run as run_module
from harness.clusters.cluster import NANOSECONDS, Attempt, ClusterError, Request
from harness.plan import Plan
from harness.progress import Quiet
from harness.run import Record, run
from harness.store import RunFolder, StoreError, find_run

Runner = Callable[..., Record]


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    def make(fake: FakeCluster, **options: Any) -> Record:
        monkeypatch.setitem(run_module.OPENERS, "local", lambda **_: fake)
        plan = Plan(**{"seconds": 12.0, "rate": 100.0, "concurrency": 10, "out": str(tmp_path), **options})
        return run(plan, Quiet())

    return make


def lines(record: Record, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(record.run) / name).read_text().splitlines()]


def test_a_right_store_under_faults_that_bite_passes_and_leaves_its_folder(make_run: Runner, tmp_path: Path) -> None:
    cluster = FakeCluster()
    record = make_run(cluster, faults=("partition", "kill", "pause"))
    assert (record.outcome, record.explanation) == ("pass", None)
    assert cluster.closed == 1
    folder = Path(record.run)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    expected = {"run.json", "schedule.json", "history.jsonl", "faults.jsonl", "cluster.jsonl", "report.html"}
    assert expected | {"checks/register.json", "checks/append.json", "tables/operations.parquet"} <= names
    kept = json.loads((folder / "run.json").read_text())
    assert (kept["phase"], kept["outcome"], kept["seed"]) == ("reported", "pass", 1)
    assert all(floor["met"] for floor in kept["floors"])
    assert find_run(tmp_path, "latest") == folder


@pytest.mark.parametrize("lost", [False, True], ids=["pass", "violation"])
def test_the_nodes_data_are_kept_unless_the_run_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, lost: bool
) -> None:
    """DESIGN: "nodes/<n>/ stdout and event logs, data directory on failure"."""

    def opener(folder: Path, **_: Any) -> FakeCluster:
        (folder / "nodes" / "n1" / "data").mkdir(parents=True)
        fake = FakeCluster()
        fake.answers = forgetful if lost else fake.answers
        return fake

    def forgetful(request: Request, state: dict[str, Any]) -> Attempt:
        return Attempt("n1", 200, body={"value": None}) if request.f == "read" else right_answer(request, state)

    monkeypatch.setitem(run_module.OPENERS, "local", opener)
    record = run(Plan(seconds=12.0, rate=100.0, concurrency=10, out=str(tmp_path)), Quiet())
    assert record.outcome == ("violation" if lost else "pass"), record.reasons
    assert (Path(record.run) / "nodes" / "n1" / "data").exists() == lost


def test_a_plain_run_stands_in_the_list_of_all_runs(make_run: Runner, tmp_path: Path) -> None:
    """Issue 3: "results/index.html (all runs, failing first, links)"."""
    first, second = make_run(FakeCluster()), make_run(FakeCluster(), seed=2)
    page = (tmp_path / "index.html").read_text()
    for record in (first, second):
        assert f'href="runs/{Path(record.run).name}/report.html"' in page
    assert sorted(pd.read_parquet(tmp_path / "runs.parquet")["seed"]) == [1, 2]


def test_a_list_that_cannot_be_written_changes_no_outcome(make_run: Runner, tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    record = make_run(FakeCluster())
    assert record.outcome == "pass"
    assert (Path(record.run) / "report.html").is_file()


def test_what_a_run_keeps_names_no_folder_of_this_machine(
    make_run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of runs are sent to others."""
    monkeypatch.chdir(tmp_path)
    folder = Path(make_run(FakeCluster(), out="kept").run)
    assert [path for path in folder.rglob("*") if path.is_file() and str(tmp_path).encode() in path.read_bytes()] == []


def test_one_operation_is_one_invoke_and_one_completion_and_time_never_goes_back(make_run: Runner) -> None:
    events = lines(make_run(FakeCluster()), "history.jsonl")
    assert [event["i"] for event in events] == list(range(len(events)))
    assert all(one["t"] <= two["t"] for one, two in itertools.pairwise(events))
    by_op: dict[str, list[str]] = {}
    for event in events:
        by_op.setdefault(event["op"], []).append(event["type"])
    assert all(types in (["invoke", "ok"], ["invoke", "fail"]) for types in by_op.values())


def test_the_load_is_open_loop_at_the_rate_that_was_asked(make_run: Runner) -> None:
    events = lines(make_run(FakeCluster(), rate=200.0), "history.jsonl")
    invoked = [event for event in events if event["type"] == "invoke" and event["t"] < 12 * NANOSECONDS]
    assert len(invoked) == pytest.approx(12 * 200, rel=0.1)


def test_the_same_seed_asks_the_same_of_the_same_cluster(make_run: Runner) -> None:
    first, second, other = (lines(make_run(FakeCluster(), seed=seed), "history.jsonl") for seed in (5, 5, 6))
    assert first == second
    assert first != other


@pytest.mark.parametrize("families", [("partition", "kill"), ("pause",), ("delay",)])
def test_a_nemesis_that_does_nothing_earns_no_pass(make_run: Runner, families: tuple[str, ...]) -> None:
    cluster = FakeCluster()
    cluster.bites = False
    record = make_run(cluster, faults=families)
    assert record.outcome == "inconclusive"
    assert "shown to bite" in record.reasons[0]


def test_kills_of_the_leader_that_force_no_election_earn_no_pass(make_run: Runner) -> None:
    cluster = FakeCluster()
    cluster.elects = False
    record = make_run(cluster, faults=("kill",))
    assert record.outcome == "inconclusive"
    assert any("elections after kills of the leader" in reason for reason in record.reasons)


def test_clients_that_never_get_an_ok_earn_no_pass(make_run: Runner) -> None:
    cluster = FakeCluster()
    cluster.answers = lambda _request, _state: Attempt("n1", error="timeout")
    record = make_run(cluster, recovery_seconds=1.0)
    assert record.outcome != "pass"
    assert any("register write operations answered before the faults" in reason for reason in record.reasons)
    processes = [event["process"] for event in lines(record, "history.jsonl") if event["type"] == "info"]
    assert len(processes) == len(set(processes))
    assert processes


def test_a_lost_write_is_a_violation_with_a_sentence_and_a_counterexample(make_run: Runner, tmp_path: Path) -> None:
    count = itertools.count()

    def forgetful(request: Request, state: dict[str, Any]) -> Attempt:
        if request.f == "append" and next(count) % 50 == 49:
            return Attempt("n1", 200, body={"index": 1})
        return right_answer(request, state)

    cluster = FakeCluster()
    cluster.answers = forgetful
    record = make_run(cluster)
    assert record.outcome == "violation"
    assert record.reasons[0].startswith("safety: append is not linearizable: ")
    assert record.explanation
    folder = find_run(tmp_path, "latest-violation")
    assert folder == Path(record.run)
    assert (folder / "counterexample" / "explain.md").exists()


GARBAGE = ("garbage", 7, {"of": "another kind"}, True)


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_answer_outside_the_model_is_a_violation_and_the_other_workload_is_judged(
    make_run: Runner, garbage: object
) -> None:
    """It used to end the run as a mistake of the user's, with whatever else had been proved."""

    def absurd(request: Request, state: dict[str, Any]) -> Attempt:
        if request.f == "read" and request.key.startswith("a"):
            return Attempt("n1", 200, body={"value": garbage})
        return right_answer(request, state)

    cluster = FakeCluster()
    cluster.answers = absurd
    record = make_run(cluster)
    assert record.outcome == "violation"
    assert record.reasons[0].startswith("safety: append is not linearizable: the read of a")
    assert f"a read of a list must give a list, this is {garbage!r}" in record.reasons[0]
    folder = Path(record.run)
    verdicts = {name: json.loads((folder / "checks" / f"{name}.json").read_text()) for name in ("append", "register")}
    assert [verdict["verdict"] for verdict in verdicts.values()] == ["invalid", "valid"]
    assert (folder / "counterexample" / "explain.md").exists()


@pytest.mark.parametrize("garbage", [*GARBAGE, None, [1, "x", {}, None, [2]], [[], 1.5, -0.0], 2**70])
def test_whatever_a_store_answers_it_is_judged(make_run: Runner, garbage: object) -> None:
    cluster = FakeCluster()
    cluster.answers = lambda request, state: (
        Attempt("n1", 200, body={"value": garbage}) if request.f == "read" else right_answer(request, state)
    )
    assert make_run(cluster).outcome == "violation"


def test_answers_without_what_they_must_tell_end_no_run(make_run: Runner) -> None:
    def mute(request: Request, state: dict[str, Any]) -> Attempt:
        return msgspec.structs.replace(right_answer(request, state), body={})

    cluster = FakeCluster()
    cluster.answers = mute
    record = make_run(cluster, recovery_seconds=1.0)
    assert record.outcome != "pass"
    assert lines(record, "history.jsonl")[-1]["t"] >= 12 * NANOSECONDS
    assert any("register read operations answered before the faults" in reason for reason in record.reasons)


def test_a_check_that_breaks_hides_no_violation_of_another_workload(
    make_run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_module.check

    def breaks(history: History, model: Model, budget: Budget) -> Verdict:
        if model.name == "cas-register":
            raise ZeroDivisionError("by chance")
        return whole(history, model, budget)

    monkeypatch.setattr(run_module, "check", breaks)
    record = make_run(FakeCluster())
    assert record.outcome == "infrastructure"
    assert record.reasons[0].startswith("register was not judged: a mistake of our own ended the check: ZeroDivision")
    cluster = FakeCluster()
    cluster.answers = lambda request, state: (
        Attempt("n1", 404, "key-not-found") if request.f == "read" else right_answer(request, state)
    )
    record = make_run(cluster)
    assert record.outcome == "violation"
    assert record.reasons[0].startswith("safety: append is not linearizable")


def test_a_mistake_of_our_own_in_the_midst_of_a_run_hides_no_violation(make_run: Runner) -> None:
    class Breaking(FakeCluster):
        def poll(self, until: int) -> list[Any]:
            if self.now() > 4 * NANOSECONDS:
                raise ZeroDivisionError("by chance")
            return super().poll(until)

    assert make_run(Breaking()).outcome == "infrastructure"
    cluster = Breaking()
    cluster.answers = lambda request, state: (
        Attempt("n1", 404, "key-not-found") if request.f == "read" else right_answer(request, state)
    )
    assert make_run(cluster).outcome == "violation"


def test_a_history_whose_last_line_is_torn_is_judged(make_run: Runner, tmp_path: Path) -> None:
    """So it is when the disk is full."""

    class Tearing(FakeCluster):
        def close(self) -> None:
            (history,) = tmp_path.glob("runs/*/history.jsonl")
            with history.open("a") as file:
                file.write('{"i":99')

    assert make_run(Tearing()).outcome == "pass"


def test_two_leaders_in_a_term_are_a_violation_after_what_the_clients_saw(make_run: Runner, tmp_path: Path) -> None:
    class Split(FakeCluster):
        def close(self) -> None:
            (nodes,) = tmp_path.glob("runs/*/nodes")
            for node in ("n2", "n5"):
                (nodes / node).mkdir()
                (nodes / node / "events.jsonl").write_text('{"kind":"leader-elected","term":13}\n')

    record = make_run(Split())
    assert (record.outcome, record.reasons) == ("violation", ["safety: two leaders in term 13: n2 and n5"])
    kept = json.loads((Path(record.run) / "checks" / "invariants.json").read_text())
    assert (kept["verdict"], kept["broken"]) == ("invalid", ["two leaders in term 13: n2 and n5"])
    assert "two leaders in term 13: n2 and n5" in (Path(record.run) / "report.html").read_text()
    shutil.rmtree(record.run)
    cluster = Split()
    cluster.answers = lambda request, state: (
        Attempt("n1", 404, "key-not-found") if request.f == "read" else right_answer(request, state)
    )
    reasons = make_run(cluster).reasons
    assert [reason.partition(":")[2][:10] for reason in reasons[:3]] == [" register ", " append is", " two leade"]


def test_a_node_that_dies_by_itself_ends_the_run_with_its_last_lines(make_run: Runner) -> None:
    cluster = FakeCluster()
    cluster.dies_at = 3 * NANOSECONDS
    record = make_run(cluster)
    assert record.outcome == "infrastructure"
    assert record.reasons[0] == "n2 died without having been killed (exit 3); its last lines: out of paper"
    assert lines(record, "history.jsonl")[-1]["t"] < 4 * NANOSECONDS


def test_ctrl_c_heals_stops_and_judges_what_there_is(make_run: Runner) -> None:
    cluster = FakeCluster()
    cluster.interrupt_at = 4 * NANOSECONDS
    record = make_run(cluster)
    assert cluster.closed == 1
    assert record.outcome == "inconclusive"
    assert record.reasons[0] == "interrupted before the end"
    assert record.operations["ok"] > 100


def test_ctrl_c_does_not_hide_a_violation(make_run: Runner) -> None:
    cluster = FakeCluster()
    cluster.interrupt_at = 4 * NANOSECONDS
    cluster.answers = lambda request, state: (
        Attempt("n1", 404, "key-not-found") if request.f == "read" else right_answer(request, state)
    )
    assert make_run(cluster).outcome == "violation"


@pytest.mark.parametrize("where", ["cluster.close", "check", "write_tables"])
def test_ctrl_c_later_on_stops_what_is_left_and_keeps_what_there_is(
    make_run: Runner, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Taking down ends first, however often somebody asks for haste; a checker or a report is given up."""
    cluster = FakeCluster()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*((cluster, "close") if where == "cluster.close" else (run_module, where)), interrupted)
    record = make_run(cluster)
    assert record.outcome == "inconclusive"
    assert "interrupted before the end" in record.reasons
    kept = json.loads((Path(record.run) / "run.json").read_text())
    assert kept["phase"] == ("checked" if where == "write_tables" else "reported")
    if where == "check":
        assert json.loads((Path(record.run) / "checks" / "append.json").read_text())["verdict"] == "unknown"


def test_ctrl_c_while_the_report_is_drawn_does_not_hide_a_violation(
    make_run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    cluster = FakeCluster()
    cluster.answers = lambda request, state: (
        Attempt("n1", 404, "key-not-found") if request.f == "read" else right_answer(request, state)
    )
    monkeypatch.setattr(run_module, "write_tables", interrupted)
    assert make_run(cluster).outcome == "violation"


def test_what_cannot_be_taken_down_is_told_and_what_was_seen_is_judged(make_run: Runner) -> None:
    class Stuck(FakeCluster):
        def close(self) -> None:
            raise ClusterError("the run's network could not be removed: in use")

    record = make_run(Stuck())
    assert (record.outcome, record.reasons[0]) == (
        "infrastructure",
        "the run's network could not be removed: in use",
    )
    assert record.operations["ok"] > 100


def test_a_disk_that_fills_up_is_infrastructure(make_run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    class Filling(FakeCluster):
        def poll(self, until: int) -> list[Any]:
            if self.now() > 4 * NANOSECONDS:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().poll(until)

    record = make_run(Filling())
    assert record.outcome == "infrastructure"
    assert "No space left on device" in record.reasons[0]


def test_a_cluster_that_does_not_start_is_infrastructure_and_keeps_its_reason(
    make_run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> FakeCluster:
        raise ClusterError("no free port between 1 and 2")

    cluster = FakeCluster()
    make_run(cluster)
    monkeypatch.setitem(run_module.OPENERS, "docker", broken)
    record = make_run(cluster, cluster="docker")
    assert (record.outcome, record.reasons[0]) == ("infrastructure", "no free port between 1 and 2")


def test_a_fault_that_the_machine_cannot_do_is_said_before_the_run(make_run: Runner) -> None:
    cluster = FakeCluster()
    cluster.refuses = {"pause": "Operation not permitted"}
    record = make_run(cluster, faults=("partition", "pause"))
    assert record.outcome == "infrastructure"
    assert "cannot do pause faults on local: Operation not permitted" in record.reasons[0]
    assert record.operations["ok"] == 0


def test_final_reads_ask_for_every_key_at_every_node(make_run: Runner) -> None:
    asked: list[tuple[str, str]] = []

    def noting(request: Request, state: dict[str, Any]) -> Attempt:
        if request.prefer:
            asked.append((request.prefer, request.key))
        return right_answer(request, state)

    cluster = FakeCluster()
    cluster.answers = noting
    events = lines(make_run(cluster), "history.jsonl")
    keys = {event["key"] for event in events}
    assert set(asked) >= {(node, key) for node in cluster.node_ids for key in keys}


def test_unanswered_final_reads_are_asked_again_until_recovery_is_over(make_run: Runner) -> None:
    silent_until = 14 * NANOSECONDS
    cluster = FakeCluster()

    def late(request: Request, state: dict[str, Any]) -> Attempt:
        if cluster.now() > 12 * NANOSECONDS + 100 * MILLISECOND and cluster.now() < silent_until:
            return Attempt("n1", 503, "no-leader", definite=True)
        return right_answer(request, state)

    cluster.answers = late
    assert make_run(cluster).outcome == "pass"


def test_a_node_that_serves_nobody_once_all_has_healed_is_named(make_run: Runner) -> None:
    """Its clients go on to the next node, and that one's answers used to count as its own."""
    cluster = FakeCluster()

    def without_n4(request: Request, state: dict[str, Any]) -> Attempt:
        answer = right_answer(request, state)
        return msgspec.structs.replace(answer, node="n5") if request.prefer == "n4" else answer

    cluster.answers = without_n4
    record = make_run(cluster, recovery_seconds=1.0)
    assert record.outcome == "violation"
    assert record.reasons[0] == (
        "liveness: after all faults had healed, n4 answered no read of register and n4 answered no read of append,"
        " though this machine itself did not stall"
    )
    last = json.loads((Path(record.run) / "run.json").read_text())["floors"][-1]
    assert (last["name"], last["met"]) == ("final reads at every node", False)


def test_a_node_that_serves_late_is_asked_again_until_it_does(make_run: Runner) -> None:
    cluster = FakeCluster()

    def late_n4(request: Request, state: dict[str, Any]) -> Attempt:
        answer = right_answer(request, state)
        late = request.prefer == "n4" and cluster.now() < 13 * NANOSECONDS
        return msgspec.structs.replace(answer, node="n5") if late else answer

    cluster.answers = late_n4
    assert make_run(cluster).outcome == "pass"


def test_results_that_cannot_be_written_are_said_before_anything_starts(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot write results to .*choose another place with --out"):
        run(Plan(out=str(blocked)), Quiet())


def test_what_happened_before_the_start_has_a_time_below_zero(make_run: Runner) -> None:
    """Else the first leader would seem to be elected in the middle of the run, perhaps after it was killed."""
    cluster = FakeCluster()
    cluster._clock = 3 * NANOSECONDS
    elected = [line for line in lines(make_run(cluster), "cluster.jsonl") if line["kind"] == "leader-elected"]
    assert elected[0]["t"] == -3 * NANOSECONDS
    assert all(line["t"] > 0 for line in elected[1:])


class Watching:
    """Stands for the processes that check a run while it goes on: after so many looks they have proved a violation."""

    def __init__(self, looks: int) -> None:
        self.looks, self.closed = looks, 0

    def proved(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def close(self) -> list[str]:
        self.closed += 1
        return []


@pytest.mark.parametrize("lost, outcome", [(True, "violation"), (False, "infrastructure")])
def test_a_run_stops_at_the_first_violation_and_the_check_of_the_whole_is_what_counts(
    make_run: Runner, monkeypatch: pytest.MonkeyPatch, *, lost: bool, outcome: str
) -> None:
    """Issue: "the run can stop at the first violation"; it heals, and checks what there is."""
    watching = Watching(looks=700)
    monkeypatch.setattr(run_module, "Onlookers", lambda *_: watching)

    def forgetful(request: Request, state: dict[str, Any]) -> Attempt:
        return Attempt("n1", 200, body={"value": None}) if request.f == "read" else right_answer(request, state)

    cluster = FakeCluster()
    cluster.answers = forgetful if lost else cluster.answers
    record = make_run(cluster, stop_at_violation=True, faults=("partition",), seconds=60.0)
    assert record.outcome == outcome
    assert "stopped before the end, at the first violation" in record.reasons
    assert ("what stopped the run as a violation is none to the check of the whole" in record.reasons) != lost
    assert (watching.closed, cluster.closed) == (1, 1)
    assert lines(record, "history.jsonl")[-1]["t"] < 30 * NANOSECONDS
    steps = [step["phase"] for step in lines(record, "faults.jsonl")]
    assert steps.count("installed") == steps.count("heal-shown")
    assert "--stop-at-violation" in record.command


@pytest.mark.parametrize("name", ["checks/", "run.json"])
@pytest.mark.parametrize("lost, outcome", [(True, "violation"), (False, "infrastructure")])
def test_a_verdict_that_cannot_be_written_is_told_all_the_same(
    make_run: Runner, monkeypatch: pytest.MonkeyPatch, *, name: str, lost: bool, outcome: str
) -> None:
    """Nothing that fails later can turn a violation into something else."""
    write = RunFolder.write

    def full(folder: RunFolder, place: str, value: Any) -> None:
        if place.startswith(name) and (name != "run.json" or value["phase"] == "checked"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(folder, place, value)

    def forgetful(request: Request, state: dict[str, Any]) -> Attempt:
        return Attempt("n1", 200, body={"value": None}) if request.f == "read" else right_answer(request, state)

    monkeypatch.setattr(RunFolder, "write", full)
    cluster = FakeCluster()
    cluster.answers = forgetful if lost else cluster.answers
    record = make_run(cluster)
    assert record.outcome == outcome
    assert bool(record.explanation) == lost
    assert any("could not be written: [Errno 28] No space left on device" in reason for reason in record.reasons)
