"""One run, top to bottom: plan, cluster, load and faults, heal, final reads, verdict, store, report.

Data flows one way: workload -> worker -> cluster -> history -> checker -> report. The loop neither sleeps nor awaits: it
asks the cluster what happened and tells it what to do next, so that it drives real processes, containers and, later,
simulated time alike. No socket, process or HTML lives here.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from checker import Budget, History, Interrupted, Model, Op, Verdict, check, make_model
from harness.builds import Build, resolve_build
from harness.clusters.cluster import NANOSECONDS, Cluster, ClusterError
from harness.clusters.docker import open_docker
from harness.clusters.local import open_local
from harness.evidence import INTERRUPTED, Floor, Observed, floors, judge, worst
from harness.index import write_index
from harness.interrupts import held_back
from harness.invariants import look_for_broken
from harness.loop import drive, new_loop
from harness.nemesis import draw_schedule
from harness.onlookers import Onlookers
from harness.plan import Plan, checked, command_of
from harness.progress import Watcher
from harness.report import write_counterexample, write_report
from harness.store import RunFolder
from harness.tables import write_tables
from workloads.catalog import WORKLOADS

log = logging.getLogger("splitbrain")


class Record(msgspec.Struct):
    """What a run came to; `run --json` prints it. Paths are absolute."""

    outcome: str
    reasons: list[str]
    run: str
    seed: int
    build: str
    cluster: str
    workload: list[str]
    faults: list[str]
    operations: dict[str, int]
    wall_seconds: float
    explanation: str | None
    command: str


class Opener(Protocol):
    """Starts a cluster; raises ClusterError with everything cleaned up when it cannot."""

    def __call__(
        self,
        *,
        node_ids: tuple[str, ...],
        build: Build,
        folder: Path,
        seed: int,
        workers: int,
        say: Callable[[str], None],
    ) -> Cluster: ...


OPENERS: dict[str, Opener] = {"local": open_local, "docker": open_docker}


def run(plan: Plan, progress: Watcher, argv: list[str] | None = None) -> Record:
    """Makes one run and judges it; everything is kept in its folder.

    Raises:
        UsageError: the plan makes no sense, or its build does not exist.
        StoreError: results cannot be written.
        ClusterError: never; a cluster that fails makes the outcome `infrastructure`.
    """
    plan = checked(plan)
    build = resolve_build(plan.build, plan.cluster)
    schedule = draw_schedule(plan.seed, plan.faults, plan.node_ids, plan.calibration, plan.faults_end)
    observed = Observed(
        kinds=tuple((name, f) for name in plan.workloads for f in WORKLOADS[name].kinds),
        schedule=schedule,
        families=plan.faults,
        calibration_end=plan.calibration,
        faults_end=plan.faults_end,
    )
    folder = RunFolder(Path(plan.out), plan.name, f"{plan.cluster}-{plan.build}-{plan.seed}")
    progress.say(
        f"seed {plan.seed}, build {plan.build}, {plan.nodes} nodes on {plan.cluster}; results in {folder.path}"
    )
    facts = _facts(plan, build, argv)
    folder.write("schedule.json", schedule)
    folder.write("run.json", {**facts, "phase": "started"})
    _drive(plan, build, folder, observed, progress)
    folder.write("run.json", {**facts, "phase": "ran"})
    verdicts = _check(plan, folder, observed, progress)
    return _finish(plan, folder, facts, observed, verdicts, progress)


def _facts(plan: Plan, build: Build, argv: list[str] | None) -> dict[str, Any]:
    return {
        "version": 1,
        "argv": argv or [],
        "command": command_of(plan),
        "plan": plan,
        "seed": plan.seed,
        "build": build.describe(),
        "cluster": plan.cluster,
        "workload": plan.workloads,
        "faults": plan.faults,
        "host": {"python": platform.python_version(), "system": platform.platform(), "machine": platform.machine()},
    }


def _drive(plan: Plan, build: Build, folder: RunFolder, observed: Observed, progress: Watcher) -> None:
    """Runs the load and the faults; whatever goes wrong with the infrastructure ends up in `observed`."""
    cluster: Cluster | None = None
    onlookers: Onlookers | None = None
    try:
        cluster = OPENERS[plan.cluster](
            node_ids=plan.node_ids,
            build=build,
            folder=folder.path,
            seed=plan.seed,
            workers=plan.concurrency,
            say=progress.say,
        )
        refusals = [refusal for family in plan.faults if (refusal := cluster.can(family))]
        for refusal in refusals:
            observed.trouble.append(
                f"this machine cannot do {refusal.fault} faults on {plan.cluster}: {refusal.reason}"
            )
        if not refusals:
            loop = new_loop(plan, cluster, folder, observed, progress)
            if plan.stop_at_violation:
                onlookers = Onlookers(folder.path / "history.jsonl", plan.workloads)
                loop.proved = onlookers.proved
            drive(loop)
    except ClusterError as error:
        observed.trouble.append(str(error))
    except OSError as error:
        observed.trouble.append(f"the run could not go on: {error}")
    except Exception as error:  # what was recorded until now is judged all the same
        log.exception("the run was ended by a mistake of our own")
        observed.trouble.append(f"a mistake of our own ended the run: {type(error).__name__}: {error}")
    except KeyboardInterrupt:
        observed.interrupted = True
        progress.say("interrupted: healing, stopping the cluster and checking what there is")
    finally:
        if onlookers is not None:
            for name in onlookers.close():
                progress.say(f"{name} was not checked while the run went on: its onlooker ended early")
        if cluster is not None:
            _close(cluster, observed)


def _close(cluster: Cluster, observed: Observed) -> None:
    """Takes the cluster down, however often somebody asks for haste: nothing is left behind."""
    try:
        with held_back():
            cluster.close()
    except ClusterError as error:
        observed.trouble.append(str(error))
    except KeyboardInterrupt:
        observed.interrupted = True


def _check(plan: Plan, folder: RunFolder, observed: Observed, progress: Watcher) -> dict[str, Verdict]:
    """One verdict per workload, each written to checks/<workload>.json. Ctrl-C leaves the rest undecided.

    Whatever happens to one check, the others are made: what one of them proves stands.
    """
    verdicts: dict[str, Verdict] = {}
    hurried = False
    events = recorded_events(folder.path / "history.jsonl")
    budget = Budget(seconds=plan.check_seconds / len(plan.workloads))
    for name in plan.workloads:
        model = WORKLOADS[name].model
        interrupted = _undecided(model, "the checker was interrupted")
        try:
            verdicts[name] = interrupted if hurried else check_workload(name, events, budget, progress)
        except KeyboardInterrupt as cut:
            verdicts[name] = cut.verdict if isinstance(cut, Interrupted) else interrupted
            observed.interrupted = hurried = True
        except Exception as error:
            log.exception("the check of %s failed", name)
            mistake = f"a mistake of our own ended the check: {type(error).__name__}: {error}"
            verdicts[name] = _undecided(model, mistake)
            observed.trouble.append(f"{name} was not judged: {mistake}")
        _keep(folder, f"checks/{name}.json", {"workload": name, **verdicts[name].as_dict()}, observed)
    if observed.stopped and not any(verdict.verdict != "valid" for verdict in verdicts.values()):
        observed.trouble.append("what stopped the run as a violation is none to the check of the whole")
    _check_invariants(folder, observed)
    return verdicts


def _check_invariants(folder: RunFolder, observed: Observed) -> None:
    """What the nodes wrote of themselves; clients' histories are judged without it."""
    try:
        found = look_for_broken(folder.path / "nodes")
    except OSError as error:
        observed.trouble.append(f"what the nodes wrote could not be read: {error}")
        return
    observed.invariants = found.broken
    _keep(folder, "checks/invariants.json", found, observed)


def _keep(folder: RunFolder, name: str, value: Any, observed: Observed) -> None:
    """Writes a file of what was found; where that fails the finding stands all the same, and the trouble beside it."""
    try:
        folder.write(name, value)
    except OSError as error:
        observed.trouble.append(f"{name} could not be written: {error}")


def check_workload(name: str, events: list[dict[str, Any]], budget: Budget, progress: Watcher) -> Verdict:
    """The verdict on what one workload of a run was answered; `events` are those of `recorded_events`."""
    history = History.from_events([event for event in events if event.get("workload") == name])
    model = make_model(WORKLOADS[name].model)
    progress.say(f"checking {name}: {len(history)} operations against {model.name}")
    # The workload asks only what its model knows: an answer that the model cannot take is the store's.
    absurd = next((op for op in history if model.refuses(op)), None)
    return check(history, model, budget) if absurd is None else _absurd(history, model, absurd)


def _absurd(history: History, model: Model, op: Op) -> Verdict:
    """The verdict on an answer that is none of the model's: no correct machine gives it in any state."""
    shown = op.as_dict()
    where = f"{op.f} of {op.key} by process {op.process}"
    return Verdict(
        verdict="invalid",
        model=model.name,
        way="answers",
        operations=len(history),
        key=op.key,
        first_impossible=shown,
        core=[shown],
        explanation=f"the {where} was answered with what no state explains: {model.refuses(op)}",
    )


def _undecided(model: str, reason: str) -> Verdict:
    return Verdict(verdict="unknown", reason=reason, model=model)


def recorded_events(path: Path) -> list[dict[str, Any]]:
    """The recorded events; the file is absent if the cluster never came up, its last line torn if the disk was full."""
    if not path.exists():
        return []
    whole, newline, _ = path.read_bytes().rpartition(b"\n")
    return [msgspec.json.decode(line) for line in (whole + newline).splitlines() if line]


def _finish(
    plan: Plan,
    folder: RunFolder,
    facts: dict[str, Any],
    observed: Observed,
    verdicts: dict[str, Verdict],
    progress: Watcher,
) -> Record:
    met: list[Floor] = floors(observed)
    told = {name: (verdict.verdict, verdict.explanation or verdict.reason or "") for name, verdict in verdicts.items()}
    outcome, reasons = judge(observed, met, told)
    explanation = next((verdict.explanation for verdict in verdicts.values() if verdict.verdict == "invalid"), None)
    types = [type_ for _, _, _, type_ in observed.completions]
    wall = folder.age_seconds()
    record = Record(
        outcome=outcome,
        reasons=reasons,
        run=str(folder.path),
        seed=plan.seed,
        build=plan.build,
        cluster=plan.cluster,
        workload=list(plan.workloads),
        faults=list(plan.faults),
        operations={type_: types.count(type_) for type_ in ("ok", "fail", "info")},
        wall_seconds=round(wall, 3),
        explanation=explanation,
        command=command_of(plan),
    )
    result = {
        **facts,
        **msgspec.to_builtins(record),
        "build": facts["build"],
        "floors": met,
        "worst_stall_ms": observed.worst_stall * 1000 // NANOSECONDS,
    }
    del result["run"]  # where it lies is no part of a run: folders are moved and sent to others
    try:
        folder.write("run.json", {**result, "phase": "checked"})
        folder.publish(outcome)
    except OSError as error:  # what was proved stands; whoever asked for the run hears it now, since no file tells it
        record.reasons.append(f"the outcome could not be written: {error}")
        record.outcome = worst([outcome, "infrastructure"])
        return record
    if outcome == "pass":
        folder.forget_data()
    try:
        _draw(folder, result, outcome, progress)
    except KeyboardInterrupt:
        progress.say(f"interrupted: the report is not drawn; later: ./splitbrain report {folder.path}")
        # Whoever makes many runs must hear of it; what was proved stands.
        proved = outcome == "violation"
        record.outcome = outcome if proved else "inconclusive"
        record.reasons = list(dict.fromkeys([*reasons, INTERRUPTED] if proved else [INTERRUPTED, *reasons]))
    return record


def _draw(folder: RunFolder, result: dict[str, Any], outcome: str, progress: Watcher) -> None:
    """Tables, report and the list of runs. A failure of them never changes the outcome: the run's files are all there."""
    progress.say("drawing tables and report")
    try:
        write_tables(folder.path)
        if outcome == "violation":
            write_counterexample(folder.path)
        folder.write("run.json", {**result, "phase": "reported"})
        write_report(folder.path)
    except Exception:
        log.exception("the report of %s could not be drawn", folder.path)
        progress.say(f"the report could not be drawn; try again with: ./splitbrain report {folder.path}")
    try:
        write_index(folder.out)
    except Exception:
        log.exception("the list of runs below %s could not be written", folder.out)
        progress.say(f"the list of runs at {folder.out / 'index.html'} could not be written; the run itself is whole")
