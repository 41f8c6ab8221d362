"""Ctrl-C, SIGTERM and a closed terminal: one wish to stop, which waits while something is being taken down.

The wish comes as `KeyboardInterrupt`, wherever the main thread is. What must be done whole (removing what a run started)
is done under `held_back`, however often somebody asks meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class _Wish:
    holders: int = 0
    waiting: bool = False
    terminals: tuple[int, ...] = ()  # of standard output and error; one that is gone is no longer known as one


_wish = _Wish()


def listen() -> None:
    """From now on each of the signals is a wish to stop, unless this process was started to ignore it (nohup)."""
    _wish.terminals = tuple(stream for stream in (1, 2) if os.isatty(stream))
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _heard)


def _heard(number: int, _frame: object) -> None:
    if number == signal.SIGHUP:
        _forget_terminal()
    if _wish.holders:
        _wish.waiting = True
        return
    raise KeyboardInterrupt


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """While this lasts a wish to stop waits; at the end it is heard (once, however often it was made)."""
    _wish.holders += 1
    try:
        yield
    finally:
        _wish.holders -= 1
        if _wish.waiting and not _wish.holders:
            _wish.waiting = False
            raise KeyboardInterrupt


def _forget_terminal() -> None:
    """The terminal is gone: what is still said to it must not fail, since things remain to be taken down."""
    for stream in _wish.terminals:
        write_to_nobody(stream)


def write_to_nobody(stream: int) -> None:
    """Lets what is written to a file descriptor, whose reader is gone, go nowhere from now on."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nobody, stream)
    os.close(nobody)
