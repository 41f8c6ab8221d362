"""What histories of writes and reads of registers say: dependencies, partial orders of versions, anomalies without a cycle.

Kingsbury & Alvaro (VLDB 2020), section 4.3: written values are unique in their key, so that a read names its writer. The order of versions
is known only in part: the initial value stands first, what a transaction writes stands behind what it had read or written of the
key before, and, if keys are taken to be linearizable each by itself, what was seen earlier in real time stands earlier.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from checker.budget import Meter
from checker.transactions import kernels
from checker.transactions.findings import Example, Findings
from checker.transactions.graph import Edges, Graph
from checker.transactions.table import ABORTED, NEVER, NIL, READ, UNKNOWN, WRITE, Table

Version = tuple[int, int]
"""A key and a value."""


class _Reading:
    """The micro-operations of a history as Python numbers, and who wrote what.

    `written` gives the write of each version (aborted writes only where no other one wrote the value); `external` are the reads of a
    key before its transaction wrote it, `last` the last write of each transaction and key.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.owner, self.kind = table.owner.tolist(), table.kind.tolist()
        self.key, self.value = table.key.tolist(), table.value.tolist()
        status = table.status.tolist()
        self.written: dict[Version, int] = {}
        self.twice: tuple[int, int] | None = None
        self.last: dict[tuple[int, int], int] = {}
        aborted: dict[Version, int] = {}
        for mop in np.flatnonzero(table.kind == WRITE).tolist():
            version = self.key[mop], self.value[mop]
            self.last[self.owner[mop], self.key[mop]] = mop
            if status[self.owner[mop]] == ABORTED:
                aborted.setdefault(version, mop)
            elif self.written.setdefault(version, mop) != mop and self.twice is None:
                self.twice = self.written[version], mop
        self.written = aborted | self.written
        self.reads = np.flatnonzero(table.kind == READ).tolist()

    def is_final(self, write: int) -> bool:
        """Whether a write is the last one of its transaction and key."""
        return self.last[self.owner[write], self.key[write]] == write


def infer(findings: Findings, meter: Meter, *, linearizable_keys: bool = False) -> None:
    """Fills in the dependencies and the anomalies without a cycle of a history of registers. Raises `OutOfBudgetError`."""
    table = findings.table
    reading = _Reading(table)
    if reading.twice:
        one, other = reading.twice
        first, second = (table.operations[reading.owner[mop]] for mop in (one, other))
        findings.unclear = (
            f"malformed workload: {table.show_value(reading.value[one])} was written to key {table.show_key(reading.key[one])} twice, by process "
            f"{first.process} and by process {second.process}, so reads do not tell whose write they saw"
        )
    for mop in reading.reads:
        write = reading.written.get((reading.key[mop], reading.value[mop]))
        if write is not None and table.status[reading.owner[write]] == UNKNOWN:
            findings.committed[reading.owner[write]] = True
    order, lost = _versions_of_transactions(findings, reading)
    if not findings.unclear:
        meter.spend(1 + len(table.kind) // 8)
        _reads(findings, reading)
        findings.found("lost-update", sum(len(each) > 1 for each in lost.values()), _lost(reading, lost))
        meter.spend(1 + len(table.kind) // 8)
        if linearizable_keys:
            _versions_in_real_time(findings, reading, order)
        _edges(findings, reading, order)


def _versions_of_transactions(
    findings: Findings, reading: _Reading
) -> tuple[dict[int, dict[int, set[int]]], dict[Version, list[int]]]:
    """The order of versions inside transactions (key, earlier value, later values), and who wrote over each version that it had read.

    Notes reads that disagree with what their own transaction read or wrote before (internal).
    """
    order: dict[int, dict[int, set[int]]] = {}
    based: dict[Version, list[int]] = {}
    internal: list[tuple[int, int]] = []
    state: dict[int, int] = {}
    wrote: set[int] = set()
    before = -1
    committed = findings.committed.tolist()
    for mop, (owner, kind, key, value) in enumerate(
        zip(reading.owner, reading.kind, reading.key, reading.value, strict=True)
    ):
        if owner != before:
            state, wrote, before = {}, set(), owner
        known = state.get(key)
        if kind == READ:
            if known is not None and known != value:
                internal.append((mop, known))
        elif committed[owner]:
            if known is not None and known != value:
                order.setdefault(key, {}).setdefault(known, set()).add(value)
                if key not in wrote and reading.table.status[owner] == 0:
                    based.setdefault((key, known), []).append(mop)
            wrote.add(key)
        state[key] = value
    table = findings.table
    findings.found(
        "internal",
        len(internal),
        (
            _one_read(reading, mop, f"where its own operations before left {table.show_value(known)}")
            for mop, known in internal
        ),
    )
    return order, based


def _reads(findings: Findings, reading: _Reading) -> None:
    """Reads of what nobody wrote, of failed writes (G1a), of writes that came later in the same transaction, or not last in theirs (G1b)."""
    table = findings.table
    for mop in reading.reads:
        value = reading.value[mop]
        if value == NIL:
            continue
        write = reading.written.get((reading.key[mop], value))
        if write is None:
            findings.found("garbage-read", 1, [_one_read(reading, mop, "which nobody wrote")])
        elif table.status[reading.owner[write]] == ABORTED:
            example = _one_read(reading, mop, "which a failed transaction wrote")
            findings.found("G1a", 1, [Example((*example.transactions, reading.owner[write]), example.sentence)])
        elif reading.owner[write] == reading.owner[mop]:
            if write > mop:
                findings.found("future-read", 1, [_one_read(reading, mop, "which it wrote only later itself")])
        elif not reading.is_final(write):
            example = _one_read(reading, mop, "which the transaction that wrote it wrote over")
            findings.found("G1b", 1, [Example((*example.transactions, reading.owner[write]), example.sentence)])


def _one_read(reading: _Reading, mop: int, what: str) -> Example:
    table, row = reading.table, reading.owner[mop]
    process = table.operations[row].process
    read = table.show_value(reading.value[mop])
    return Example(
        (row,), f"a transaction of process {process} read key {table.show_key(reading.key[mop])} as {read}, {what}"
    )


def _lost(reading: _Reading, based: dict[Version, list[int]]) -> Iterator[Example]:
    table = reading.table
    for (key, value), writes in based.items():
        if len(writes) > 1:
            rows = tuple(reading.owner[write] for write in writes[:2])
            processes = " and ".join(str(table.operations[row].process) for row in rows)
            yield Example(
                rows,
                f"transactions of processes {processes} both read key {table.show_key(key)} as {table.show_value(value)}, and both wrote it",
            )


def _versions_in_real_time(findings: Findings, reading: _Reading, order: dict[int, dict[int, set[int]]]) -> None:
    """Versions of a key in real time, which is right only if each key is linearizable by itself.

    What a transaction left of a key (its last write, else what it read) precedes what one that began after its return met first
    (what it read, else its first write). Of those that returned, only those are kept which no later one is known to follow:
    at most as many as ever ran at once (Elle's buffer).
    """
    table = findings.table
    met: dict[tuple[int, int], int] = {}
    left: dict[tuple[int, int], int] = {}
    for owner, key, value in zip(reading.owner, reading.key, reading.value, strict=True):
        if findings.committed[owner]:
            met.setdefault((key, owner), value)
            left[key, owner] = value
    moments = sorted(
        (moment, ends, key, owner)
        for key, owner in met
        for moment, ends in ((int(table.invoked[owner]), False), (int(table.returned[owner]), True))
        if moment < NEVER
    )
    newest: dict[int, set[int]] = {}
    before: dict[tuple[int, int], set[int]] = {}
    for _, ends, key, owner in moments:
        latest = newest.setdefault(key, set())
        if not ends:
            before[key, owner] = set(latest)
            for other in latest:
                earlier, later = left[key, other], met[key, owner]
                if earlier != later:
                    order.setdefault(key, {}).setdefault(earlier, set()).add(later)
        else:
            latest -= before.pop((key, owner))
            latest.add(owner)


def _edges(findings: Findings, reading: _Reading, order: dict[int, dict[int, set[int]]]) -> None:
    """Edges: who read what whom wrote (wr), and from the order of versions later writes (ww) and who overwrote what was read (rw)."""
    edges, owner, committed = findings.edges, reading.owner, findings.committed.tolist()
    readers: dict[Version, list[tuple[int, int]]] = {}
    for mop in reading.reads:
        version = reading.key[mop], reading.value[mop]
        write = reading.written.get(version)
        readers.setdefault(version, []).append((owner[mop], mop))
        if write is not None and committed[owner[write]]:
            edges.add(owner[write], owner[mop], kernels.WR, mop)
    values: dict[int, list[tuple[int, int]]] = {}
    for (key, value), write in reading.written.items():
        if committed[owner[write]]:
            values.setdefault(key, []).append((value, write))
    cyclic = _cyclic_versions(findings, reading, order)
    for key, writes in values.items():
        if key in cyclic:
            continue
        following = order.get(key, {})
        known = {value for value, _ in writes}
        preceded = {value for earlier, after in following.items() if earlier in known for value in after}
        for earlier, after in following.items():
            if earlier == NIL:
                continue
            written = [
                (owner[reading.written[key, value]], reading.written[key, value])
                for value in after
                if (key, value) in reading.written
            ]
            written = sorted(pair for pair in written if committed[pair[0]])
            write = reading.written.get((key, earlier))
            if write is not None and committed[owner[write]]:
                edges.join([(owner[write], write)], written, kernels.WW)
            edges.join(readers.get((key, earlier), ()), written, kernels.RW)
        # Whatever was written followed the initial value; what follows another write is reached through that one.
        first = [(owner[write], write) for value, write in writes if value not in preceded]
        edges.join(readers.get((key, NIL), ()), first, kernels.RW)


def _cyclic_versions(findings: Findings, reading: _Reading, order: dict[int, dict[int, set[int]]]) -> set[int]:
    """Keys whose versions precede each other in a circle: an anomaly in itself, and no order to infer anything from."""
    table = findings.table
    numbers: dict[Version, int] = {}
    edges = Edges(0)
    for key, following in order.items():
        for earlier, after in following.items():
            one = numbers.setdefault((key, earlier), len(numbers))
            for value in after:
                edges.add(one, numbers.setdefault((key, value), len(numbers)), kernels.WW, 0)
    edges.nodes = len(numbers)
    component, _ = Graph(table, edges).components(kernels.WW)
    members: dict[int, list[Version]] = {}
    for version, number in numbers.items():
        members.setdefault(int(component[number]), []).append(version)
    circles = sorted(versions for versions in members.values() if len(versions) > 1)
    initial = sorted((key, value) for key, following in order.items() for value in following if NIL in following[value])
    examples = []
    for versions in [*circles, *([each, (each[0], NIL)] for each in initial)]:
        shown = " and ".join(table.show_value(value) for _, value in versions[:4])
        writes = [reading.written[each] for each in versions if each in reading.written]
        rows = tuple(sorted({reading.owner[write] for write in writes[:4]}))
        examples.append(
            Example(
                rows,
                f"the versions {shown} of key {table.show_key(versions[0][0])} would each have to precede the others",
            )
        )
    findings.found("cyclic-versions", len(examples), examples)
    return {key for versions in circles for key, _ in versions} | {key for key, _ in initial}
