"""What must have been seen for a pass, and the outcome of a run.

A pass is earned: every fault must have been shown to bite and to heal, every kind of operation must have been answered
often enough *relative to a calibration before the first fault* (machines differ; the run is its own measure), leaders
that were killed must have been replaced, reads must have been answered while the network was cut. What is missing makes
a run inconclusive, with a sentence that names it. Nothing here can turn a violation into anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from harness.clusters.cluster import NANOSECONDS, Fault, FaultProgress
from harness.nemesis import describe

OUTCOMES = ("violation", "infrastructure", "inconclusive", "pass")  # worst first
PHASES = ("requested", "refused", "failed", "installed", "not-bitten", "bitten")
PHASES_OF_HEALING = ("healed", "heal-failed", "heal-not-shown", "heal-shown")
EXIT_STATUS = {"pass": 0, "violation": 1, "inconclusive": 3, "infrastructure": 4}

LEAST_CALIBRATED = 5  # answered operations of a kind before the first fault, else the load is no load
SHARE_UNDER_FAULTS = 0.10  # of the calibrated rate, over the whole time of faults
SHARE_CUT = 0.05  # of the calibrated rate of reads, while the network was cut
SUCCESSION = 3 * NANOSECONDS  # after a killed leader is back, for the election that its death forced
INTERRUPTED = "interrupted before the end"
STOPPED = "stopped before the end, at the first violation"
STALL = 2 * NANOSECONDS  # the harness itself did not run for so long: then slowness proves nothing


class Observed(msgspec.Struct):
    """What the run loop saw, in plain lists; times in nanoseconds by the cluster's clock."""

    kinds: tuple[tuple[str, str], ...]  # (workload, f) that the plan asks for
    schedule: tuple[Fault, ...]
    families: tuple[str, ...]
    calibration_end: int
    faults_end: int
    completions: list[tuple[int, str, str, str]] = []  # (end, workload, f, type)
    progress: list[FaultProgress] = []
    elections: list[tuple[int, str, int]] = []  # (at, node, term)
    exits: list[str] = []  # sentences on nodes that died without having been killed
    assertions: list[str] = []  # sentences on nodes whose own assertion failed
    invariants: list[str] = []  # sentences on invariants of the protocol that the nodes' own events break
    final_asked: int = 0
    final_missing: list[str] = []  # keys that no final read answered for
    final_silent: list[tuple[str, str]] = []  # (workload, node) where the node answered none of the final reads
    interrupted: bool = False
    ended: bool = False  # the load ran to its end
    stopped: bool = False  # somebody proved a violation while it ran
    worst_stall: int = 0
    trouble: list[str] = []  # sentences on infrastructure that failed


class Floor(msgspec.Struct, frozen=True):
    """One thing that must have been seen."""

    name: str
    asked: str
    seen: str
    met: bool


def worst(outcomes: Iterable[str]) -> str:
    """The worst of several outcomes: violation > infrastructure > inconclusive > pass. Of none: inconclusive."""
    return min(outcomes, key=OUTCOMES.index, default="inconclusive")


def floors(observed: Observed) -> list[Floor]:
    """Every floor of a run, met or not."""
    found = [*_load_floors(observed)]
    for family in observed.families:
        if not any(fault.family == family for fault in observed.schedule):
            found.append(Floor(f"{family} faults", "at least 1", "none was scheduled: the run is too short", met=False))
    found += [floor for fault in observed.schedule for floor in _fault_floors(fault, observed.progress)]
    found += _election_floors(observed)
    found += _cut_floors(observed)
    return found + _final_floors(observed)


def _final_floors(observed: Observed) -> list[Floor]:
    """Every key must have been read from somebody, and from every node at least one key of each workload."""
    missing, silent = observed.final_missing, observed.final_silent
    seen = f"{observed.final_asked - len(missing)} answered" + (f"; not {', '.join(missing[:5])}" if missing else "")
    nodes = "; ".join(f"{node} answered none of {workload}" for workload, node in silent) or "all answered"
    some = observed.final_asked > 0
    return [
        Floor(
            "final reads after healing",
            f"{max(observed.final_asked, 1)} answered",
            seen,
            met=some and not missing,
        ),
        Floor(
            "final reads at every node",
            "1 of each workload answered by each",
            nodes if some else "none was asked",
            met=some and not silent,
        ),
    ]


def _load_floors(observed: Observed) -> list[Floor]:
    found = []
    under_faults = max(0, observed.faults_end - observed.calibration_end)
    for workload, f in observed.kinds:
        ends = [end for end, name, kind, type_ in observed.completions if (name, kind, type_) == (workload, f, "ok")]
        before = sum(end <= observed.calibration_end for end in ends)
        what = f"{workload} {f} operations answered"
        found.append(
            Floor(
                f"{what} before the faults", f"at least {LEAST_CALIBRATED}", str(before), met=before >= LEAST_CALIBRATED
            )
        )
        if observed.families:
            expected = before * under_faults / observed.calibration_end
            asked = max(LEAST_CALIBRATED, round(SHARE_UNDER_FAULTS * expected))
            during = sum(observed.calibration_end < end <= observed.faults_end for end in ends)
            found.append(Floor(f"{what} under faults", f"at least {asked}", str(during), met=during >= asked))
    return found


def _fault_floors(fault: Fault, progress: Sequence[FaultProgress]) -> list[Floor]:
    phases = {step.phase for step in progress if step.fault == fault.id}
    name = f"{fault.id} ({describe(fault)})"
    return [
        Floor(f"{name} shown to bite", "evidence", _last(phases, ("bitten",)), met="bitten" in phases),
        Floor(f"{name} shown to have healed", "evidence", _last(phases, ("heal-shown",)), met="heal-shown" in phases),
    ]


def _last(phases: set[str], wanted: tuple[str, ...]) -> str:
    hits = [phase for phase in (*PHASES, *PHASES_OF_HEALING) if phase in phases]
    return next((phase for phase in hits if phase in wanted), hits[-1] if hits else "never requested")


def _election_floors(observed: Observed) -> list[Floor]:
    """Of the kills that hit a node in office, at least half must have been followed by an election in a later term."""
    kills = [fault for fault in observed.schedule if fault.family == "kill" and "leader" in fault.targets]
    if not kills:
        return []
    forced = [answer for fault in kills if (answer := _forced_election(fault, observed)) is not None]
    asked = max(1, len(forced) // 2)
    seen = f"{sum(forced)} after {len(forced)} such kills" if forced else "no kill hit a node that led"
    return [Floor("elections after kills of the leader", f"at least {asked}", seen, met=sum(forced) >= asked)]


def _forced_election(fault: Fault, observed: Observed) -> bool | None:
    """Whether the kill of a leader made the others elect another one; None if whoever was killed did not lead."""
    steps = {step.phase: step for step in observed.progress if step.fault == fault.id}
    if "installed" not in steps:
        return None
    killed = steps["installed"]
    term, leader = max(((term, node) for at, node, term in observed.elections if at < killed.at), default=(0, ""))
    if leader not in killed.resolved.get("nodes", ()):
        return None  # another node stood in for a leader that was down already
    healed = steps["healed"].at if "healed" in steps else fault.until
    return any(killed.at <= at <= healed + SUCCESSION and later > term for at, _, later in observed.elections)


def _cut_floors(observed: Observed) -> list[Floor]:
    windows = _windows(observed, "partition")
    if not windows or not observed.calibration_end:
        return []
    reads = [end for end, _, f, type_ in observed.completions if f == "read" and type_ == "ok"]
    before = sum(end <= observed.calibration_end for end in reads)
    length = sum(until - since for since, until in windows)
    asked = max(1, round(SHARE_CUT * before * length / observed.calibration_end))
    during = sum(any(since < end <= until for since, until in windows) for end in reads)
    return [Floor("reads answered while the network was cut", f"at least {asked}", str(during), met=during >= asked)]


def _windows(observed: Observed, family: str) -> list[tuple[int, int]]:
    """(installed, healed) of each fault of a family, as far as both were seen."""
    wanted = {fault.id for fault in observed.schedule if fault.family == family}
    starts = {step.fault: step.at for step in observed.progress if step.phase == "installed" and step.fault in wanted}
    ends = {step.fault: step.at for step in observed.progress if step.phase == "healed" and step.fault in wanted}
    return [(starts[fault], ends[fault]) for fault in starts if fault in ends]


def judge(observed: Observed, met: Sequence[Floor], verdicts: dict[str, tuple[str, str]]) -> tuple[str, list[str]]:
    """The outcome and its reasons, the deciding ones first. `verdicts`: workload -> (verdict, sentence)."""
    found: list[tuple[str, str]] = []
    for workload, (verdict, sentence) in verdicts.items():
        if verdict == "invalid":
            found.append(("violation", f"safety: {workload} is not linearizable: {sentence}"))
        elif verdict == "unknown":
            found.append(("inconclusive", f"the checker could not decide {workload}: {sentence}"))
    found += [("violation", f"safety: {sentence}") for sentence in (*observed.assertions, *observed.invariants)]
    found += [("infrastructure", sentence) for sentence in (*observed.exits, *observed.trouble)]
    if observed.interrupted:
        found.append(("inconclusive", INTERRUPTED))
    elif observed.stopped:
        found.append(("inconclusive", STOPPED))
    elif not observed.ended:
        found.append(("inconclusive", "the run ended before its time"))
    found += [("infrastructure", sentence) for sentence in _unhealed(observed)]
    if (observed.final_missing or observed.final_silent) and _had_its_chance(observed):
        found.append(("violation", f"liveness: {_unanswered(observed)}"))
    found += [
        ("inconclusive", f"not earned: {floor.name}: asked {floor.asked}, seen {floor.seen}")
        for floor in met
        if not floor.met
    ]
    outcome = worst([name for name, _ in found] or ["pass"])
    reasons = [sentence for name in OUTCOMES for found_name, sentence in found if found_name == name]
    shown = "every fault was shown to bite and to heal" if observed.schedule else "no faults were asked for"
    return outcome, reasons or [f"linearizable; {shown}, and every floor was met"]


def _unhealed(observed: Observed) -> list[str]:
    """Sentences on faults that could not be ended: whatever the cluster failed to do then is no fault of its own."""
    told = {step.fault: step.evidence.get("reason", "") for step in observed.progress if step.phase == "heal-failed"}
    return [
        f"{fault.id} ({describe(fault)}) could not be healed: {told[fault.id]}"
        for fault in observed.schedule
        if fault.id in told
    ]


def _had_its_chance(observed: Observed) -> bool:
    """Whether nothing but the store itself can have kept it from answering once the faults were over."""
    shown = {step.fault for step in observed.progress if step.phase == "heal-shown"}
    hindered = observed.trouble or observed.exits or observed.assertions or observed.interrupted
    healed = all(fault.id in shown for fault in observed.schedule)
    return observed.ended and healed and not hindered and observed.worst_stall < STALL


def promises_broken(reasons: Iterable[str]) -> set[str]:
    """Which promises the reasons of a violation say were broken: not linearizable, not live, own assertion failed, ...

    Coarse on purpose: which workload happens to show a fault first is chance, and two builds are compared by this.
    """
    found = set()
    for reason in reasons:
        if reason.startswith("liveness: "):
            found.add("not live")
        elif reason.startswith("safety: "):
            found.add(_safety(reason))
    return found


def _safety(reason: str) -> str:
    if " is not linearizable: " in reason:
        return "not linearizable"
    return "own assertion failed" if "assertion failed" in reason else "protocol invariant broken"


def _unanswered(observed: Observed) -> str:
    missing = observed.final_missing
    if missing:
        what = f"{len(missing)} of {observed.final_asked} keys could not be read (first: {missing[0]})"
    else:
        what = " and ".join(f"{node} answered no read of {workload}" for workload, node in observed.final_silent)
    return f"after all faults had healed, {what}, though this machine itself did not stall"
