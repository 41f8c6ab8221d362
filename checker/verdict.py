"""Verdicts: valid, invalid with its evidence, or unknown with its reason; and how several become one.

The three outcomes of a way (`Valid`, `Invalid`, `GaveUp`) are types of their own, so that an approximation which may only
say one thing can't say the other: a beam returns `Valid | GaveUp`, a relaxed search `Invalid | GaveUp`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from checker.history import Op
from checker.reasons import graphs

VALID, INVALID, UNKNOWN = "valid", "invalid", "unknown"
_WORST_FIRST = (INVALID, UNKNOWN, VALID)


class Valid(msgspec.Struct, frozen=True):
    """The operations fit together; `witness` is an order that shows it.

    Operations that never returned and are not needed are left out of the witness.
    """

    witness: tuple[Op, ...]


class Invalid(msgspec.Struct, frozen=True):
    """No order exists; `evidence` are the operations that show it where the way knows (else empty)."""

    evidence: tuple[Op, ...] = ()


class GaveUp(msgspec.Struct, frozen=True):
    """The way did not decide: it does not apply, or its limit was reached; `reason` says how far it got."""

    reason: str


Outcome = Valid | Invalid | GaveUp


class Verdict(msgspec.Struct, kw_only=True):
    """What is known about a history, JSON-able as it stands (`as_dict`).

    `verdict` is valid, invalid or unknown. On invalid: `key`, the `first_impossible` operation, the longest linearizable
    `prefix` (its last operations, each with the state after it; all in all `prefix_length`), the `possible_states` that it
    could have met (all of them if `possible_states_complete`), the `core` (a small set of operations that is impossible by
    itself; `taken_as`: how much of what is known of each is needed, `core_from`: beginning in which state), an `explanation`
    in plain English, and which weaker `promises` were kept all the same (`promises.judge`). On valid, if it was asked for:
    the `witness`, for each key an order that shows it. `per_key` has one row a key; `warnings` tell what was done to the file.
    `seconds` is what the verdict took, `explanation_seconds` what it took to say why beside that (0 where both are one work).
    """

    verdict: str
    reason: str = ""
    model: str = ""
    way: str = ""
    operations: int = 0
    seconds: float = 0.0
    explanation_seconds: float = 0.0
    key: Any = None
    first_impossible: dict[str, Any] | None = None
    prefix: list[dict[str, Any]] = []
    prefix_length: int = 0
    possible_states: list[str] = []
    possible_states_complete: bool = False
    core: list[dict[str, Any]] = []
    core_from: str = ""
    explanation: str = ""
    promises: dict[str, Any] = {}
    witness: list[dict[str, Any]] = []
    per_key: list[dict[str, Any]] = []
    anomalies: dict[str, Any] = {}
    consistency: dict[str, Any] = {}
    warnings: list[str] = []

    def as_dict(self) -> dict[str, Any]:
        """The verdict as a map of JSON values."""
        result: dict[str, Any] = msgspec.to_builtins(self, enc_hook=str, str_keys=True)
        return result

    def took(self) -> str:
        """How long it took, in words."""
        explained = f", explained in {self.explanation_seconds:.3f} s" if self.explanation_seconds else ""
        return f"{self.seconds:.3f} s{explained}"

    def graph(self) -> Any:
        """The core as a `networkx.MultiDiGraph`: see `reasons.graphs.graph`. Raises ImportError without networkx."""
        return graphs.graph(self.core)


def worst(verdicts: Iterable[str]) -> str:
    """The verdict of a whole from those of its parts: invalid beats unknown beats valid; of no parts, valid."""
    return min(verdicts, key=_WORST_FIRST.index, default=VALID)
