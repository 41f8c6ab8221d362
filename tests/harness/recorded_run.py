"""Makes the folder of a run as a real one leaves it behind, in virtual time: for tests of tables, report and index.

A leader, its followers, a partition and a kill of the leader; clients that wait, fail and do not know; and, where it is
asked for, one stale read whose evidence is written as the checker writes it.
"""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from checker import Budget, History, check, make_model

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
NODES = ("n1", "n2", "n3", "n4", "n5")
HOST_OFFSET = 812 * SECOND  # nodes stamp their events with the host's clock, the run counts from its own start

# (id, family, kind, what it became, from, until, new leader and when it was elected)
FAULTS = (
    ("partition-1", "partition", "isolate-leader", "n3", 4.0, 6.5, ("n5", 4.6)),
    ("kill-1", "kill", "kill", "n5", 8.0, 8.9, ("n2", 8.5)),
    ("partition-2", "partition", "halves", "n1", 9.4, 11.2, None),
)


@dataclass
class Recorder:
    """What has been recorded so far; events carry their time and are numbered in its order when written."""

    events: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    value: int = 0
    count: int = 0

    def add(self, at: int, event: dict[str, Any]) -> None:
        self.count += 1
        self.events.append((at, self.count, event))


def leader_at(seconds: float) -> tuple[str, int]:
    leader, term = "n3", 1
    for _, _, _, _, _, _, change in FAULTS:
        if change and seconds >= change[1]:
            leader, term = change[0], term + 1
    return leader, term


def leaderless(seconds: float) -> bool:
    return any(change and start <= seconds < change[1] for *_, start, _, change in FAULTS)


def write_run(
    folder: Path,
    *,
    violation: bool = False,
    seconds: float = 14.0,
    rate: float = 300.0,
    concurrency: int = 20,
    seed: int = 7,
    outcome: str | None = None,
) -> Path:
    """Writes a whole run folder (without tables and report) and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    recorder = Recorder()
    _load(recorder, Random(seed), seconds, rate, concurrency)
    if violation:
        _stale_read(recorder, concurrency)
    events = [
        {"i": number, "t": at, **event}
        for number, (at, _, event) in enumerate(sorted(recorder.events, key=lambda e: e[:2]))
    ]
    _lines(folder / "history.jsonl", events)
    _lines(folder / "faults.jsonl", _faults())
    _lines(folder / "cluster.jsonl", _cluster())
    _nodes(folder)
    (folder / "checks").mkdir(exist_ok=True)
    verdicts = _verdicts(events)
    for name, verdict in verdicts.items():
        _json(folder / "checks" / f"{name}.json", verdict)
    _json(folder / "schedule.json", [])
    outcome = outcome or ("violation" if violation else "pass")
    _json(folder / "run.json", _run(folder, events, outcome, verdicts, seconds, rate, concurrency, seed))
    return folder


def _load(recorder: Recorder, draw: Random, seconds: float, rate: float, concurrency: int) -> None:
    free = [(0.0, worker, worker) for worker in range(concurrency)]
    heapq.heapify(free)
    at = 0.0
    counts = dict.fromkeys(range(concurrency), 0)
    while at < seconds:
        at += draw.uniform(0, 2) / rate
        since, worker, process = heapq.heappop(free)
        start = max(at, since)
        counts[worker] += 1
        end, type_ = _operation(recorder, draw, start, worker, process, f"c{worker}-{counts[worker]}")
        heapq.heappush(free, (end, worker, process + concurrency if type_ == "info" else process))


def _operation(recorder: Recorder, draw: Random, start: float, worker: int, process: int, op: str) -> tuple[float, str]:
    f, workload, key, value = _asked(recorder, draw, start)
    asked = {"process": process, "worker": worker, "workload": workload, "f": f, "key": key, "value": value, "op": op}
    recorder.add(round(start * SECOND), {"type": "invoke", **asked})
    leader, _ = leader_at(start)
    fast = start + draw.expovariate(1 / 0.004) + 0.0015
    end, type_, more = fast, "ok", {"node": leader}
    if leaderless(start) and f != "read":
        end, type_ = start + 0.4 + draw.random() * 0.2, "info"
        more = {"node": leader, "error": ["timeout", f"{leader}: no answer in 400 ms"]}
        more["attempts"] = [{"node": leader, "error": "timeout"}, {"node": NODES[worker % 5], "error": "no-leader"}]
    elif leaderless(start):
        end, type_ = start + 0.1 + draw.random() * 0.2, "fail"
        more = {"node": NODES[worker % 5], "error": ["no-leader", f"{NODES[worker % 5]} answered 503 no-leader"]}
        more["attempts"] = [{"node": NODES[worker % 5], "error": "no-leader"}]
    elif draw.random() < 0.01:
        end = fast + 0.05
        more["attempts"] = [{"node": NODES[worker % 5], "error": "not-leader"}, {"node": leader, "error": ""}]
    if type_ == "ok":
        type_, value, error = _answered(recorder, f, key, value)
        if error:
            more["error"] = error
    done = {**asked, "type": type_, "value": value, **more}
    recorder.add(round(end * SECOND), done)
    return end, type_


def _asked(recorder: Recorder, draw: Random, start: float) -> tuple[str, str, str, Any]:
    generation = int(start // 3)
    if draw.random() < 0.5:
        key = f"a{generation * 4 + draw.randrange(4)}"
        if draw.random() < 0.5:
            return "read", "append", key, None
        recorder.value += 1
        return "append", "append", key, recorder.value
    key = f"r{generation * 5 + draw.randrange(5)}"
    kind = draw.random()
    if kind < 0.45:
        return "read", "register", key, None
    recorder.value += 1
    if kind < 0.75 or key not in recorder.state:
        return "write", "register", key, recorder.value
    return "cas", "register", key, [recorder.state[key], recorder.value]


def _answered(recorder: Recorder, f: str, key: str, value: Any) -> tuple[str, Any, list[Any] | None]:
    state = recorder.state
    match f:
        case "read":
            held = state.get(key)
            return "ok", list(held) if isinstance(held, list) else held, None
        case "append":
            state.setdefault(key, []).append(value)
        case "write":
            state[key] = value
        case _ if state.get(key) != value[0]:
            return "fail", value, ["cas-mismatch", state.get(key)]
        case _:
            state[key] = value[1]
    return "ok", value, None


def _stale_read(recorder: Recorder, concurrency: int) -> None:
    """Adds: write 9001 ok, write 9002 ok, then the deposed leader n3, alone behind a cut, still answers 9001."""
    steps = (
        (4.91, 4.918, 1, "write", 9001, 9001, "n5"),
        (4.97, 4.981, 2, "write", 9002, 9002, "n5"),
        (4.975, 5.31, 3, "cas", [9001, 9003], None, "n4"),
        (5.04, 5.045, 4, "read", None, 9002, "n5"),
        (5.12, 5.1234, 5, "read", None, 9001, "n3"),
    )
    for start, end, number, f, asked, answered, node in steps:
        process = 900 * concurrency + number
        common = {
            "process": process,
            "worker": number,
            "workload": "register",
            "f": f,
            "key": "r77",
            "op": f"x-{number}",
        }
        recorder.add(round(start * SECOND), {"type": "invoke", **common, "value": asked})
        done: dict[str, Any] = {"type": "ok", **common, "value": answered, "node": node}
        if answered is None:
            done |= {"type": "info", "value": asked, "error": ["timeout", f"{node}: no answer in 335 ms"]}
            done["attempts"] = [{"node": node, "error": "timeout"}]
        recorder.add(round(end * SECOND), done)


def _faults() -> list[dict[str, Any]]:
    lines = []
    for name, family, kind, node, start, end, _ in FAULTS:
        others = [other for other in NODES if other != node]
        if family == "kill":
            resolved: dict[str, Any] = {"nodes": [node], "leader": node}
            bitten = {"pid": {node: {"before": 4211, "after": None}}, "port": f"{node}: connection refused"}
            healed = {"pid": {node: {"before": None, "after": 4377}}, "ready": f"{node} answered after 212 ms"}
        else:
            resolved = {"edges": [[a, b] for a in [node] for b in others] + [[b, a] for a in [node] for b in others]}
            bitten = {"probe": "12 of 12 probes over cut links were dropped, 8 of 8 over open links passed"}
            healed = {"probe": "20 of 20 probes passed"}
        says = kind if family == "partition" else "kill leader"
        common = {"fault": name, "family": family, "kind": kind, "says": says}
        for phase, at, evidence in (
            ("requested", start, {}),
            ("installed", start + 0.004, {"seconds": 0.004}),
            ("bitten", start + 0.031, bitten),
            ("healed", end, {}),
            ("heal-shown", end + 0.12, healed),
        ):
            line = {**common, "phase": phase, "t": round(at * SECOND)}
            lines.append({**line, "resolved": resolved if phase == "requested" else {}, "evidence": evidence})
    return sorted(lines, key=lambda line: line["t"])


def _cluster() -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []

    def add(seconds: float, node: str, kind: str, **more: Any) -> None:
        lines.append({"t": round(seconds * SECOND), "node": node, "kind": kind, **more})

    for node in NODES:
        add(-0.8, node, "ready", pid=4200 + int(node[1]))
        add(-0.8, node, "started", term=0, vote=None, last=0, commit=0)
    add(-0.35, "n3", "leader-elected", term=1, index=1)
    add(-0.35, "n3", "role", role="leader", term=1, leader="n3")
    add(4.35, "n5", "role", role="candidate", term=2, leader=None)
    add(4.6, "n5", "leader-elected", term=2, index=812)
    add(4.6, "n5", "role", role="leader", term=2, leader="n5")
    add(6.55, "n3", "role", role="follower", term=2, leader="n5")
    add(8.5, "n2", "leader-elected", term=3, index=1300)
    add(8.5, "n2", "role", role="leader", term=3, leader="n2")
    add(8.92, "n5", "ready", pid=4377)
    add(8.92, "n5", "started", term=2, vote="n5", last=1299, commit=1290)
    for half_second in range(28):
        leader, term = leader_at(half_second / 2)
        add(half_second / 2, leader, "committed", index=half_second * 90, term=term, digest="00")
    return sorted(lines, key=lambda line: line["t"])


def _nodes(folder: Path) -> None:
    for node in NODES:
        place = folder / "nodes" / node
        place.mkdir(parents=True, exist_ok=True)
        events = [
            {"v": 1, "t": line["t"] + HOST_OFFSET, **{k: v for k, v in line.items() if k != "t"}}
            for line in _cluster()
            if line["node"] == node
        ]
        if node == "n3":
            for step in range(40):
                at = round((4.2 + step * 0.05) * SECOND)
                events.append(
                    {
                        "v": 1,
                        "t": at + HOST_OFFSET,
                        "node": node,
                        "kind": "appended",
                        "first": 800 + step,
                        "last": 800 + step,
                        "term": 1,
                        "digest": "5e1c",
                    }
                )
        _lines(place / "events.jsonl", sorted(events, key=lambda event: event["t"]))
        (place / "stderr.log").write_text(f"{node} listens\n{node} <script>alert('a log line is no markup')</script>\n")


def _verdicts(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the checker says about it."""
    found = {}
    for name, model in (("register", "cas-register"), ("append", "append")):
        history = History.from_events(event for event in events if event["workload"] == name)
        found[name] = {"workload": name, **check(history, make_model(model), Budget(seconds=60)).as_dict()}
    return found


def _run(
    folder: Path, events: list[dict[str, Any]], outcome: str, verdicts: dict[str, Any], seconds: float, rate: float,
    concurrency: int, seed: int,
) -> dict[str, Any]:  # fmt: skip
    explanation = verdicts["register"]["explanation"] or None
    reasons = {
        "violation": [f"safety: register is not linearizable: {explanation}"],
        "inconclusive": [
            "not earned: elections after kills of the leader: asked at least 1, seen no leader was killed"
        ],
        "infrastructure": ["n2 died without having been killed (exit 3); its last lines: out of paper"],
        "pass": ["linearizable; every fault was shown to bite and to heal, and every floor was met"],
    }[outcome]
    met = outcome != "inconclusive"
    build = "bug:read-without-quorum" if outcome == "violation" else "current"
    types = [event["type"] for event in events]
    return {
        "version": 1, "argv": ["run", "--seed", str(seed)], "phase": "reported", "seed": seed,
        "command": f"./splitbrain run --build {build} --seed {seed}",
        "plan": {"cluster": "local", "nodes": 5, "workloads": ["register", "append"], "faults": ["partition", "kill"],
                 "seconds": seconds, "rate": rate, "concurrency": concurrency, "seed": seed, "build": build,
                 "operation_timeout_ms": 1000, "attempt_timeout_ms": 400, "check_seconds": 120.0},
        "build": {"name": build, "digest": "sha256:4be1f0c2", "revision": "d98e8b3", "dirty": False},
        "cluster": "local", "workload": ["register", "append"], "faults": ["partition", "kill"], "outcome": outcome,
        "reasons": reasons, "explanation": explanation, "wall_seconds": 37.2, "worst_stall_ms": 12,
        "operations": {type_: types.count(type_) for type_ in ("ok", "fail", "info")},
        "floors": [
            {"name": "register read operations answered under faults", "asked": "at least 31", "seen": "402", "met": True},
            {"name": "elections after kills of the leader", "asked": "at least 1", "seen": "1" if met else "no leader was killed", "met": met},
        ],
        "host": {"python": "3.11.7", "system": "Linux-6.1-x86_64", "machine": "x86_64"},
    }  # fmt: skip


def _lines(path: Path, values: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(value, separators=(",", ":")) + "\n" for value in values))


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1))
