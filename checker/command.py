"""Checks a history file: what `splitbrain check FILE` and `python -m checker FILE` do.

Printing for people, exit statuses and options of the whole product live in the harness; nothing is decided here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checker.budget import Budget
from checker.check import check
from checker.formats import files
from checker.history import HistoryError
from checker.models.base import ModelError
from checker.models.catalog import make_model
from checker.verdict import Verdict


def check_file(
    path: str | Path,
    model: str,
    init: Any = None,
    format: str | None = None,  # noqa: A002 - the option is called so
    budget: Budget | None = None,
    *,
    allow_torn_tail: bool = False,
    workload: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Verdict:
    """The verdict on the history in a file, by the name of a model and an initial value (None: nil, empty).

    `format` is one of `formats.files.FORMATS`; None finds it by content. Of a history whose events name their workloads, `workload` takes
    the operations of one; with several and none chosen no model fits, which is refused. `options` are those of the model, such as the `consistency` that transactions must have.

    Raises `HistoryError` (not well formed; with the line), `ModelError` (no such model), `OSError` (no such file).
    """
    history = files.load(path, format, allow_torn_tail=allow_torn_tail)
    workloads = history.workloads()
    if workload is not None:
        history = history.of_workload(workload)
    elif len(workloads) > 1:
        raise HistoryError(f"it holds several workloads ({', '.join(workloads)}): expected --workload with one of them")
    if not len(history):
        raise HistoryError("there is no operation in it: expected at least one invoke, since nothing was tested else")
    verdict = check(history, make_model(model, init, **(options or {})), budget)
    verdict.warnings = history.warnings
    return verdict


def initial_value(text: str) -> Any:
    """What `--init` means: nil, or a JSON value. Raises `ModelError` for anything else."""
    if text == "nil":
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ModelError(f'--init must be a JSON value, for example 0, null or "x", not {text!r} ({error})') from None
