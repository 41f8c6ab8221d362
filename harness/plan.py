"""Everything that one run depends on, in one value: checked when it is made, saved with the run.

All defaults of a run stand here and nowhere else.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection, Sequence

import msgspec

from harness.clusters.cluster import NANOSECONDS
from harness.nemesis import FAMILIES
from workloads.catalog import WORKLOADS

CLUSTERS = ("local", "docker")
SHORTEST_SECONDS = 10.0
MOST_NODES = 9
MOST_CONCURRENCY = 500
NAME = re.compile(r"[^/.\x00-\x1f][^/\x00-\x1f]{0,199}")


class UsageError(Exception):
    """The user asked for something that does not exist or makes no sense; the sentence says what is expected."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run. Raises UsageError from `checked` only, so that a plan can be read back from an older run's file."""

    cluster: str = "local"
    nodes: int = 5
    workloads: tuple[str, ...] = ("register", "append")
    faults: tuple[str, ...] = ("partition", "kill")
    seconds: float = 30.0  # the length of the run by the cluster's clock, from the first operation to the heal
    rate: float = 600.0  # operations a second asked of the cluster (open loop); 0: as fast as the workers come back
    concurrency: int = 40
    seed: int = 1
    build: str = "current"
    out: str = "results"
    name: str = "runs"  # the folder below `out`; a campaign's name
    operation_timeout_ms: int = 1000  # the mean: each operation draws its own
    attempt_timeout_ms: int = 500  # as operation_timeout_ms
    recovery_seconds: float = 20.0  # how long the healed cluster may take to elect a leader and to answer
    check_seconds: float = 120.0  # the checker's budget
    stop_at_violation: bool = False  # the history is checked while it is written, and the first violation ends the run

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(f"n{number + 1}" for number in range(self.nodes))

    @property
    def calibration(self) -> int:
        """Nanoseconds at the start without faults, which the floors of a pass are relative to."""
        return round(min(3.0, max(1.5, 0.1 * self.seconds)) * NANOSECONDS)

    @property
    def faults_end(self) -> int:
        """When the last fault must have ended, in nanoseconds; the load goes on until `seconds`."""
        return round((self.seconds - min(2.0, 0.1 * self.seconds)) * NANOSECONDS)

    @property
    def end(self) -> int:
        return round(self.seconds * NANOSECONDS)


def checked(plan: Plan) -> Plan:
    """The plan itself, if it makes sense.

    Raises:
        UsageError: an unknown name (with the nearest known ones) or a value out of range.
    """
    known("cluster", plan.cluster, CLUSTERS)
    for workload in plan.workloads:
        known("workload", workload, WORKLOADS)
    for family in plan.faults:
        known("fault", family, FAMILIES)
    if not plan.workloads:
        raise UsageError("no workload was given; `splitbrain list workloads` shows them")
    if not NAME.fullmatch(plan.name):
        raise UsageError(
            f"--name must be the name of a folder below --out, without slashes and not beginning with a dot, not {plan.name!r}"
        )
    _unique("workload", plan.workloads)
    _unique("fault", plan.faults)
    _within("--nodes", plan.nodes, 1, MOST_NODES)
    _within("--time", plan.seconds, SHORTEST_SECONDS, 86400)
    _within("--rate", plan.rate, 0, 100_000)
    _within("--concurrency", plan.concurrency, 1, MOST_CONCURRENCY)
    _within("--seed", plan.seed, 0, 2**63 - 1)
    if plan.faults and plan.nodes < 3:
        raise UsageError(f"faults need at least 3 nodes, --nodes is {plan.nodes}; use --faults none to run without")
    return plan


def known(what: str, name: str, names: Collection[str]) -> str:
    """`name`, if it is one of `names`; else a UsageError that names the nearest ones."""
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(names))}"
    raise UsageError(f"unknown {what} {name!r}; {hint}")


def seeds_of(text: str, option: str = "--seeds") -> range:
    """`A..B`, both included, or one seed. Raises UsageError for anything else, naming the option."""
    first, dots, last = text.partition("..")
    last = last if dots else first
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise UsageError(f"{option} must be A..B with A <= B, for example 1..20, or one seed, not {text!r}")
    return range(int(first), int(last) + 1)


def _unique(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{what} {name!r} was given twice")


def _within(option: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"{option} must be between {least:g} and {most:g}, not {value:g}")


def command_of(plan: Plan) -> str:
    """The exact command that makes this run again."""
    words = ["./splitbrain", "run"]
    defaults = Plan()
    for option, attribute in (
        ("--cluster", "cluster"),
        ("--nodes", "nodes"),
        ("--workload", "workloads"),
        ("--faults", "faults"),
        ("--time", "seconds"),
        ("--rate", "rate"),
        ("--concurrency", "concurrency"),
        ("--build", "build"),
        ("--out", "out"),
        ("--name", "name"),
    ):
        value = getattr(plan, attribute)
        if value != getattr(defaults, attribute):
            words += [option, _as_option(value)]
    if plan.stop_at_violation:
        words.append("--stop-at-violation")
    return shlex.join([*words, "--seed", str(plan.seed)])


def _as_option(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)  # every digit: the schedule depends on it
