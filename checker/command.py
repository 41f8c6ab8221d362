"""Checks a history file: what `splitbrain check FILE` and `python -m checker FILE` do.

Printing for people, exit statuses and options of the whole product live in the harness; nothing is decided here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from checker import formats
from checker.budget import Budget
from checker.check import check
from checker.models import make_model
from checker.verdict import Verdict


def check_file(
    path: str | Path,
    model: str,
    init: Any = None,
    format: str | None = None,  # noqa: A002 - the option is called so
    budget: Budget | None = None,
    *,
    allow_torn_tail: bool = False,
) -> Verdict:
    """The verdict on the history in a file, by the name of a model and an initial value (None: nil, empty).

    `format` is one of `formats.FORMATS`; None finds it by content.

    Raises `HistoryError` (not well formed; with the line), `ModelError` (no such model), `OSError` (no such file).
    """
    history = formats.load(path, format, allow_torn_tail=allow_torn_tail)
    return check(history, make_model(model, init), budget)


def initial_value(text: str) -> Any:
    """What `--init` means: nil or null, else a JSON value, else the text itself."""
    if text in {"nil", "null"}:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text
