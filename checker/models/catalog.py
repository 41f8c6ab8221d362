"""Every model by the name that `--model` takes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import Any

from checker.models.bank import Bank
from checker.models.base import Model, ModelError, looks_at_whole_histories
from checker.models.counters import Counter
from checker.models.forks import LongFork
from checker.models.identifiers import UniqueIds
from checker.models.keys import KeyValue
from checker.models.lists import AppendList
from checker.models.locks import FencingLock, Mutex, OwnerLock, ReentrantLock
from checker.models.queues import Queue, Stack
from checker.models.registers import Register
from checker.models.sets import ElementSet, FullSet, GrowOnlySet
from checker.models.strings import KeyValueStrings
from checker.models.transactions import ListAppend, RegisterTransactions, Transactions

MODELS: dict[str, type[Model]] = {
    "register": Register,
    "cas-register": Register,
    "append": AppendList,
    "kv": KeyValueStrings,
    "key-value": KeyValue,
    "set": ElementSet,
    "grow-only-set": GrowOnlySet,
    "set-full": FullSet,
    "counter": Counter,
    "queue": Queue,
    "stack": Stack,
    "mutex": Mutex,
    "owner-lock": OwnerLock,
    "reentrant-lock": ReentrantLock,
    "fencing-lock": FencingLock,
    "unique-ids": UniqueIds,
    "list-append": ListAppend,
    "rw-register": RegisterTransactions,
    "txn": Transactions,
    "bank": Bank,
    "long-fork": LongFork,
}
"""The models by the names that `--model` takes."""


_ON_REQUEST = frozenset({"register", "key-value", "set-full", "owner-lock", "reentrant-lock", "fencing-lock"})
"""Models with the functions of a more usual one, or other names of one."""


def fitting(functions: Collection[str]) -> list[str]:
    """The models that know all of these functions, by their own names if there are any, else by their aliases too.

    Models that look at whole histories take single reads and writes for transactions: they are named only where no model of
    single objects fits, and those that a more usual one stands for only where that does not fit.
    """
    own = [name for name, model in MODELS.items() if model.functions.issuperset(functions)]
    names = own or [
        name for name, model in MODELS.items() if (model.functions | model.aliases.keys()).issuperset(functions)
    ]
    single = [name for name in names if not looks_at_whole_histories(MODELS[name])]
    return [name for name in single if name not in _ON_REQUEST] or single or names


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
