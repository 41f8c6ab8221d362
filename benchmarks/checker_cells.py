"""The cells of `benchmarks.checker`: each runs in a process of its own and prints one JSON object.

What is not told apart here is what the machine does beside it: CPU time is that of the process and of its children.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import histories
from benchmarks.checker import Result, Work
from benchmarks.figures import ROOT
from checker import Budget, History, Model, Op, check, make_model, parts, ways
from checker.budget import Meter
from checker.formats import files
from checker.selections import by_object
from checker.verdict import GaveUp, Invalid, Outcome
from tests.checker import published

BUDGET = Budget(seconds=120, bytes=4 << 30)
WARM_UP = 600
"""Operations of the history that loads the compiled code before anything is measured."""


def register(path: Path, work: Work) -> Result:
    """A large history of one register."""
    model = make_model("cas-register", histories.INITIAL)
    for values in (0, 3):
        for unanswered in (0.0, 0.1):
            small = histories.registers(WARM_UP, 5, cas=True, values=values, unanswered=unanswered)
            check(histories.history_of(small), model, workers=1)
    history = histories.history_of(histories.saved(path))
    if work.ways:
        return measured(lambda: by_way(history, model, work.ways))
    if not work.stale:
        return measured(lambda: verdict_of(history, model))
    result = measured(lambda: unexplained(history, model))
    result.explained = measured(lambda: verdict_of(history, model)).cpu
    return result


def verdict_of(history: History, model: Model) -> tuple[str, str]:
    """The verdict and the way that it came by, with a budget that no target is near."""
    found = check(history, model, BUDGET, workers=1)
    return found.verdict, found.way


def by_way(history: History, model: Model, names: str) -> tuple[str, str]:
    """The verdict of the ways whose names begin so, as the checker orders them."""
    meter = Meter(BUDGET)
    problem = ways.pose(model, only_object(history, model))
    tried = (
        way
        for some in (ways.quick, ways.thorough)
        for way in some(problem, meter, witness=False)
        if any(way[0].startswith(name.strip()) for name in names.split(","))
    )
    answer = ways.attempt(tried, meter)
    return word(answer.outcome), answer.way


def unexplained(history: History, model: Model) -> tuple[str, str]:
    """The verdict as `check` comes to it, without its reasons."""
    meter = Meter(BUDGET)
    operations = only_object(history, model)
    found = parts.attempt(model, operations, meter, hard=False)
    if isinstance(found.outcome, GaveUp):
        found = parts.attempt(model, operations, meter, hard=True)
    return word(found.outcome), found.way


def only_object(history: History, model: Model) -> Sequence[Op]:
    """The operations of a history of one register."""
    (operations,) = by_object(history, model).values()
    return operations


def word(outcome: Outcome) -> str:
    """The outcome as a word."""
    if isinstance(outcome, GaveUp):
        return "unknown"
    return "invalid" if isinstance(outcome, Invalid) else "valid"


def strings(path: Path) -> Result:
    """A published history of strings; the first check loads what has to be loaded."""
    history = files.load(path)
    model = make_model("kv")
    check(history, model, workers=1)
    return measured(lambda: verdict_of(history, model))


def folder(path: Path) -> Result:
    """All registers, cas registers and key-value histories of a folder: as a row of the table."""
    budget = Budget(seconds=60)
    list(published.rows(path, budget))  # loads what has to be loaded
    found = [each for each in published.rows(path, budget) if each.model in {"register", "cas-register", "kv"}]
    took = sorted(each.checking for each in found)
    wrong = sum(not each.agrees for each in found)
    undecided = sum(each.verdict not in {"valid", "invalid"} for each in found)
    half, most = statistics.median(took), took[-1]
    note = (
        f"| 13 | {len(found)} histories of {path.name}: median | {wrong} wrong, {undecided} undecided | | {half:.3g} s | 0.002 s "
        f"| {half / 0.002:.2g} | | | | | |\n| 13 | the slowest of them | | | {most:.3g} s | 1 s | {most:.2g} | | | | | |"
    )
    return Result(note=note)


def transactions(path: Path) -> Result:
    """Transactions of appends and reads of lists."""
    small = histories.list_append(WARM_UP, 5)
    model = make_model("list-append")
    warm = path.with_suffix(".small.jsonl")
    histories.write_lines(warm, histories.transaction_lines(small))
    check(files.load(warm), model, workers=1)
    warm.unlink()
    history = files.load(path)
    return measured(lambda: verdict_of(history, model))


def loading(path: Path) -> Result:
    """A file of JSON lines."""
    return measured(lambda: (f"{len(files.load(path)):,} operations", ""))


def imports() -> Result:
    """`from checker import check` in an interpreter of its own, less the interpreter: the best of five."""

    def best(statement: str) -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], cwd=ROOT, check=True)
            took.append(time.perf_counter() - began)
        return min(took)

    return Result(verdict="done", wall=best("from checker import check") - best("pass"))


def compiled() -> Result:
    """What the first check with compiled code costs beyond a second one, in an interpreter that has numba."""
    import_numba = "import time, numba, checker; from benchmarks import histories; from checker import *"
    script = f"""{import_numba}
model = make_model("cas-register", 0)
history = histories.history_of(histories.registers({WARM_UP}, 5, cas=True, values=3))
took = []
for _ in range(2):
    began = time.process_time()
    check(history, model, workers=1)
    took.append(time.process_time() - began)
print(took[0] - took[1])"""
    took = [
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    return Result(verdict="done", cpu=float(took[-1]))  # the first fills the cache where it is empty


def plain() -> Result:
    """Whether numba is imported for a small history: 0 is no."""
    small = histories.registers(199, 5, cas=True, values=3, unanswered=0.05)
    check(histories.history_of(small), make_model("cas-register", 0))
    return Result(verdict="numba was imported" if "numba" in sys.modules else "numba was not imported")


class Digest(Model):
    """A number that each mix changes in a way that depends on all before: k concurrent mixes have k! outcomes."""

    name, functions, init = "digest", frozenset({"mix", "read"}), 1

    def step(self, state: Any, op: Op) -> Any:
        if op.f == "mix":
            return (state * 31 + int(op.value)) % ((1 << 61) - 1)
        return state if op.result == state else None


def undecidable(count: int) -> History:
    """So many concurrent mixes and a read that fits none of their orders."""
    mixes = [Op(process=n, f="mix", value=n, type="ok", invoked=n, returned=500 + n) for n in range(count)]
    return History([*mixes, Op(process=999, f="read", type="ok", result=-1, invoked=900, returned=901)])


def unknown_in_time() -> Result:
    """A second for what has no answer in a year."""
    return measured(lambda: _unknown(Budget(seconds=1.0, bytes=8 << 30)))


def unknown_in_memory() -> Result:
    """256 MiB for the same; the peak is what the check added."""
    check(undecidable(5), Digest(), workers=1)
    base = peak_megabytes()
    result = measured(lambda: _unknown(Budget(seconds=60, bytes=256 << 20)))
    result.peak = max(0, (result.peak or 0) - base)
    return result


def _unknown(budget: Budget) -> tuple[str, str]:
    found = check(undecidable(40), Digest(), budget, workers=1)
    return f"{found.verdict}: {found.reason[:90]}".replace("|", "/"), found.way


class OwnRegister(Model):
    """A register as its user would write it: this is the model whose speed is compared."""

    name, functions, init = "own-register", frozenset({"read", "write", "cas"}), 0

    def step(self, state: Any, op: Op) -> Any:
        if op.f == "write":
            return op.value
        if op.f == "cas":
            expected, new = op.value
            return new if state == expected else None
        return state if op.type != "ok" or op.result == state else None


def own_model() -> Result:
    """The same hard history by a user's model that declares nothing and by the built-in one, each by what the checker chooses."""
    own, built_in = OwnRegister(), make_model("cas-register", 0)
    cases = [(100_000, 5, 0.0), (100_000, 20, 0.0), (10_000, 10, 0.01)]
    notes = []
    for count, clients, unanswered in cases:
        given = histories.registers(count, clients, cas=True, values=5, unanswered=unanswered, seed=1)
        history = histories.history_of(given)
        mine, theirs = (_took(history, model) for model in (own, built_in))
        notes.append(f"{count:,}, {clients} clients, {unanswered:.0%}: {mine:.3g} s, {mine / theirs:.2g} times")
    return Result(verdict="5v cas " + "; ".join(notes))


def _took(history: History, model: Model) -> float:
    """CPU seconds of a check after a small one."""
    check(histories.history_of(histories.registers(WARM_UP, 5, cas=True, values=3)), model, workers=1)
    result = measured(lambda: verdict_of(history, model))
    return (result.cpu or 0.0) if result.verdict == "valid" else float("nan")


def measured(work: Callable[[], tuple[str, str]]) -> Result:
    """What the work says and what it took."""
    gc.collect()
    gc.freeze()
    wall, cpu = time.perf_counter(), time.process_time()
    verdict, way = work()
    spent, took = time.process_time() - cpu, time.perf_counter() - wall
    return Result(verdict=verdict, way=way, cpu=spent, wall=took, peak=peak_megabytes())


def peak_megabytes() -> int:
    """The most memory that this process ever held; `ru_maxrss` would count what its parent held when it was started."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


JOBS: dict[str, Callable[[Path, Work], Result]] = {
    "check": register,
    "published": lambda path, _: strings(path),
    "folder": lambda path, _: folder(path),
    "transactions": lambda path, _: transactions(path),
    "load_json": lambda path, _: loading(path),
    "load_edn": lambda path, _: loading(path),
    "imports": lambda _path, _work: imports(),
    "compiled": lambda _path, _work: compiled(),
    "plain": lambda _path, _work: plain(),
    "unknown_in_time": lambda _path, _work: unknown_in_time(),
    "unknown_in_memory": lambda _path, _work: unknown_in_memory(),
    "own_model": lambda _path, _work: own_model(),
}


def main() -> None:
    """Runs the job that is named: JOB PATH WORK."""
    job, path, work = sys.argv[1:]
    print(msgspec.json.encode(JOBS[job](Path(path), msgspec.json.decode(work, type=Work))).decode())


if __name__ == "__main__":
    main()
