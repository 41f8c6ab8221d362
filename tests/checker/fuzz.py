"""Random small histories of every model, and of random tables of steps as models (`tables.py`), judged by every way and by brute force: `fuzz.py A..B` prints counts and disagreements.

From the root of the clone: `.venv-selftest/bin/python tests/checker/fuzz.py 0..1000000 [--model NAME] [--processes N]`. A seed is a
history; the same seed is the same history as long as no model is added, so a disagreement is printed with the command that shows it again. The exit
status is 1 if there was one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import atomic
import battery
import families
import forced
import referee
import simulate
import tables
import test_agreement
import test_compiled

from checker import Budget, History, Op, check
from checker.models.base import Model
from checker.models.registers import Register

COMPILED, TWINS, DOOR, FORCED = "compiled", "twins", "door", "forced"
TABLE = "table"
"""The name under which random tables of steps are counted."""
BATCH = 500
"""How many histories a process judges before it tells of them."""


class Case(NamedTuple):
    """What a seed stands for: a model, the one that the checker is asked with, and operations."""

    name: str
    model: Model
    judge: Model
    operations: list[Op]


def drawn(seed: int, only: str | None) -> Case:
    """The model and the operations of a seed."""
    draw = Random(seed)
    names = [*sorted(atomic.MACHINES), TABLE]
    name = only or names[seed % len(names)]
    if name == TABLE:
        model, operations = tables.drawn(draw)
        return Case(name, model, model, operations)
    machine = atomic.MACHINES[name]
    return Case(name, machine.model, machine.judge, _of_machine(draw, name, machine))


def _of_machine(draw: Random, name: str, machine: atomic.Machine) -> list[Op]:
    kind = draw.random()
    if isinstance(machine.model, Register) and kind < 0.4:
        return battery.crowded(draw) if kind < 0.2 else battery.unique_values(draw)
    if kind < 0.6 and (name in families.SHAPES or name in {"register", "append", "mutex"}):
        return simulate.small_history(draw, machine.model)
    size = atomic.Size(
        operations=draw.randint(1, 8),
        clients=draw.randint(1, 6),
        values=draw.choice([0, 1, 2, 3]),
        unanswered=draw.choice([0.0, 0.2, 0.5]),
        ticks=draw.choice([1, 3, 8]),
    )
    return atomic.spoilt(draw, atomic.history(draw, machine, size), draw.choice([0, 1, 2, 4]), machine)


def judged(seed: int, only: str | None, share: int) -> tuple[str, str, list[str]]:
    """The model, whether the history is valid, and which ways say something else.

    The compiled ways, their readable twins, the door, and the door with all that is for large histories (`forced.py`) each judge
    one history in so many (`share`), and each history is judged by one of the four at least.
    """
    name, model, judge, operations = drawn(seed, only)
    draw = Random(~seed)
    parts: dict[object, list[Op]] = {}
    for op in operations:
        parts.setdefault(model.partition(op), []).append(op)
    judges = {each for each in (COMPILED, TWINS, DOOR, FORCED) if draw.randrange(share) == 0}
    judges = judges or {draw.choice((COMPILED, TWINS, DOOR, FORCED))}
    wrong = []
    valid = True
    for part in parts.values():
        valid &= referee.linearizable(model, part)
        wrong += test_compiled.disagreements(model, part) if COMPILED in judges else []
        wrong += test_agreement.disagreements(model, part) if TWINS in judges else []
    if FORCED in judges and name != "rw-register":
        wrong += forced.contradictions(judge, operations, expected=valid, witness=model is judge)
    if DOOR in judges or model is not judge:
        verdict = check(History(operations), judge, Budget(seconds=None, steps=1 << 20), workers=1)
        # Registers do not show the order of their versions, so a violation may stay unseen; an accusation must be right.
        if (verdict.verdict == "valid") != valid and not (name == "rw-register" and verdict.verdict == "valid"):
            wrong.append(f"check: {verdict.verdict} by {verdict.way}")
    return name, "valid" if valid else "invalid", wrong


def batch(job: tuple[int, int, str | None, int]) -> tuple[Counter[tuple[str, str]], list[tuple[int, list[str]]]]:
    """Judges the seeds from the first up to the second."""
    begin, end, only, share = job
    counts: Counter[tuple[str, str]] = Counter()
    wrong = []
    for seed in range(begin, end):
        try:
            name, verdict, complaints = judged(seed, only, share)
        except Exception as error:  # noqa: BLE001 -- a way that breaks is a disagreement like any other
            name, verdict, complaints = "broken", "broken", [f"raises {error!r}"]
        counts[name, verdict] += 1
        if complaints:
            wrong.append((seed, complaints))
    return counts, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Judges the histories on all cores, telling how far it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", help="first..last, as 0..1000000 (without the last)")
    parser.add_argument("--model", choices=[*sorted(atomic.MACHINES), TABLE], help="default: one after the other")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--share", type=int, default=4, help="each kind of way judges one history in so many")
    given = parser.parse_args(arguments)
    begin, end = (int(number) for number in given.seeds.split(".."))
    jobs = [(at, min(at + BATCH, end), given.model, given.share) for at in range(begin, end, BATCH)]
    started = told = time.monotonic()
    counts: Counter[tuple[str, str]] = Counter()
    broken = 0
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        for found, wrong in pool.imap(batch, jobs):
            counts += found
            for seed, complaints in wrong:
                broken += 1
                model = f" --model {given.model}" if given.model else ""
                again = f"fuzz.py {seed}..{seed + 1} --share 1{model}"
                print(f"DISAGREEMENT at seed {seed} ({again}): {'; '.join(complaints)}", flush=True)
                for op in drawn(seed, given.model).operations:
                    print(
                        f"    {op.f} {op.value!r} -> {op.result!r} {op.type} [{op.invoked}, {op.returned}]", flush=True
                    )
            if time.monotonic() > told + 10:
                told = time.monotonic()
                rate = counts.total() / (told - started)
                print(f"{counts.total():,} of {end - begin:,}, {rate:,.0f} a second", file=sys.stderr, flush=True)
    print(
        f"{counts.total():,} histories, seeds {given.seeds}, in {time.monotonic() - started:.0f} s, {broken} disagreements"
    )
    for name in sorted({name for name, _ in counts}):
        print(f"{name}: {counts[name, 'valid']:,} valid, {counts[name, 'invalid']:,} invalid")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
