"""Registers: one value that is read, written, compared and set."""

from __future__ import annotations

from typing import Any

import numpy as np

from checker.columns import FAIL_CODE, OK_CODE, Columns
from checker.history import FAIL, OK, Op, freeze
from checker.models.base import NO_STATE, NOTHING, Assignment, Effect, Model, State, show
from checker.values import Flags, thaw


class Register(Model):
    """One value: read, write, cas (value: [expected, new]) and delete (leaves None).

    A cas that was refused with error ["cas-mismatch", actual] is an observation of `actual`. A refusal that names no value
    is passed over, as in Knossos and Porcupine. States are tuples of one frozen value, since None is a value, too.
    """

    functions = frozenset({"read", "write", "cas", "delete"})
    echoes = frozenset({"write"})

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

    def assignment(self, columns: Columns) -> Assignment | None:
        """The codes of values are the numbers of states."""
        values = columns.values
        expected, new = values.pairs()
        kinds = [columns.f == columns.place_of(name) for name in ("read", "write", "delete", "cas")]
        read, write, delete, cas = kinds
        failed = columns.type == FAIL_CODE
        marks, met = expected[columns.error], new[columns.error]
        observed = failed & cas & (marks >= 0) & (marks == (values.find("cas-mismatch") or -2))
        asked = np.where(cas, expected[columns.value], columns.result)
        actual = np.where(observed, met, asked)
        contradicts = observed & (actual == asked)
        if contradicts.any() or not (read | write | delete | cas).all():
            return None
        assert isinstance(self.init, tuple)
        initial = values.find(thaw(self.init[0]))
        produced = np.where(cas, new[columns.value], np.where(write, columns.value, 0))
        return Assignment(
            requires=np.where(write | delete, NO_STATE, actual),
            produces=np.where(read | failed, NO_STATE, produced),
            matters=np.where(failed, observed, ~read | (columns.type == OK_CODE)),
            initial=len(values) if initial is None else initial,
            states=len(values) + 1,
        )

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

    def doubtful(self, columns: Columns) -> Flags:
        """Each cas whose value is no list of two."""
        expected, _ = columns.values.pairs()
        wrong: Flags = (columns.f == columns.place_of("cas")) & (expected[columns.value] < 0)
        return wrong

    def refuses(self, op: Op) -> str:
        """A cas that does not say what it expects."""
        if op.f == "cas" and not (isinstance(op.value, list | tuple) and len(op.value) == 2):
            return f"the value of a cas must be [expected, new], this is {op.value!r}"
        return ""
