"""The loops of `kernels.py` compiled by numba; loaded only where a history is large enough to earn the import."""

from __future__ import annotations

from collections.abc import Callable

import numba

from checker.search.kernels import kernel
from checker.transactions import kernels

_LOOPS = (
    kernels.longest_reads,
    kernels.compare_reads,
    kernels.index_writes,
    kernels.find_writes,
    kernels.look_inside,
    kernels.components,
    kernels.earliest_returns,
    kernels.shortest,
)
numba.extending.register_jitable(kernels.state_after)  # the one function that a loop calls
LOOPS: dict[str, Callable[..., int]] = {loop.__name__: kernel(loop) for loop in _LOOPS}
"""The compiled loops by name. They are compiled when they are first called, and kept beside their source."""
