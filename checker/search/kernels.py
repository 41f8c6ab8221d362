"""What all compiled searches share: statuses, the step of a model, hashes, and masks of open operations (needs numba)."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numba import int64, njit, uint64
from numba.core import event
from numba.core.options import DefaultOptions

from checker.budget import CLOCK
from checker.search.arrays import NONE, UNKNOWN, Steps

DONE, DEAD, MISSING, FULL, PAUSED, WIDE = 0, 1, 2, 3, 4, 5
"""Why a kernel came back: an order was found; there is none; a cell of the table is unknown (named; nothing was changed);
its memory is full; it is time to look at the budget; more operations are open at once than a word has bits."""
SLOTS = 62
"""Open operations that have a bit: int64 without its sign, and one to spare."""

_Function = TypeVar("_Function", bound=Callable[..., object])


def _nothing() -> None:
    """Stands for any function that is to be kept."""


def _may_keep() -> bool:
    """Whether what was compiled can be kept on disk: beside the modules, in the user's cache, or where NUMBA_CACHE_DIR says."""
    try:
        njit(cache=True)(_nothing)
    except RuntimeError as error:
        warnings.warn(
            f"the checker compiles its search anew in each process, which takes some ten seconds: {error};"
            " set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


_KEPT = _may_keep()


class _Teller(event.Listener):
    """Says once that something is being compiled: no command does that in silence. No budget pays for it."""

    told = not _KEPT  # else a warning says it already

    def on_start(self, event: object) -> None:
        CLOCK.stop()
        if not self.told:
            self.told = True
            logging.getLogger(__name__).warning("compiling the checker's search, once; this takes some ten seconds")

    def on_end(self, event: object) -> None:
        CLOCK.go_on()


event.register("numba:compile", _Teller())  # type: ignore[no-untyped-call]


def kernel(function: _Function) -> _Function:
    """Compiles a function when it is first called, and keeps it on disk where that is possible."""
    return cast("_Function", njit(cache=_KEPT)(function))


_PART = {
    name: value
    for name, value in {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}.items()
    if hasattr(DefaultOptions, name)
}
"""Options that numba has for its own use; without them the code is the same, but takes five times as long."""


def part(function: _Function) -> _Function:
    """Compiles a function that is called by kernels alone, with the kernel that calls it, and makes no arrays.

    References to arrays are not counted in it, which costs more than what small functions do: the kernel's caller holds them.
    """
    return cast("_Function", cast("Callable[..., Any]", njit)(**_PART)(function))


SOURCES = zlib.crc32(b"".join(each.read_bytes() for each in sorted(Path(__file__).parent.glob("*.py"))))
"""Of all that kernels here may be made of. Numba takes what it kept for a kernel unless the kernel's own file has changed; one
that calls parts in other files has this as the default of a parameter, which is in the name of what is kept."""

_BRUIJN = 0x03F79D71B4CB0A89
_PLACES = np.zeros(64, np.int64)
for _place in range(64):
    _PLACES[((_BRUIJN << _place) & (2**64 - 1)) >> 58] = _place


@njit(cache=_KEPT, inline="always")
def lowest(mask: int) -> int:
    """The place of the lowest bit that is set, by a de Bruijn sequence (Leiserson, Prokop & Randall 1998)."""
    return int(_PLACES[int64((uint64(mask & -mask) * uint64(0x03F79D71B4CB0A89)) >> uint64(58))])


@njit(cache=_KEPT, inline="always")
def mixed(number: int) -> int:
    """A number whose low bits depend on all bits of the given one (Fibonacci hashing)."""
    spread = int64(number) * int64(-7046029254386353131)
    return int(spread ^ int64(uint64(spread) >> uint64(32)))


@kernel
def step(steps: Steps, state: int, klass: int) -> int:
    """The state after an operation of the class; -1 if it is illegal, -2 if the model was not asked yet."""
    if len(steps.cells) == 0:
        requires, produces = steps.requires[klass], steps.produces[klass]
        if requires != NONE and requires != state:  # noqa: PLR1714 - a tuple is slower to compile and to ask
            return NONE
        return int(produces) if produces != NONE else state
    key = state * steps.width + klass
    size = len(steps.keys)
    if size == 0:
        return int(steps.cells[key]) if key < len(steps.cells) else UNKNOWN
    place = mixed(key) & (size - 1)
    while steps.keys[place] != key:
        if steps.keys[place] == -1:
            return UNKNOWN
        place = (place + 1) & (size - 1)
    return int(steps.cells[place])
