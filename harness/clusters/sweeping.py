"""What runs left behind whose harness is gone (kill -9): removed by whoever starts next, on whatever cluster.

The engine is asked only if a run that used it left its note, or if it is at hand anyway. Not here: how leftovers are
known (`leftovers.py`: processes; `engine.py`: containers and networks; `bridge.py`: packet filters).
"""

from __future__ import annotations

import contextlib

from docker.errors import APIError
from requests.exceptions import RequestException

from harness.clusters.bridge import sweep_tables
from harness.clusters.cluster import ClusterError
from harness.clusters.engine import PREFIX, Engine, connect, runs_alive, sweep, words_of
from harness.clusters.leftovers import forget, sweep_scratch, sweep_stale


def sweep_all() -> list[str]:
    """Says what was removed. What an engine holds that does not answer, or refuses, waits for a later start."""
    gone, in_engine = sweep_stale()
    gone += sweep_scratch()
    if in_engine:
        try:
            with contextlib.closing(connect()) as engine:
                gone += sweep_engine(engine)
        except ClusterError:
            return gone
        forget(in_engine)
    return gone


def sweep_engine(engine: Engine) -> list[str]:
    """Removes containers, networks and packet filters of runs that are gone. Raises `ClusterError` where that is refused."""
    try:
        gone = sweep(engine)
        return gone + sweep_tables(PREFIX, runs_alive(engine))
    except (APIError, RequestException) as error:
        raise ClusterError(f"what earlier runs left behind could not be removed: {words_of(error)}") from error
