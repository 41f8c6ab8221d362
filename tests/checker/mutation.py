"""Runs a battery of the suite's own checks against wrong checkers; started by `test_mutants.py` as a process of its own.

`python tests/checker/mutation.py [NAME...]` prints one JSON line a mutant: its name, and the check that caught it or an
empty string. What is heavy and never mutated is imported once; each mutant then gets a fork, in which the checker is imported
with the mutated source. Compiled code is not compiled: NUMBA_DISABLE_JIT is set by whoever starts this.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, ModuleType

import mutants
from mutants import Mutant

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 15.0
"""Of processor time: a mutant that does not end is caught, too."""
OUTDATED = "its text does not stand there exactly once"


class EndlessError(BaseException):
    """No `Exception`: the checker turns those of a model into an unknown verdict, and would go on."""


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a changed source."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = mutant.module
        self.path = ROOT / (mutant.module.replace(".", "/") + ".py")
        text = self.path.read_text(encoding="utf-8")
        if text.count(mutant.before) != 1:
            raise LookupError(OUTDATED)
        self.text = text.replace(mutant.before, mutant.after)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self.path))

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.text, str(self.path), "exec"), module.__dict__)  # noqa: S102 -- a mutant is made of its source


def _stop(number: int, frame: FrameType | None) -> None:
    raise EndlessError


def fate(mutant: Mutant | None) -> tuple[str, str]:
    """The mutant's name and what caught it; runs in a process of its own. None is the checker as it stands."""
    name = mutant.name if mutant else ""
    signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS, 1.0)
    try:
        if mutant:
            sys.meta_path.insert(0, Mutated(mutant))
        battery = importlib.import_module("battery")  # only now: it imports the checker
        return name, battery.first_complaint(mutant.by if mutant else "")
    except EndlessError:
        return name, "runs for ever"
    except LookupError as error:
        return name, "" if str(error) == repr(OUTDATED) or OUTDATED in str(error) else f"raises {error!r}"
    except Exception as error:  # noqa: BLE001 -- a checker that breaks is caught, too
        return name, f"raises {error!r} at {traceback.extract_tb(error.__traceback__)[-1].name}"


def main() -> None:
    """Prints the fates of all mutants, then that of the right checker."""
    for heavy in ("numba", "numpy", "msgspec", "networkx", "hypothesis", "pytest"):
        if importlib.util.find_spec(heavy.split(".")[0]):
            importlib.import_module(heavy)
    chosen = [mutant for mutant in mutants.ALL if not sys.argv[1:] or mutant.name in sys.argv[1:]]
    with multiprocessing.get_context("fork").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for name, caught in pool.imap(fate, [*chosen, None], chunksize=1):
            print(json.dumps({"name": name, "caught": caught}), flush=True)


if __name__ == "__main__":
    main()
