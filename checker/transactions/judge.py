"""The verdict on a history of transactions: what was inferred, which cycles there are, and what that leaves of the consistency models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from checker.budget import Meter, OutOfBudgetError
from checker.history import History
from checker.transactions import appends, consistency, cycles, reasons, registers
from checker.transactions.cycles import Cycle, Cycles
from checker.transactions.findings import Findings
from checker.transactions.graph import Graph
from checker.transactions.table import Table, lists
from checker.transactions.table import registers as register_table
from checker.verdict import INVALID, UNKNOWN, VALID, Verdict

WAY = "dependency graph"


class Analysis:
    """What is known about a history of transactions: findings, cycles, and the reason why more is not known, if so."""

    def __init__(self, findings: Findings, found: Cycles, unknown: str) -> None:
        self.findings = findings
        self.cycles = found
        self.unknown = unknown

    def kinds(self) -> dict[str, int]:
        """Anomalies by kind with their counts: cycles by the components that show them, others one by one."""
        counts = {kind: anomaly.count for kind, anomaly in self.findings.anomalies.items()}
        for kind, count in self.cycles.counts.items():
            counts[kind] = counts.get(kind, 0) + count
        return counts


def analyse_appends(history: History, meter: Meter) -> Analysis:
    """Infers and searches a history of appends and reads of lists. Raises `HistoryError` on what is none."""
    return _analyse(history, lists, appends.infer, meter)


def analyse_registers(history: History, meter: Meter, *, linearizable_keys: bool = False) -> Analysis:
    """Infers and searches a history of reads and writes of registers. Raises `HistoryError` on what is none."""

    def infer(findings: Findings, meter: Meter) -> None:
        registers.infer(findings, meter, linearizable_keys=linearizable_keys)

    return _analyse(history, register_table, infer, meter)


def _analyse(
    history: History,
    flatten: Callable[[History, Meter], Table],
    infer: Callable[[Findings, Meter], None],
    meter: Meter,
) -> Analysis:
    found = Cycles()
    findings = Findings(Table(history.operations))
    try:
        table = flatten(history, meter)
        # A dozen columns of micro-operations, and as many of edges, are held at once.
        meter.spend(1, 8 * (len(table.elements) + 16 * len(table.kind)))
        findings = Findings(table)
        infer(findings, meter)
    except OutOfBudgetError as error:
        return Analysis(findings, found, f"{error} before all was inferred")
    if findings.unclear:
        return Analysis(findings, found, findings.unclear)
    try:
        meter.spend(1 + len(table.kind) // 64)
        cycles.find(Graph(table, findings.edges), findings.committed, found, meter)
    except OutOfBudgetError as error:
        return Analysis(findings, found, f"{error} while cycles were searched")
    return Analysis(findings, found, "")


def verdict(analysis: Analysis, model: str, asked: str) -> Verdict:
    """The verdict for the consistency model that was asked for."""
    kinds = analysis.kinds()
    broken = [kind for kind in kinds if consistency.forbids(asked, kind)]
    # A search that was cut short may have missed the kind that this model forbids: what it did not find is not known.
    unknown = analysis.unknown or "; ".join(analysis.cycles.capped)
    word = INVALID if broken else UNKNOWN if unknown else VALID
    table = analysis.findings.table
    result = Verdict(
        verdict=word,
        reason=unknown if word == UNKNOWN else "",
        model=model,
        way=WAY,
        operations=len(table.operations),
        anomalies=_rows(analysis, broken),
        consistency={"asked": asked, "holds": {VALID: True, INVALID: False}.get(word), **consistency.placed(kinds)},
    )
    if broken:
        cycle = _shown(analysis, broken)
        rows = [step.source for step in reasons.closing_last(cycle)] if cycle else _first_rows(analysis, broken)
        result.core = [table.operations[row].as_dict() for row in rows]
        result.explanation = _explanation(analysis, broken, cycle, asked)
    elif kinds:
        result.explanation = f"{asked} may hold; there are anomalies that it allows: {_listed(kinds)}"
    return result


def drawn(analysis: Analysis, asked: str, kind: str | None) -> Any:
    """The shortest cycle of a kind, or the one that the verdict tells of, as a graph of networkx; None if there is none."""
    if kind is None:
        cycle = _shown(analysis, [each for each in analysis.kinds() if consistency.forbids(asked, each)])
    else:
        cycle = analysis.cycles.shortest.get(kind)
    return None if cycle is None else reasons.drawn(cycle, analysis.findings)


def _shown(analysis: Analysis, broken: list[str]) -> Cycle | None:
    """The cycle to tell of: the shortest one that the model forbids, the first kind among equals."""
    shown = [analysis.cycles.shortest[kind] for kind in broken if kind in analysis.cycles.shortest]
    return min(shown, key=lambda cycle: len(cycle.steps), default=None)


def _first_rows(analysis: Analysis, broken: list[str]) -> tuple[int, ...]:
    return next(
        (anomaly.examples[0].transactions for kind in broken if (anomaly := analysis.findings.anomalies.get(kind))), ()
    )


def _listed(kinds: dict[str, int]) -> str:
    return ", ".join(f"{kind} ({count:,})" for kind, count in kinds.items())


def _explanation(analysis: Analysis, broken: list[str], cycle: Cycle | None, asked: str) -> str:
    """What was found, the first example of each kind without a cycle, the shortest cycle, and what may still hold."""
    kinds = analysis.kinds()
    placed = consistency.placed(kinds)
    left = f"; it may still be {', '.join(placed['may_hold'])}" if placed["may_hold"] else ""
    lines = [f"Not {asked}: {_listed({kind: kinds[kind] for kind in broken})}{left}."]
    for kind in broken:
        anomaly = analysis.findings.anomalies.get(kind)
        if anomaly:
            lines.append(f"{kind}: {anomaly.examples[0].sentence}.")
    if cycle:
        lines.append(f"{cycle.kind}:")
        lines.append(reasons.told(cycle, analysis.findings))
    lines += [f"({each})" for each in analysis.cycles.capped]
    return "\n".join(lines)


def _rows(analysis: Analysis, broken: list[str]) -> dict[str, Any]:
    """Each kind of anomaly as JSON: how many, whether the model forbids it, sentences, and the shortest cycle."""
    rows: dict[str, Any] = {}
    for kind, count in analysis.kinds().items():
        row: dict[str, Any] = {"count": count, "forbidden": kind in broken}
        anomaly = analysis.findings.anomalies.get(kind)
        if anomaly:
            row["examples"] = [example.sentence for example in anomaly.examples]
        cycle = analysis.cycles.shortest.get(kind)
        if cycle:
            steps = reasons.closing_last(cycle)
            row["cycle"] = reasons.as_rows(cycle, analysis.findings)
            row["transactions"] = [analysis.findings.table.operations[step.source].as_dict() for step in steps]
        rows[kind] = row
    return rows
