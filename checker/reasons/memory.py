"""A model that remembers what it said of each operation: to explain a violation the same operations are looked at many times."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from checker.history import Op
from checker.models.base import Model


def remembering(model: Model) -> Model:
    """The same model, asked once for each operation about its effect and whether it is read-only.

    A model that can't be copied or does not let its methods be replaced is returned as it is.
    """
    try:
        other = copy.copy(model)
        for name in ("effect", "readonly", "blind", "observes"):
            setattr(other, name, _once(getattr(model, name)))
    except Exception:  # noqa: BLE001 - a model of the user's may refuse in its own way, and does well without
        return model
    return other


def _once(function: Callable[[Op], Any]) -> Callable[[Op], Any]:
    known: dict[int, tuple[Op, Any]] = {}

    def remembered(op: Op) -> Any:
        found = known.get(id(op))
        if found is None:
            found = known[id(op)] = (op, function(op))  # the operation is kept, so that its id stays its own
        return found[1]

    return remembered
