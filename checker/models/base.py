"""What every model declares: states, steps, and the declarations that make checks faster.

A model knows states and operations; it knows nothing of time, processes that run at once, or search. States are
hashable and never change. A model of one's own is a subclass of `Model` with `init`, `step` and the names of its functions; the
other declarations only make checks faster, and tests hold each of them against `step`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from checker.budget import Meter
from checker.columns import Columns
from checker.history import History, HistoryError, Op, Operations
from checker.values import Flags, Integers, Shape
from checker.verdict import Verdict

State = Hashable
NOTHING = object()
"""In an `Effect`: the operation asks for no state, or leaves the state as it is."""


class Effect(NamedTuple):
    """The assignment form of an operation: it asks for one state (or `NOTHING`) and leaves one (or `NOTHING`).

    read v is (v, NOTHING), write v is (NOTHING, v), cas from a to b is (a, b).
    """

    requires: Any
    produces: Any


class Assignment(NamedTuple):
    """The effects of whole columns of operations, shape (n,): numbers of states, NO_STATE for `NOTHING`.

    `matters` is False for operations that are in no order: failures that observed nothing. `initial` is the number of the
    initial state, `states` how many numbers there are.
    """

    requires: Integers
    produces: Integers
    matters: Flags
    initial: int
    states: int


NO_STATE = -1


class ModelError(ValueError):
    """A model, or an initial value for it, that does not exist; the message names those that do."""


class Model:
    """What a model answers. `step` may look at an operation's f, value, type and result, and at what `identity` names.

    An operation whose type is `info` has no answer: `step` gives the state after it *if* it took effect.
    """

    name: str = ""
    functions: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    aliases: ClassVar[Mapping[str, str]] = {}  # other names of functions, as histories of other tools have them
    echoes: frozenset[str] = frozenset()  # functions that answer nothing, or what was asked for once more
    init: State = None

    def step(self, state: State, op: Op) -> State | None:
        """The state after the operation, or None if no machine in this state could have answered so."""
        raise NotImplementedError

    def partition(self, op: Op) -> Hashable:
        """The object that the operation acts on: each is checked by itself (locality: Herlihy & Wing 1990, theorem 1)."""
        return op.key

    def describe(self, state: State) -> str:
        """The state in words."""
        return repr(state)

    def readonly(self, op: Op) -> bool:
        """True only if `step(state, op)` is `state` or None for *every* state."""
        return False

    def blind(self, op: Op) -> bool:
        """True only if `step(state, op)` is the same for every state, and never None."""
        return False

    def effect(self, op: Op) -> Effect | None:
        """The operation in assignment form, or None if it has none."""
        return None

    def assignment(self, columns: Columns) -> Assignment | None:
        """What `effect` says of each operation, for many at once; None if there is an operation of which it says None.

        Whoever overrides `effect` or `observes` overrides this as well, or it is not asked.
        """
        return None

    def identity(self, op: Op) -> Hashable:
        """What else of an operation `step` looks at, such as who holds a lock; None if nothing."""
        return None

    def observes(self, op: Op) -> bool:
        """True if this failed operation still says something about the state, which `step` then judges."""
        return False

    def judge(self, history: History, meter: Meter) -> Verdict | None:
        """The verdict of a model that judges whole histories by itself (transactions); None: its objects are checked one by one."""
        return None

    def narrowed(self, operations: Sequence[Op]) -> Model:
        """A model that judges orders of these operations in the same way, with fewer states; or this one."""
        return self

    def prepared(self, history: History) -> Model:
        """The model for this very history: where `partition` has to know all operations to tell one object from another."""
        return self

    def unfolded(self, op: Op, operations: Sequence[Op]) -> Sequence[Op] | None:
        """The operations that this one stands for, in their order, where it stands for several; None if for itself.

        `operations` are all of the history, by the names of the model.
        """
        return None

    def refuses(self, op: Op) -> str:
        """What is wrong with the value or the answer of an operation that `step` can't take; empty if nothing is."""
        return ""

    def doubtful(self, columns: Columns) -> Flags | None:
        """Which operations `refuses` may have something against, at least; None: it has to be asked about all."""
        return None


def looks_at_whole_histories(model: type[Model]) -> bool:
    """Whether the model can tell nothing of one object before it knows the whole history."""
    return model.judge is not Model.judge or model.prepared is not Model.prepared


def require_known(history: Iterable[Op], model: Model) -> None:
    """Raises `HistoryError` for the first operation that the model does not know or whose value it can't take."""
    for op in _doubtful(history, model) if isinstance(history, History) else history:
        if op.f not in model.functions:
            known = ", ".join(sorted(model.functions))
            problem = f"model {model.name} does not know the function {op.f!r}, expected one of {known}"
        else:
            problem = model.refuses(op)
        if problem:
            raise HistoryError(f"{op.f} of process {op.process}: {problem}", op.line)


def _doubtful(history: History, model: Model) -> Iterable[Op]:
    """The operations that a model might refuse, in order."""
    if not isinstance(history.operations, Operations):
        return history
    columns, operations = history.columns, history.operations
    doubtful = np.array([name not in model.functions for name in columns.names], np.bool_)[columns.f]
    if type(model).refuses is not Model.refuses:
        refused = model.doubtful(columns) if declared_together(type(model), "doubtful", {"refuses"}) else None
        if refused is None:
            return history
        doubtful |= refused
    return (operations[row] for row in np.flatnonzero(doubtful).tolist())


def declared_together(model: type[Model], name: str, others: set[str]) -> bool:
    """Whether a declaration was written for what others say: none of them is overridden further down than it."""
    for each in model.__mro__:
        if name in vars(each):
            return each is not Model
        if vars(each).keys() & others:
            return False
    return False


def show(value: Hashable) -> str:
    """A frozen value as people write it: strings in quotes, None as nil, maps as {a: 10}, sets as #{1 2}."""
    if value is None:
        return "nil"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if isinstance(value, tuple) and value and isinstance(value[0], Shape):
        if value[0] is Shape.SET:
            return "#{" + " ".join(show(item) for item in value[1]) + "}"
        return "{" + ", ".join(f"{_show_key(key)}: {show(item)}" for key, item in value[1]) + "}"
    if isinstance(value, tuple):
        return "[" + " ".join(show(item) for item in value) + "]"
    return getattr(value, "value", None) or repr(value)


def _show_key(key: Hashable) -> str:
    """A key of a map: a name without quotes; "1" and 1 are two keys."""
    return key if isinstance(key, str) and key.removeprefix(":").isidentifier() else show(key)
