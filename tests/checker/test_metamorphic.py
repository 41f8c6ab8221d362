"""Histories of any size that are changed in ways whose effect on the verdict is known: no referee is needed.

checker.md, section 8: "prefix of valid is valid; removing a read or a key, widening an interval, turning `ok` into `info`,
delaying a return: valid stays valid; narrowing, adding a read, turning info into ok or fail: invalid stays invalid; renaming
..., shifting and scaling time ...: same verdict; two valid histories one after the other ...: valid".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import atomic
import msgspec
import pytest
import referee
from atomic import BY_DEPENDENCIES, MACHINES, Machine, Size
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from checker import Budget, History, Op, check
from checker.check import witness
from checker.history import FAIL, INFO, OK
from checker.models.base import State

BUDGET = Budget(seconds=None, steps=5_000)
"""Lists with repeated elements are hard; an unknown verdict contradicts nothing here."""
DRAWN = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # large histories shrink for minutes; a failure names its seed
)
BY_MODEL = pytest.mark.parametrize("name", sorted(MACHINES))
BY_SEARCHED_MODEL = pytest.mark.parametrize("name", sorted(MACHINES.keys() - BY_DEPENDENCIES - {"txn"}))
"""Those that give an order for each object; which objects transactions have is found from their history."""

SIZES = st.builds(
    Size,
    operations=st.sampled_from([3, 6, 12, 40]),
    clients=st.integers(1, 6),
    keys=st.sampled_from([1, 1, 3]),
    values=st.sampled_from([0, 2, 4]),
    unanswered=st.sampled_from([0.0, 0.1, 0.3]),
    ticks=st.sampled_from([1, 3, 20]),
)


def verdict(machine: Machine, operations: list[Op]) -> str:
    return check(History(operations), machine.judge, BUDGET, workers=1).verdict


def drawn(seed: int, machine: Machine, size: Size, spoil: int) -> tuple[Random, list[Op]]:
    """A history of this size with some answers swapped; `spoil` 0: a valid one."""
    draw = Random(seed)
    return draw, atomic.spoilt(draw, atomic.history(draw, machine, size), spoil, machine)


# --- changes that keep a valid history valid, and so an invalid one that comes of them was invalid before --------------------


def earlier(draw: Random, op: Op) -> Op | None:
    """Invoked earlier: what was possible stays possible."""
    return msgspec.structs.replace(op, invoke_time=(op.invoke_time or 0) - draw.randint(1, 30))


def later(draw: Random, op: Op) -> Op | None:
    """Answered later."""
    return msgspec.structs.replace(op, return_time=(op.return_time or 0) + draw.randint(1, 30))


def unanswered(draw: Random, op: Op) -> Op | None:
    """Never answered: who knows less can object to less."""
    return msgspec.structs.replace(op, type=INFO, result=None, error=None) if op.type == OK else op


def widened(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Some operations invoked earlier, answered later or never."""
    changes = [earlier, later, unanswered]
    return atomic.ordered([draw.choice(changes)(draw, op) if draw.random() < 0.3 else op for op in operations])  # type: ignore[misc]


def without_readers(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Some operations that change nothing left out."""
    return [op for op in operations if not machine.model.readonly(op) or draw.random() < 0.5]


def prefix(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """What was known at some moment: operations that were open then have no answer."""
    end = draw.randint(0, max((op.returned or op.invoked for op in operations), default=0))
    known = [op for op in operations if op.invoked <= end]
    return [
        msgspec.structs.replace(op, type=INFO, result=None, error=None, returned=None)
        if (op.returned or 0) > end and op.type != FAIL
        else op
        for op in known
    ]


def without_a_key(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """All operations on one key left out."""
    keys = sorted({op.key for op in operations}, key=repr)
    gone = draw.choice(keys) if len(keys) > 1 else object()
    return [op for op in operations if op.key != gone]


SAFE: dict[str, Callable[[Random, list[Op], Machine], list[Op]]] = {
    each.__name__: each for each in (widened, without_readers, prefix, without_a_key)
}


@BY_MODEL
@pytest.mark.parametrize("change", sorted(SAFE))
def test_a_valid_history_stays_valid_when_it_says_less(name: str, change: str) -> None:
    machine = MACHINES[name]

    @DRAWN
    @given(st.integers(0, 1 << 32), SIZES, st.sampled_from([0, 0, 1, 3]))
    def holds(seed: int, size: Size, spoil: int) -> None:
        draw, operations = drawn(seed, machine, size, spoil)
        before = verdict(machine, operations)
        assert spoil or before != "invalid"
        changed = SAFE[change](draw, operations, machine)
        after = verdict(machine, changed)
        assert not (before == "valid" and after == "invalid"), (operations, changed)

    holds()


# --- changes that keep an invalid history invalid --------------------------------------------------------------------------


def narrowed(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Some intervals made shorter at either end."""
    changed = []
    for op in operations:
        begin, end = op.invoke_time or 0, op.return_time or 0
        if draw.random() < 0.3 and begin < end:
            begin, end = sorted([draw.randint(begin, end), draw.randint(begin, end)])
        changed.append(msgspec.structs.replace(op, invoke_time=begin, return_time=end))
    return atomic.ordered(changed)


def without_unanswered(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Some operations that were never answered left out."""
    return [op for op in operations if op.type != INFO or draw.random() < 0.5]


def failed(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Some operations that were never answered failed: they certainly did not happen."""
    return [
        msgspec.structs.replace(op, type=FAIL) if op.type == INFO and draw.random() < 0.5 else op for op in operations
    ]


def answered(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Some operations that were never answered get the answer that another one had."""
    last = max((op.returned or op.invoked for op in operations), default=0)
    changed = []
    for op in operations:
        twins = [other for other in operations if other.type == OK and (other.f, other.value) == (op.f, op.value)]
        if op.type == INFO and twins and draw.random() < 0.5:
            last += 1
            op = msgspec.structs.replace(op, type=OK, result=draw.choice(twins).result, returned=last)
        changed.append(op)
    return changed


def with_a_read(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """One more operation that changes nothing: the last one with somebody's answer."""
    readers = [op for op in operations if op.type == OK and machine.model.readonly(op)]
    if not readers:
        return operations
    last = max(op.returned or op.invoked for op in operations)
    copy = msgspec.structs.replace(draw.choice(readers), process=10**6, invoked=last + 1, returned=last + 2)
    return [*operations, copy]


STRICT: dict[str, Callable[[Random, list[Op], Machine], list[Op]]] = {
    each.__name__: each for each in (narrowed, without_unanswered, failed, answered, with_a_read)
}


@BY_MODEL
@pytest.mark.parametrize("change", sorted(STRICT))
def test_an_invalid_history_stays_invalid_when_it_says_more(name: str, change: str) -> None:
    machine = MACHINES[name]

    @DRAWN
    @given(st.integers(0, 1 << 32), SIZES, st.sampled_from([0, 1, 3]))
    def holds(seed: int, size: Size, spoil: int) -> None:
        draw, operations = drawn(seed, machine, size, spoil)
        changed = STRICT[change](draw, operations, machine)
        after = verdict(machine, changed)
        assert not (after == "valid" and verdict(machine, operations) == "invalid"), (operations, changed)

    holds()


# --- changes that change nothing -------------------------------------------------------------------------------------------


def other_processes(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Processes under other numbers."""
    known = sorted({int(op.process) for op in operations})
    numbers = dict(zip(known, draw.sample(range(10**6), len(known)), strict=True))
    return [msgspec.structs.replace(op, process=numbers[int(op.process)]) for op in operations]


def other_keys(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Keys under other names."""
    return [msgspec.structs.replace(op, key=f"key {op.key}") for op in operations] if machine.keys else operations


def other_values(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Values under other names, one to one: these models only compare them."""
    if not machine.rename:
        return operations
    names = draw.sample(range(10**6), 1000)

    def rename(value: Any) -> Any:
        return atomic.renamed(value, names.__getitem__)

    return [
        msgspec.structs.replace(op, value=rename(op.value), result=rename(op.result), error=rename(op.error))
        for op in operations
    ]


def other_times(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Another clock: shifted, and so many times faster."""
    shift, scale = draw.randint(-(10**9), 10**9), draw.choice([1, 7, 10**6])
    return atomic.ordered(
        [
            msgspec.structs.replace(
                op, invoke_time=(op.invoke_time or 0) * scale + shift, return_time=(op.return_time or 0) * scale + shift
            )
            for op in operations
        ]
    )


def other_places(draw: Random, operations: list[Op], machine: Machine) -> list[Op]:
    """Places with gaps between them: only their order counts."""
    return [
        msgspec.structs.replace(
            op, invoked=op.invoked * 3 + 5, returned=None if op.returned is None else op.returned * 3 + 5
        )
        for op in operations
    ]


NEUTRAL: dict[str, Callable[[Random, list[Op], Machine], list[Op]]] = {
    each.__name__: each for each in (other_processes, other_keys, other_values, other_times, other_places)
}


@BY_MODEL
@pytest.mark.parametrize("change", sorted(NEUTRAL))
def test_a_history_keeps_its_verdict_under_other_names(name: str, change: str) -> None:
    machine = MACHINES[name]

    @DRAWN
    @given(st.integers(0, 1 << 32), SIZES, st.sampled_from([0, 1, 3]))
    def holds(seed: int, size: Size, spoil: int) -> None:
        draw, operations = drawn(seed, machine, size, spoil)
        changed = NEUTRAL[change](draw, operations, machine)
        assert {verdict(machine, changed), verdict(machine, operations)} != {"valid", "invalid"}, (operations, changed)

    holds()


# --- histories put together ------------------------------------------------------------------------------------------------


@BY_SEARCHED_MODEL
def test_a_valid_history_may_be_followed_by_one_that_begins_where_it_ended(name: str) -> None:
    machine = MACHINES[name]

    @DRAWN
    @given(st.integers(0, 1 << 32), SIZES)
    def holds(seed: int, size: Size) -> None:
        size = size._replace(keys=1)
        draw, first = drawn(seed, machine, size, 0)
        orders = witness(History(first), machine.model, BUDGET)
        if orders is None:
            return
        end = {place: _state_after(machine, order) for place, order in orders.items()}
        begin = 1 + max(op.return_time or 0 for op in first)
        second = atomic.history(draw, machine, size, start=end, begin=begin)
        both = atomic.ordered([*first, *second])
        assert verdict(machine, both) != "invalid", both

    holds()


def _state_after(machine: Machine, order: Sequence[Op]) -> State:
    state: State | None = machine.model.init
    for op in order:
        state = machine.model.step(state, op)
        assert state is not None
    return state


@pytest.mark.parametrize("name", sorted(name for name, machine in MACHINES.items() if machine.keys))
def test_histories_of_two_keys_have_the_worse_verdict_of_the_two(name: str) -> None:
    """Locality (Herlihy & Wing 1990, theorem 1), both ways."""
    machine = MACHINES[name]

    @DRAWN
    @given(st.integers(0, 1 << 32), SIZES, st.sampled_from([0, 1, 3]), st.sampled_from([0, 1, 3]))
    def holds(seed: int, size: Size, spoil: int, other: int) -> None:
        size = size._replace(keys=1)
        parts = [drawn(seed, machine, size, spoil)[1], drawn(seed + 1, machine, size, other)[1]]
        both = [msgspec.structs.replace(op, key=key) for key, part in enumerate(parts) for op in part]
        alone = {verdict(machine, part) for part in parts}
        together = verdict(machine, atomic.ordered(both))
        if "unknown" not in alone | {together}:
            assert together == ("invalid" if "invalid" in alone else "valid"), both

    holds()


@BY_SEARCHED_MODEL
def test_every_valid_history_has_an_order_that_can_be_replayed(name: str) -> None:
    """checker.md, section 8: "an independent 20-line function replays it (legal, inside intervals, complete)"."""
    machine = MACHINES[name]

    @DRAWN
    @given(st.integers(0, 1 << 32), SIZES)
    def holds(seed: int, size: Size) -> None:
        _, operations = drawn(seed, machine, size, 0)
        orders = witness(History(operations), machine.model, BUDGET)
        for key in {machine.model.partition(op) for op in operations} if orders is not None else ():
            mine = [op for op in operations if machine.model.partition(op) == key]
            assert orders is not None
            assert referee.replay(machine.model, mine, orders.get(key, ())) == "", (mine, orders)

    holds()


@BY_MODEL
def test_the_histories_are_not_all_alike(name: str) -> None:
    """Where nothing is ever invalid, or nothing unanswered, the tests above would prove little."""
    machine = MACHINES[name]
    size = Size(values=2 if name == "set" else 0, ticks=3)
    found = []
    for seed in range(12):
        _, operations = drawn(seed, machine, size, 0)
        assert any(op.type == INFO for op in operations)
        assert {op.invoke_time for op in operations} & {op.return_time for op in operations}
        found.append(verdict(machine, drawn(seed, machine, size, 3)[1]))
    assert "invalid" in found
