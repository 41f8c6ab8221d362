"""The nemesis: schedules are data, drawn from the seed alone; shapes are sets of directed edges."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from harness.clusters.cluster import NANOSECONDS, Fault
from harness.nemesis import (
    DELAYS,
    FAMILIES,
    KILLS,
    PARTITIONS,
    Leaders,
    describe,
    draw_schedule,
    edges_of,
    targets_of,
)
from harness.plan import Plan

NODES = ("n1", "n2", "n3", "n4", "n5")


def schedule(seed: int, families: tuple[str, ...] = FAMILIES, seconds: int = 30) -> tuple[Fault, ...]:
    return draw_schedule(seed, families, NODES, 3 * NANOSECONDS, (seconds - 2) * NANOSECONDS)


def partition(kind: str, order: tuple[str, ...] = NODES, **more: object) -> Fault:
    targets = ("leader",) if kind in {"halves", "isolate-leader", "one-way"} else ()
    return Fault("p", "partition", kind, targets, {"order": order, **more}, 0, 1)


def test_the_same_seed_draws_the_same_schedule_and_another_seed_another_one() -> None:
    assert schedule(1) == schedule(1)
    assert schedule(1) != schedule(2)


def test_a_schedule_survives_its_file() -> None:
    """Schedules are saved before the run; the same file runs on every cluster."""
    drawn = schedule(4)
    again = msgspec.json.decode(msgspec.json.encode(drawn), type=tuple[Fault, ...])
    assert [edges_of(each, "n2", NODES) for each in again if each.family == "partition"] == [
        edges_of(each, "n2", NODES) for each in drawn if each.family == "partition"
    ]


def test_leaving_a_family_out_does_not_change_the_others() -> None:
    alone = schedule(7, ("partition", "pause", "delay"))
    assert alone == tuple(fault for fault in schedule(7) if fault.family != "kill")
    kills = [(fault.targets, fault.parameters) for fault in schedule(7) if fault.family == "kill"]
    assert [(fault.targets, fault.parameters) for fault in schedule(7, ("kill",))][: len(kills)] == kills


@pytest.mark.parametrize("seed", range(20))
def test_everybody_is_killed_once_while_somebody_is_cut_off_and_back_before_the_cut_ends(seed: int) -> None:
    faults = schedule(seed)
    isolations = [fault for fault in faults if fault.kind in {"halves", "isolate-leader", "isolate-one"}]
    everybody = [fault for fault in faults if fault.targets == ("all",)]
    assert any(
        cut.at < kill.at and kill.until + NANOSECONDS // 2 < cut.until for cut in isolations for kill in everybody
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_followers_are_killed_once_while_no_other_cut_keeps_them_from_coming_back(seed: int) -> None:
    """A planted bug that needs a leader whose followers come back to it was missed where a partition came in between."""
    partitions = [fault for fault in schedule(seed) if fault.family == "partition"]
    place = next(place for place, fault in enumerate(partitions) if fault.kind == "leaders-apart")
    kill = next(fault for fault in schedule(seed) if fault.targets == ("followers",))
    # After an isolation containers need up to 1.2 s to speak to each other again: a deposed leader should be heard first.
    assert partitions[place].at + 1.25 * NANOSECONDS < kill.at
    assert kill.until + NANOSECONDS // 2 < partitions[place + 1].at


@pytest.mark.parametrize("seed", range(20))
def test_faults_stay_inside_their_time_and_within_a_family_one_ends_before_the_next_begins(seed: int) -> None:
    for family in FAMILIES:
        faults = [fault for fault in schedule(seed) if fault.family == family]
        assert all(3 * NANOSECONDS <= fault.at < fault.until <= 28 * NANOSECONDS for fault in faults)
        assert all(one.until <= two.at for one, two in itertools.pairwise(faults))


@pytest.mark.parametrize("seed", range(20))
def test_a_run_of_15_seconds_already_acts_on_the_leader_with_every_family(seed: int) -> None:
    plan = Plan(seconds=15)
    faults = draw_schedule(seed, FAMILIES, NODES, plan.calibration, plan.faults_end)
    for family in FAMILIES:
        assert any("leader" in fault.targets for fault in faults if fault.family == family)


@pytest.mark.parametrize("seed", range(20))
def test_the_first_leader_that_is_cut_off_is_not_killed_before_it_can_do_harm(seed: int) -> None:
    """A planted bug that needs a deposed leader was missed by runs that killed it while it was cut off."""
    halves, alone, apart = [fault for fault in schedule(seed) if fault.family == "partition"][:3]
    assert [halves.kind, alone.kind, apart.kind] == ["halves", "isolate-leader", "leaders-apart"]
    assert (halves.targets, apart.at) == (("leader",), alone.until)
    assert not any(fault.at < halves.until for fault in schedule(seed) if fault.family != "partition")


def test_whoever_was_isolated_is_kept_apart_from_the_new_leader_and_from_nobody_else() -> None:
    leaders = Leaders().elected(1, "n4").elected(2, "n2")
    assert edges_of(partition("leaders-apart"), leaders.now, NODES, leaders.before) == [("n2", "n4"), ("n4", "n2")]
    assert len(edges_of(partition("leaders-apart"), "", NODES)) == 2


def test_who_led_before_is_another_node_and_old_news_change_nothing() -> None:
    leaders = Leaders().elected(1, "n1").elected(3, "n2").elected(4, "n2")
    assert leaders == Leaders(4, "n2", "n1")
    assert leaders.elected(2, "n5") == leaders


def test_thirty_seconds_see_most_kinds() -> None:
    for seed in range(20):
        faults = schedule(seed)
        assert len({fault.kind for fault in faults if fault.family == "partition"}) >= len(PARTITIONS) - 2
        assert len({fault.targets for fault in faults if fault.family == "kill"}) >= len(set(KILLS)) - 2


def test_delays_slow_every_edge_of_whom_they_hit_by_less_than_an_election_timeout() -> None:
    drawn = [fault for seed in range(20) for fault in schedule(seed, ("delay",))]
    assert {fault.kind for fault in drawn} == set(DELAYS)
    for fault in drawn:
        edges = edges_of(fault, "n2", NODES)
        hit = set(targets_of(fault, "n2", NODES))
        assert set(edges) == {(a, b) for a in NODES for b in NODES if a != b and {a, b} & hit}
        assert fault.kind != "slow-leader" or hit == {"n2"}
        assert 0 < fault.parameters["delay_ms"] + fault.parameters["jitter_ms"] < 300
        assert f"{fault.parameters['delay_ms']} ms" in describe(fault)


def test_halves_cut_both_ways_between_a_majority_and_a_minority() -> None:
    edges = edges_of(partition("halves"), "n1", NODES)
    assert set(edges) == {(a, b) for a in NODES for b in NODES if (a in {"n1", "n2"}) != (b in {"n1", "n2"})}


@pytest.mark.parametrize("leader", NODES)
def test_halves_put_the_leader_where_the_schedule_says(leader: str) -> None:
    for targets, size in [(("leader",), 2), ((), 3)]:
        fault = msgspec.structs.replace(partition("halves"), targets=targets)
        edges = edges_of(fault, leader, NODES)
        assert len({node for node, _ in edges} - {b for a, b in edges if a == leader}) == size


@pytest.mark.parametrize("leader", NODES)
def test_a_leader_is_never_the_bridge(leader: str) -> None:
    assert any(leader in edge for edge in edges_of(partition("bridge"), leader, NODES))


def test_isolating_the_leader_cuts_the_leader_of_that_moment() -> None:
    assert edges_of(partition("isolate-leader"), "n4", NODES) == sorted(
        [("n4", other) for other in NODES if other != "n4"] + [(other, "n4") for other in NODES if other != "n4"]
    )
    assert {a for a, _ in edges_of(partition("isolate-leader", ("n3", "n1", "n2", "n4", "n5")), "", NODES)} == set(
        NODES
    )


@pytest.mark.parametrize("size", [3, 4, 5, 7, 9])
def test_in_a_majority_ring_every_node_hears_a_majority_and_no_two_the_same_one(size: int) -> None:
    nodes = tuple(f"n{number}" for number in range(1, size + 1))
    edges = set(edges_of(partition("majority-ring", nodes), "n1", nodes))
    heard = {node: frozenset(other for other in nodes if (other, node) not in edges) for node in nodes}
    assert all(len(others) == size // 2 + 1 for others in heard.values())
    assert len(set(heard.values())) == size


def test_a_bridge_is_two_halves_that_one_node_connects() -> None:
    edges = set(edges_of(partition("bridge"), "n1", NODES))
    assert not any("n3" in edge for edge in edges)
    assert ("n1", "n5") in edges
    assert ("n5", "n1") in edges
    assert ("n1", "n2") not in edges


@pytest.mark.parametrize("direction, expected", [("deaf", ("n1", "n2")), ("mute", ("n2", "n1"))])
def test_one_way_cuts_one_direction_only(direction: str, expected: tuple[str, str]) -> None:
    edges = set(edges_of(partition("one-way", direction=direction), "n2", NODES))
    assert expected in edges
    assert (expected[1], expected[0]) not in edges
    assert len(edges) == 4


def test_an_unknown_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no fault of the network is called 'star'"):
        edges_of(partition("star"), "n1", NODES)


@pytest.mark.parametrize(
    "target, count", [("one", 1), ("leader", 1), ("followers", 4), ("minority", 2), ("majority", 3), ("all", 5)]
)
def test_symbolic_targets_are_resolved_with_the_leader_last(target: str, count: int) -> None:
    fault = Fault("k", "kill", "kill", (target,), {"order": NODES, "stagger_ns": 0}, 0, 1)
    chosen = targets_of(fault, "n1", NODES)
    assert len(chosen) == count
    assert ("n1" in chosen) == (target != "followers")
    if "n1" in chosen:
        assert chosen[-1] == "n1"
