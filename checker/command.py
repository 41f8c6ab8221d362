"""Checks a history file: what `splitbrain check FILE` and `python -m checker FILE` do.

Printing for people, exit statuses and options of the whole product live in the harness; nothing is decided here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from checker.budget import Budget
from checker.check import Progress, check, witness
from checker.clocks import warnings_of
from checker.formats import files
from checker.history import HistoryError, Op
from checker.models.base import ModelError
from checker.models.catalog import MODELS, fitting, make_model
from checker.verdict import VALID, Verdict


def check_file(
    path: str | Path,
    model: str | None = None,
    init: Any = None,
    format: str | None = None,  # noqa: A002 - the option is called so
    budget: Budget | None = None,
    *,
    allow_torn_tail: bool = False,
    workload: str | None = None,
    options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    witness_file: str | Path | None = None,
) -> Verdict:
    """The verdict on the history in a file, by the name of a model and an initial value (None: nil, empty).

    `model` None takes the one that knows all functions of the history, if there is only one. `format` is one of `formats.files.FORMATS`;
    None finds it by content. Of a history whose events name their workloads, `workload` takes the operations of one; with
    several and none chosen no model fits, which is refused. `workers` and `progress` are those of `check`. `witness_file`
    gets the order that shows that a valid history is valid, one operation a line; a warning tells where there is none.
    `options` are those of the model, such as the `consistency` that transactions must have.

    Raises `HistoryError` (not well formed; with the line), `ModelError` (no such model), `OSError` (no such file; where the
    witness can't be written, `filename` is its own).
    """
    if witness_file is not None:
        _require_another(path, witness_file)
    history = files.load(path, format, allow_torn_tail=allow_torn_tail)
    workloads = history.workloads()
    if workload is not None:
        history = history.of_workload(workload)
    elif len(workloads) > 1:
        raise HistoryError(f"it holds several workloads ({', '.join(workloads)}): expected --workload with one of them")
    if not len(history):
        raise HistoryError("there is no operation in it: expected at least one invoke, since nothing was tested else")
    judge = make_model(model or fitting_model(history.functions()), init, **(options or {}))
    verdict = check(history, judge, budget, workers=workers, progress=progress)
    verdict.warnings = [*history.warnings, *warnings_of(history.columns), *verdict.warnings]
    if witness_file is not None:
        orders = witness(history, judge, budget) if verdict.verdict == VALID else None
        if orders is None:
            verdict.warnings.append(f"no witness was written: {_no_witness(verdict)}")
        else:
            write_witness(witness_file, orders)
    return verdict


def _require_another(history: str | Path, witness_file: str | Path) -> None:
    """Raises `HistoryError` for a witness that would replace the history, by whatever name or link it goes."""
    if Path(witness_file).exists() and Path(witness_file).samefile(history):
        raise HistoryError(f"the witness {witness_file} is the history itself: expected another file to write it to")


def _no_witness(verdict: Verdict) -> str:
    return "no order was found within the budget" if verdict.verdict == VALID else f"the verdict is {verdict.verdict}"


def write_witness(path: str | Path, orders: Mapping[Hashable, Sequence[Op]]) -> None:
    """Writes the order of each object, one operation a line: its place in the order of its object, from 1, and what it is.

    Raises `OSError` that names the file.
    """
    try:
        with open(path, "wb") as file:
            for operations in orders.values():
                for place, op in enumerate(operations, 1):
                    file.write(msgspec.json.encode({"place": place, **op.as_dict()}, enc_hook=str) + b"\n")
    except OSError as error:  # one of writing names no file, and whoever is told would take it for the history
        raise OSError(error.errno, error.strerror, str(path)) from error


def fitting_model(functions: Collection[str]) -> str:
    """The name of the one model that knows all of these functions. Raises `ModelError` where there is none, or more."""
    names = fitting(functions)
    used = ", ".join(sorted(functions))
    if not names:
        raise ModelError(
            f"no model knows all functions of this history ({used}): expected --model with one of {', '.join(MODELS)}"
        )
    if len(names) > 1:
        raise ModelError(
            f"several models know the functions of this history ({used}): expected --model with one of {', '.join(names)}"
        )
    return names[0]


_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _UNITS |= {_letter: 1000**_power, f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power}


def bytes_of(text: str) -> int:
    """What `--memory` means: a number with B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (of 1024) or no unit (bytes).

    Raises `ModelError` for anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    amount = 0 if match is None else int(float(match[1]) * _UNITS.get(match[2].lower(), 0))
    if amount <= 0:
        raise ModelError(f"--memory must be an amount of memory above 0, for example 2GiB or 500MB, not {text!r}")
    return amount


def initial_value(text: str) -> Any:
    """What `--init` means: nil, or a JSON value. Raises `ModelError` for anything else."""
    if text == "nil":
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ModelError(f'--init must be a JSON value, for example 0, null or "x", not {text!r} ({error})') from None
