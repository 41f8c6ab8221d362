"""The core under random schedules: figure 3 of the paper, promises that survive, reads, exactly-once, and life after it.

Figure 3 guarantees "that each of these properties is true at all times"; `watch.py` checks them after every step.
The same seeds must find wrong cores, or they prove nothing about the right one.
"""

from __future__ import annotations

from typing import Any

import pytest
from random_schedule import run_seed
from wrong_nodes import wrong_node

from raftnode import core, elections, reads, replication
from raftnode.bugs import BUGS

SEEDS = 160
PARTS = 4


def run_seeds(**made_wrong: Any) -> None:
    for seed in range(SEEDS):
        run_seed(seed, **made_wrong)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_property_holds_after_every_step(part: int) -> None:
    committed = elections_held = certain = 0
    for seed in range(part, SEEDS, PARTS):
        schedule = run_seed(seed)
        committed += len(schedule.watch.committed)
        elections_held += len(schedule.watch.leaders)
        certain += sum(len(client.certain) for client in schedule.clients)
    # Nothing that matters happens in a schedule too harsh.
    assert committed > 200
    assert elections_held > 40
    assert certain > 40


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_property_holds_in_long_schedules(part: int) -> None:
    for seed in range(10_000 + part, 10_400, PARTS):
        run_seed(seed, actions=3_000)


# What random schedules find by themselves. The others of `wrong_nodes.py` need a scenario: that replicas of an older term are
# counted (figure 8), that a read is confirmed by an older round, or what costs time but breaks no promise.
FOUND_BY_CHANCE = (
    "vote-twice",
    "vote-for-stale-log",
    "leader-counts-unsynced-self",
    "commit-past-match",
    "ack-past-check",
    "truncates-on-reorder",
    "next-below-match",
    "read-before-noop",
)


@pytest.mark.parametrize("name", FOUND_BY_CHANCE)
def test_a_wrong_rule_is_found(name: str) -> None:
    with pytest.raises(AssertionError):
        run_seeds(rules=wrong_node(name).rules)


PLANTED = (
    "follower-read-no-wait",
    "quorum-half",
    "term-not-persisted",
    "ignores-higher-term",
    "obeys-older-term",
    "no-prev-check",
    "applies-on-append",
    "no-dedup",
    "reply-by-index",
)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name: str) -> None:
    build = BUGS[name].build
    with pytest.raises(AssertionError):
        run_seeds(rules=build.rules, machine=build.machine, keep=build.storage.hard_state)


@pytest.mark.parametrize("room", [core, elections, reads, replication])
def test_a_promise_that_does_not_wait_for_its_persist_is_found(room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "promise", lambda _core: 0)
    with pytest.raises(AssertionError, match=r"durable|speaks of term"):
        run_seeds()
