"""Every function of the rules as a table: arguments, and what is right, with the edges on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import combinations
from typing import Any

import pytest
from wrong_nodes import WRONG_RULES

from raftnode.messages import Append, Cas, Delete, Noop, Put, Register
from raftnode.rules import RAFT, Rules

MS = 1_000_000

TABLES: dict[str, list[tuple[tuple[Any, ...], Any]]] = {
    # Section 5.2: a majority of the full cluster.
    "quorum": [((1,), 1), ((2,), 2), ((3,), 2), ((4,), 3), ((5,), 3), ((6,), 4), ((7,), 4)],
    # Section 5.4.1: candidate's last term and index, then the voter's. The later term wins, then the longer log.
    "log_is_current": [
        ((0, 0, 0, 0), True),
        ((1, 1, 0, 0), True),
        ((0, 0, 1, 1), False),
        ((2, 5, 2, 5), True),
        ((2, 6, 2, 5), True),
        ((2, 4, 2, 5), False),
        ((3, 1, 2, 9), True),
        ((2, 9, 3, 1), False),
    ],
    # Section 5.2: at most one candidate a term; asking twice is asking once.
    "may_vote": [(("", "n1"), True), (("n1", "n1"), True), (("n2", "n1"), False)],
    # Thesis 4.2.3: heard at, now, minimum election timeout.
    "hears_leader": [
        ((1_000 * MS, 1_000 * MS, 300 * MS), True),
        ((1_000 * MS, 1_300 * MS - 1, 300 * MS), True),
        ((1_000 * MS, 1_300 * MS, 300 * MS), False),
        ((-(1 << 62), 0, 300 * MS), False),
    ],
    # Thesis 6.2: last contact, now, limit; a limit of 0 is none.
    "keeps_office": [
        ((1_000 * MS, 1_000 * MS, 600 * MS), True),
        ((1_000 * MS, 1_600 * MS - 1, 600 * MS), True),
        ((1_000 * MS, 1_600 * MS, 600 * MS), False),
        ((0, 1 << 62, 0), True),
    ],
    # Section 5.1: the reply's term, one's own.
    "reply_deposes": [((2, 1), True), ((1, 1), False), ((0, 1), False)],
    # Figure 2, AppendEntries, receiver 1: the leader's term, one's own.
    "obeys": [((1, 1), True), ((2, 1), True), ((1, 2), False)],
    # Receiver 2: one's own term at prev_index (None: no entry there, 0: before the first), the message's.
    "prev_matches": [
        ((0, 0), True),
        ((3, 3), True),
        ((2, 3), False),
        ((3, 2), False),
        ((None, 0), False),
        ((None, 3), False),
    ],
    # Receiver 3: one's own term at an index, the new entry's.
    "clashes": [((2, 2), False), ((2, 3), True), ((3, 2), True)],
    # Section 5.3: prev_index, number of entries, one's own last index: the tail behind them is not vouched for.
    "acknowledged": [((0, 0, 0), 0), ((4, 3, 7), 7), ((4, 0, 9), 4), ((4, 3, 9), 7)],
    # Receiver 5: the leader's commit, the last index checked, one's own last index.
    "follower_commit": [((5, 7, 7), 5), ((9, 7, 7), 7), ((9, 4, 9), 4), ((0, 7, 7), 0)],
    # Match, the prev_index refused, the hint: earlier than refused, never at or below match.
    "back_up": [
        ((0, 10, 7), 7),
        ((0, 10, 11), 10),
        ((0, 10, 1), 1),
        ((0, 1, 1), 1),
        ((6, 10, 3), 7),
        ((9, 10, 3), 10),
    ],
    # Thesis 10.2.1: what is durable of the leader's own log, its last index.
    "own_match": [((0, 0), 0), ((3, 5), 3), ((5, 5), 5)],
    # Section 5.4.2: the entry's term (None: no entry there), the leader's.
    "may_commit": [((4, 4), True), ((2, 4), False), ((None, 4), False), ((0, 4), False)],
    # Figure 2, all servers: the commit index, the last index.
    "may_apply_to": [((0, 5), 0), ((3, 5), 3), ((5, 5), 5)],
    # Thesis 6.4, steps 1 and 2: the commit index, the first index of the term.
    "read_index": [((3, 4), 4), ((4, 4), 4), ((9, 4), 9)],
    # Step 3: the rounds acknowledged (the leader's own among them), the one wanted, the quorum.
    "read_confirmed": [
        (([5], 5, 1), True),
        (([5, 4, 4], 5, 2), False),
        (([5, 5, 4], 5, 2), True),
        (([5, 0, 6], 5, 2), True),
        (([5, 5, 4, 4], 5, 3), False),
        (([5, 5, 5, 0, 0], 5, 3), True),
    ],
    # Step 4: applied, the read's index.
    "read_ready": [((3, 4), False), ((4, 4), True), ((5, 4), True)],
    # Thesis 6.3: the term in which the client's request entered the log, that of the entry applied at its index.
    "same_entry": [((2, 2), True), ((2, 3), False), ((3, 2), False)],
}


@pytest.mark.parametrize(
    "rule,arguments,expected",
    [(rule, arguments, expected) for rule, rows in TABLES.items() for arguments, expected in rows],
)
def test_a_rule_decides_as_its_table_says(rule: str, arguments: tuple[Any, ...], expected: Any) -> None:
    assert getattr(RAFT, rule)(*arguments) == expected


def test_every_rule_has_a_table() -> None:
    assert {*TABLES, "admit"} == {field.name for field in fields(Rules)}


@pytest.mark.parametrize("rule", TABLES)
def test_a_table_tells_the_rule_from_a_constant(rule: str) -> None:
    assert len({expected for _, expected in TABLES[rule]}) > 1


@pytest.mark.parametrize(
    "rule,wrong",
    [(rule, wrong) for rules in WRONG_RULES.values() for rule, wrong in rules.items()],
    ids=list(WRONG_RULES),
)
def test_a_table_refutes_wrong_rules(rule: str, wrong: Callable[..., Any]) -> None:
    assert any(wrong(*arguments) != expected for arguments, expected in TABLES[rule])


@pytest.mark.parametrize(
    "command", [Noop(), Register(), Put("k", 1), Delete("k"), Cas("k", 1, 2), Cas("k", None, 2), Append("k", 1)]
)
def test_a_command_enters_the_log_as_it_came_and_no_data_is_looked_at(command: Any) -> None:
    def nobody_asks(key: str) -> Any:
        raise AssertionError(f"{key} was looked at before the log")

    assert RAFT.admit(command, nobody_asks) is command


@pytest.mark.parametrize("voters", range(1, 8))
def test_any_two_majorities_share_a_voter_and_no_smaller_number_would_do(voters: int) -> None:
    """Section 5.2: "The majority rule ensures that at most one candidate can win the election for a particular term"."""

    def all_meet(size: int) -> bool:
        groups = [set(group) for group in combinations(range(voters), size)]
        return all(one & other for one in groups for other in groups)

    quorum: Callable[[int], int] = RAFT.quorum
    assert all_meet(quorum(voters))
    assert not all_meet(quorum(voters) - 1)
    assert voters - quorum(voters) == (voters - 1) // 2  # so many may be down


def test_of_two_logs_one_is_current_for_the_other() -> None:
    """Section 5.4.1: up-to-dateness orders all logs, so that of two candidates one can always get the other's vote."""
    logs = [(term, index) for term in range(4) for index in range(4)]
    for one in logs:
        for other in logs:
            there, back = RAFT.log_is_current(*one, *other), RAFT.log_is_current(*other, *one)
            assert there or back
            assert (there and back) == (one == other)
