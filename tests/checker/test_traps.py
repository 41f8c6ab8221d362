"""Small histories in which a way that forgets one condition goes wrong; each is judged as by the definition by every way."""

from __future__ import annotations

from typing import Any

import pytest
import test_agreement
import test_compiled

from checker.history import Op
from checker.models.registers import Register

Step = tuple[str, Any, int, int | None]
"""Function, its argument (of a read: its answer), invocation, return (None: never answered)."""

TRAPS: dict[str, list[Step]] = {
    # A cas that fails must not be used up, and an unanswered write may be used once, by whoever needs it later.
    "the node that used more is the one that goes on": [
        ("write", 2, 0, None),
        ("cas", [3, 1], 1, None),
        ("write", 2, 2, 7),
        ("write", 3, 3, None),
        ("cas", [None, 3], 4, 11),
        ("cas", [1, 2], 5, 8),
        ("read", None, 6, 13),
        ("cas", [3, 3], 9, 14),
        ("read", 2, 10, 12),
    ],
    # Both writes of 2 are open while 3 is written; only the one that lasts may still bring 2.
    "a write that is done dominates one that is not": [
        ("read", 1, 0, 9),
        ("write", 1, 1, None),
        ("cas", [2, 1], 2, 10),
        ("read", 1, 3, 12),
        ("write", 2, 4, 11),
        ("write", 1, 5, None),
        ("cas", [2, 2], 6, None),
        ("cas", [None, 2], 7, None),
        ("cas", [2, 1], 8, 13),
    ],
    "a write that may be discharged for free is not worth less": [
        ("write", 2, 0, 3),
        ("write", 2, 1, 7),
        ("write", 3, 4, 8),
        ("read", 2, 16, 19),
    ],
    # 1; write 2 beside an unanswered write 1 and a cas from 1 to 3, which returns first; read 3.
    "an unanswered write of the present value hides another": [
        ("write", 1, 0, 1),
        ("write", 1, 2, None),
        ("write", 2, 3, 6),
        ("cas", [1, 3], 4, 5),
        ("read", 3, 7, 8),
    ],
    # Nobody reads 1, and yet the write of 1 is needed (reduction 5 and its closure).
    "an unanswered write that only an unanswered cas sees": [
        ("write", 0, 0, 1),
        ("write", 1, 2, None),
        ("cas", [1, 2], 3, None),
        ("read", 2, 4, 5),
    ],
    # Using write 1 up as it "leaves this state unchanged" loses the only order (reduction 1).
    "an update that changes nothing now": [
        ("write", 1, 0, 1),
        ("write", 1, 2, 9),
        ("write", 2, 3, 6),
        ("read", 2, 4, 7),
        ("read", 1, 8, 10),
    ],
    # 3 was reached by the write or by the two cas; from 4 only the write reaches it again (reduction 2).
    "fewer unanswered operations in all, but the one that is needed": [
        ("write", 1, 0, 1),
        ("write", 3, 2, None),
        ("cas", [1, 2], 3, None),
        ("cas", [2, 3], 4, None),
        ("read", 3, 5, 6),
        ("write", 4, 7, 8),
        ("read", 3, 9, 10),
    ],
    # The write that returns brings 2 for the cas, the unanswered one brings it for the read (reduction 4).
    "an unanswered twin after one that is done": [
        ("write", 2, 4, None),
        ("cas", [2, 1], 8, 10),
        ("write", 2, 9, 16),
        ("read", 2, 12, 14),
    ],
    # The write of 3 can hide behind the write of 1, not behind the cas.
    "a cas hides nothing": [
        ("write", 1, 0, 1),
        ("write", 3, 2, 9),
        ("cas", [1, 2], 3, 5),
        ("read", 2, 6, 7),
        ("cas", [2, 4], 8, 10),
        ("read", 4, 11, 12),
    ],
}


@pytest.mark.parametrize("name", sorted(TRAPS))
def test_a_trap_is_judged_as_by_the_definition(name: str) -> None:
    operations = placed(TRAPS[name])
    assert test_agreement.disagreements(Register(), operations) == []
    assert test_compiled.disagreements(Register(), operations) == []


def placed(steps: list[Step]) -> list[Op]:
    """The operations of a trap."""
    return [
        Op(
            process=number,
            f=f,
            value=None if f == "read" else value,
            result=value if f == "read" else None,
            type="info" if returned is None else "ok",
            invoked=invoked,
            returned=returned,
        )
        for number, (f, value, invoked, returned) in enumerate(steps)
    ]
