"""Verdicts on small histories of appends agree with all orders of their transactions, tried one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from random import Random

import pytest
import stores

from checker import check, make_model
from checker.history import FAIL, INFO, OK, History, Op


def fits(order: Iterable[Op]) -> bool:
    """Whether one machine, taking transactions in this order, would have answered so."""
    lists: dict[object, list[int]] = {}
    for op in order:
        for function, key, value in op.result if op.type == OK else op.value:
            if function == "append":
                lists.setdefault(key, []).append(value)
            elif op.type == OK and value != lists.get(key, []):
                return False
    return True


def has_order(operations: Sequence[Op], *, strict: bool) -> bool:
    """Whether some order of the answered transactions, with some of the unanswered ones, explains all; in real time if `strict`."""
    certain = [op for op in operations if op.type == OK]
    perhaps = [op for op in operations if op.type == INFO]
    for count in range(len(perhaps) + 1):
        for some in itertools.combinations(perhaps, count):
            for order in itertools.permutations([*certain, *some]):
                in_time = all(
                    later.returned is None or later.returned > earlier.invoked
                    for place, earlier in enumerate(order)
                    for later in order[place + 1 :]
                )
                if (in_time or not strict) and fits(order):
                    return True
    return False


def disagreements(history: History) -> list[str]:
    wrong = []
    for strict, asked in ((True, "strict-serializable"), (False, "serializable")):
        expected = "valid" if has_order(history.operations, strict=strict) else "invalid"
        verdict = check(history, make_model("list-append", consistency=asked))
        if verdict.verdict != expected:
            wrong.append(f"{asked}: {verdict.verdict}, not {expected}: {history.operations} {verdict.explanation}")
    return wrong


def scrambled(random: Random) -> History:
    """Up to five transactions at once or after each other, whose reads are prefixes, or subsets, of what some order of appends left."""
    count = random.randint(2, 5)
    values = itertools.count(1)
    bodies: list[list[list[object]]] = []
    appended: dict[object, list[int]] = {"x": [], "y": []}
    for _ in range(count):
        body: list[list[object]] = []
        for _ in range(random.randint(1, 3)):
            key = random.choice("xy")
            if random.random() < 0.5:
                value = next(values)
                appended[key].append(value)
                body.append(["append", key, value])
            else:
                body.append(["r", key, None])
        bodies.append(body)
    for order in appended.values():
        random.shuffle(order)
    places = list(range(2 * count))
    random.shuffle(places)
    operations = []
    for number, body in enumerate(bodies):
        invoked, returned = sorted(places[2 * number : 2 * number + 2])
        kind = random.choice([OK] * 8 + [INFO, FAIL])
        for step in body:
            if step[0] == "r":
                order = appended[step[1]]
                step[2] = order[: random.randint(0, len(order))]
                if step[2] and random.random() < 0.1:
                    step[2] = random.sample(order, len(step[2]))
        operations.append(stores.op(body, invoked, returned, kind))
    return History(operations)


@pytest.mark.parametrize("seed", range(4))
def test_scrambled_histories_are_valid_exactly_if_an_order_explains_them(seed: int) -> None:
    """No anomaly, no cycle: then a topological order of the dependencies is a serial execution; else there is none."""
    random = Random(seed)
    wrong = [each for _ in range(150) for each in disagreements(scrambled(random))]
    assert wrong == []


@pytest.mark.parametrize("level", ["strict", "stale", "snapshot", "committed"])
def test_histories_of_stores_are_valid_exactly_if_an_order_explains_them(level: str) -> None:
    random = Random(level)
    wrong = []
    for _ in range(150):
        history = stores.run(random, level, transactions=random.randint(2, 6), clients=3, keys=2, unanswered=0.1)
        wrong += disagreements(history)
    assert wrong == []
