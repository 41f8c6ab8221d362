"""A pass is earned: whatever was not shown makes a run inconclusive, and nothing hides a violation."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from harness.clusters.cluster import NANOSECONDS, Fault, FaultProgress
from harness.evidence import OUTCOMES, Observed, floors, judge, worst
from harness.nemesis import draw_schedule

NODES = ("n1", "n2", "n3", "n4", "n5")
KINDS = (("register", "read"), ("register", "write"), ("append", "read"))
VALID = {"register": ("valid", ""), "append": ("valid", "")}


def observed() -> Observed:
    """A run in which everything happened that a pass asks for."""
    schedule = draw_schedule(1, ("partition", "kill"), NODES, 3 * NANOSECONDS, 27 * NANOSECONDS)
    seen = Observed(
        kinds=KINDS,
        schedule=schedule,
        families=("partition", "kill"),
        calibration_end=3 * NANOSECONDS,
        faults_end=27 * NANOSECONDS,
        final_asked=12,
        ended=True,
    )
    tenth = NANOSECONDS // 10
    seen.completions = [(at * tenth, name, f, "ok") for at in range(1, 280) for name, f in KINDS]
    seen.elections = [(-tenth, "n1", 1)]
    for fault in schedule:
        resolved = {"leader": seen.elections[-1][1], "nodes": [seen.elections[-1][1]]}
        seen.progress += [
            FaultProgress(fault.id, "requested", fault.at),
            FaultProgress(fault.id, "installed", fault.at, resolved),
            FaultProgress(fault.id, "bitten", fault.at + tenth),
            FaultProgress(fault.id, "healed", fault.until),
            FaultProgress(fault.id, "heal-shown", fault.until + tenth),
        ]
        if fault.family == "kill":
            seen.elections.append((fault.at + 5 * tenth, "n2", len(seen.elections) + 1))
    return seen


def outcome(seen: Observed, verdicts: dict[str, tuple[str, str]] | None = None) -> tuple[str, str]:
    name, reasons = judge(seen, floors(seen), verdicts or VALID)
    return name, "\n".join(reasons)


def test_a_run_in_which_everything_was_seen_passes() -> None:
    assert outcome(observed())[0] == "pass"


def test_a_pass_without_faults_does_not_claim_any() -> None:
    seen = observed()
    seen.schedule, seen.families, seen.progress = (), (), []
    assert outcome(seen) == ("pass", "linearizable; no faults were asked for, and every floor was met")


def test_with_a_nemesis_that_does_nothing_no_run_passes() -> None:
    seen = observed()
    seen.progress = [step for step in seen.progress if step.phase == "requested"]
    name, reasons = outcome(seen)
    assert name == "inconclusive"
    assert "partition-1 (halves, leader in the minority) shown to bite: asked evidence, seen requested" in reasons


def test_each_single_fault_must_have_been_shown_to_bite_and_to_heal() -> None:
    for fault, phase in itertools.product(observed().schedule, ("bitten", "heal-shown")):
        seen = observed()
        seen.progress = [step for step in seen.progress if (step.fault, step.phase) != (fault.id, phase)]
        name, reasons = outcome(seen)
        assert name == "inconclusive"
        assert fault.id in reasons


def test_clients_that_never_get_an_ok_make_no_pass() -> None:
    seen = observed()
    seen.completions = [(end, name, f, "info") for end, name, f, _ in seen.completions]
    name, reasons = outcome(seen)
    assert name == "inconclusive"
    assert "register write operations answered before the faults: asked at least 5, seen 0" in reasons


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_operation_must_have_been_answered_under_faults(kind: tuple[str, str]) -> None:
    seen = observed()
    seen.completions = [each for each in seen.completions if each[1:3] != kind or each[0] <= seen.calibration_end]
    name, reasons = outcome(seen)
    assert name == "inconclusive"
    assert f"{kind[0]} {kind[1]} operations answered under faults" in reasons


def test_with_no_election_where_the_leader_was_killed_no_run_passes() -> None:
    seen = observed()
    seen.elections = seen.elections[:1]
    name, reasons = outcome(seen)
    assert name == "inconclusive"
    assert "elections after kills of the leader" in reasons


def test_an_election_in_an_old_term_is_no_election() -> None:
    seen = observed()
    seen.elections = [(at, node, 1) for at, node, _ in seen.elections]
    assert outcome(seen)[0] == "inconclusive"


def leader_kills(seen: Observed) -> list[Fault]:
    return [fault for fault in seen.schedule if fault.family == "kill" and fault.targets == ("leader",)]


def test_elections_that_others_forced_do_not_count_as_successions_of_killed_leaders() -> None:
    """Partitions force elections, too: before, one of those stood for each kill."""
    seen = observed()
    kills = leader_kills(seen)
    assert len(kills) > 1
    seen.elections = [(-1, "n1", 1), *((fault.until + 4 * NANOSECONDS, "n1", 2 + at) for at, fault in enumerate(kills))]
    seen.progress = [
        msgspec.structs.replace(step, resolved={"leader": "n1", "nodes": ["n1"]}) for step in seen.progress
    ]
    name, reasons = outcome(seen)
    assert name == "inconclusive"
    assert f"elections after kills of the leader: asked at least 1, seen 0 after {len(kills)} such kills" in reasons


def test_a_node_that_stands_in_for_the_leader_is_no_killed_leader() -> None:
    seen = observed()
    stands_in = {"leader": "n1", "nodes": ["n5"], "stands_in_for_leader": "n5"}
    seen.progress = [msgspec.structs.replace(step, resolved=stands_in) for step in seen.progress]
    name, reasons = outcome(seen)
    assert name == "inconclusive"
    assert "elections after kills of the leader: asked at least 1, seen no kill hit a node that led" in reasons


def test_half_of_the_killed_leaders_must_have_been_succeeded() -> None:
    seen = observed()
    kills = leader_kills(seen)
    for count in range(len(kills) + 1):
        seen = observed()
        seen.elections = [(-1, "n1", 1)]
        seen.progress = [
            msgspec.structs.replace(step, resolved={"leader": "n1", "nodes": ["n1"]}) for step in seen.progress
        ]
        seen.elections += [(fault.at + 1, "n1", 2 + at) for at, fault in enumerate(kills[:count])]
        assert outcome(seen)[0] == ("pass" if count >= max(1, len(kills) // 2) else "inconclusive")


def test_reads_must_have_been_answered_while_the_network_was_cut() -> None:
    seen = observed()
    cuts = [(fault.at, fault.until) for fault in seen.schedule if fault.family == "partition"]
    seen.completions = [each for each in seen.completions if not any(a < each[0] <= b for a, b in cuts)]
    name, reasons = outcome(seen)
    assert name == "inconclusive"
    assert "reads answered while the network was cut" in reasons


def test_a_family_that_was_asked_for_but_never_scheduled_is_named() -> None:
    seen = observed()
    seen.families = ("partition", "kill", "pause")
    name, reasons = outcome(seen)
    assert name == "inconclusive"
    assert "pause faults" in reasons


def test_final_reads_that_were_never_asked_make_no_pass() -> None:
    seen = observed()
    seen.final_asked = 0
    assert outcome(seen)[0] == "inconclusive"


def test_a_healed_cluster_that_does_not_answer_breaks_liveness_unless_the_machine_itself_stalled() -> None:
    seen = observed()
    seen.final_missing = ["r4"]
    name, reasons = outcome(seen)
    assert name == "violation"
    assert "liveness" in reasons
    seen.worst_stall = 3 * NANOSECONDS
    assert outcome(seen)[0] == "inconclusive"


@pytest.mark.parametrize(
    "phase, asked, words",
    [
        ("heal-failed", "infrastructure", "could not be healed: no such link"),
        ("heal-not-shown", "inconclusive", "shown to have healed: asked evidence, seen heal-not-shown"),
    ],
)
def test_a_cluster_that_was_not_shown_to_be_healed_breaks_no_liveness(phase: str, asked: str, words: str) -> None:
    for fault in observed().schedule:
        seen = observed()
        seen.final_missing = ["r4"]
        seen.progress = [
            FaultProgress(step.fault, phase, step.at, evidence={"reason": "no such link"})
            if (step.fault, step.phase) == (fault.id, "heal-shown")
            else step
            for step in seen.progress
        ]
        name, reasons = outcome(seen)
        assert name == asked
        assert words in reasons
        assert fault.id in reasons.splitlines()[0]
        assert "liveness" not in reasons


def test_a_heal_that_failed_is_told_though_everything_was_answered() -> None:
    seen = observed()
    last = seen.progress.pop()
    seen.progress.append(FaultProgress(last.fault, "heal-failed", last.at))
    assert outcome(seen)[0] == "infrastructure"


@pytest.mark.parametrize(
    "what, asked", [("trouble", "infrastructure"), ("exits", "infrastructure"), ("assertions", "violation")]
)
def test_whatever_else_kept_the_cluster_from_answering_breaks_no_liveness(what: str, asked: str) -> None:
    seen = observed()
    seen.final_missing = ["r4"]
    setattr(seen, what, ["n3: assertion failed: two leaders"])
    name, reasons = outcome(seen)
    assert name == asked
    assert "liveness" not in reasons
    assert "final reads after healing" in reasons


def test_a_node_that_answered_no_final_read_earns_no_pass_and_breaks_liveness_only_if_nothing_else_can_have() -> None:
    seen = observed()
    seen.final_silent = [("register", "n4")]
    name, reasons = outcome(seen)
    assert name == "violation"
    assert "n4 answered no read of register" in reasons
    seen.worst_stall = 3 * NANOSECONDS
    name, reasons = outcome(seen)
    assert name == "inconclusive"
    assert "final reads at every node: asked 1 of each workload answered by each, seen n4 answered none" in reasons


def test_a_safety_violation_is_never_hidden() -> None:
    seen = observed()
    seen.progress = []
    seen.exits = ["n3 died"]
    seen.interrupted = True
    verdicts = {"register": ("unknown", "out of time"), "append": ("invalid", "element 4 was lost")}
    name, reasons = outcome(seen, verdicts)
    assert name == "violation"
    assert reasons.startswith("safety: append is not linearizable: element 4 was lost")


def test_a_node_that_dies_by_itself_is_infrastructure_and_one_whose_assertion_failed_a_violation() -> None:
    seen = observed()
    seen.exits = ["n3 died without having been killed"]
    assert outcome(seen)[0] == "infrastructure"
    seen.assertions = ["n3: assertion failed: two leaders"]
    assert outcome(seen)[0] == "violation"


def test_an_undecided_check_is_no_pass() -> None:
    assert outcome(observed(), {"register": ("unknown", "out of time")})[0] == "inconclusive"


@pytest.mark.parametrize("many", list(itertools.product(OUTCOMES, repeat=3)))
def test_the_worst_of_several_outcomes(many: tuple[str, ...]) -> None:
    """Violation > infrastructure > inconclusive > pass, in whatever order they come."""
    assert worst(many) == OUTCOMES[min(OUTCOMES.index(each) for each in many)]
    assert worst([]) == "inconclusive"
