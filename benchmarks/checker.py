"""The checker against its targets and against Porcupine: large histories, published ones, loading, imports, budgets.

Each cell runs in a process of its own, after a small history of the same kind has loaded the compiled code: CPU time and
wall time of the check alone, and the peak memory of the process with the history in it.

    .venv/bin/python -m benchmarks.checker [--rows 1,2,16] [--histories FOLDER] [--porcupine PROGRAM]

`--porcupine` is the program that benchmarks/porcupine/main.go says how to build; it then gets the same histories. Without it
the ratio is to the figures that were kept of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import histories
from benchmarks.figures import ROOT, heading
from benchmarks.histories import Registers

KEPT = "checker.md, section 7: a 2-core machine of the same kind, Go 1.19, one thread, limit 60 s and 9 GB, CPU time"
"""Where the kept figures of Porcupine come from."""
CELL_SECONDS = 150
PORCUPINE_SECONDS = 60
PORCUPINE_BYTES = 12 << 30


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One cell: what is checked and what is asked of it. `ways` is what the verdict may come from; empty: the checker's choice."""

    row: int
    name: str
    job: str = "check"  # the function of benchmarks/checker_cells.py that does it
    operations: int = 0
    clients: int = 0
    unanswered: float = 0.0
    cas: bool = False
    values: int = 0
    stale: bool = False
    ways: str = ""
    file: str = ""
    seconds: float | None = None
    megabytes: int | None = None
    porcupine: float | None = None  # seconds of CPU that were kept of it
    porcupine_note: str = ""
    wall: bool = False  # the target is one of wall time

    @property
    def recipe(self) -> tuple[object, ...]:
        """What decides the history."""
        return self.operations, self.clients, self.unanswered, self.cas, self.values, self.stale


class Result(msgspec.Struct, kw_only=True):
    """What a cell came to; `cpu` and `wall` in seconds, `peak` in megabytes."""

    verdict: str = ""
    way: str = ""
    cpu: float | None = None
    wall: float | None = None
    peak: int | None = None
    explained: float | None = None  # CPU seconds of the whole check, reasons included
    note: str = ""


def works() -> list[Work]:
    """All cells, by the rows of issue 4."""
    return [*_unique(), *_five_values(), *_others()]


def _named(row: int, seconds: float, megabytes: int | None = None, **given: Any) -> Work:
    kind = f"{'5v' if given.get('values') else 'unique'} {'cas' if given.get('cas') else 'register'}"
    count = given["operations"]
    size = f"{count // 1_000_000}M" if count >= 1_000_000 else f"{count // 1000}k"
    name = f"{kind} {size}, {given['clients']} clients"
    name += f", {given['unanswered']:.0%} unanswered" if given.get("unanswered") else ""
    name += ", stale read" if given.get("stale") else ""
    name += f", {given['ways']} alone" if given.get("ways") else ""
    return Work(row=row, name=name, seconds=seconds, megabytes=megabytes, **given)


def _unique() -> Iterator[Work]:
    million: dict[str, Any] = {"operations": 1_000_000, "unanswered": 0.01, "seconds": 0.6, "megabytes": 400}
    for cas in (False, True):
        for clients in (5, 20):
            for stale in (False, True):
                yield _named(2 if cas else 1, clients=clients, cas=cas, stale=stale, **million)
    small: dict[str, Any] = {"operations": 10_000, "clients": 10}
    yield _named(3, 3.59 / 1000, porcupine=3.59, **small)
    yield _named(3, 3.59 / 200, porcupine=3.59, ways="sweep", **small)
    yield _named(4, 0.02, porcupine=56.6, stale=True, **small)
    yield _named(5, 0.5, operations=100_000, clients=20, unanswered=0.01, ways="sweep")
    yield _named(5, 1.0, operations=1_000_000, clients=5, unanswered=0.01, ways="sweep")


def _five_values() -> Iterator[Work]:
    cas: dict[str, Any] = {"cas": True, "values": 5}
    for unanswered, kept in ((0.0, 0.17), (0.01, 0.15), (0.05, 0.16)):
        yield _named(6, 0.1, 200, operations=10_000, clients=10, unanswered=unanswered, porcupine=kept, **cas)
    yield _named(7, 0.3, operations=10_000, clients=20, porcupine=33.0, porcupine_note="unknown, 6.0 GB", **cas)
    yield _named(7, 0.3, operations=10_000, clients=20, unanswered=0.05, **cas)
    large: list[tuple[int, float, float | None]] = [(5, 0.0, 1.15), (5, 0.01, 1.04), (20, 0.0, None), (20, 0.01, None)]
    for clients, unanswered, answer in large:
        yield _named(8, 1.0, 300, operations=100_000, clients=clients, unanswered=unanswered, porcupine=answer, **cas)
    for clients in (5, 20):
        yield _named(8, 1.0, 300, operations=100_000, clients=clients, stale=True, **cas)
        yield _named(9, 3.0, 700, operations=1_000_000, clients=clients, **cas)
    yield _named(10, 6.0, 1024, operations=1_000_000, clients=20, values=5)
    yield _named(11, 5.0, operations=10_000, clients=50, unanswered=0.05, **cas)
    yield _named(11, 5.0, operations=100_000, clients=10, unanswered=0.05, **cas)
    yield _named(11, 30.0, operations=1_000_000, clients=5, unanswered=0.01, **cas)


def _others() -> Iterator[Work]:
    log = "tests/checker/porcupine/c50-ok.txt"
    yield Work(row=12, name="kv append, c50-ok.txt", job="published", file=log, seconds=0.2, porcupine=0.20)
    lists: dict[str, Any] = {"operations": 1_000_000, "clients": 20, "unanswered": 0.01}
    yield Work(row=14, name="list-append 1M transactions", job="transactions", seconds=30, megabytes=3072, **lists)
    yield Work(
        row=14, name="list-append 1M, late read", job="transactions", seconds=30, megabytes=3072, stale=True, **lists
    )
    yield Work(row=15, name="import checker", job="imports", seconds=0.3, wall=True)
    yield Work(row=15, name="compiled code from cache, after import numba", job="compiled", seconds=0.3)
    yield Work(row=15, name="numba imported for 199 operations", job="plain", seconds=0)
    yield Work(row=16, name="unknown within 1 s", job="unknown_in_time", seconds=1.2, wall=True)
    yield Work(row=16, name="unknown within 256 MiB", job="unknown_in_memory", megabytes=256)
    yield Work(row=17, name="1M events of JSON lines loaded", job="load_json", operations=500_000, seconds=1e6 / 3e5)
    yield Work(row=17, name="1M events of EDN loaded", job="load_edn", operations=500_000, seconds=10)
    yield Work(row=18, name="user's model of 15 lines, against the built-in register", job="own_model", seconds=None)


# --- running -------------------------------------------------------------------------------------------------------------


def prepared(work: Work, folder: Path) -> Path | None:
    """The history of a cell in a file, made once; None where there is none to make."""
    if not work.operations:
        return ROOT / work.file
    transactions = work.job == "transactions"
    ending = {"check": "npz", "transactions": "jsonl", "load_json": "jsonl", "load_edn": "edn"}[work.job]
    path = folder / ("-".join(map(str, [*work.recipe, transactions])) + f".{ending}")
    if path.exists():
        return path
    if transactions:
        made = histories.list_append(work.operations, work.clients, unanswered=work.unanswered, seed=1)
        lines = histories.transaction_lines(histories.with_late_read(made) if work.stale else made)
        histories.write_lines(path, lines)
        return path
    given: Registers | None = registers(work)
    if given is None:
        return None
    if ending == "npz":
        histories.save(path, given)
    else:
        histories.write_lines(path, histories.register_lines(given, edn=ending == "edn"))
    return path


def registers(work: Work) -> Registers | None:
    """The operations of a cell on one register."""
    made = histories.registers(
        work.operations, work.clients or 10, unanswered=work.unanswered, cas=work.cas, values=work.values, seed=1
    )
    return histories.with_stale_read(made) if work.stale else made


def run(work: Work, path: Path) -> Result:
    """The cell in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.checker_cells",
        work.job,
        str(path),
        msgspec.json.encode(work).decode(),
    ]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CELL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Result(verdict="none", note=f"stopped after {CELL_SECONDS} s")
    if done.returncode != 0:
        return Result(verdict="none", note=(done.stderr.strip().splitlines() or ["?"])[-1][:100])
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Result)


def run_porcupine(program: Path, work: Work, path: Path) -> Result:
    """The same history by Porcupine."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=path.parent if work.operations else None) as file:
        kind = "register" if work.operations else "kv"
        file.writelines(_register_rows(histories.saved(path)) if work.operations else _string_rows(path))
        file.flush()

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_AS, (PORCUPINE_BYTES, PORCUPINE_BYTES))

        done = subprocess.run(
            [program, kind, file.name, str(PORCUPINE_SECONDS)],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=limit,
            env={**os.environ, "GOMAXPROCS": "1"},
        )
    if done.returncode != 0:
        return Result(verdict="none", note="out of memory" if "memory" in done.stderr else f"status {done.returncode}")
    said = json.loads(done.stdout)
    words = {"Ok": "valid", "Illegal": "invalid"}
    return Result(
        verdict=words.get(said["verdict"], "unknown"), cpu=said["cpu"], wall=said["wall"], peak=said["peak_mb"]
    )


def _register_rows(given: Registers) -> Iterator[str]:
    kept = (given.type != histories.FAIL) & ~((given.f == histories.READ) & (given.type == histories.INFO))
    returned = np.where(given.type == histories.INFO, -1, given.returned)
    columns = [column[kept].tolist() for column in (given.f, given.a, given.b, given.invoked, returned)]
    for f, a, b, invoked, end in zip(*columns, strict=True):
        yield f"k\t{histories.FUNCTIONS[f]}\t{a}\t{b}\t{invoked}\t{end}\n"


def _string_rows(path: Path) -> Iterator[str]:
    for op in histories.loaded(path):
        text = (op.result if op.f == "get" else op.value) or ""
        yield f"{op.key}\t{op.f}\t{text}\t0\t{op.invoked}\t{-1 if op.returned is None else op.returned}\n"


# --- the table -----------------------------------------------------------------------------------------------------------

COLUMNS = (
    *("#", "work", "verdict", "way", "CPU", "target", "ratio", "with reasons"),
    *("peak", "target", "Porcupine", "times faster"),
)


def line(work: Work, result: Result, porcupine: Result | None) -> str:
    """One row of the table."""
    spent = result.wall if work.wall else result.cpu
    ratio = "" if spent is None or not work.seconds else f"{spent / work.seconds:.2g}"
    against = work.porcupine
    told = "" if against is None else f"{against:g} s {work.porcupine_note}".strip() + " (kept)"
    if porcupine is not None:
        against = porcupine.cpu
        told = porcupine.note or f"{against:.3g} s, {porcupine.peak:,} MB"
        told += "" if porcupine.verdict in {result.verdict, "none"} else f", {porcupine.verdict}"
    faster = f"{against / result.cpu:,.0f}" if against and result.cpu else ""
    cells = [
        str(work.row),
        work.name,
        result.note if result.verdict in {"", "none"} else result.verdict,
        result.way,
        _seconds(spent) + (" (wall)" if work.wall else ""),
        _seconds(work.seconds),
        ratio,
        _seconds(result.explained),
        "" if result.peak is None else f"{result.peak:,} MB",
        "" if work.megabytes is None else f"{work.megabytes:,} MB",
        told,
        faster,
    ]
    return "| " + " | ".join(cells) + " |"


def _seconds(number: float | None) -> str:
    return "" if number is None else f"{number:.3g} s"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the cells that were asked for and prints the table as it grows."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", default="", help="numbers of rows, parted by commas; default: all")
    options.add_argument("--histories", type=Path, default=ROOT / "tests/checker/porcupine")
    options.add_argument("--porcupine", type=Path, help="the built program")
    chosen = options.parse_args(arguments)
    rows = {int(number) for number in chosen.rows.split(",") if number} or set(range(1, 19))
    print(heading("checker"))
    if chosen.porcupine is None:
        print(f"No --porcupine was given: its figures are kept ones ({KEPT}).\n")
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    with tempfile.TemporaryDirectory(prefix="benchmark-checker-") as name:
        for work in works():
            if work.row in rows:
                _show(work, Path(name), chosen.porcupine)
        if 13 in rows:
            folder = Work(row=13, name="", job="folder", file=str(chosen.histories))
            print(run(folder, chosen.histories).note)


def _show(work: Work, folder: Path, program: Path | None) -> None:
    path = prepared(work, folder)
    if path is None:
        return
    result = run(work, path)
    porcupine = None
    if program is not None and work.job in {"check", "published"} and work.operations <= 100_000 and not work.ways:
        porcupine = run_porcupine(program, work, path)
    print(line(work, result, porcupine), flush=True)
    if path.parent == folder:
        path.unlink()


if __name__ == "__main__":
    main()
