"""What a model of a user's own does wrong, noticed where it is asked and said in a sentence; our own models are held by tests.

A model that breaks its promises gives wrong verdicts, silently. So each step that a search asks for is looked at: what it
returned, whether the state that it was given is still the same, and what the model declared of the operation. The first few
steps are asked for twice: one that answers otherwise then depends on more than the state and the operation.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from checker.budget import Meter
from checker.history import FAIL, Op, freeze
from checker.models.base import NOTHING, Model, ModelError, State, looks_at_whole_histories
from checker.values import Truth

_PACKAGE = __file__.removesuffix("models/guard.py")
_TWICE = 16
"""So many steps are asked for twice."""
_TRIED, _SHARE = 256, 20
"""So many operations are tried in the order of their invocations, before any search: most mistakes show at once. A step may be
slow: no more than the second's part of the seconds that are left goes into that."""


def is_ours(model: Model) -> bool:
    """Whether the model is one of this package, not a user's own."""
    return type(model).__module__.partition(".")[0] == __name__.partition(".")[0]


def require_model(model: Any) -> None:
    """Raises `ModelError` for what is no model, or one that lacks what each needs."""
    if isinstance(model, type):
        raise ModelError(f"expected a model, this is the class {model.__name__}: make one, {model.__name__}(...)")
    if isinstance(model, str):
        raise ModelError(f"expected a model, this is {model!r}: make_model({model!r}) makes one of this name")
    if not isinstance(model, Model):
        raise ModelError(f"expected a model, such as make_model('register') makes, this is {_kind(model)}")
    if is_ours(model):
        return
    kind, name = type(model), _name(model)
    if not isinstance(model.functions, frozenset | set):
        raise ModelError(
            f"the functions of {name} must be a set of names, such as frozenset({{'read', 'write'}}), this is {_kind(model.functions)}"
        )
    if looks_at_whole_histories(kind):
        return
    if kind.step is Model.step:
        raise ModelError(
            f"{name} has no step: expected step(self, state, op), which gives the state after the operation"
        )
    if model.init is None:
        raise ModelError(
            f"the init of {name} must not be None: step answers None for what no machine could have answered; "
            'use a value of your own, for example "nil" or ()'
        )
    _require_hashable(model.init, f"the init of {name}")


def object_of(model: Model, op: Op) -> Hashable:
    """The object that an operation acts on, as the model says. Raises `ModelError` where it can't say."""
    try:
        key = model.partition(op)
    except Exception as error:
        raise ModelError(f"partition of {_name(model)} {_failed(error)}, at {_named(op)}") from error
    try:
        hash(key)
    except TypeError:
        raise ModelError(
            f"partition of {_name(model)} must return something hashable, it returned {_kind(key)} for {_named(op)}"
        ) from None
    return key


def mistake(error: Exception) -> str:
    """What went wrong in a model, or in a way of ours: the user's own line, where one of these was under way."""
    places = traceback.extract_tb(error.__traceback__)
    own = [place for place in places if not place.filename.startswith(_PACKAGE)]
    notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
    place = own[-1] if own else places[-1]
    where = f"{_file(place.filename)}, line {place.lineno}, in {place.name}"
    return f"{'the model' if own else 'the check'} failed with {type(error).__name__}: {error} ({where}){notes}"


def asking(model: Model) -> Callable[[State, Op], State | None]:
    """The model's `step`; of a user's own model one that raises `ModelError` where the model breaks a promise."""
    return model.step if is_ours(model) else _Asked(model).step


def try_out(model: Model, operations: Sequence[Op], meter: Meter) -> None:
    """Asks a user's own model about the first operations, one after the other. Raises `ModelError` for a promise that it breaks.

    No more than a small part of the seconds that are left goes into it. An exception is left to the search, which may never
    come to that state.
    """
    if is_ours(model):
        return
    step = asking(model)
    state = model.init
    left = meter.seconds_left()
    own = meter.within(seconds=None if left is None else left / _SHARE)
    try:
        for op in own.along(operations[:_TRIED]):
            if op.type != FAIL or model.observes(op):
                after = step(state, op)
                state = state if after is None else after
    except (ModelError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - of the user's, or the end of the share
        return


class _Asked:
    """A user's own model, looked at while it is asked."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._name = _name(model)
        self._asked = 0
        self._blind: dict[Hashable, State] = {}

    def step(self, state: State, op: Op) -> State | None:
        """What the model answers. Raises `ModelError`."""
        model = self._model
        before = hash(state)
        try:
            after = model.step(state, op)
        except Exception as error:
            error.add_note(f"at {_named(op)} in the state {_shown(state)}")
            raise
        _require_hashable(after, f"step of {self._name}, asked for {_named(op)},")
        if hash(state) != before:
            raise ModelError(
                f"step of {self._name} changed the state that it was given, at {_named(op)}: states must never change, return a new one"
            )
        if isinstance(after, bool) and not _speaks_of_truth((model.init, state, op.value, op.result)):
            raise ModelError(
                f"step of {self._name} returned {after} for {_named(op)}, which is no state of it: step must return the state after "
                "the operation, or None where no machine could have answered so"
            )
        self._asked += 1
        if self._asked <= _TWICE:
            again = model.step(state, op)
            if again != after:
                raise ModelError(
                    f"step of {self._name} gave {_shown(after)} and then {_shown(again)} for {_named(op)} in the state "
                    f"{_shown(state)}: it must depend on the state and the operation alone"
                )
        self._hold_to_declarations(state, op, after)
        return after

    def _hold_to_declarations(self, state: State, op: Op, after: State | None) -> None:
        model, kind = self._model, type(self._model)
        said = ""
        if kind.readonly is not Model.readonly and model.readonly(op) and after is not None and after != state:
            said = "readonly"
        if kind.blind is not Model.blind and model.blind(op):
            name = (op.f, freeze(op.value), freeze(op.result), op.type, model.identity(op))
            if name not in self._blind:
                self._blind[name] = model.step(model.init, op)
            known = self._blind[name]
            said = "blind" if after is None or after != known else said
        if kind.effect is not Model.effect and (effect := model.effect(op)) is not None:
            legal = effect.requires is NOTHING or effect.requires == state
            promised = None if not legal else state if effect.produces is NOTHING else effect.produces
            said = "effect" if after != promised else said
        if said:
            raise ModelError(
                f"{said} of {self._name} says of {_named(op)} what is not so: step makes {_shown(after)} of the state {_shown(state)}"
            )


def _speaks_of_truth(values: Any) -> bool:
    """Whether there is a boolean in these values: where states or answers are booleans, one may be a state."""
    frozen = freeze(values)
    if isinstance(frozen, tuple):
        return any(_speaks_of_truth(item) for item in frozen)
    return isinstance(frozen, Truth)


def _require_hashable(value: Any, what: str) -> None:
    try:
        hash(value)
    except TypeError:
        word = "is" if what.startswith("the init") else "returned"
        raise ModelError(f"states must be hashable: {what} {word} {_kind(value)}") from None


def _failed(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"failed with {type(error).__name__}: {error} ({_file(place.filename)}, line {place.lineno})"


def _file(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _name(model: Model) -> str:
    return f"model {model.name or type(model).__name__}"


def _named(op: Op) -> str:
    value = "" if op.value is None else f" {_shown(op.value)}"
    answer = "" if op.result is None or op.result == op.value else f" -> {_shown(op.result)}"
    return f"{op.f}{value}{answer} of process {op.process}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
