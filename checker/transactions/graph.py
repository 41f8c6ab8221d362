"""Dependency graphs: edges between transactions with their kinds and the micro-operations behind them, in compressed rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from checker.transactions import kernels
from checker.transactions.loops import run
from checker.transactions.table import NEVER, Ints, Table

HUBS_FROM = 256
"""From so many pairs on, transactions that all precede each other are joined through auxiliary nodes."""


class Edges:
    """Edges as they are found. `note` is the micro-operation that shows one: the later write (ww), or the read (wr, rw)."""

    def __init__(self, transactions: int) -> None:
        self.nodes = transactions
        self._source: list[Ints] = []
        self._target: list[Ints] = []
        self._kind: list[Ints] = []
        self._note: list[Ints] = []
        self._single: list[tuple[int, int, int, int]] = []

    def extend(self, source: Ints, target: Ints, kind: Ints | int, note: Ints) -> None:
        """Adds edges; those from a transaction to itself are no edges."""
        real = source != target
        self._source.append(source[real].astype(np.int32))
        self._target.append(target[real].astype(np.int32))
        self._kind.append(np.broadcast_to(np.asarray(kind, np.int8), real.shape)[real])
        self._note.append(note[real].astype(np.int32))

    def add(self, source: int, target: int, kind: int, note: int) -> None:
        """Adds one edge."""
        if source != target:
            self._single.append((source, target, kind, note))

    def join(self, before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]], kind: int) -> None:
        """Adds an edge of each of `before` to each of `after`, pairs of a transaction and a micro-operation, in linear space.

        Many to many goes through two chains of auxiliary nodes, so that each of `before` reaches all of `after` but itself:
        one node P(i) for "the first i of `after`" and one S(i) for "those from i on"; whoever is number i of `after`
        points to P(i) and S(i + 1), everybody else to S(0). A walk through a chain is one step: free edges cost nothing.
        """
        targets = list(dict(reversed(after)).items())[::-1]
        size = len(targets)
        if len(before) * size < HUBS_FROM:
            for source, note in before:
                for target, later in targets:
                    self.add(source, target, kind, later if kind == kernels.WW else note)
            return
        place = {target: number for number, (target, _) in enumerate(targets)}
        prefix = self.nodes - 1  # P(i) is prefix + i, for 1 <= i <= size
        suffix = self.nodes + size  # S(i) is suffix + i, for 0 <= i < size
        self.nodes += 2 * size
        for number, (target, note) in enumerate(targets):
            self._single.append((prefix + number + 1, target, kernels.FREE, note))
            self._single.append((suffix + number, target, kernels.FREE, note))
            if number:
                self._single.append((prefix + number + 1, prefix + number, kernels.FREE, note))
                self._single.append((suffix + number - 1, suffix + number, kernels.FREE, note))
        for source, note in before:
            number = place.get(source, -1)
            if number > 0:
                self._single.append((source, prefix + number, kind, note))
            if number + 1 < size:
                self._single.append((source, suffix + number + 1, kind, note))

    def columns(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Sources, targets, kinds and notes of all edges, sorted by source. They are handed over: afterwards no edge is left here."""
        single = np.array(self._single, np.int32).reshape(-1, 4)
        self._single.clear()
        columns = []
        for number, parts in enumerate((self._source, self._target, self._kind, self._note)):
            columns.append(np.concatenate([*parts, single[:, number].astype(np.int8 if number == 2 else np.int32)]))
            parts.clear()
        order = np.argsort(columns[0], kind="stable")
        source, target, kind, note = (column[order] for column in columns)
        return source, target, kind, note


class Rows:
    """A graph in compressed rows: the edges of node v are `first[v]` to `first[v + 1]` of `target` and `kind`.

    The first `real` nodes are transactions, the others are auxiliary.
    """

    def __init__(self, source: Ints, target: Ints, kind: Ints, nodes: int, real: int) -> None:
        self.real = real
        self.nodes = nodes
        self.source = source
        self.target = target
        self.kind = kind
        self.first = np.searchsorted(source, np.arange(nodes + 1))
        self._components: dict[int, tuple[Ints, int]] = {}

    def components(self, mask: int) -> tuple[Ints, int]:
        """For each node its strongly connected component over edges of these kinds, sinks first; and how many there are."""
        if mask not in self._components:
            self._components[mask] = self._strongly_connected(mask)
        return self._components[mask]

    def _strongly_connected(self, mask: int) -> tuple[Ints, int]:
        number, low, stack, path, at, component = (np.full(self.nodes, -1, np.int32) for _ in range(6))
        net = kernels.Net(self.first, self.target, self.kind, component, np.zeros(0, np.int64))
        found = run(kernels.components, net, mask | kernels.FREE, kernels.Visits(number, low, stack, path, at))
        return component, found

    def part(self, nodes: Ints) -> tuple[Rows, Ints]:
        """The graph of these nodes (ascending) alone, renumbered in their order, and the places of its edges in this one."""
        number = np.full(self.nodes, -1, np.int32)
        number[nodes] = np.arange(len(nodes))
        sizes = self.first[nodes + 1] - self.first[nodes]
        ends = np.cumsum(sizes)
        places = np.repeat(self.first[nodes] - ends + sizes, sizes) + np.arange(int(sizes.sum()))
        places = places[number[self.target[places]] >= 0]
        real = int(np.searchsorted(nodes, self.real))
        return Rows(
            number[self.source[places]], number[self.target[places]], self.kind[places], len(nodes), real
        ), places


class Graph(Rows):
    """The dependency graph of a table; `note` is the micro-operation that shows an edge."""

    def __init__(self, table: Table, edges: Edges) -> None:
        source, target, kind, note = edges.columns()
        super().__init__(source, target, kind, edges.nodes, len(table.operations))
        self.table = table
        self.note = note

    def with_processes(self, committed: Ints) -> Graph:
        """This graph with an edge from each committed transaction to the next one of its process.

        One chain a process has the same paths as edges between all pairs.
        """
        table = self.table
        rows = np.flatnonzero(committed)
        process = table.process[rows]
        order = np.lexsort((table.invoked[rows], process))
        same = process[order][1:] == process[order][:-1]
        edges = Edges(self.nodes)
        edges.extend(self.source, self.target, self.kind, self.note)
        before, after = rows[order][:-1][same], rows[order][1:][same]
        edges.extend(before, after, kernels.PROCESS, np.full(len(before), -1, np.int64))
        return Graph(table, edges)

    def returns(self) -> Ints:
        """When each node returned; auxiliary ones never do."""
        return np.concatenate([self.table.returned, np.full(self.nodes - self.real, NEVER, np.int64)])
