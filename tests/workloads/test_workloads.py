"""Workloads: pure, repeatable, with unique values and keys that are retired."""

from __future__ import annotations

import msgspec
import pytest

from workloads.catalog import WORKLOADS
from workloads.generator import Op
from workloads.mix import Mix


def drive(name: str, seed: int, count: int) -> list[Op]:
    """What a generator asks of a store that answers at once, with a model of the store beside it."""
    generator = WORKLOADS[name].make(seed)
    state: dict[str, object] = {}
    asked = []
    for now in range(count):
        op = generator.next_op(now, 1)
        assert op is not None
        asked.append(op)
        answer = msgspec.structs.replace(op, type="ok")
        match op.f:
            case "read":
                answer = msgspec.structs.replace(answer, value=state.get(op.key))
            case "write":
                state[op.key] = op.value
            case "cas" if state.get(op.key) == op.value[0]:
                state[op.key] = op.value[1]
            case "cas":
                answer = msgspec.structs.replace(op, type="fail")
            case "append":
                state[op.key] = [*state.get(op.key, []), op.value]  # type: ignore[misc]
        generator.observe(answer)
    return asked


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_generator_depends_on_its_seed_and_what_it_observed_alone(name: str) -> None:
    assert drive(name, 3, 500) == drive(name, 3, 500)
    assert drive(name, 3, 500) != drive(name, 4, 500)


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_kind_of_operation_that_a_pass_asks_for_is_asked_in_the_first_seconds(name: str) -> None:
    assert {op.f for op in drive(name, 1, 300)} == set(WORKLOADS[name].kinds)


@pytest.mark.parametrize("name", WORKLOADS)
def test_written_values_are_unique(name: str) -> None:
    written = [op.value[1] if op.f == "cas" else op.value for op in drive(name, 5, 3000) if op.f != "read"]
    assert len(written) == len(set(written))


@pytest.mark.parametrize("name", WORKLOADS)
def test_keys_are_retired_so_that_each_stays_checkable(name: str) -> None:
    asked = drive(name, 2, 4000)
    uses = {key: sum(op.key == key for op in asked) for key in {op.key for op in asked}}
    assert len(uses) > 10
    assert max(uses.values()) <= 200
    assert len({op.key for op in asked[-200:]} & {op.key for op in asked[:200]}) == 0


@pytest.mark.parametrize("name", WORKLOADS)
def test_final_reads_cover_every_key_that_was_used(name: str) -> None:
    generator = WORKLOADS[name].make(9)
    used = {generator.next_op(0, 1).key for _ in range(1500)}  # type: ignore[union-attr]
    final = generator.final_ops()
    assert used <= {op.key for op in final}
    assert {op.f for op in final} == {"read"}


def test_compare_and_set_expects_a_value_that_was_seen_so_that_some_succeed() -> None:
    asked = drive("register", 1, 1000)
    written = {op.value for op in asked if op.f == "write"} | {op.value[1] for op in asked if op.f == "cas"}
    assert all(op.value[0] in written for op in asked if op.f == "cas")


def test_a_mix_asks_both_workloads_on_keys_of_their_own_and_hands_completions_back() -> None:
    mix = Mix(list(WORKLOADS.values()), 1)
    asked = [mix.next_op(now, 1) for now in range(400)]
    keys = {name: {op.key for op in asked if op is not None and op.workload == name} for name in WORKLOADS}
    assert all(keys.values())
    assert not keys["register"] & keys["append"]
    for op in asked:
        assert op is not None
        mix.observe(msgspec.structs.replace(op, type="ok"))
    assert any(op is not None and op.f == "cas" for op in (mix.next_op(now, 1) for now in range(100)))
