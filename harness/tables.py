"""The tables of a run for pandas and spreadsheets: operations, latency, availability, summary.

| file | one row is |
|---|---|
| `history.parquet` | one event of history.jsonl; values, errors and attempts as JSON |
| `tables/operations.parquet` | one operation: process, worker, workload, f, key, value and result (JSON), type, start, end, latency (ns), node, attempts, error |
| `tables/latency.csv` | the latency of answered (ok) operations in milliseconds, per phase (before, during, after the faults) and f |
| `tables/availability.csv` | one second: completions by type per f, and the share that was ok |
| `tables/unavailability.csv` | a stretch without an answered write: the longest one, and one after each kill of a leader |
| `tables/summary.csv` | one figure of the run with its unit |

An operation belongs to the phase in which it was invoked: its latency tells what a client met who came at that time.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from harness.reading import UPDATES, Event, FaultSpan, Operation, RunFiles, elections, leader_at, outages, read_run

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}
TYPES = ("ok", "fail", "info")

OPERATION_COLUMNS = {
    "index": "int64",
    "process": "str",
    "worker": "int64",
    "workload": "str",
    "f": "str",
    "key": "str",
    "value": "str",
    "result": "str",
    "type": "str",
    "start": "int64",
    "end": "Int64",
    "latency": "Int64",
    "node": "str",
    "attempts": "int64",
    "error": "str",
}
EVENT_COLUMNS = {
    "i": "int64",
    "t": "int64",
    "type": "str",
    "process": "str",
    "worker": "int64",
    "workload": "str",
    "f": "str",
    "key": "str",
    "value": "str",
    "node": "str",
    "op": "str",
    "error": "str",
    "attempts": "str",
}


def write_tables(folder: Path) -> None:
    """Writes every table of a run folder; an empty or torn history gives tables with fewer or no rows.

    Raises:
        FileNotFoundError: the folder has no run.json.
        OSError: the tables cannot be written.
    """
    run = read_run(folder)
    place = folder / "tables"
    place.mkdir(exist_ok=True)
    table = operations_table(run.operations)
    table.to_parquet(place / "operations.parquet", index=False)
    history_table(run.events).to_parquet(folder / "history.parquet", index=False)
    latency_table(table, run).to_csv(place / "latency.csv", index=False)
    availability_table(table).to_csv(place / "availability.csv", index=False)
    gaps = unavailability_table(run)
    gaps.to_csv(place / "unavailability.csv", index=False)
    summary_table(table, gaps, run).to_csv(place / "summary.csv", index=False)


def operations_table(operations: list[Operation]) -> pd.DataFrame:
    """One row an operation, in the order of their invocations; times in nanoseconds."""
    rows = [_operation_row(operation) for operation in operations]
    return pd.DataFrame(rows, columns=list(OPERATION_COLUMNS)).astype(OPERATION_COLUMNS)


def _operation_row(operation: Operation) -> tuple[Any, ...]:
    asked, done = operation.asked, operation.done
    return (
        asked.i,
        str(asked.process),
        asked.worker,
        asked.workload,
        asked.f,
        _plain(asked.key),
        _json(asked.value),
        _json(done.value) if done and done.type == "ok" else "null",
        operation.type,
        asked.t,
        operation.end,
        None if operation.end is None else operation.end - asked.t,
        operation.node,
        operation.attempts,
        operation.error,
    )


def history_table(events: list[Event]) -> pd.DataFrame:
    """One row an event."""
    rows = [
        (
            event.i,
            event.t,
            event.type,
            str(event.process),
            event.worker,
            event.workload,
            event.f,
            _plain(event.key),
            _json(event.value),
            event.node,
            event.op,
            _json(event.error),
            _json(event.attempts),
        )
        for event in events
    ]
    return pd.DataFrame(rows, columns=list(EVENT_COLUMNS)).astype(EVENT_COLUMNS)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _plain(key: Any) -> str:
    return key if isinstance(key, str) else _json(key)


def latency_table(table: pd.DataFrame, run: RunFiles) -> pd.DataFrame:
    """Quantiles of the latency of ok operations per phase and f; `all` stands for all of them."""
    answered = table[table["type"] == "ok"].assign(
        phase=phases(table["start"], run.faults)[table["type"] == "ok"],
        latency_ms=lambda rows: rows["latency"].astype("float64") / MILLISECOND,
    )
    rows = []
    for phase in ("all", "before", "during", "after"):
        in_phase = answered if phase == "all" else answered[answered["phase"] == phase]
        for f in ("all", *sorted(answered["f"].unique())):
            latency = (in_phase if f == "all" else in_phase[in_phase["f"] == f])["latency_ms"]
            if len(latency):
                quantiles = {name: round(float(latency.quantile(share)), 3) for name, share in QUANTILES.items()}
                rows.append({"phase": phase, "f": f, "count": len(latency), **quantiles})
    return pd.DataFrame(rows, columns=["phase", "f", "count", *QUANTILES])


def phases(moments: pd.Series[int], faults: list[FaultSpan]) -> pd.Series[str]:
    """before, during or after the faults, for each moment: from the first one installed to the last one healed."""
    found = pd.Series("before", index=moments.index, dtype="str")
    if faults:
        first = min(fault.start for fault in faults)
        ends = [fault.end for fault in faults]
        found[moments >= first] = "during"
        found[moments > max((end for end in ends if end is not None), default=first)] = (
            "during" if None in ends else "after"
        )
    return found


def availability_table(table: pd.DataFrame) -> pd.DataFrame:
    """Completions in each second from the first to the last, per f and of `all`; share_ok is empty where nothing ended.

    Seconds in which nothing ended have their row, too: a store that answers nothing must not look like one nobody asked.
    """
    columns = ["second", "f", *TYPES, "share_ok"]
    ended = table[table["end"].notna()]
    if ended.empty:
        return pd.DataFrame(columns=columns)
    ended = ended.assign(second=(ended["end"] // SECOND).astype("int64"))
    seconds = range(int(ended["second"].min()), int(ended["second"].max()) + 1)
    parts = []
    for f in ("all", *sorted(ended["f"].unique())):
        rows = ended if f == "all" else ended[ended["f"] == f]
        counts = pd.crosstab(rows["second"], rows["type"]).reindex(index=seconds, columns=TYPES, fill_value=0)
        counts = counts.rename_axis(columns=None).rename_axis("second").reset_index().assign(f=f)
        parts.append(counts)
    counted = pd.concat(parts, ignore_index=True)
    whole = counted[list(TYPES)].sum(axis=1)
    counted["share_ok"] = (counted["ok"] / whole.where(whole > 0)).round(4)
    return counted[columns]


def unavailability_table(run: RunFiles) -> pd.DataFrame:
    """Stretches without an answered write, in seconds from the start of the run.

    `longest` is the longest one of the run. After each kill of a leader the stretch ends with the first write that was
    answered later, but for answers of the killed leader that were still on their way.
    """
    writes = [
        (operation.end, operation.start, operation.node)
        for operation in run.operations
        if operation.type == "ok" and operation.asked.f in UPDATES and operation.end is not None
    ]
    writes.sort()
    rows = []
    # A store that stops answering for good must show as a gap, too: the time until the last write was asked counts.
    asked = max((operation.start for operation in run.operations if operation.asked.f in UPDATES), default=0)
    ends = [0, *(end for end, _, _ in writes)]
    since, until = max(itertools.pairwise([*ends, max(asked, ends[-1])]), key=lambda pair: pair[1] - pair[0])
    if until > since:
        rows.append(_gap("longest", "", "", 0, since, until))
    for fault in run.faults:
        kills = [span for span in outages(run, "kill") if fault.family == "kill" and span.node in fault.nodes]
        kills = [span for span in kills if fault.start <= span.start and (fault.end is None or span.start <= fault.end)]
        for kill in kills:
            leader = leader_at(run, kill.start - 1)
            if leader is not None and leader.node == kill.node:
                answers = [
                    e for e, start, node in writes if e > kill.start and (node != kill.node or start >= kill.start)
                ]
                rows.append(
                    _gap("leader-kill", fault.id, kill.node, len(kills), kill.start, min(answers, default=None))
                )
    return pd.DataFrame(rows, columns=["kind", "fault", "node", "nodes_killed", "start_s", "end_s", "seconds"])


def _gap(kind: str, fault: str, node: str, killed: int, since: int, until: int | None) -> dict[str, Any]:
    return {
        "kind": kind,
        "fault": fault,
        "node": node,
        "nodes_killed": killed,
        "start_s": round(since / SECOND, 6),
        "end_s": None if until is None else round(until / SECOND, 6),
        "seconds": None if until is None else round((until - since) / SECOND, 6),
    }


def summary_table(table: pd.DataFrame, gaps: pd.DataFrame, run: RunFiles) -> pd.DataFrame:
    """The figures of a run, one a row: name, value, unit."""
    counts = {type_: int((table["type"] == type_).sum()) for type_ in TYPES}
    answered = table[table["type"] == "ok"]
    latency = answered["latency"].astype("float64") / MILLISECOND
    seconds = run.end / SECOND
    after_kills = gaps[gaps["kind"] == "leader-kill"]["seconds"].astype("float64")
    longest = gaps[gaps["kind"] == "longest"]["seconds"].astype("float64")
    figures: list[tuple[str, float | None, str]] = [
        ("seconds", round(seconds, 3), "s"),
        ("operations", len(table), "operations"),
        *((type_, counts[type_], "operations") for type_ in TYPES),
        ("ok_per_second", round(counts["ok"] / seconds, 2) if counts["ok"] else 0.0, "1/s"),
        ("share_ok", round(counts["ok"] / len(table), 5) if len(table) else None, "share"),
        *((f"latency_{name[:-3]}", _round(float(latency.quantile(share))), "ms") for name, share in QUANTILES.items()),
        ("longest_without_ok_write", _round(float(longest.max())), "s"),
        ("leader_kills", len(after_kills), "kills"),
        ("unavailable_after_leader_kill_median", _round(float(after_kills.median())), "s"),
        ("unavailable_after_leader_kill_max", _round(float(after_kills.max())), "s"),
        ("faults", len(run.faults), "faults"),
        ("faults_shown_to_bite", sum(fault.bit for fault in run.faults), "faults"),
        ("elections", len(elections(run)), "elections"),
    ]
    return pd.DataFrame(figures, columns=["name", "value", "unit"])


def _round(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
