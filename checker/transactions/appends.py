"""What histories of appends and reads of whole lists say: orders of versions, dependencies, anomalies without a cycle.

Kingsbury & Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations" (VLDB 2020), sections 4 and 5: values are unique in their
key, so that a list names the appends that made it, and a read of a list tells the order of all of them. The longest read of a key
is the order of its versions as far as anybody saw it; all other reads must be prefixes of it. What nobody read stands behind it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from checker.budget import Meter
from checker.transactions import kernels
from checker.transactions.findings import Example, Findings
from checker.transactions.loops import run
from checker.transactions.table import ABORTED, NEVER, READ, UNKNOWN, WRITE, Ints, Table


class Versions:
    """The order of the versions of each key: `value[first[k]:first[k + 1]]` are the elements of the longest read of key k.

    `writer` is the append of each (a micro-operation, -1 where nobody appended it), `position` the other way round: the place of each
    append in these columns, or -1. A key is `sound` if all its reads are prefixes of the longest one and no element is there twice.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        keys = len(table.keys)
        self.longest = np.full(keys, -1, np.int64)
        run(kernels.longest_reads, table.kind, table.key, table.length, self.longest)
        read = self.longest >= 0
        sizes = np.zeros(keys, np.int64)
        sizes[read] = table.length[self.longest[read]]
        self.first = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        self.key = np.repeat(np.arange(keys, dtype=np.int64), sizes)
        starts = np.zeros(keys, np.int64)
        starts[read] = table.start[self.longest[read]]
        self.value = table.elements[np.repeat(starts - self.first[:-1], sizes) + np.arange(len(self.key))]
        self.mismatch = np.full(len(table.kind), -1, np.int32)
        self._slots = np.full(1 << max(4, int(2 * (table.kind == WRITE).sum()).bit_length()), -1, np.int64)
        self.twice = np.full(2, -1, np.int64)
        run(
            kernels.index_writes,
            *(table.kind, table.key, table.value, table.owner, table.status, self._slots, self.twice),
        )
        self.writer = self.writes_of(self.key, self.value)
        self.position = np.full(len(table.kind), -1, np.int32)
        known = self.writer >= 0
        self.position[self.writer[known]] = np.flatnonzero(known)
        self.sound = np.ones(keys, bool)
        self._compare()

    def _compare(self) -> None:
        """Which reads are no prefix of the longest one, and which longest reads hold an element twice."""
        table = self.table
        run(
            kernels.compare_reads,
            *(table.kind, table.key, table.start, table.length, table.elements, self.longest, self.mismatch),
        )
        self.sound[table.key[self.mismatch >= 0]] = False
        known = np.flatnonzero(self.writer >= 0)
        self.sound[self.key[known[self.position[self.writer[known]] != known]]] = False
        # Of what nobody appended it can't be seen here whether it is there twice: its key is judged element by element.
        self.sound[self.key[self.writer < 0]] = False

    def writes_of(self, keys: Ints, values: Ints) -> Ints:
        """The appends of these values to these keys, -1 where there is none."""
        table = self.table
        found = np.full(len(keys), -1, np.int64)
        run(kernels.find_writes, table.key, table.value, self._slots, keys.astype(np.int32), values, found)
        return found


def infer(findings: Findings, meter: Meter) -> None:
    """Fills in the dependencies and the anomalies without a cycle of a history of appends. Raises `OutOfBudgetError`."""
    table = findings.table
    versions = Versions(table)
    findings.position = versions.position
    if versions.twice[0] >= 0:
        one, other = (int(mop) for mop in versions.twice)
        first, second = (table.operations[int(table.owner[mop])] for mop in (one, other))
        findings.unclear = (
            f"malformed workload: {table.show_value(int(table.value[one]))} was appended to key {table.show_key(int(table.key[one]))} twice, by process "
            f"{first.process} and by process {second.process}, so reads do not tell whose append they saw"
        )
    suspects = np.flatnonzero((table.kind == READ) & ~versions.sound[table.key])
    meter.spend(1 + len(table.kind) // 64)
    final = _look_inside(findings, versions)
    if not findings.unclear:
        _commit_what_was_read(findings, versions, suspects)
        _elements(findings, versions, suspects, final, meter)
        _aborted(findings, versions)
        _intermediate(findings, versions, final)
        meter.spend(1 + len(table.kind) // 64)
        _observed_edges(findings, versions)
        _edges_of_suspects(findings, versions, suspects)
        _unobserved_edges(findings, versions)


def _commit_what_was_read(findings: Findings, versions: Versions, suspects: Ints) -> None:
    """A transaction of which nobody knows whether it happened did, if anything that it appended was read."""
    table = findings.table
    seen = [versions.writer]
    for read in suspects:
        begin, size = int(table.start[read]), int(table.length[read])
        seen.append(versions.writes_of(np.full(size, table.key[read]), table.elements[begin : begin + size]))
    mops = np.concatenate(seen)
    owners = table.owner[mops[mops >= 0]]
    findings.committed[owners[table.status[owners] == UNKNOWN]] = True


def _look_inside(findings: Findings, versions: Versions) -> Ints:
    """Anomalies inside a transaction, lost updates; returns for each append whether it is the last of its key there."""
    table = findings.table
    internal, early, final = (np.zeros(len(table.kind), np.int8) for _ in range(3))
    based_on = np.zeros(len(table.kind), np.int32)
    place = np.where(versions.sound[table.key], versions.position - versions.first[table.key], np.int64(-1))
    place[versions.position < 0] = -1
    seen = kernels.Inside(internal, early, final, based_on)
    columns = (table.owner, table.kind, table.key, table.value, table.start, table.length, table.elements)
    run(kernels.look_inside, kernels.Steps(*columns), place, seen)
    told = np.flatnonzero(internal)
    findings.found(
        "internal",
        len(told),
        (_one_read(table, int(mop), "which its own earlier reads and appends contradict") for mop in told),
    )
    if findings.unclear:
        return final
    told = np.flatnonzero((early == 1) & (table.kind == WRITE))
    findings.found("G0", len(told), (_turned(table, int(mop)) for mop in told))
    told = np.flatnonzero((early == 1) & (table.kind == READ))
    findings.found(
        "future-read",
        len(told),
        (_one_read(table, int(mop), "with what it appended only later itself") for mop in told),
    )
    updates = np.flatnonzero((based_on >= 0) & (table.status[table.owner] == 0) & versions.sound[table.key])
    # One number for each state of each key: the state after n elements is the n-th, from 0, of its key.
    state = versions.first[table.key] + table.key + table.length[based_on]
    ordered = updates[np.argsort(state[updates], kind="stable")]
    again = np.flatnonzero(state[ordered][1:] == state[ordered][:-1])
    groups = len(np.unique(state[ordered][again]))
    findings.found("lost-update", groups, _lost(table, ordered, again, based_on))
    return final


def _one_read(table: Table, mop: int, what: str) -> Example:
    row = int(table.owner[mop])
    begin, size = int(table.start[mop]), int(table.length[mop])
    read = table.show_list(table.elements[begin : begin + size])
    process = table.operations[row].process
    return Example(
        (row,), f"a transaction of process {process} read key {table.show_key(int(table.key[mop]))} as {read}, {what}"
    )


def _turned(table: Table, mop: int) -> Example:
    """An append that stands before an earlier one of its own transaction: a cycle of ww from the transaction to itself."""
    row = int(table.owner[mop])
    return Example(
        (row,),
        f"a transaction of process {table.operations[row].process} appended {table.show_value(int(table.value[mop]))} to key "
        f"{table.show_key(int(table.key[mop]))} after another element, and stands before that one in what was read",
    )


def _lost(table: Table, ordered: Ints, again: Ints, based_on: Ints) -> Iterator[Example]:
    last = -2
    for place in again:
        if place != last + 1:
            one, other = int(ordered[place]), int(ordered[place + 1])
            read = int(based_on[one])
            begin, size = int(table.start[read]), int(table.length[read])
            rows = int(table.owner[one]), int(table.owner[other])
            processes = " and ".join(str(table.operations[row].process) for row in rows)
            yield Example(
                rows,
                f"transactions of processes {processes} both read key {table.show_key(int(table.key[one]))} as "
                f"{table.show_list(table.elements[begin : begin + size])}, and both appended to it",
            )
        last = int(place)


def _elements(findings: Findings, versions: Versions, suspects: Ints, final: Ints, meter: Meter) -> None:
    """What reads of unsound keys contain, element by element: incompatible orders, duplicates, garbage, aborted appends."""
    table = findings.table
    torn = np.flatnonzero(versions.mismatch >= 0)
    findings.found("incompatible-order", len(torn), (_torn(versions, int(mop)) for mop in torn))
    for read in suspects:
        begin, size = int(table.start[read]), int(table.length[read])
        meter.spend(1 + size)
        elements = table.elements[begin : begin + size]
        writers = versions.writes_of(np.full(size, table.key[read]), elements)
        mop = int(read)
        if len(np.unique(elements)) < size:
            findings.found("duplicate-elements", 1, [_one_read(table, mop, "with an element twice")])
        if (writers < 0).any():
            value = table.show_value(int(elements[np.flatnonzero(writers < 0)[0]]))
            findings.found("garbage-read", 1, [_one_read(table, mop, f"but nobody appended {value}")])
        aborted = writers[(writers >= 0) & (table.status[table.owner[writers]] == ABORTED)]
        if len(aborted):
            findings.found("G1a", 1, [_aborted_read(table, mop, int(aborted[0]))])
        last = int(writers[-1]) if size else -1
        if last >= 0 and not final[last] and table.owner[last] != table.owner[mop]:
            findings.found("G1b", 1, [_intermediate_read(table, mop, last)])


def _torn(versions: Versions, mop: int) -> Example:
    table = versions.table
    longest = int(versions.longest[table.key[mop]])
    lists = [
        table.show_list(table.elements[int(table.start[each]) : int(table.start[each] + table.length[each])])
        for each in (mop, longest)
    ]
    rows = int(table.owner[mop]), int(table.owner[longest])
    return Example(
        rows,
        f"key {table.show_key(int(table.key[mop]))} was read as {lists[0]} (process {table.operations[rows[0]].process}) and as {lists[1]} "
        f"(process {table.operations[rows[1]].process}): no order of appends leaves both",
    )


def _aborted(findings: Findings, versions: Versions) -> None:
    """Reads of sound keys that contain what a failed transaction appended (G1a), and what was built on such (dirty update)."""
    table = findings.table
    failed = np.flatnonzero((versions.writer >= 0) & (table.status[table.owner[versions.writer]] == ABORTED))
    failed = failed[versions.sound[versions.key[failed]]]
    if not len(failed):
        return
    earliest = np.full(len(table.keys), NEVER, np.int64)
    np.minimum.at(earliest, versions.key[failed], failed)
    reads = np.flatnonzero((table.kind == READ) & versions.sound[table.key])
    reads = reads[versions.first[table.key[reads]] + table.length[reads] > earliest[table.key[reads]]]
    findings.found(
        "G1a",
        len(reads),
        (_aborted_read(table, int(mop), int(versions.writer[earliest[table.key[mop]]])) for mop in reads),
    )
    following = np.minimum(failed + 1, len(versions.key) - 1)
    after = _next_committed(findings, versions)[following]
    built = (failed + 1 < len(versions.key)) & (after < versions.first[versions.key[failed] + 1])
    findings.found("dirty-update", int(built.sum()), _dirty(versions, failed[built], after[built]))


def _aborted_read(table: Table, mop: int, append: int) -> Example:
    value, writer = table.show_value(int(table.value[append])), int(table.owner[append])
    what = f"but the transaction of process {table.operations[writer].process} that appended {value} had failed"
    return Example((int(table.owner[mop]), writer), _one_read(table, mop, what).sentence)


def _dirty(versions: Versions, failed: Ints, after: Ints) -> Iterator[Example]:
    table = versions.table
    for one, other in zip(failed, after, strict=True):
        appends = int(versions.writer[one]), int(versions.writer[other])
        rows = int(table.owner[appends[0]]), int(table.owner[appends[1]])
        yield Example(
            rows,
            f"a transaction of process {table.operations[rows[1]].process} appended {table.show_value(int(table.value[appends[1]]))} to key "
            f"{table.show_key(int(versions.key[one]))} behind {table.show_value(int(table.value[appends[0]]))}, whose transaction had failed",
        )


def _intermediate(findings: Findings, versions: Versions, final: Ints) -> None:
    """Reads that end with an append which its own transaction followed with another one (G1b)."""
    table = findings.table
    reads = np.flatnonzero((table.kind == READ) & versions.sound[table.key] & (table.length > 0))
    last = versions.writer[versions.first[table.key[reads]] + table.length[reads] - 1]
    seen = (final[last] == 0) & (table.owner[last] != table.owner[reads])
    findings.found(
        "G1b",
        int(seen.sum()),
        (_intermediate_read(table, int(mop), int(append)) for mop, append in zip(reads[seen], last[seen], strict=True)),
    )


def _intermediate_read(table: Table, mop: int, append: int) -> Example:
    row, writer = int(table.owner[mop]), int(table.owner[append])
    value, process = table.show_value(int(table.value[append])), table.operations[writer].process
    what = f"but the transaction of process {process} that appended {value} appended more to that key"
    return Example((row, writer), _one_read(table, mop, what).sentence)


def _next_committed(findings: Findings, versions: Versions) -> Ints:
    """For each version the first one from it on whose transaction is committed: `NEVER` where there is none in the columns."""
    owners = findings.table.owner[versions.writer]
    committed = (versions.writer >= 0) & findings.committed[owners]
    places = np.where(committed, np.arange(len(committed)), NEVER)
    return np.minimum.accumulate(places[::-1])[::-1]


def _observed_edges(findings: Findings, versions: Versions) -> None:
    """Edges between what was read, of sound keys: later version (ww), reader of a version (wr), and who overwrote it (rw)."""
    table, edges = findings.table, findings.edges
    following = np.append(_next_committed(findings, versions), NEVER)
    places = np.flatnonzero(following[:-1] == np.arange(len(versions.key)))
    places = places[versions.sound[versions.key[places]]]
    same = versions.key[places][1:] == versions.key[places][:-1]
    before, after = versions.writer[places[:-1][same]], versions.writer[places[1:][same]]
    edges.extend(table.owner[before], table.owner[after], kernels.WW, after)

    reads = np.flatnonzero((table.kind == READ) & versions.sound[table.key])
    upto = versions.first[table.key[reads]] + table.length[reads]
    seen = table.length[reads] > 0
    last = np.where(seen, versions.writer[np.maximum(upto - 1, 0)] if len(versions.key) else -1, -1)
    wrote = (last >= 0) & findings.committed[table.owner[last]]
    edges.extend(table.owner[last[wrote]], table.owner[reads[wrote]], kernels.WR, reads[wrote])

    overwritten = following[upto]
    own = (last >= 0) & (table.owner[last] == table.owner[reads])  # ww says as much, and more
    known = (overwritten < versions.first[table.key[reads] + 1]) & ~own
    edges.extend(table.owner[reads[known]], table.owner[versions.writer[overwritten[known]]], kernels.RW, reads[known])


def _edges_of_suspects(findings: Findings, versions: Versions, suspects: Ints) -> None:
    """Of keys whose order is in doubt only this is certain: who reads a list comes after who appended its last element."""
    table = findings.table
    reads = suspects[table.length[suspects] > 0]
    last = versions.writes_of(table.key[reads], table.elements[table.start[reads] + table.length[reads] - 1])
    wrote = (last >= 0) & findings.committed[table.owner[last]]
    findings.edges.extend(table.owner[last[wrote]], table.owner[reads[wrote]], kernels.WR, reads[wrote])


def _unobserved_edges(findings: Findings, versions: Versions) -> None:
    """What nobody read was appended behind all that was: after its last writer (ww) and all who read it whole (rw).

    Exact for rw with one append behind; with several the reader precedes all of them all the same, by rw and then ww.
    """
    table, edges = findings.table, findings.edges
    unseen = (table.kind == WRITE) & (versions.position < 0) & findings.committed[table.owner]
    appends = np.flatnonzero(unseen & versions.sound[table.key])
    if not len(appends):
        return
    wanted = np.zeros(len(table.keys), bool)
    wanted[table.key[appends]] = True
    whole = (table.kind == READ) & wanted[table.key]
    whole &= table.length == np.diff(versions.first)[table.key]
    readers: dict[int, list[int]] = {}
    for mop in np.flatnonzero(whole):
        readers.setdefault(int(table.key[mop]), []).append(int(mop))
    behind: dict[int, list[tuple[int, int]]] = {}
    for mop in appends:
        behind.setdefault(int(table.key[mop]), []).append((int(table.owner[mop]), int(mop)))
    committed = _next_committed(findings, versions)
    for key, after in behind.items():
        last = -1
        for place in range(int(versions.first[key + 1]) - 1, int(versions.first[key]) - 1, -1):
            if committed[place] == place:
                last = int(table.owner[versions.writer[place]])
                edges.join([(last, after[0][1])], after, kernels.WW)
                break
        before = [(int(table.owner[mop]), mop) for mop in readers.get(key, ()) if table.owner[mop] != last]
        edges.join(before, after, kernels.RW)
