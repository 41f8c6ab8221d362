"""Cycles of a dependency graph: which kinds there are, and a shortest one of each.

Adya, "Weak Consistency" (1999), sections 3 and 4: G0 is a cycle of ww edges alone; G1c of ww and wr, with a wr; G-single has exactly one
rw; G-nonadjacent several, none right after another one (what snapshot isolation forbids: Cerone & Gotsman, PODC 2016); G2-item
has adjacent ones. Each may need an edge of a process (-process) or of real time (-realtime) to close; those are only
looked for where the plain edges close none.

*Real time needs no edges.* Let a cycle have two edges of real time, T1 -> T2 and T3 -> T4: T1 returned before T2 began, and T3 before T4.
Then T1 returned before T4 began or T3 before T2 (else T1 returned after T4 began, thus after T3 returned, while T3 returned after T2 began, thus
after T1 returned). So T1 -> T4 closes the part T4 ... T1 by itself, or T3 -> T2 the part T2 ... T3. Hence whoever lies on a cycle of real time
at all lies beside one with exactly one such edge, whose other edges are a stretch of the first: there is a transaction B that leads, by
dependencies alone, to one that had returned before B began. That is a minimum over what can be reached: linear time, no edge added.
"""

from __future__ import annotations

import msgspec
import numpy as np

from checker.budget import Meter
from checker.transactions import kernels
from checker.transactions.graph import Graph, Rows
from checker.transactions.kernels import ANY, FREE, NONADJACENT, ONE, PAIR, PROCESS, REALTIME, RW, WR, WW
from checker.transactions.loops import run
from checker.transactions.table import NEVER, Ints

_COMPONENTS = 1_000
"""So many components are searched for cycles; the others are counted."""
_STARTS = 64
"""So many ends of cycles of real time are searched for the shortest one."""
_WORK = 20_000_000
"""Edges looked at in one search: a component that is the whole history shows a short cycle early, the shortest one perhaps never."""
_PLAIN_WORK = 400_000
_LARGE = 4_096


class Step(msgspec.Struct, frozen=True):
    """One edge of a cycle between transactions (rows of the table); `note` and `end` are the micro-operations at its two ends.

    They are one and the same but where the edge leads through auxiliary nodes.
    """

    source: int
    target: int
    kind: int
    note: int = -1
    end: int = -1


class Cycle(msgspec.Struct, frozen=True):
    """A cycle: its kind, and its steps; each begins where the one before it ends, the first where the last one ends."""

    kind: str
    steps: tuple[Step, ...]


class Cycles(msgspec.Struct):
    """What was found: for each kind how many components show it, and the shortest cycle seen; `capped` are searches that were cut short."""

    counts: dict[str, int] = {}
    shortest: dict[str, Cycle] = {}
    capped: list[str] = []

    def add(self, cycle: Cycle, count: int = 1) -> None:
        """Counts a cycle, and keeps it if it is the shortest one of its kind."""
        self.counts[cycle.kind] = self.counts.get(cycle.kind, 0) + count
        known = self.shortest.get(cycle.kind)
        if known is None or len(cycle.steps) < len(known.steps):
            self.shortest[cycle.kind] = cycle


class Sought(msgspec.Struct, frozen=True):
    """One search for cycles: it begins with an edge of `start`, and goes on as `mode` and `base` say (see `kernels.shortest`)."""

    level: int
    start: int
    mode: int
    base: int
    entered: int
    accepted: int


_FLOW = WW | WR
_ALL = WW | WR | RW
_SOUGHT = {
    "G0": Sought(WW, WW, ANY, WW, 0, 0b01),
    "G1c": Sought(_FLOW, WR, ANY, _FLOW, 0, 0b01),
    "G-single": Sought(_ALL, RW, ANY, _FLOW, 0, 0b01),
    "G-nonadjacent": Sought(_ALL, RW, NONADJACENT, _FLOW, 1, 0b01),
    "G2-item": Sought(_ALL, RW, PAIR, _FLOW, 0, 0b10),
}
_LATE = {
    "G0": Sought(WW, 0, ANY, WW, 0, 0b01),
    "G1c": Sought(_FLOW, 0, ANY, _FLOW, 0, 0b01),
    "G-single": Sought(_ALL, 0, ONE, _FLOW, 0, 0b10),
    "G-nonadjacent": Sought(_ALL, 0, NONADJACENT, _FLOW, 0, 0b11),
    "G2-item": Sought(_ALL, 0, ANY, _ALL, 0, 0b01),
}
"""The searches for the part of a cycle that an edge of real time closes."""
_INSTEAD = {"G1c": ("G0",), "G-nonadjacent": ("G-single",), "G2-item": ("G-single", "G-nonadjacent")}
"""What makes the search for a kind needless in a component: there the kind is implied by a worse one."""


def find(graph: Graph, committed: Ints, found: Cycles, meter: Meter) -> None:
    """Finds the kinds of cycles of the graph. Raises `OutOfBudgetError` where the budget ends; what was `found` stays."""
    _spend(meter, graph)
    if graph.components(_ALL)[1] < graph.nodes:
        _in_components(graph, list(_SOUGHT), 0, found, meter)
    closable = _closable(graph, 0)
    late = _late(graph, closable)
    if not late:
        return
    # Processes run one transaction at a time, so that their order is part of real time's: without cycles of that one there are none of theirs.
    _spend(meter, graph)
    chained = graph.with_processes(committed)
    with_processes = _closable(chained, PROCESS)
    closed = [kind for kind in late if kind not in with_processes]
    if closed:
        _in_components(chained, closed, PROCESS, found, meter)
    for kind in late:
        if kind in with_processes:
            _in_real_time(graph, kind, found, meter)


def _spend(meter: Meter, graph: Rows) -> None:
    """A pass over the graph: 64 edges count as a step, and its columns as held."""
    meter.spend(1 + len(graph.target) // 64, 8 * (8 * graph.nodes + 5 * len(graph.target)))


def _closable(graph: Graph, extra: int) -> list[str]:
    """The kinds that have no cycle along edges of the graph, so that more edges may still close one.

    Each is decided in linear time by strongly connected components of the edges that the kind may walk: for G-nonadjacent those of the
    graph of states, in which no rw follows another one. G-single has part in that graph: one rw is not adjacent to itself.
    """
    if graph.components(_ALL | extra)[1] == graph.nodes:
        return list(_SOUGHT)
    kinds = ["G0"] if graph.components(WW | extra)[1] == graph.nodes else []
    if graph.components(_FLOW | extra)[1] == graph.nodes:
        kinds.append("G1c")
        states = _states(graph, extra)
        if states.components(_ALL | extra)[1] == states.nodes:
            kinds += ["G-single", "G-nonadjacent"]
    return kinds


def _states(graph: Rows, extra: int) -> Rows:
    """The graph of the states of a walk with no two adjacent rw: v for "at v, any edge may follow", `nodes` + v for "no rw may"."""
    count = graph.nodes
    rw, free = graph.kind == RW, graph.kind == FREE
    base = (graph.kind & (_FLOW | extra)) != 0
    every, some = (
        rw | base | free,
        base | free,
    )  # both parts are sorted by source, and the second stands behind the first
    ahead = np.where(rw, graph.target + count, graph.target)
    source = np.concatenate([graph.source[every], graph.source[some] + count])
    target = np.concatenate([ahead[every], np.where(free, graph.target + count, graph.target)[some]])
    return Rows(source, target, np.concatenate([graph.kind[every], graph.kind[some]]), nodes=2 * count, real=graph.real)


def _late(graph: Graph, closable: list[str]) -> list[str]:
    """Those of these kinds that one edge of real time closes: there is a walk of the kind to what had returned before."""
    if not closable or not len(_too_early(graph, closable[-1])[0]):
        return []  # walks of the last kind may be walks of the others as well
    late = {kind for kind in closable if kind != "G-nonadjacent" and len(_too_early(graph, kind)[0])}
    if "G-nonadjacent" in closable and (late & {"G0", "G1c", "G-single"} or len(_too_early(graph, "G-nonadjacent")[0])):
        late.add("G-nonadjacent")  # whose walks may have one rw, or none
    return [kind for kind in closable if kind in late]


def _too_early(graph: Graph, kind: str) -> tuple[Ints, Ints]:
    """The transactions that lead, by walks of this kind, to one that had returned before they began; and when that was."""
    rows: Rows = graph
    returned = graph.returns()
    base = {"G0": WW, "G1c": _FLOW, "G-single": _FLOW}.get(kind, _ALL)
    if kind == "G-nonadjacent":
        rows = _states(graph, 0)
        returned = np.concatenate([returned, returned])
    order = np.argsort(rows.components(base)[0], kind="stable")
    plain, once = (np.full(rows.nodes, NEVER, np.int64) for _ in range(2))
    net = kernels.Net(rows.first, rows.target, rows.kind, np.zeros(0, np.int32), returned)
    for _ in range(2 if kind == "G-single" else 1):
        run(kernels.earliest_returns, net, order, base, plain, once)
    earliest = (once if kind == "G-single" else plain)[: graph.real]
    late = np.flatnonzero(earliest < graph.table.invoked)
    return late, earliest[late]


def _in_components(graph: Graph, kinds: list[str], extra: int, found: Cycles, meter: Meter) -> None:
    """Cycles of these kinds in each strongly connected component; `extra` are edges that they may walk as well."""
    level = max(_SOUGHT[kind].level for kind in kinds) | extra
    component, count = graph.components(level)
    sizes = np.bincount(component, minlength=count)
    members = np.flatnonzero(sizes[component] > 1)
    grouped = members[np.argsort(component[members], kind="stable")]
    cuts = np.flatnonzero(np.diff(component[grouped])) + 1
    groups = sorted(np.split(grouped, cuts), key=lambda nodes: int(nodes[0]))
    if len(groups) > _COMPONENTS:
        found.capped.append(
            f"{len(groups) - _COMPONENTS:,} of {len(groups):,} components with cycles were not searched for more kinds"
        )
    for nodes in groups[:_COMPONENTS]:
        searched = _Component(graph, nodes, extra, found, meter)
        here: list[str] = []
        for kind in kinds:
            if not any(worse in here for worse in _INSTEAD.get(kind, ())):
                cycle = searched.cycle(kind)
                if cycle is not None:
                    here.append(kind)
                    found.add(cycle)
        if not here and not extra:
            found.add(searched.any_cycle(level))


class _Component:
    """One strongly connected component of a graph, and the columns that searches in it use."""

    def __init__(self, graph: Graph, nodes: Ints, extra: int, found: Cycles, meter: Meter) -> None:
        self.graph = graph
        self.part, self.places = graph.part(nodes)
        self.extra = extra
        self.found = found
        self.meter = meter
        self.walk = _Walk(self.part)

    def cycle(self, kind: str) -> Cycle | None:
        """A shortest cycle of this kind, if one was found."""
        part, sought = self.part, _SOUGHT[kind]
        component, count = part.components(sought.level | self.extra)
        if count == part.nodes:
            return None
        starts = np.flatnonzero((part.kind == sought.start) & (component[part.source] == component[part.target]))
        if not len(starts):
            return None
        limit = _WORK if len(part.target) > _LARGE else _PLAIN_WORK
        never = np.full(len(starts), -1)
        base = sought.base | self.extra
        edges, start = self.walk.shortest(
            part.target[starts], part.source[starts], never, component, sought, base, limit
        )
        self.meter.spend(1 + self.walk.looked_at // 64)
        if self.walk.looked_at >= limit:
            self.found.capped.append(
                f"the search for {kind} in a component of {part.real:,} transactions ended after {limit:,} edges"
            )
        return self._closed([int(starts[start]), *edges]) if edges else None

    def any_cycle(self, mask: int) -> Cycle:
        """Some cycle, named by its edges."""
        part = self.part
        start = int(np.flatnonzero(part.kind & mask)[0])
        sought = Sought(mask, mask, ANY, mask, 0, 0b01)
        ends = part.target[start : start + 1], part.source[start : start + 1], np.full(1, -1, np.int64)
        edges, _ = self.walk.shortest(*ends, np.zeros(part.nodes, np.int32), sought, mask, _WORK)
        cycle = self._closed([start, *edges])
        assert cycle is not None  # a shortest path passes no node twice
        return cycle

    def _closed(self, edges: list[int]) -> Cycle | None:
        """The cycle of these edges; None if it passes a transaction twice.

        A walk with states can. Then it is made of two cycles, one of which is a shorter walk of its kind, and is found from another start unless
        it has fewer rw, which makes it a cycle of a worse kind.
        """
        steps = _steps(self.graph, [int(self.places[edge]) for edge in edges])
        if len({step.source for step in steps}) < len(steps):
            return None
        return Cycle(name_of(steps), steps)


class _Walk:
    """Searches for shortest paths in one graph, with the columns that they need."""

    def __init__(self, rows: Rows, returned: Ints | None = None) -> None:
        self.rows = rows
        self.returned = np.full(rows.real, NEVER, np.int64) if returned is None else returned
        self.looked_at = 0
        self._columns = [np.zeros(2 * rows.nodes, np.int64) for _ in range(6)]
        self._stamp = 0

    def shortest(
        self, starts: Ints, goals: Ints, limits: Ints, component: Ints, sought: Sought, base: int, most: int
    ) -> tuple[list[int], int]:
        """The edges of a shortest path, in order, and the number of its start; no edges if there is none."""
        rows, work = self.rows, np.array([most, self._stamp, 0, 0], np.int64)
        net = kernels.Net(rows.first, rows.target, rows.kind, component, self.returned)
        ends = [each.astype(np.int64) for each in (starts, goals, limits)]
        how = kernels.Walk(sought.mode, base, sought.entered, sought.accepted)
        size = run(kernels.shortest, *ends, net, how, kernels.Search(*[*self._columns, work]))
        path = self._columns[-1]
        self.looked_at = most - int(work[0])
        self._stamp = int(work[1])
        return path[:size][::-1].tolist(), int(work[2])


def _steps(graph: Graph, edges: list[int]) -> tuple[Step, ...]:
    """Edges as steps between transactions: auxiliary nodes are passed over, and a step is of the kind that led into the first."""
    steps: list[Step] = []
    begun = edges[0]
    for edge in edges:
        if graph.source[edge] < graph.real:
            begun = edge
        if graph.target[edge] < graph.real:
            ends = int(graph.source[begun]), int(graph.target[edge])
            steps.append(Step(*ends, int(graph.kind[begun]), int(graph.note[begun]), int(graph.note[edge])))
    return tuple(steps)


def name_of(steps: tuple[Step, ...]) -> str:
    """The kind of a cycle by its edges."""
    kinds = [step.kind for step in steps]
    suffix = "-realtime" if REALTIME in kinds else "-process" if PROCESS in kinds else ""
    if kinds.count(RW) == 0:
        return ("G1c" if WR in kinds else "G0") + suffix
    if kinds.count(RW) == 1:
        return "G-single" + suffix
    adjacent = any(one == other == RW for one, other in zip(kinds, [*kinds[1:], kinds[0]], strict=True))
    return ("G2-item" if adjacent else "G-nonadjacent") + suffix


def _in_real_time(graph: Graph, kind: str, found: Cycles, meter: Meter) -> None:
    """A short cycle of this kind that one edge of real time closes, unless a worse kind says as much."""
    if any(f"{worse}-realtime" in found.counts for worse in _INSTEAD.get(kind, ())):
        return
    if kind in {"G-nonadjacent", "G2-item"} and {"G0-realtime", "G1c-realtime"} & found.counts.keys():
        return  # their walks need no rw, so that what was found already may be all there is
    _spend(meter, graph)
    late, returned = _too_early(graph, kind)
    invoked = graph.table.invoked[late]
    some = late[np.argsort(invoked, kind="stable")[:_STARTS]]
    goals = np.full(len(some), -1, np.int64)
    component = np.zeros(graph.nodes, np.int32)
    sought = _LATE[kind]
    walk = _Walk(graph, graph.table.returned)
    edges, _ = walk.shortest(some, goals, graph.table.invoked[some], component, sought, sought.base, _WORK)
    steps = _steps(graph, edges)
    closed = (*steps, Step(steps[-1].target, steps[0].source, REALTIME))
    found.add(Cycle(name_of(closed), closed), _windows(returned, invoked))


def _windows(begin: Ints, end: Ints) -> int:
    """How many stretches of time these intervals cover: cycles of real time that overlap lie in one component."""
    order = np.argsort(begin, kind="stable")
    covered = np.maximum.accumulate(end[order])
    return 1 + int((begin[order][1:] > covered[:-1]).sum())
