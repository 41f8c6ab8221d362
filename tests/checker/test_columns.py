"""A history as columns: the same operations, one code for each value, and no coercion on the way."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulate import register_history

from checker.columns import NEVER, OK_CODE, UNKNOWN
from checker.history import History, HistoryBuilder, Op, freeze
from checker.values import Values, thaw

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "1", "nil", "map"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=1), inner)),
    max_leaves=6,
)
NUMERIC = st.lists(
    st.sampled_from([1, 1.0, True, 0, -0.0, 0.5, 1 << 70, float(1 << 70), "1", [1], (1,), [1.0, 2]]), max_size=3
)
NUMBERS = st.one_of(st.none(), st.integers(-2, 2), st.sampled_from([1 << 70, -(1 << 70)]))
OPERATIONS = st.builds(
    Op,
    process=st.one_of(st.integers(-2, 5), st.sampled_from(["a", 1 << 80])),
    f=st.sampled_from(["read", "write"]),
    key=VALUES.map(freeze),
    value=VALUES,
    type=st.sampled_from(["ok", "fail", "info"]),
    result=VALUES,
    error=SCALARS,
    invoked=st.integers(0, 50),
    returned=st.one_of(st.none(), st.integers(50, 90)),
    invoke_index=NUMBERS,
    return_index=NUMBERS,
    invoke_time=st.one_of(NUMBERS, st.floats(allow_nan=False)),
    return_time=NUMBERS,
    node=st.one_of(st.none(), st.just("n1")),
    op=st.one_of(st.none(), st.just("o1")),
    workload=st.sampled_from(["", "register", "bank"]),
    line=st.one_of(st.none(), st.integers(1, 9)),
)


@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])  # machines are slow at times
@given(st.lists(OPERATIONS, max_size=6))
def test_columns_give_back_the_operations_that_they_were_made_of(operations: list[Op]) -> None:
    """Whatever a history may hold: numbers beyond 64 bits, times with fractions, a time of -1, processes with names."""
    listed = History(operations)
    builder = HistoryBuilder()
    for op in operations:
        builder.add(op)
    built = builder.finish()
    assert list(built) == list(listed.operations)
    assert [repr(op) for op in built] == [repr(op) for op in listed]
    assert built.operations[1:3] == listed.operations[1:3]
    assert built.workloads() == listed.workloads()
    for name in ("", "register", "counter"):
        assert list(built.of_workload(name)) == list(listed.of_workload(name))


@settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])  # machines are slow at times
@given(st.lists(st.one_of(VALUES, NUMERIC), max_size=8))
def test_values_share_a_code_if_and_only_if_they_are_the_same(values: list[Any]) -> None:
    table = Values()
    codes = [table.code(value) for value in values]
    for value, code in zip(values, codes, strict=True):
        assert freeze(thaw(freeze(value))) == freeze(value)
        assert freeze(table[code]) == freeze(value) == table.frozen(code)
        assert table.find(value) == code
        for other, its in zip(values, codes, strict=True):
            assert (freeze(value) == freeze(other)) == (code == its)
    first, second = table.pairs()
    assert len(first) == len(second) == len(table)
    for code in range(len(table)):
        value = table[code]
        if isinstance(value, list) and len(value) == 2:
            assert (freeze(table[first[code]]), freeze(table[second[code]])) == freeze(value)
        else:
            assert (first[code], second[code]) == (-1, -1)


ALIKE: list[tuple[Any, Any]] = [(["set", [1]], {1}), (["map", []], {}), (1, True), ("1", 1), (0, None)]
# In Python -1 and -2 have one hash, so lists of them have, too.
ALIKE += [([[-1]], [[-2]]), ([["append", "x", -1]], [["append", "x", -2]])]


@pytest.mark.parametrize("one,other", ALIKE)
def test_what_only_looks_alike_has_codes_of_its_own(one: Any, other: Any) -> None:
    table = Values()
    assert table.code(one) != table.code(other)
    assert (table.code(one), table.code(other)) == (table.find(one), table.find(other))
    assert freeze(one) != freeze(other)


def test_the_columns_say_what_the_operations_say() -> None:
    history = register_history(Random(4), operations=300, clients=5, unanswered=0.05)
    columns = history.columns
    values = columns.values
    for row, op in enumerate(history):
        assert (columns.process[row], columns.names[columns.f[row]]) == (op.process, op.f)
        assert (values[columns.value[row]], values[columns.result[row]]) == (op.value, op.result)
        assert (columns.type[row] == OK_CODE) == (op.type == "ok")
        assert (columns.invoked[row], columns.returned[row]) == (
            op.invoked,
            NEVER if op.returned is None else op.returned,
        )
        assert columns.line[row] == (UNKNOWN if op.line is None else op.line)
    assert columns.type.dtype == np.int8
    assert {column.dtype for name, column in columns.arrays().items() if column is not None and name != "type"} == {
        np.dtype(np.int64)
    }
    assert columns.place_of("write") != columns.place_of("read")
    assert columns.place_of("append") == -1


def test_an_operation_is_asked_for_by_its_place() -> None:
    history = register_history(Random(1), operations=20, clients=3)
    built = History.of_columns(history.columns)
    assert built.operations[-1] == history.operations[-1]
    assert built.operations[::2] == history.operations[::2]
    with pytest.raises(IndexError):
        built.operations[len(history)]
