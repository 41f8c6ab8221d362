"""The loop of a run: operations out at their times, faults at theirs, and everything that comes back recorded.

Phases: calibrate (load, no faults), faults, heal, final reads of every key at every node. It knows time only as the
cluster's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from checker import HistoryWriter
from harness.clusters.cluster import NANOSECONDS, Cluster, ClusterError, Completion, Fault, FaultProgress, NodeEvent
from harness.evidence import Observed
from harness.nemesis import describe
from harness.plan import Plan
from harness.progress import Watcher
from harness.store import RunFolder
from harness.worker import Worker, completion_of, request_for
from workloads.catalog import WORKLOADS
from workloads.generator import Op
from workloads.mix import Mix

MILLISECOND = 1_000_000
SETTLE_SECONDS = 10.0  # how long a fresh cluster may take to elect its first leader
FINAL_ATTEMPT_MS = 1000
AGAIN = NANOSECONDS // 10  # before final reads are asked once more
SAMPLE = NANOSECONDS // 2


@dataclass
class Loop:
    """The state of a run under way; the functions below are its behaviour."""

    plan: Plan
    cluster: Cluster
    folder: RunFolder
    observed: Observed
    progress: Watcher
    history: HistoryWriter
    workers: list[Worker]
    free: list[int]  # numbers of idle workers
    generator: Mix
    arrivals: Random
    patience: (
        Random  # of clients: those that a cut has brought into step would all give up, and ask anew, at one moment
    )
    starting: list[Fault]  # faults to come, earliest first
    proved: Callable[[], bool] = lambda: False  # whether somebody has proved a violation: there is no point in going on
    start: int = 0  # cluster time at which the run began; everything recorded counts from here
    ending: list[Fault] = field(default_factory=list)  # faults under way, earliest end first
    healing: set[str] = field(default_factory=set)  # faults whose heal has not been shown yet
    leaders: dict[int, str] = field(default_factory=dict)  # term -> leader, as the nodes said
    final_reads: set[tuple[str, str, str]] | None = None  # (workload, key, node that answered), once they are under way
    sampled: dict[str, dict[str, Any]] = field(default_factory=dict)  # node -> its last commit, not yet written
    next_sample: int = 0
    told: int = -1


def new_loop(plan: Plan, cluster: Cluster, folder: RunFolder, observed: Observed, progress: Watcher) -> Loop:
    """A run that has not begun."""
    return Loop(
        plan=plan,
        cluster=cluster,
        folder=folder,
        observed=observed,
        progress=progress,
        history=HistoryWriter(str(folder.path / "history.jsonl")),
        workers=[Worker(number, plan.concurrency) for number in range(plan.concurrency)],
        free=list(range(plan.concurrency)),
        generator=Mix([WORKLOADS[name] for name in plan.workloads], plan.seed),
        arrivals=Random(f"{plan.seed}/arrivals"),  # noqa: S311 - a load, not a secret
        patience=Random(f"{plan.seed}/patience"),  # noqa: S311 - as arrivals
        starting=list(observed.schedule),
    )


def now(loop: Loop) -> int:
    return loop.cluster.now() - loop.start


def died(loop: Loop) -> bool:
    """Whether a node died by itself; there is no point in going on."""
    return bool(loop.observed.exits or loop.observed.assertions)


def drive(loop: Loop) -> None:
    """The whole run. Raises ClusterError when the cluster does not come up."""
    try:
        early = _await_leader(loop)
        loop.start = loop.cluster.now()
        # What happened before the start is told by times below zero: only now is it known how far below.
        for event in early:
            _node(loop, event)
        _load(loop, loop.plan.end)
        _heal(loop)
        if loop.observed.stopped:
            return
        _final_reads(loop)
        loop.observed.ended = True
    finally:
        loop.history.close()


def _await_leader(loop: Loop) -> list[NodeEvent]:
    """Waits for the first leader; returns what the nodes told until then."""
    loop.progress.say("waiting for the first leader")
    deadline = loop.cluster.now() + round(SETTLE_SECONDS * NANOSECONDS)
    early: list[NodeEvent] = []
    while not any(event.kind == "leader-elected" for event in early):
        if loop.cluster.now() > deadline:
            for event in early:
                _node(loop, event)  # a node that died before there was a leader is a reason of its own
            raise ClusterError(
                f"no leader was elected within {SETTLE_SECONDS:g} s of the start; see nodes/*/stderr.log"
            )
        early += [report for report in loop.cluster.poll(deadline + 1) if isinstance(report, NodeEvent)]
    return early


def _load(loop: Loop, end: int) -> None:
    next_arrival = 0
    while now(loop) < end and not died(loop):
        if loop.proved():
            loop.observed.stopped = True
            loop.progress.say("a violation is proved: healing and checking what there is")
            return
        at = now(loop)
        _faults(loop, at)
        while loop.free and next_arrival <= at:
            op = loop.generator.next_op(at, len(loop.free))
            if op is None:
                next_arrival = at + MILLISECOND
                break
            _invoke(loop, op, "", *_timeouts(loop))
            # Arrivals that found no free worker are not made up for later, but for the last tenth of a second.
            next_arrival = _after(loop, max(next_arrival, at - NANOSECONDS // 10))
        due = [end, *(fault.at for fault in loop.starting[:1]), *(fault.until for fault in loop.ending[:1])]
        if loop.free:
            due.append(next_arrival)
        _tell(loop, at)
        _poll(loop, loop.start + min(due))


def _timeouts(loop: Loop) -> tuple[int, int]:
    """How long one client waits in all, and for one attempt, in milliseconds."""
    plan, draw = loop.plan, loop.patience.uniform
    return round(plan.operation_timeout_ms * draw(0.7, 1.3)), round(plan.attempt_timeout_ms * draw(0.5, 1.5))


def _after(loop: Loop, arrival: int) -> int:
    """The next arrival of the open loop, staggered evenly about the rate; in the closed loop: at once."""
    if not loop.plan.rate:
        return arrival
    return arrival + round(loop.arrivals.uniform(0, 2) / loop.plan.rate * NANOSECONDS)


def _faults(loop: Loop, at: int) -> None:
    while loop.starting and loop.starting[0].at <= at:
        fault = loop.starting.pop(0)
        loop.ending = sorted([*loop.ending, fault], key=lambda each: (each.until, each.id))
        loop.healing.add(fault.id)
        loop.cluster.inject(fault)
    while loop.ending and loop.ending[0].until <= at:
        loop.cluster.heal(loop.ending.pop(0).id)


def _heal(loop: Loop) -> None:
    """Ends what is still under way and waits until every heal was shown (or the time for recovery is over)."""
    for fault in loop.ending:
        loop.cluster.heal(fault.id)
    loop.ending.clear()
    deadline = loop.cluster.now() + round(loop.plan.recovery_seconds * NANOSECONDS)
    while (loop.healing or len(loop.free) < len(loop.workers)) and loop.cluster.now() < deadline:
        _poll(loop, deadline)


def _final_reads(loop: Loop) -> None:
    """Reads every key at every node, again where nobody answered, until the time for recovery is over."""
    reads = loop.generator.final_ops()
    wanted = [(op, node) for node in loop.plan.node_ids for op in reads]
    loop.final_reads = set()
    loop.observed.final_asked = len(reads)
    loop.progress.say(f"healed; reading {len(reads)} keys at every node")
    deadline = loop.cluster.now() + round(loop.plan.recovery_seconds * NANOSECONDS)
    while loop.cluster.now() < deadline and not died(loop):
        while wanted and loop.free:
            op, node = wanted.pop(0)
            _invoke(loop, op, node, loop.plan.operation_timeout_ms * 4, FINAL_ATTEMPT_MS)
        until = deadline
        if not wanted and len(loop.free) == len(loop.workers):
            wanted = _still_wanted(loop, reads)
            if not wanted:
                break
            until = min(deadline, loop.cluster.now() + AGAIN)  # nothing is under way whose end could be waited for
        _poll(loop, until)
    missing = _still_wanted(loop, reads)
    loop.observed.final_missing = [op.key for op, node in missing if not node]
    loop.observed.final_silent = [(op.workload, node) for op, node in missing if node]


def _still_wanted(loop: Loop, reads: list[Op]) -> list[tuple[Op, str]]:
    """Keys that nobody answered for, from whomever (""), and one key of each workload that a node answered for none of."""
    answered = {key for _, key, _ in loop.final_reads or ()}
    serving = {(workload, node) for workload, _, node in loop.final_reads or ()}
    one_each = {op.workload: op for op in reads}.values()
    return [(op, "") for op in reads if op.key not in answered] + [
        (op, node) for op in one_each for node in loop.plan.node_ids if (op.workload, node) not in serving
    ]


def _invoke(loop: Loop, op: Op, prefer: str, deadline_ms: int, attempt_ms: int) -> None:
    worker = loop.workers[loop.free.pop(0)]
    asked = worker.begin(op)
    # The invoke is stamped and flushed before the request leaves: wide intervals are safe, narrow ones are not.
    _record(loop, worker, asked, {})
    loop.cluster.submit(request_for(worker, prefer, deadline_ms * MILLISECOND, attempt_ms * MILLISECOND))


def _record(loop: Loop, worker: Worker, op: Op, more: dict[str, Any]) -> None:
    loop.history.append(
        {
            "t": now(loop),
            "type": op.type,
            "process": op.process,
            "worker": worker.number,
            "workload": op.workload,
            "f": op.f,
            "key": op.key,
            "value": op.value,
            "op": worker.op_id,
            **more,
        }
    )


def _poll(loop: Loop, until: int) -> None:
    for report in loop.cluster.poll(until):
        match report:
            case Completion():
                _completed(loop, report)
            case FaultProgress():
                _progressed(loop, report)
            case NodeEvent():
                _node(loop, report)
    loop.observed.worst_stall = max(loop.observed.worst_stall, loop.cluster.now() - until)


def _completed(loop: Loop, completion: Completion) -> None:
    worker = loop.workers[completion.worker]
    if worker.asked is None or completion.op != worker.op_id:
        raise AssertionError(f"worker {worker.number} has {worker.op_id} open, the cluster completed {completion.op}")
    op, error = completion_of(worker.asked, completion)
    more: dict[str, Any] = {"node": completion.attempts[-1].node if completion.attempts else ""}
    if error:
        more["error"] = error
    if error or len(completion.attempts) > 1:
        more["attempts"] = [{"node": each.node, "error": each.error} for each in completion.attempts]
    _record(loop, worker, op, more)
    loop.generator.observe(op)
    loop.observed.completions.append((now(loop), op.workload, op.f, op.type))
    if loop.final_reads is not None and op.type == "ok" and op.f == "read":
        loop.final_reads.add((op.workload, op.key, more["node"]))
    worker.end(op)
    loop.free.append(worker.number)


def _progressed(loop: Loop, step: FaultProgress) -> None:
    step = msgspec.structs.replace(step, at=step.at - loop.start)
    loop.observed.progress.append(step)
    fault = next(each for each in loop.observed.schedule if each.id == step.fault)
    loop.folder.append(
        "faults.jsonl",
        {
            "fault": fault.id,
            "family": fault.family,
            "kind": fault.kind,
            "says": describe(fault),
            "phase": step.phase,
            "t": step.at,
            "resolved": step.resolved,
            "evidence": step.evidence,
        },
    )
    if step.phase in {"heal-shown", "heal-failed", "heal-not-shown", "refused", "failed"}:
        loop.healing.discard(step.fault)


def _node(loop: Loop, event: NodeEvent) -> None:
    at = event.at - loop.start
    match event.kind:
        case "leader-elected":
            term = int(event.fields["term"])
            loop.leaders[term] = event.node
            loop.observed.elections.append((at, event.node, term))
        case "process-exited":
            _exited(loop, event)
        case "committed":
            _sample(loop, event, at)
            return
        case "appended" | "cut" | "vote-granted":
            return  # kept in nodes/<n>/events.jsonl; too many for the run's own timeline
    loop.folder.append("cluster.jsonl", {"t": at, "node": event.node, "kind": event.kind, **event.fields})


def _sample(loop: Loop, event: NodeEvent, at: int) -> None:
    """Commit indexes come many times a second: the timeline keeps one of each node every half second."""
    loop.sampled[event.node] = {"t": at, "node": event.node, **event.fields, "kind": "committed"}
    if at >= loop.next_sample:
        for line in loop.sampled.values():
            loop.folder.append("cluster.jsonl", line)
        loop.sampled.clear()
        loop.next_sample = at + SAMPLE


def _exited(loop: Loop, event: NodeEvent) -> None:
    lines = event.fields.get("last_lines", [])
    sentence = f"{event.node} died without having been killed (exit {event.fields.get('code')})"
    sentence += f"; its last lines: {' / '.join(lines[-3:])}" if lines else ""
    failed = any("assertion failed" in line for line in lines)
    (loop.observed.assertions if failed else loop.observed.exits).append(sentence)


def _tell(loop: Loop, at: int) -> None:
    """Tells the watcher about four times a second."""
    quarter = at * 4 // NANOSECONDS
    if quarter == loop.told:
        return
    loop.told = quarter
    term = max(loop.leaders, default=0)
    under_way = ", ".join(describe(fault) for fault in loop.ending) or "no fault"
    done = len(loop.observed.completions)
    state = f"{done} operations, leader {loop.leaders.get(term, '?')} in term {term}, {under_way}"
    loop.progress.clock(at / NANOSECONDS, loop.plan.seconds, state)
