"""Long forks: two writes that two readers saw in opposite orders."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from checker.budget import Meter
from checker.history import OK, History, Op, freeze
from checker.models.answers import contradiction
from checker.models.base import Model, ModelError, show
from checker.verdict import INVALID, UNKNOWN, VALID, Verdict

_READS = frozenset({"r", ":r", "read", ":read"})
_WRITES = frozenset({"w", ":w", "write", ":write"})


class LongFork(Model):
    """Keys that are written once, and reads of several keys in one transaction.

    A long fork is a pair of keys x and y, a read that saw x and not yet y, and one that saw y and not yet x: parallel snapshot
    isolation allows it, snapshot isolation forbids it (Sovran et al., SOSP 2011). Real time is not asked about. What a transaction
    reads of a key that it wrote itself says nothing of its snapshot: [write x, read x, read y as nil] beside the same with x
    and y exchanged is write skew, which snapshot isolation allows.
    """

    functions = frozenset({"read", "write", "txn"})

    def __init__(self, init: Any = None, name: str = "long-fork") -> None:
        self.name = name
        if init is not None:
            raise ModelError(f"model {name} takes no initial value: every key begins as nil")

    def judge(self, history: History, meter: Meter) -> Verdict:
        """Looks for the pair: exact, since each key is nil until its only write, and that value ever after."""
        values: dict[Hashable, Hashable] = {}
        saw: dict[tuple[Hashable, Hashable], Op] = {}
        verdict = Verdict(verdict=VALID, model=self.name, way="pairs of keys", operations=len(history))
        for op in history:
            if op.type != OK:
                continue
            read, strange = _snapshot(op)
            meter.spend(1 + len(read) * len(read))
            for key, value in read.items():
                if value is not None and values.setdefault(key, value) != value:
                    verdict.verdict = UNKNOWN
                    verdict.reason = f"malformed workload: key {show(key)} was read as {show(values[key])} and as {show(value)}, so it was written twice"
                    return verdict
            if strange:
                return _changed(verdict, op, strange)
            there = [key for key, value in read.items() if value is not None]
            missing = [key for key, value in read.items() if value is None]
            for one in there:
                for other in missing:
                    saw.setdefault((one, other), op)
        for (one, other), op in saw.items():
            second = saw.get((other, one))
            if second is not None:
                return _forked(verdict, (one, other), (op, second))
        return verdict

    def refuses(self, op: Op) -> str:
        """What is no list of reads and writes."""
        asked = op.result if op.type == OK else op.value
        known = _READS | _WRITES
        if not isinstance(asked, list | tuple):
            return f"a transaction must be a list of micro-operations, this is {asked!r}"
        for each in asked:
            if (
                not isinstance(each, list | tuple)
                or len(each) != 3
                or not isinstance(each[0], str)
                or each[0] not in known
            ):
                return f"a micro-operation must be [r or w, key, value], this is {each!r}"
        return contradiction(op.value, op.result) if op.type == OK else ""


def _snapshot(op: Op) -> tuple[dict[Hashable, Hashable], str]:
    """What a transaction read of others, and where it read a key otherwise than it had read or written it before (empty: nowhere)."""
    snapshot: dict[Hashable, Hashable] = {}
    own: dict[Hashable, Hashable] = {}
    for function, key, value in op.result:
        place, got = freeze(key), freeze(value)
        if function in _WRITES:
            own[place] = got
            continue
        before = own[place] if place in own else snapshot.setdefault(place, got)
        if got != before:
            done = "written" if place in own else "read"
            return snapshot, f"read key {show(place)} as {show(got)} after it had {done} it as {show(before)}"
    return snapshot, ""


def _changed(verdict: Verdict, op: Op, what: str) -> Verdict:
    verdict.verdict = INVALID
    verdict.core = [op.as_dict()]
    verdict.anomalies = {"internal": {"count": 1, "forbidden": True}}
    verdict.consistency = {"not": ["snapshot-isolation"], "may_hold": []}
    verdict.explanation = f"A transaction of process {op.process} {what}: its reads are of no one snapshot"
    return verdict


def _forked(verdict: Verdict, keys: tuple[Hashable, Hashable], readers: tuple[Op, Op]) -> Verdict:
    one, other = (show(key) for key in keys)
    first, second = readers
    verdict.verdict = INVALID
    verdict.core = [op.as_dict() for op in readers]
    verdict.anomalies = {"long-fork": {"count": 1, "forbidden": True}}
    verdict.consistency = {"not": ["snapshot-isolation"], "may_hold": ["parallel-snapshot-isolation"]}
    verdict.explanation = (
        f"Process {first.process} saw the write of key {one} and not yet that of key {other}, process {second.process} saw that of key {other} and "
        f"not yet that of key {one}: a long fork, which snapshot isolation forbids"
    )
    return verdict
