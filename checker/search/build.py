"""`python -m checker.search.build`: compiles the search ahead, so that no command has to do it in silence; and the loops over transactions.

Numba keeps what it compiled beside the modules, or where NUMBA_CACHE_DIR says; each kernel is compiled for the types that
it is called with.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys

from checker.budget import Budget, Meter
from checker.history import OK, Op
from checker.models.registers import Register
from checker.search import compiled_sweep, kernels
from checker.search.compiled import Search
from checker.search.problem import Problem
from checker.transactions import build as transactions

_WRITES = 12
_NODES = 1 << 13
"""More than the first table holds."""


def build() -> bool:
    """Runs every kernel once on a small problem: what is in the cache already costs milliseconds. True if all went well.

    Two processes share the work, since it takes long and each kernel is compiled by one core.
    """
    helper = multiprocessing.get_context("spawn").Process(target=search_in_breadth)
    helper.start()
    search_in_depth()
    transactions.build()
    helper.join()
    return helper.exitcode == 0


def search_in_depth() -> None:
    """Zones and the search depth first, which finds an order, and then outgrows its first table of nodes."""
    search = Search(Problem(Register(), ()), Meter(Budget()), witness=True)
    search.zones()
    search.depth_first(Meter(Budget()), 1)
    Search(Problem(Register(), _hard()), Meter(Budget()), witness=False).depth_first(Meter(Budget()), _NODES)


def _hard() -> list[Op]:
    """Writes at once and a read of what none of them wrote: depth first tries each order of each part of them, in some 24,000 nodes."""
    writes = [Op(process=n, f="write", value=n, type=OK, invoked=n, returned=_WRITES + n) for n in range(_WRITES)]
    return [*writes, Op(process=0, f="read", result=-1, type=OK, invoked=2 * _WRITES, returned=2 * _WRITES + 1)]


def search_in_breadth() -> None:
    """The sweeps."""
    logging.getLogger(kernels.__name__).disabled = True
    search = Search(Problem(Register(), ()), Meter(Budget()), witness=True)
    search.sweep(Meter(Budget()), 1)
    compiled_sweep.CompiledSweep(search.arrays, None, Meter(Budget()), 1, witness=True).collect()


def main() -> int:
    """Compiles, and says how long it took."""
    meter = Meter(Budget(seconds=None))
    logging.getLogger(kernels.__name__).disabled = True  # this line says it
    print("compiling the search ... ", end="", flush=True)
    went_well = build()
    print(f"{meter.elapsed():.1f} s")
    return 0 if went_well else 1


if __name__ == "__main__":
    sys.exit(main())
