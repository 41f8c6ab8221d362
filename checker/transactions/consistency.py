"""Which anomalies rule out which consistency models, and which models imply which others.

The models are those of Adya, "Weak Consistency" (1999: PL-1 to PL-3, cursor stability, the consistent views, snapshot isolation), Bailis et al.,
"Highly Available Transactions" (VLDB 2013), Cerone et al., "A Framework for Transactional Consistency Models with Atomic Visibility"
(CONCUR 2015), and Daudjee & Salem, "Lazy Database Replication with Snapshot Isolation" (VLDB 2006: what sessions and real time add). Their names,
and what each takes from whom, are Elle's.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from checker.models.base import ModelError

STRICT = "strict-serializable"
_CYCLES = ("G0", "G1c", "G-single", "G-nonadjacent", "G2-item")

WEAKER: dict[str, tuple[str, ...]] = {
    STRICT: ("strong-session-serializable", "strong-snapshot-isolation"),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "strong-snapshot-isolation": ("strong-session-snapshot-isolation", "strong-read-committed"),
    "strong-session-snapshot-isolation": ("snapshot-isolation", "strong-session-read-committed"),
    "strong-read-committed": ("strong-session-read-committed", "strong-read-uncommitted"),
    "strong-session-read-committed": ("read-committed", "strong-session-read-uncommitted"),
    "strong-read-uncommitted": ("strong-session-read-uncommitted",),
    "strong-session-read-uncommitted": ("read-uncommitted",),
    "serializable": ("repeatable-read", "snapshot-isolation", "update-serializable"),
    "repeatable-read": ("cursor-stability", "monotonic-atomic-view"),
    "update-serializable": ("forward-consistent-view",),
    "snapshot-isolation": (
        "forward-consistent-view",
        "monotonic-snapshot-read",
        "parallel-snapshot-isolation",
        "prefix",
    ),
    "forward-consistent-view": ("consistent-view",),
    "consistent-view": ("cursor-stability", "monotonic-view"),
    "parallel-snapshot-isolation": ("causal-cerone", "update-atomic"),
    "prefix": ("causal-cerone",),
    "causal-cerone": ("read-atomic",),
    "update-atomic": ("read-atomic",),
    "read-atomic": ("monotonic-atomic-view",),
    "monotonic-atomic-view": ("read-committed",),
    "monotonic-snapshot-read": ("read-committed",),
    "monotonic-view": ("read-committed",),
    "cursor-stability": ("read-committed",),
    "read-committed": ("read-uncommitted",),
    "read-uncommitted": (),
}
"""Models, and the next weaker ones: a history that has the first has the others as well."""

ALIASES = {
    "PL-1": "read-uncommitted",
    "PL-2": "read-committed",
    "PL-CS": "cursor-stability",
    "PL-2L": "monotonic-view",
    "PL-MSR": "monotonic-snapshot-read",
    "PL-2+": "consistent-view",
    "PL-FCV": "forward-consistent-view",
    "PL-SI": "snapshot-isolation",
    "PL-2.99": "repeatable-read",
    "PL-3U": "update-serializable",
    "PL-3": "serializable",
    "PL-SS": STRICT,
    "conflict-serializable": "serializable",
    "strong-serializable": STRICT,
}
"""Other names of the same models."""

_FORBIDDEN: dict[str, tuple[str, ...]] = {
    # No history in Adya's sense holds an element twice, one that nobody wrote, or versions in a circle.
    "read-uncommitted": ("G0", "duplicate-elements", "cyclic-versions", "garbage-read"),
    "read-committed": ("G1a", "G1b", "G1c"),
    "cursor-stability": ("lost-update",),
    "update-atomic": ("lost-update",),
    "read-atomic": ("internal", "future-read"),
    "consistent-view": ("G-single",),
    "snapshot-isolation": ("G-nonadjacent",),
    "repeatable-read": ("G2-item",),
    "serializable": ("internal",),
    "strong-session-read-uncommitted": ("G0-process",),
    "strong-session-read-committed": ("G1c-process",),
    "strong-session-snapshot-isolation": ("G-nonadjacent-process",),
    "strong-session-serializable": ("G2-item-process",),
    "strong-read-uncommitted": ("G0-realtime",),
    "strong-read-committed": ("G1c-realtime",),
    "strong-snapshot-isolation": ("G-nonadjacent-realtime",),
    STRICT: ("G2-item-realtime",),
}
"""What a model forbids beyond what the weaker ones do."""

_IMPLIED: dict[str, tuple[str, ...]] = {
    "G0": ("G1c",),
    "G-single": ("G-nonadjacent",),
    "G-nonadjacent": ("G2-item",),
    "incompatible-order": ("G1a",),  # one of the two lists was never committed
    "dirty-update": ("G1a",),
    "future-read": ("G1c",),  # a transaction that depends on itself
    "lost-update": ("G2-item",),
}
"""What comes with an anomaly: whoever forbids the latter forbids the former. A cycle without edges of processes or real time counts as one
with them."""


def canonical(name: str) -> str:
    """The usual name of a model. Raises `ModelError` where there is none, naming the nearest known."""
    model = ALIASES.get(name, name)
    if model not in WEAKER:
        near = difflib.get_close_matches(name, [*WEAKER, *ALIASES], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ModelError(f"unknown consistency model {name!r}: {hint}known are {', '.join(WEAKER)}")
    return model


def forbids(model: str, anomaly: str) -> bool:
    """Whether a history with this anomaly can't have this model."""
    return not _with_implied(anomaly).isdisjoint(_forbidden_by(model))


def placed(anomalies: Iterable[str]) -> Mapping[str, list[str]]:
    """What these anomalies leave of the models: `not`, the weakest that are ruled out; `all_not`, all of them; `may_hold`, the strongest left."""
    kinds = list(anomalies)
    ruled_out = [model for model in WEAKER if any(forbids(model, kind) for kind in kinds)]
    left = [model for model in WEAKER if model not in ruled_out]
    return {
        "not": [model for model in ruled_out if not any(weaker in ruled_out for weaker in WEAKER[model])],
        "all_not": ruled_out,
        "may_hold": [model for model in left if not any(model in WEAKER[other] for other in left)],
    }


def _forbidden_by(model: str) -> frozenset[str]:
    forbidden = set(_FORBIDDEN.get(model, ()))
    for weaker in WEAKER[model]:
        forbidden |= _forbidden_by(weaker)
    return frozenset(forbidden)


def _with_implied(anomaly: str) -> set[str]:
    kind, suffix = _split(anomaly)
    found = {anomaly}
    for implied in _IMPLIED.get(kind, ()):
        found |= _with_implied(implied + suffix)
    if kind in _CYCLES and suffix != "-realtime":
        found |= _with_implied(kind + ("-process" if not suffix else "-realtime"))
    return found


def _split(anomaly: str) -> tuple[str, str]:
    for suffix in ("-process", "-realtime"):
        if anomaly.endswith(suffix):
            return anomaly.removesuffix(suffix), suffix
    return anomaly, ""
