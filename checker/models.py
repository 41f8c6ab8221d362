"""Sequential models: what one correct machine would answer, one operation after the other.

A model knows states and operations; it knows nothing of time, processes that run at once, or search. States are
hashable and never change. A model of one's own is a subclass of `Model` with `init`, `step` and the names of its functions; the
other declarations only make checks faster, and tests hold each of them against `step`.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import msgspec

from checker.history import FAIL, OK, History, HistoryError, Op, freeze

State = Hashable
NOTHING = object()
"""In an `Effect`: the operation asks for no state, or leaves the state as it is."""


class Effect(NamedTuple):
    """The assignment form of an operation: it asks for one state (or `NOTHING`) and leaves one (or `NOTHING`).

    read v is (v, NOTHING), write v is (NOTHING, v), cas from a to b is (a, b).
    """

    requires: Any
    produces: Any


class ModelError(ValueError):
    """A model, or an initial value for it, that does not exist; the message names those that do."""


class Model:
    """What a model answers. `step` may look at an operation's f, value, type and result, and at nothing else.

    An operation whose type is `info` has no answer: `step` gives the state after it *if* it took effect.
    """

    name: str = ""
    functions: frozenset[str] = frozenset()
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

    def observes(self, op: Op) -> bool:
        """True if this failed operation still says something about the state, which `step` then judges."""
        return False

    def narrowed(self, operations: Sequence[Op]) -> Model:
        """A model that judges orders of these operations in the same way, with fewer states; or this one."""
        return self

    def refuses(self, op: Op) -> str:
        """What is wrong with the value or the answer of an operation that `step` can't take; empty if nothing is."""
        return ""


class Register(Model):
    """One value: read, write, cas (value: [expected, new]) and delete (leaves None).

    A cas that was refused with error ["cas-mismatch", actual] is an observation of `actual`. A refusal that names no value
    is passed over, as in Knossos and Porcupine. States are tuples of one frozen value, since None is a value, too.
    """

    functions = frozenset({"read", "write", "cas", "delete"})

    def __init__(self, init: Any = None, name: str = "register") -> None:
        self.name = name
        self.init = (freeze(init),)

    def step(self, state: State, op: Op) -> State | None:
        """A read, and what a cas expects, must be the value; what is written replaces it."""
        effect = self.effect(op)
        if effect is None:
            return None if op.type == FAIL or op.f == "cas" else state
        if effect.requires is not NOTHING and effect.requires != state:
            return None
        return state if effect.produces is NOTHING else effect.produces

    def readonly(self, op: Op) -> bool:
        """Reads, refusals, and a cas from a value to itself."""
        return op.f == "read" or op.type == FAIL or (op.f == "cas" and freeze(op.value[0]) == freeze(op.value[1]))

    def blind(self, op: Op) -> bool:
        """Writes and deletes overwrite whatever there was."""
        return op.f in {"write", "delete"}

    def effect(self, op: Op) -> Effect | None:
        """Every operation but an unanswered read, and a refusal that names no other value than the expected one."""
        if op.f == "read":
            return Effect((freeze(op.result),), NOTHING) if op.type == OK else None
        if op.f == "write":
            return Effect(NOTHING, (freeze(op.value),))
        if op.f == "delete":
            return Effect(NOTHING, (None,))
        expected, new = op.value
        if op.type == FAIL:
            actual = freeze(op.error[1]) if self.observes(op) else freeze(expected)
            return None if actual == freeze(expected) else Effect((actual,), NOTHING)
        return Effect((freeze(expected),), (freeze(new),))

    def describe(self, state: State) -> str:
        """The value itself."""
        assert isinstance(state, tuple)
        return show(state[0])

    def observes(self, op: Op) -> bool:
        """A refused cas that says which value it met."""
        return (
            op.f == "cas"
            and isinstance(op.error, list | tuple)
            and len(op.error) == 2
            and op.error[0] == "cas-mismatch"
        )

    def refuses(self, op: Op) -> str:
        """A cas that does not say what it expects."""
        if op.f == "cas" and not (isinstance(op.value, list | tuple) and len(op.value) == 2):
            return f"the value of a cas must be [expected, new], this is {op.value!r}"
        return ""


class AppendList(Model):
    """A list that grows: append one element, read the whole list (None is the empty list)."""

    functions = frozenset({"append", "read"})

    def __init__(self, init: Any = None, name: str = "append") -> None:
        self.name = name
        if init is not None and not isinstance(init, list | tuple):
            raise ModelError(f"the initial value of model {name} must be a list, not {init!r}")
        self.init = freeze(init or ())

    def step(self, state: State, op: Op) -> State | None:
        """An append adds at the end; a read must be the whole list."""
        assert isinstance(state, tuple)
        if op.f == "append":
            return (*state, freeze(op.value))
        return state if op.type != OK or state == freeze(op.result or ()) else None

    def readonly(self, op: Op) -> bool:
        """Reads."""
        return op.f == "read"

    def describe(self, state: State) -> str:
        """The list."""
        assert isinstance(state, tuple)
        return show(state)

    def refuses(self, op: Op) -> str:
        """A read that gave no list."""
        if op.f == "read" and op.type == OK and not isinstance(op.result, list | tuple | None):
            return f"a read of a list must give a list, this is {op.result!r}"
        return ""


class KeyValueStrings(Model):
    """One key of a map of strings: get, put and append (Porcupine's kv logs); an absent key is the empty string."""

    functions = frozenset({"get", "put", "append"})

    def __init__(self, init: Any = None, name: str = "kv") -> None:
        self.name = name
        if init is not None and not isinstance(init, str):
            raise ModelError(f"the initial value of model {name} must be a string, not {init!r}")
        self.init = init or ""

    def step(self, state: State, op: Op) -> State | None:
        """A put replaces, an append adds at the end, a get must be the whole string."""
        assert isinstance(state, str)
        if op.f == "put":
            return op.value or ""
        if op.f == "append":
            return state + (op.value or "")
        return state if op.type != OK or state == (op.result or "") else None

    def readonly(self, op: Op) -> bool:
        """Gets."""
        return op.f == "get"

    def blind(self, op: Op) -> bool:
        """Puts."""
        return op.f == "put"

    def narrowed(self, operations: Sequence[Op]) -> Model:
        """The same with all strings that no get can come to see as one: k concurrent appends have k! strings."""
        return _SeenStrings(self, sorted({op.result or "" for op in operations if op.f == "get" and op.type == OK}))

    def describe(self, state: State) -> str:
        """The string."""
        return show(state)

    def refuses(self, op: Op) -> str:
        """Values and answers that are no strings: 0 and "0" differ, and nothing is converted."""
        for what, thing in (("value", op.value), ("answer", op.result)):
            if not isinstance(thing, str | None):
                return f"the {what} of a {op.f} must be a string, this is {thing!r}"
        return ""


_UNSEEN = ("no get sees it before the next put",)


class _SeenStrings(KeyValueStrings):
    """The strings that are prefixes of the answer of a get; all others are one state, since they behave alike.

    Proof: a string that is no prefix of an answer of a get equals none, and appends only make it longer, so until the next
    put every get is illegal whichever string it is; a put leaves the same string behind whatever there was.
    """

    def __init__(self, model: KeyValueStrings, answers: Sequence[str]) -> None:
        super().__init__(name=model.name)
        self._answers = answers
        self.init = self._seen(model.init)

    def step(self, state: State, op: Op) -> State | None:
        """As the model, with unseen strings as one."""
        if state == _UNSEEN and op.f != "put":
            return _UNSEEN if op.f == "append" or op.type != OK else None
        after = super().step("" if state == _UNSEEN else state, op)
        return None if after is None else self._seen(after)

    def _seen(self, state: State) -> State:
        """The string, if it is a prefix of an answer: then it is one of the next answer in their order."""
        assert isinstance(state, str)
        place = bisect_left(self._answers, state)
        return state if place < len(self._answers) and self._answers[place].startswith(state) else _UNSEEN


class Mutex(Model):
    """A lock that does not know its holder: acquire takes it if it is free, release gives it back if it is held.

    Whose it is does not matter, as in Knossos: a service that lets two hold it answers two acquires with no release between.
    """

    functions = frozenset({"acquire", "release"})

    def __init__(self, init: Any = None, name: str = "mutex") -> None:
        self.name = name
        if init not in (None, "free", "held"):
            raise ModelError(f'the initial value of model {name} must be "free" or "held", not {init!r}')
        self.init = init or "free"

    def step(self, state: State, op: Op) -> State | None:
        """What the operation needs must be so, and then it is the other way round."""
        needs, leaves = self.effect(op)
        return leaves if state == needs else None

    def effect(self, op: Op) -> Effect:
        """From free to held, or back."""
        return Effect("free", "held") if op.f == "acquire" else Effect("held", "free")

    def describe(self, state: State) -> str:
        """Free or held."""
        return str(state)


MODELS: dict[str, Callable[..., Model]] = {
    "register": Register,
    "cas-register": Register,
    "append": AppendList,
    "kv": KeyValueStrings,
    "mutex": Mutex,
}
"""The models by the names that `--model` takes."""


def make_model(name: str, init: Any = None) -> Model:
    """The model of this name with an initial value (None: nil for a register, else empty).

    Raises `ModelError` where there is no such model, naming the nearest known, or where the value does not fit it.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ModelError(f"unknown model {name!r}: {hint}known are {', '.join(sorted(MODELS))}")
    return MODELS[name](init, name=name)


def require_known(history: History, model: Model) -> None:
    """Raises `HistoryError` for the first operation that the model does not know or whose value it can't take."""
    for op in history:
        if op.f not in model.functions:
            known = ", ".join(sorted(model.functions))
            problem = f"model {model.name} does not know the function {op.f!r}, expected one of {known}"
        else:
            problem = model.refuses(op)
        if problem:
            raise HistoryError(f"{op.f} of process {op.process}: {problem}", op.line)


def show(value: Hashable) -> str:
    """A frozen value as people write it: strings in quotes, None as nil."""
    if value is None:
        return "nil"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if isinstance(value, tuple):
        return "[" + " ".join(show(item) for item in value) + "]"
    return getattr(value, "value", None) or repr(value)
