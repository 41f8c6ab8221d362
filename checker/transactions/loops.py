"""Runs a loop of `kernels.py` on columns: as plain Python where they are short, compiled where they are long."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_WORTH_COMPILING = [20_000]
"""Entries in all columns together (the last one counts): so many take plain Python some 20 milliseconds, importing numba half a second."""


@contextlib.contextmanager
def compiling_from(entries: int) -> Iterator[None]:
    """Inside, columns with so many entries together are worth compiled code."""
    _WORTH_COMPILING.append(entries)
    try:
        yield
    finally:
        _WORTH_COMPILING.pop()


def run(loop: Callable[..., int], *arguments: Any) -> int:
    """Calls the loop with columns (arrays, alone or in named tuples; filled in place) and numbers; returns what it returns."""
    arrays = [each for argument in arguments for each in _parts(argument) if isinstance(each, np.ndarray)]
    if sum(map(len, arrays)) >= _WORTH_COMPILING[-1]:
        # Imported only here: most histories are short, and numba takes longer to import than they to be decided.
        compiled = importlib.import_module("checker.transactions.compiled")
        return int(compiled.LOOPS[loop.__name__](*arguments))
    plain = [_plain(argument) for argument in arguments]
    result = loop(*plain)
    for argument, columns in zip(arguments, plain, strict=True):
        for array, column in zip(_parts(argument), _parts(columns), strict=True):
            if isinstance(array, np.ndarray):
                array[:] = column
    return result


def _parts(argument: Any) -> tuple[Any, ...]:
    return argument if isinstance(argument, tuple) else (argument,)


def _plain(argument: Any) -> Any:
    if isinstance(argument, tuple):
        return type(argument)(*map(_plain, argument))
    return argument.tolist() if isinstance(argument, np.ndarray) else argument
