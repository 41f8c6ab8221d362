"""Says why: a cycle of transactions in words, "T1 < T2, because ...", and as a graph of networkx."""

from __future__ import annotations

import importlib
from typing import Any

from checker.history import INFO, OK, Op
from checker.transactions.cycles import Cycle, Step
from checker.transactions.findings import Findings
from checker.transactions.kernels import PROCESS, REALTIME, RW, WR, WW
from checker.transactions.table import WRITE, Table

_SHOWN = 12
"""Micro-operations of one transaction that are told."""
_TOLD = 16
"""Steps of a cycle that are told; of a longer one its last two as well."""
_NAMES = {WW: "ww", WR: "wr", RW: "rw", PROCESS: "process", REALTIME: "realtime"}


def told(cycle: Cycle, findings: Findings) -> str:
    """The cycle as Elle tells it: the transactions, why each precedes the next one, and why that cannot be."""
    steps = closing_last(cycle)
    names = {step.source: f"T{number}" for number, step in enumerate(steps, 1)}
    left_out = range(_TOLD, len(steps) - 2) if len(steps) > _TOLD + 3 else range(0)
    more = [f"  ... ({len(left_out):,} more)"] if left_out else []
    lets = [
        f"  {name} = {transaction(findings.table, row)}"
        for row, name in names.items()
        if int(name[1:]) - 1 not in left_out
    ]
    thens = []
    for number, step in enumerate(steps):
        if number not in left_out:
            order = f"{names[step.source]} < {names[step.target]}, because {because(step, findings, names)}"
            thens.append(f"  - However, {order}: a contradiction!" if number == len(steps) - 1 else f"  - {order}.")
    parts = ["Let:", *lets[:_TOLD], *more, *lets[_TOLD:], "Then:", *thens[:_TOLD], *more, *thens[_TOLD:]]
    return "\n".join(parts)


def closing_last(cycle: Cycle) -> tuple[Step, ...]:
    """The steps, turned so that the one which nobody would expect comes last: that of real time, else an rw."""
    steps = cycle.steps
    for kind in (REALTIME, PROCESS, RW, WR):
        for number, step in enumerate(steps):
            if step.kind == kind:
                return steps[number + 1 :] + steps[: number + 1]
    return steps


def because(step: Step, findings: Findings, names: dict[int, str]) -> str:
    """Why the source of a step precedes its target."""
    table, one, other = findings.table, names[step.source], names[step.target]
    before, after = table.operations[step.source], table.operations[step.target]
    if step.kind == PROCESS:
        return f"process {before.process} ran {one} before {other}"
    if step.kind == REALTIME:
        return f"{one} returned {_ended(before)}, before {other} was invoked {_began(after)}"
    wrote = "appended" if findings.position is not None else "wrote"
    if step.kind == WR:
        read = step.note
        write = _last_seen(findings, step.source, read)
        key, value = table.show_key(int(table.key[read])), table.show_value(int(table.value[write]))
        return f"{other} observed {value}, which {one} {wrote} to key {key}"
    write = _overwriting(findings, step)
    key, value = table.show_key(int(table.key[write])), table.show_value(int(table.value[write]))
    if step.kind == RW:
        return f"{one} did not observe {value}, which {other} {wrote} to key {key}"
    earlier = _written_before(findings, step.source, write)
    return f"{other} {wrote} {value} to key {key} after {one} {wrote} {table.show_value(int(table.value[earlier]))}"


def _writes(findings: Findings, row: int, key: int) -> list[int]:
    table = findings.table
    return [mop for mop in table.micro_operations(row) if table.kind[mop] == WRITE and table.key[mop] == key]


def _last_seen(findings: Findings, row: int, read: int) -> int:
    """The write of this transaction that a read ends with."""
    table = findings.table
    value = table.value[read]
    if findings.position is not None:
        value = table.elements[int(table.start[read] + table.length[read]) - 1]
    return next(mop for mop in _writes(findings, row, int(table.key[read])) if table.value[mop] == value)


def _overwriting(findings: Findings, step: Step) -> int:
    """The write at the end of a step, ww or rw: of lists the first one that the read does not hold, else the one behind what was read."""
    table, position = findings.table, findings.position
    if table.kind[step.end] == WRITE and table.owner[step.end] == step.target:
        return step.end
    writes = _writes(findings, step.target, int(table.key[step.note]))
    if position is None:
        return writes[-1]
    held = set(
        table.elements[int(table.start[step.note]) : int(table.start[step.note] + table.length[step.note])].tolist()
    )
    missing = [mop for mop in writes if int(table.value[mop]) not in held]
    return min(missing, key=lambda mop: (position[mop] < 0, int(position[mop]), mop))


def _written_before(findings: Findings, row: int, later: int) -> int:
    """The last write of this transaction to the key of `later` that stands before it in the order of versions."""
    position = findings.position
    writes = _writes(findings, row, int(findings.table.key[later]))
    if position is None:
        return writes[-1]
    before = [mop for mop in writes if position[mop] >= 0 and (position[later] < 0 or position[mop] < position[later])]
    return max(before, key=lambda mop: int(position[mop]))


def transaction(table: Table, row: int) -> str:
    """A transaction in words: who asked for what, and what was answered."""
    op = table.operations[row]
    asked = op.result if op.type == OK else op.value
    shown = [_micro_operation(each, answered=op.type == OK) for each in asked[:_SHOWN]]
    more = f" and {len(asked) - _SHOWN} more" if len(asked) > _SHOWN else ""
    unknown = ", never answered" if op.type == INFO else ""
    return f"[{', '.join(shown)}{more}] (process {op.process}, invoked {_began(op)}{unknown})"


def _micro_operation(asked: Any, *, answered: bool) -> str:
    function, key, value = asked
    name = str(function).removeprefix(":")
    if name in {"r", "read"}:
        return f"read {_short(key)} as {_short(value)}" if answered else f"read {_short(key)}"
    return f"{'append' if name == 'append' else 'write'} {_short(value)} to {_short(key)}"


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        shown = [_short(each) for each in value]
        return "[" + " ".join(shown if len(shown) <= _SHOWN else [*shown[:3], "...", *shown[-5:]]) + "]"
    return "nil" if value is None else str(value)


def _began(op: Op) -> str:
    return _moment(op.invoke_time, op.invoke_index, op.invoked)


def _ended(op: Op) -> str:
    return _moment(op.return_time, op.return_index, op.returned)


def _moment(time: int | None, index: int | None, place: int | None) -> str:
    return f"at {time / 1e9:.6f} s" if time is not None else f"at event {place if index is None else index}"


def drawn(cycle: Cycle, findings: Findings) -> Any:
    """The cycle as a `networkx.DiGraph`: nodes are rows of the history with their `label`, edges carry `kind` and `because`."""
    # Imported only here: nothing but a picture needs it, and it takes longer to import than most checks.
    networkx = importlib.import_module("networkx")
    graph = networkx.DiGraph()
    steps = closing_last(cycle)
    names = {step.source: f"T{number}" for number, step in enumerate(steps, 1)}
    for row, name in names.items():
        graph.add_node(row, name=name, label=transaction(findings.table, row))
    for step in steps:
        graph.add_edge(step.source, step.target, kind=_NAMES[step.kind], because=because(step, findings, names))
    return graph


def as_rows(cycle: Cycle, findings: Findings) -> list[dict[str, Any]]:
    """The steps of a cycle as JSON: places of transactions in `core`, the kind of the edge, and its reason."""
    steps = closing_last(cycle)
    names = {step.source: f"T{number}" for number, step in enumerate(steps, 1)}
    return [
        {
            "from": names[step.source],
            "to": names[step.target],
            "kind": _NAMES[step.kind],
            "because": because(step, findings, names),
        }
        for step in steps
    ]
