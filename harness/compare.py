"""Comparisons: the same seeds and schedules on two builds, interleaved, and one table of what was seen.

Per seed one run on each build, and the order of the two changes from seed to seed, so that a machine that gets slower in
the meantime does not speak for either. What B does is judged against what A does: only a promise that B breaks and A
keeps makes the comparison fail.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.builds import resolve_build
from harness.evidence import INTERRUPTED, OUTCOMES, promises_broken, worst
from harness.index import write_index
from harness.plan import Plan, UsageError, checked
from harness.progress import Watcher
from harness.report import write_whole
from harness.run import Record, run
from harness.statistics import Estimate, bootstrap, quantiles, wilson
from harness.store import StoreError

MILLISECOND = 1_000_000
PROVED = {"pass", "violation"}
QUANTILES = (0.5, 0.9, 0.99)
MOST_LATENCIES = (
    5000  # of one run; of more, evenly spaced ones in their order stand for all, so that drawing stays cheap
)
Runner = Callable[[Plan, Watcher, list[str] | None], Record]


class Sample(msgspec.Struct, frozen=True):
    """What one run contributes: latencies in milliseconds, counts and seconds without an answered write."""

    record: Record
    latencies: NDArray[np.float64]  # of ok operations, sorted
    outages: NDArray[np.float64]
    asked: int
    answered: int  # ok, or refused by a comparison: the store did answer
    seconds: float


class Row(msgspec.Struct, frozen=True):
    """One line of the table; `ratio` is B against A, where it means something."""

    name: str
    unit: str
    a: Estimate
    b: Estimate
    ratio: Estimate | None = None


class Comparison(msgspec.Struct, frozen=True):
    """What a comparison came to; `compare --json` prints it."""

    outcome: str
    sentence: str
    a: str
    b: str
    seeds: list[int]
    broken_by_a: list[str]
    broken_by_b: list[str]
    same_schedules: bool
    interrupted: bool
    rows: list[Row]
    runs: list[Record]
    folder: str
    wall_seconds: float


def compare(plan: Plan, a: str, b: str, seeds: Sequence[int], progress: Watcher, runner: Runner = run) -> Comparison:
    """Runs `plan` with every seed on the builds `a` and `b`; writes compare.md and compare.json beside the runs.

    Raises:
        UsageError: the plan makes no sense, a build does not exist, or there is no seed.
        ClusterError: a build cannot be had.
        StoreError: results cannot be written.
    """
    if not seeds:
        raise UsageError("a comparison needs at least one seed")
    checked(plan)
    for text in (a, b):
        resolve_build(text, plan.cluster)
    name = f"compare-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S.%fZ}"
    runs = _interleaved(msgspec.structs.replace(plan, name=name), a, b, seeds, progress, runner)
    result = judge(a, b, runs, Path(plan.out).absolute() / name)
    folder = Path(result.folder)
    try:
        write_whole(folder / "compare.json", msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n")
        write_whole(folder / "compare.md", render_table(result))
        write_index(folder.parent)
    except OSError as error:
        raise StoreError(f"cannot write the comparison to {folder}: {error.strerror or error}") from error
    return result


def _interleaved(
    plan: Plan, a: str, b: str, seeds: Sequence[int], progress: Watcher, runner: Runner
) -> list[tuple[str, Sample]]:
    """One run per seed and side, in turns; ("a" or "b", what was seen). Ends early when interrupted."""
    found: list[tuple[str, Sample]] = []
    for place, seed in enumerate(seeds):
        for side, build in (("a", a), ("b", b)) if place % 2 == 0 else (("b", b), ("a", a)):
            progress.say(f"compare: run {len(found) + 1} of {2 * len(seeds)}: {side.upper()} = {build}, seed {seed}")
            record = runner(msgspec.structs.replace(plan, build=build, seed=seed), progress, None)
            progress.say(f"  {record.outcome}: {record.reasons[0]}")
            found.append((side, sample_of(record)))
            if INTERRUPTED in record.reasons:
                return found
    return found


def sample_of(record: Record) -> Sample:
    """What a run contributes, from its tables; a run that has none (its cluster never came up) contributes no numbers."""
    tables = Path(record.run) / "tables"
    try:
        operations = pd.read_parquet(tables / "operations.parquet", columns=["type", "error", "latency", "end"])
        gaps = pd.read_csv(tables / "unavailability.csv")
    except FileNotFoundError:
        return Sample(record, np.empty(0), np.empty(0), asked=0, answered=0, seconds=0.0)
    ok = operations["type"] == "ok"
    refused = (operations["type"] == "fail") & (operations["error"] == "cas-mismatch")
    kills = gaps[gaps["kind"] == "leader-kill"]["seconds"].astype("float64").dropna()
    return Sample(
        record=record,
        latencies=np.sort(operations.loc[ok, "latency"].to_numpy(dtype=np.float64)) / MILLISECOND,
        outages=np.asarray(kills, dtype=np.float64),
        asked=len(operations),
        answered=int((ok | refused).sum()),
        seconds=float(operations["end"].max()) / 1e9 if operations["end"].notna().any() else 0.0,
    )


def judge(a: str, b: str, runs: Sequence[tuple[str, Sample]], folder: Path) -> Comparison:
    """The table and the outcome of what was run.

    `violation` if and only if B broke a promise that A kept. A comparison in which not more than half of the pairs of
    runs proved something on both sides is inconclusive, or infrastructure if that is why.
    """
    first = [sample for side, sample in runs if side == "a"]
    second = [sample for side, sample in runs if side == "b"]
    broken_by_a, broken_by_b = _broken(first), _broken(second)
    outcome, sentence = _outcome(a, b, first, second)
    records = [sample.record for _, sample in runs]
    return Comparison(
        outcome=outcome,
        sentence=sentence,
        a=a,
        b=b,
        seeds=list(dict.fromkeys(record.seed for record in records)),
        broken_by_a=broken_by_a,
        broken_by_b=broken_by_b,
        same_schedules=all(_schedule(x) == _schedule(y) for x, y in _pairs(first, second)),
        interrupted=any(INTERRUPTED in record.reasons for record in records),
        rows=_rows(first, second),
        runs=records,
        folder=str(folder),
        wall_seconds=round(sum(record.wall_seconds for record in records), 3),
    )


def _broken(samples: Sequence[Sample]) -> list[str]:
    return sorted(
        {
            promise
            for sample in samples
            if sample.record.outcome == "violation"
            for promise in promises_broken(sample.record.reasons)
        }
    )


def _outcome(a: str, b: str, first: Sequence[Sample], second: Sequence[Sample]) -> tuple[str, str]:
    by_a, by_b = _broken(first), _broken(second)
    times = sum(sample.record.outcome == "violation" for sample in second)
    if new := [promise for promise in by_b if promise not in by_a]:
        also = f"; {a} does violate, too, but otherwise ({', '.join(by_a)})" if by_a else f", and {a} does not"
        return "violation", f"{b} violates in {times} of {len(second)} runs ({', '.join(new)}){also}"
    for name, side in ((a, first), (b, second)):
        outcomes = [sample.record.outcome for sample in side]
        if not PROVED & set(outcomes):
            outcome = "infrastructure" if "infrastructure" in outcomes else "inconclusive"
            return outcome, f"no run of {name} proved anything" + (f": {side[0].record.reasons[0]}" if side else "")
    if too_few := _too_few(a, b, first, second):
        return too_few
    if by_b:
        return "pass", f"both violate in the same way ({', '.join(by_b)}): {b} is no worse than {a} in this"
    if by_a:
        return "pass", f"only {a} violates ({', '.join(by_a)}); {b} does not"
    return "pass", f"neither {a} nor {b} violates"


def _too_few(a: str, b: str, first: Sequence[Sample], second: Sequence[Sample]) -> tuple[str, str] | None:
    """What to say instead of a pass unless more than half of the pairs of runs proved something on both sides."""
    counts = [sum(sample.record.outcome in PROVED for sample in side) for side in (first, second)]
    both = sum({x.record.outcome, y.record.outcome} <= PROVED for x, y in _pairs(first, second))
    pairs = max(len(first), len(second))
    if 2 * both > pairs:
        return None
    outcome = worst(sample.record.outcome for sample in (*first, *second) if sample.record.outcome not in PROVED)
    return outcome, (
        f"only {both} of {pairs} pairs of runs proved something on both sides"
        f" ({counts[0]} of {len(first)} runs of {a}, {counts[1]} of {len(second)} of {b}): too few to compare"
    )


def _pairs(first: Sequence[Sample], second: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """The runs of both sides with the same seed; an interrupted comparison may lack the second of the last pair."""
    by_seed = {sample.record.seed: sample for sample in second}
    return [(sample, by_seed[sample.record.seed]) for sample in first if sample.record.seed in by_seed]


def _schedule(sample: Sample) -> bytes:
    try:
        return (Path(sample.record.run) / "schedule.json").read_bytes()
    except FileNotFoundError:
        return b""


def _rows(first: Sequence[Sample], second: Sequence[Sample]) -> list[Row]:
    rows = [Row("runs", "", Estimate(len(first)), Estimate(len(second)))]
    for outcome in OUTCOMES:
        counts = [sum(sample.record.outcome == outcome for sample in side) for side in (first, second)]
        rates = [wilson(hits, len(side)) for hits, side in zip(counts, (first, second), strict=True)]
        rows.append(Row(outcome, "share of runs", rates[0], rates[1]))
    pairs = _pairs(first, second)
    sides = [[x for x, _ in pairs], [y for _, y in pairs]]
    step = max(1, max((len(sample.latencies) for side in sides for sample in side), default=0) // MOST_LATENCIES)
    names = [
        ("availability", "share of operations answered"),
        ("answered per second", "1/s"),
        *((f"latency p{100 * share:g}", "ms") for share in QUANTILES),
        ("without an answered write after a killed leader, median", "s"),
    ]
    unknown = [[Estimate(None), Estimate(None)]] * len(names)
    estimates = bootstrap(lambda samples: _figures(samples, step), *sides) if pairs else unknown
    for (name, unit), (a, b, *ratio) in zip(names, estimates, strict=True):
        rows.append(Row(name, unit, a, b, *ratio))
    return rows


def _figures(samples: Sequence[Sample], step: int) -> list[float]:
    """What several runs show together, in the order of the table's rows."""
    asked = sum(sample.asked for sample in samples)
    answered = sum(sample.answered for sample in samples)
    seconds = sum(sample.seconds for sample in samples)
    return [
        answered / asked if asked else float("nan"),
        answered / seconds if seconds else float("nan"),
        *quantiles([sample.latencies[step // 2 :: step] for sample in samples], QUANTILES),
        *quantiles([sample.outages for sample in samples], (0.5,)),
    ]


def table_of(result: Comparison) -> list[tuple[str, str, str, str]]:
    """The table as text, its head first: what, A, B, B against A."""
    head = ("", f"A: {result.a}", f"B: {result.b}", "B / A")
    return [head, *((_titled(row), _shown(row.a), _shown(row.b), _shown(row.ratio)) for row in result.rows)]


def _titled(row: Row) -> str:
    return f"{row.name} ({row.unit})" if row.unit else row.name


def _shown(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.4g}"
    return f"{estimate.value:.4g}  [{estimate.low:.4g}, {estimate.high:.4g}]"


def render_table(result: Comparison) -> str:
    """The comparison in Markdown."""
    seeds = ", ".join(str(seed) for seed in result.seeds)
    schedules = "the same schedules" if result.same_schedules else "schedules that differ"
    head, *rows = table_of(result)
    lines = [
        f"# {result.a} against {result.b}: {result.sentence}",
        "",
        f"Seeds {seeds}, interleaved, {schedules}. In brackets: 95 % intervals, Wilson's for shares of runs, else a",
        "bootstrap over runs, paired by seed.",
        "",
        "| " + " | ".join(head) + " |",
        "|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        "| run | build | seed | outcome | reason |",
        "|---|---|---|---|---|",
    ]
    for record in result.runs:
        reason = " ".join(record.reasons[0].split()).replace("|", "\\|")
        lines.append(f"| {Path(record.run).name} | {record.build} | {record.seed} | {record.outcome} | {reason} |")
    return "\n".join(lines) + "\n"
