"""Published histories with their verdicts: a folder that holds `verdicts.csv` (file, model, verdict) is checked row by row.

From the root of the clone: `.venv/bin/python -m tests.checker.published FOLDER [--seconds 60]` prints one line a history and a
summary; its exit status is 1 if any verdict contradicts its label.
"""

from __future__ import annotations

import argparse
import csv
import gc
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from checker.budget import Budget
from checker.check import check
from checker.command import check_file
from checker.formats import files
from checker.history import HistoryError
from checker.models.base import ModelError
from checker.models.catalog import make_model
from checker.verdict import UNKNOWN

MODEL_OF = {
    "cas-register(init nil; jepsen log)": "cas-register",
    "kv get/put/append per key (init empty string)": "kv",
    "register r/w unique values": "register",
    "set": "grow-only-set",
}
"""What a label calls a model, where `--model` has another name for it."""
REFUSED = "refused"


class Row(NamedTuple):
    """One history of the folder. `label` is valid, invalid, or empty where nobody knows; `seconds` include loading."""

    file: str
    model: str
    label: str
    verdict: str
    way: str
    operations: int
    seconds: float
    checking: float
    reason: str

    @property
    def agrees(self) -> bool:
        """Whether nothing contradicts the label: no verdict contradicts none, and is told with its reason."""
        return self.verdict in {UNKNOWN, REFUSED} or not self.label or self.verdict == self.label


def rows(folder: Path, budget: Budget) -> Iterator[Row]:
    """Checks all histories that `verdicts.csv` of the folder names."""
    with (folder / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            model = MODEL_OF.get(line["model"], line["model"])
            if not model.startswith("("):  # results that lie beside a history
                yield row(folder / line["file"], line["file"], model, label_of(line["verdict"]), budget)


def label_of(words: str) -> str:
    """The labels say true, false (and why) or unlabelled."""
    return {"true": "valid", "false": "invalid"}.get(words.split(maxsplit=1)[0], "")


def row(path: Path, name: str, model: str, label: str, budget: Budget) -> Row:
    """Checks one history; a file or a model that is refused is a row like any other."""
    gc.collect()
    began = time.process_time()
    try:
        # The command refuses a history in which nothing was tested; as a history it is one, and valid.
        history = files.load(path)
        verdict = check_file(path, model, budget=budget) if len(history) else check(history, make_model(model))
    except (HistoryError, ModelError) as error:
        return Row(name, model, label, REFUSED, "", 0, time.process_time() - began, 0.0, str(error))
    took = time.process_time() - began
    return Row(
        name, model, label, verdict.verdict, verdict.way, verdict.operations, took, verdict.seconds, verdict.reason
    )


def main(arguments: list[str] | None = None) -> int:
    """Prints the table; 1 if a verdict is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="the budget of each history")
    given = parser.parse_args(arguments)
    found: list[Row] = []
    print(
        "| history | model | label | verdict | way | operations | with loading | checking |\n|---|---|---|---|---|---|---|---|"
    )
    for each in rows(given.folder, Budget(seconds=given.seconds)):
        found.append(each)
        mark = "" if each.agrees else " **WRONG**"
        print(
            f"| {each.file} | {each.model} | {each.label} | {each.verdict}{mark} | {each.way} | {each.operations:,} "
            f"| {each.seconds:.3f} s | {each.checking:.4f} s |",
            flush=True,
        )
    print("\n" + summary(found))
    return 0 if all(each.agrees for each in found) else 1


def summary(found: list[Row]) -> str:
    """How many agree, which do not, which are unknown and why."""
    labelled = [each for each in found if each.label]
    agreeing = sum(each.verdict == each.label for each in labelled)
    undecided = [each for each in found if each.verdict in {UNKNOWN, REFUSED}]
    first = (
        f"{len(found)} histories, {len(labelled)} labelled: {agreeing} agree, "
        f"{sum(not each.agrees for each in found)} contradict, {len(undecided)} without a verdict; median "
        f"{statistics.median(each.checking for each in found) * 1e3:.2f} ms, most "
        f"{max(each.checking for each in found):.3f} s of checking."
    )
    lines = [first]
    lines += [f"wrong: {each.file}: {each.verdict}, not {each.label}" for each in found if not each.agrees]
    lines += [f"{each.verdict}: {each.file} ({each.model}): {each.reason}" for each in undecided]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
