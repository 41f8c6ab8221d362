"""Operations of the models beside registers and lists, for tests: all small ones, and random ones that are often, but not always, right."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

Shape = tuple[str, Any, Any]
"""What one operation is: function, argument, answer."""

QUEUE_SHAPES: list[Shape] = [
    ("enqueue", 1, None),
    ("enqueue", 2, None),
    ("dequeue", None, 1),
    ("dequeue", None, 2),
    ("dequeue", None, None),
]
SET_SHAPES: list[Shape] = [
    *(("add", 1, answer) for answer in (True, False, None)),
    *(("remove", 1, answer) for answer in (True, False)),
    *(("contains", 1, answer) for answer in (True, False)),
]
GROWING_SHAPES: list[Shape] = [
    ("add", 1, None),
    ("add", 2, None),
    ("read", None, []),
    ("read", None, [1]),
    ("read", None, [2]),
    ("read", None, [2, 1]),
    ("read", None, [1, 1]),
]
COUNTER_SHAPES: list[Shape] = [
    ("add", 1, None),
    ("add", 2, None),
    ("add", -1, None),
    *(("read", None, total) for total in (0, 1, 2, 3)),
]
LOCK_SHAPES: list[Shape] = [
    *((f, owner, None) for f in ("acquire", "release") for owner in ("a", "b")),
]
TOKEN_SHAPES: list[Shape] = [("acquire", None, 1), ("acquire", None, 2), ("release", None, None)]
KEY_SHAPES: list[Shape] = [
    ("put", [], None),
    ("append", 1, None),
    ("append", 2, None),
    ("cas", [[], [2]], None),
    ("delete", None, None),
    ("get", None, None),
    ("get", None, [1]),
    ("get", None, [2, 1]),
]
STRING_SHAPES: list[Shape] = [
    ("append", "a", None),
    ("put", "b", None),
    ("cas", ["a", "b"], None),
    ("delete", None, None),
    ("get", None, ""),
    ("get", None, "ba"),
]

SHAPES: dict[str, list[Shape]] = {
    "set": SET_SHAPES,
    "grow-only-set": GROWING_SHAPES,
    "set-full": GROWING_SHAPES,
    "counter": COUNTER_SHAPES,
    "queue": QUEUE_SHAPES,
    "stack": [(f.replace("enqueue", "push").replace("dequeue", "pop"), *rest) for f, *rest in QUEUE_SHAPES],
    "owner-lock": LOCK_SHAPES,
    "reentrant-lock": LOCK_SHAPES,
    "fencing-lock": TOKEN_SHAPES,
    "unique-ids": [("generate", None, 1), ("generate", None, 2)],
    "key-value": KEY_SHAPES,
    "kv": STRING_SHAPES,
}
"""A few operations of each model, by its name."""


def random_shape(draw: Random, name: str, number: int, before: Sequence[Shape]) -> Shape:
    """The next operation after these, for the model of this name."""
    if name in {"queue", "stack"}:
        return _pile_shape(draw, ("enqueue", "dequeue") if name == "queue" else ("push", "pop"), number, before)
    if name in {"grow-only-set", "set-full"}:
        return _growing_shape(draw, number, before)
    if name == "counter":
        if draw.random() < 0.55:
            return "add", draw.choice([1, 1, 2, 3, -1] if len(before) % 2 else [1, 1, 1, 0]), None
        amounts = [value for f, value, _ in before if f == "add"]
        return "read", None, sum(amount for amount in amounts if draw.random() < 0.8)
    if name in {"owner-lock", "reentrant-lock"}:
        return draw.choice(["acquire", "release"]), draw.choice([None, "a", "b"]), None
    if name == "fencing-lock":
        f = draw.choice(["acquire", "release"])
        return f, None, number + draw.randint(-1, 1) if f == "acquire" else None
    if name == "unique-ids":
        return "generate", None, draw.randint(0, 20)
    return draw.choice(SHAPES[name])


def _pile_shape(draw: Random, names: tuple[str, str], number: int, before: Sequence[Shape]) -> Shape:
    puts, takes = names
    if draw.random() < 0.5:
        return puts, number if draw.random() < 0.93 else 1, None
    inside = [value for f, value, _ in before if f == puts] + [99] * (draw.random() < 0.03)
    if draw.random() < 0.9:
        taken = [result for f, _, result in before if f == takes]
        inside = [value for value in inside if value not in taken]
    return takes, None, draw.choice(inside) if inside and draw.random() < 0.85 else None


def _growing_shape(draw: Random, number: int, before: Sequence[Shape]) -> Shape:
    if draw.random() < 0.55:
        return "add", number if draw.random() < 0.95 else 1, None
    added = [value for f, value, _ in before if f == "add"]
    got = added[: draw.randint(0, len(added))]
    if draw.random() < 0.3:
        draw.shuffle(got)
        del got[draw.randint(0, len(got)) :]
    return "read", None, got
