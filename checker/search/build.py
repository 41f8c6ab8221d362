"""`python -m checker.search.build`: compiles the search ahead, so that no command has to do it in silence.

Numba keeps what it compiled beside the modules, or where NUMBA_CACHE_DIR says; each kernel is compiled for the types that it is called with.
"""

from __future__ import annotations

import sys

from checker.budget import Budget, Meter
from checker.fast import compiled_zones
from checker.models.registers import Register
from checker.search import arrays, compiled_depth, settling
from checker.search.problem import Problem


def build() -> None:
    """Runs every kernel once on a small problem: what is in the cache already costs milliseconds."""
    form = arrays.of_problem(Problem(Register(), ()))
    compiled_depth.search(form, None, Meter(Budget()), 1, witness=True)
    settled = settling.settle(form)
    assert isinstance(settled, arrays.Arrays)
    compiled_zones.decide(settled)


if __name__ == "__main__":
    build()
    sys.exit(0)
