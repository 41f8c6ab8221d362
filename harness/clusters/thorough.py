"""Steps of which each is tried, whatever becomes of the others: the end of a cluster, and the heal of a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.clusters.cluster import ClusterError

Step = tuple[str, Callable[[], object]]
"""What to call it in a message, and how it is done."""


def try_each(steps: Iterable[Step]) -> None:
    """Does every step. Raises `ClusterError` after the last one if any of them failed, with the words of all that did."""
    failed: list[tuple[str, Exception]] = []
    for name, step in steps:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - told at the end: what comes next must not depend on it
            failed.append((name, error))
    if failed:
        told = "; ".join(f"{name}: {str(error) or type(error).__name__}" for name, error in failed)
        raise ClusterError(told) from ExceptionGroup("steps that failed", [error for _, error in failed])
