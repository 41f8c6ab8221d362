"""Every model by the name that `--model` takes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import Any

from checker.models.bank import Bank
from checker.models.base import Model, ModelError, looks_at_whole_histories
from checker.models.forks import LongFork
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings
from checker.models.transactions import Dependencies, Transactions

MODELS: dict[str, type[Model]] = {
    "register": Register,
    "cas-register": Register,
    "append": AppendList,
    "kv": KeyValueStrings,
    "mutex": Mutex,
    "list-append": Dependencies,
    "rw-register": Dependencies,
    "txn": Transactions,
    "bank": Bank,
    "long-fork": LongFork,
}
"""The models by the names that `--model` takes."""


def fitting(functions: Collection[str]) -> list[str]:
    """The models that know all of these functions; `register` is another name of `cas-register`, and left out.

    Models that look at whole histories take single reads and writes for transactions: they are named only where no model of
    single objects fits.
    """
    names = [name for name, model in MODELS.items() if set(functions) <= model.functions and name != "register"]
    return [name for name in names if not looks_at_whole_histories(MODELS[name])] or names


def make_model(name: str, init: Any = None, **options: Any) -> Model:
    """The model of this name with an initial value (None: nil for a register, else empty), and with options of its own.

    Raises `ModelError` where there is no such model, naming the nearest known, or where the value does not fit it.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ModelError(f"unknown model {name!r}: {hint}known are {', '.join(sorted(MODELS))}")
    made: Callable[..., Model] = MODELS[name]
    unknown = sorted(options.keys() - MODELS[name].options)
    if unknown:
        raise ModelError(f"model {name} has no option {unknown[0]!r}")
    return made(init, name=name, **options)
