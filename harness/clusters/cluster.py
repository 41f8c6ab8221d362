"""The interface of a cluster, and the values that cross it: requests, completions, faults and their progress.

One run loop (`harness/run.py`) drives every cluster through `Cluster`; it neither sleeps nor awaits, so the same loop
can drive real processes, containers and, later, simulated time. No cluster decides what an error means (that table is in
`harness/worker.py`) nor which fault comes next (`harness/nemesis.py`).
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

NANOSECONDS = 1_000_000_000


class Request(msgspec.Struct, frozen=True):
    """One operation on its way to the cluster.

    The cluster makes attempts until one is answered or `deadline` is over; all of them carry the same idempotency key.
    """

    worker: int  # which worker asks; its home node is node_ids[worker % n], and it stands on that node's side of a cut
    op: str  # the operation's id in the history
    f: str  # read | write | delete | cas | append
    key: str
    value: Any  # the argument: write: value; cas: [expect, value]; append: element; read: None
    prefer: str  # the node to ask first ("" = the home node for reads, the last known leader for writes)
    deadline: int  # nanoseconds from the submit until the operation is given up
    attempt_timeout: int  # nanoseconds for one attempt


class Attempt(msgspec.Struct, frozen=True):
    """What became of one HTTP request: an answer (`status` and `body`), or an `error` of the transport."""

    node: str
    status: int = 0  # HTTP status; 0 where there was no answer
    error: str = ""  # "" for a 2xx answer; the code of a JSON error body; or connect-failed, timeout, broken, ...
    sent: bool = True  # False only if the request certainly never left (for example the connection was refused)
    definite: bool = False  # the node itself said that the operation certainly did not happen
    body: Any = None  # the decoded JSON body, where there was one


class Completion(msgspec.Struct, frozen=True):
    """The end of one operation: every attempt in order; the last one decides unless an earlier one was indefinite."""

    worker: int
    op: str
    attempts: tuple[Attempt, ...]


class Fault(msgspec.Struct, frozen=True):
    """A fault as data. `kind`, `targets` and `parameters` are explained in `harness/nemesis.py`.

    `at` and `until` are nanoseconds by the cluster's clock, counted from the start of the run.
    """

    id: str
    family: str  # partition | kill | pause | delay
    kind: str  # partition: its shape; delay: slow-...; else the family
    targets: tuple[str, ...]  # node ids, or what `harness/nemesis.py` resolves: leader, one, followers, ...
    parameters: dict[str, Any]  # always has "order": a permutation of the node ids, drawn from the seed
    at: int
    until: int


class FaultProgress(msgspec.Struct, frozen=True):
    """One step of a fault's life.

    Phases in order: requested, installed | refused | failed, bitten | not-bitten, healed | heal-failed,
    heal-shown | heal-not-shown. `resolved` says what symbolic targets became; `evidence` is data that a person can read.
    """

    fault: str
    phase: str
    at: int
    resolved: dict[str, Any] = {}
    evidence: dict[str, Any] = {}


class NodeEvent(msgspec.Struct, frozen=True):
    """One protocol event that a node wrote (see `raftnode/events` in ARCHITECTURE.md), or `process-exited`."""

    node: str
    kind: str
    at: int  # nanoseconds by the cluster's clock
    fields: dict[str, Any]


class Refusal(msgspec.Struct, frozen=True):
    """Why a cluster cannot do a fault, in the words of whoever refused it."""

    fault: str
    reason: str


class ClusterError(Exception):
    """The infrastructure failed (no daemon, no port, a node that does not start); the sentence says what to do."""


Report = Completion | FaultProgress | NodeEvent


class Cluster(Protocol):
    """A cluster under test: local processes, containers, or a simulation.

    Times are nanoseconds by the cluster's own monotonic clock, 0 at its start.
    """

    node_ids: tuple[str, ...]

    def now(self) -> int:
        """The cluster's clock."""
        ...

    def can(self, family: str) -> Refusal | None:
        """Whether faults of a family can be done here, found by trying. None = yes."""
        ...

    def submit(self, request: Request) -> None:
        """Starts an operation; never blocks. At most one per worker is under way."""
        ...

    def inject(self, fault: Fault) -> None:
        """Starts a fault; progress comes from `poll`. Symbolic targets are resolved now. Never blocks."""
        ...

    def heal(self, fault: str) -> None:
        """Ends a fault that was injected; progress (healed, heal-shown) comes from `poll`. Never blocks."""
        ...

    def poll(self, until: int) -> list[Report]:
        """Waits until something happened or the clock shows `until`; returns what happened, in order."""
        ...

    def close(self) -> None:
        """Heals, stops and removes everything this cluster started. May be called twice, and after a failed start."""
        ...
