"""Transactions over several keys: judged by their dependencies (list-append, rw-register), or as one machine (txn)."""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Mapping
from typing import Any

from checker.budget import Budget, Meter
from checker.history import OK, History, Op, freeze
from checker.models.answers import contradiction
from checker.models.base import Model, ModelError, State, show
from checker.values import is_list
from checker.verdict import Verdict

_READS = frozenset({"r", ":r", "read", ":read"})
_WRITES = frozenset({"w", ":w", "write", ":write"})
_APPENDS = frozenset({"append", ":append"})
_NOTHING_YET = (None, ())
"""What a read gives of a key that nobody wrote: nil or the empty list, as the store likes."""
STRICT = "strict-serializable"


class Dependencies(Model):
    """Transactions whose values are unique, judged by the cycles of their dependencies, as in Elle.

    `consistency` is the model that must hold, by the names of Elle (`checker.transactions.consistency`).
    """

    functions = frozenset({"txn", "read", "write"})
    options = frozenset({"consistency"})

    def __init__(self, init: Any = None, name: str = "", consistency: str = STRICT) -> None:
        self.name = name
        if init is not None:
            raise ModelError(f"model {name} takes no initial value: every key begins as nil, or as the empty list")
        # Imported only here: it needs numpy, and most histories are no transactions.
        self.consistency = importlib.import_module("checker.transactions.consistency").canonical(consistency)

    def judge(self, history: History, meter: Meter) -> Verdict:
        """The verdict for the consistency model, by Elle's way. Raises `HistoryError` where an operation is no such transaction."""
        verdict: Verdict = _judge().verdict(self.analysis(history, meter), self.name, self.consistency)
        return verdict

    def drawn(self, history: History, kind: str | None = None) -> Any:
        """The shortest cycle of a kind of anomaly (None: the one that the verdict tells of) as a `networkx.DiGraph`, None if there is none.

        Nodes have a `name` and a `label`, edges a `kind` and a sentence, `because`.
        """
        return _judge().drawn(self.analysis(history, Meter(Budget())), self.consistency, kind)

    def analysis(self, history: History, meter: Meter) -> Any:
        """The dependencies that the answers of these transactions tell of."""
        raise NotImplementedError


class ListAppend(Dependencies):
    """Transactions that append to lists and read them, judged by the cycles of their dependencies, as in Elle."""

    def __init__(self, init: Any = None, name: str = "list-append", consistency: str = STRICT) -> None:
        super().__init__(init, name, consistency)

    def analysis(self, history: History, meter: Meter) -> Any:
        """Reads tell the order in which elements were appended."""
        return _judge().analyse_appends(history, meter)


class RegisterTransactions(Dependencies):
    """Transactions that write and read registers, judged by the cycles of their dependencies, as in Elle.

    `linearizable_keys` assumes that each key is linearizable by itself, which orders its versions by real time.
    """

    options = frozenset({"consistency", "linearizable_keys"})

    def __init__(
        self,
        init: Any = None,
        name: str = "rw-register",
        consistency: str = STRICT,
        *,
        linearizable_keys: bool = False,
    ) -> None:
        super().__init__(init, name, consistency)
        self.linearizable_keys = linearizable_keys

    def analysis(self, history: History, meter: Meter) -> Any:
        """The order of a key's values is known in part: from transactions that read it and wrote it, and from its first value."""
        return _judge().analyse_registers(history, meter, linearizable_keys=self.linearizable_keys)


def _judge() -> Any:
    """The judge, loaded when it is asked for: it needs numpy."""
    return importlib.import_module("checker.transactions.judge")


class Transactions(Model):
    """A map of keys, and transactions of reads, writes and appends that take effect at once: strict serializability by search.

    For small histories whose values need not be unique. The state holds the keys that were written, as sorted pairs. Keys that a
    transaction touches together are one object, keys that no chain of transactions joins are not: `prepared` finds which.
    """

    functions = frozenset({"txn", "read", "write"})

    def __init__(self, init: Any = None, name: str = "txn", objects: Mapping[Hashable, int] | None = None) -> None:
        self.name = name
        if init is not None and not isinstance(init, Mapping):
            raise ModelError(f"the initial value of model {name} must be a map of keys to values, not {init!r}")
        pairs = [(freeze(key), freeze(value)) for key, value in (init or {}).items()]
        self._init = init
        self._objects = objects
        self._pairs = tuple(sorted(pairs, key=repr))
        self.init = self._pairs

    def prepared(self, history: History) -> Model:
        """The same, knowing which keys are joined by transactions (union-find)."""
        parents: dict[Hashable, Hashable] = {}

        def root(key: Hashable) -> Hashable:
            parents.setdefault(key, key)
            while parents[key] != key:
                parents[key] = parents[parents[key]]
                key = parents[key]
            return key

        for op in history:
            keys = [freeze(key) for _, key, _ in op.value]
            for key in keys:
                parents[root(key)] = root(keys[0])
        numbers: dict[Hashable, int] = {}
        objects = {key: numbers.setdefault(root(key), len(numbers)) for key in parents}
        return Transactions(self._init, self.name, objects)

    def partition(self, op: Op) -> Hashable:
        """The group of keys that the transaction belongs to; an empty transaction belongs to none."""
        if self._objects is None or not op.value:
            return None
        return self._objects[freeze(op.value[0][1])]

    def step(self, state: State, op: Op) -> State | None:
        """One micro-operation after the other; each read must give what is there."""
        assert isinstance(state, tuple)
        values: dict[Hashable, Hashable] = dict(state)
        for function, key, value in op.result if op.type == OK else op.value:
            frozen, place = freeze(value), freeze(key)
            if function in _WRITES:
                values[place] = frozen
            elif function in _APPENDS:
                there = values.get(place, ())
                if not is_list(there):
                    return None
                values[place] = (*there, frozen)
            elif op.type == OK and (frozen != values[place] if place in values else frozen not in _NOTHING_YET):
                return None
        return tuple(sorted(values.items(), key=repr))

    def readonly(self, op: Op) -> bool:
        """Transactions that only read."""
        return all(function in _READS for function, _, _ in op.value)

    def describe(self, state: State) -> str:
        """The keys with their values."""
        assert isinstance(state, tuple)
        return "{" + ", ".join(f"{show(key)}: {show(value)}" for key, value in state) + "}"

    def refuses(self, op: Op) -> str:
        """What is no list of micro-operations, or answers others than were asked."""
        for what, asked in (("value", op.value), ("answer", op.result if op.type == OK else [])):
            if not isinstance(asked, list | tuple):
                return f"the {what} of a transaction must be a list of micro-operations, this is {asked!r}"
            for each in asked:
                known = _READS | _WRITES | _APPENDS
                if (
                    not isinstance(each, list | tuple)
                    or len(each) != 3
                    or not isinstance(each[0], str)
                    or each[0] not in known
                ):
                    return f"a micro-operation must be [r, w or append, key, value], this is {each!r}"
        return contradiction(op.value, op.result) if op.type == OK else ""
