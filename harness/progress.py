"""What a person sees while long work goes on: a progress bar on a terminal, plain lines in a log, or nothing.

Everything goes to standard error; standard output belongs to the answer.
"""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


class Screen(Console):
    """A console whose reader may leave (`| head`): what is printed then goes nowhere, and the work goes on.

    Rich itself would end the program with status 1, which accuses the store.
    """

    def on_broken_pipe(self) -> None:
        """Nobody reads any more."""
        self.quiet = True


class Watcher(Protocol):
    """Who watches a run."""

    def say(self, sentence: str) -> None:
        """Something worth a line happened."""
        ...

    def clock(self, seconds: float, whole: float, state: str) -> None:
        """So far of so many seconds are over; `state` says what is going on."""
        ...


class Quiet:
    """Nobody watches."""

    def say(self, sentence: str) -> None:
        """Says nothing."""

    def clock(self, seconds: float, whole: float, state: str) -> None:
        """Shows nothing."""


class Lines:
    """Plain lines, for a log: every sentence, and the state of things every five seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 5.0

    def say(self, sentence: str) -> None:
        self._next = 5.0 if "waiting for the first leader" in sentence else self._next
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def clock(self, seconds: float, whole: float, state: str) -> None:
        if seconds >= self._next:
            self._next = seconds - seconds % 5 + 5
            self._console.print(
                f"{seconds:5.1f} of {whole:g} s: {state}", markup=False, highlight=False, soft_wrap=True
            )


class Bar:
    """A progress bar for a terminal; it is gone when the work is done."""

    def __init__(self, console: Console) -> None:
        columns = (
            BarColumn(bar_width=24),
            TextColumn("{task.completed:4.1f} of {task.total:g} s"),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=console, transient=True)
        self._task: TaskID | None = None
        self._console = console

    def say(self, sentence: str) -> None:
        self._stop()
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def clock(self, seconds: float, whole: float, state: str) -> None:
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task("", total=whole)
        self._progress.update(self._task, completed=min(seconds, whole), description=state)

    def _stop(self) -> None:
        if self._task is not None:
            self._progress.stop()
            self._progress.remove_task(self._task)
            self._task = None


def watcher() -> Watcher:
    """A bar where standard error is a terminal, else plain lines."""
    console = Screen(stderr=True)
    return Bar(console) if console.is_terminal else Lines(console)
