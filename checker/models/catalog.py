"""Every model by the name that `--model` takes."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from checker.models.base import Model, ModelError
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings

MODELS: dict[str, Callable[..., Model]] = {
    "register": Register,
    "cas-register": Register,
    "append": AppendList,
    "kv": KeyValueStrings,
    "mutex": Mutex,
}
"""The models by the names that `--model` takes."""


def make_model(name: str, init: Any = None) -> Model:
    """The model of this name with an initial value (None: nil for a register, else empty).

    Raises `ModelError` where there is no such model, naming the nearest known, or where the value does not fit it.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ModelError(f"unknown model {name!r}: {hint}known are {', '.join(sorted(MODELS))}")
    return MODELS[name](init, name=name)
