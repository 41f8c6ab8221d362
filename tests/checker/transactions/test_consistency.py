"""Stores of known isolation are placed where they belong: never below what they keep, and seen through where they break more."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import stores

from checker import History, ModelError, check, make_model
from checker.history import FAIL, INFO
from checker.transactions import consistency, graph

HISTORIES = 60


def _runs(level: str, **options: float) -> list[History]:
    random = Random(level)
    return [stores.run(random, level, transactions=40, clients=6, **options) for _ in range(HISTORIES)]  # type: ignore[arg-type]


def _kinds(history: History, model: str = "list-append") -> set[str]:
    return set(check(history, make_model(model)).anomalies)


@pytest.mark.parametrize(
    "level, kept, broken",
    [
        ("strict", "strict-serializable", set()),
        ("stale", "serializable", {"G-single-realtime", "G-single-process"}),
        ("snapshot", "strong-snapshot-isolation", {"G2-item"}),
        ("committed", "strong-read-committed", {"G-single", "lost-update", "internal"}),
    ],
)
def test_a_store_keeps_its_level_and_breaks_what_it_does_not_promise(level: str, kept: str, broken: set[str]) -> None:
    """Snapshot isolation gives write skew, which is G2-item and no G-single; read committed gives lost updates, but no G0 and no G1."""
    found: Counter[str] = Counter()
    for history in _runs(level, unanswered=0.05):
        assert check(history, make_model("list-append", consistency=kept)).verdict == "valid"
        found.update(_kinds(history))
    assert broken <= found.keys()
    if level == "snapshot":
        assert {kind.removesuffix("-realtime").removesuffix("-process") for kind in found} == {"G2-item"}
    if level == "stale":
        assert all(kind.endswith(("-process", "-realtime")) for kind in found)


def test_models_that_may_hold_and_those_that_do_not_share_all_models_out() -> None:
    for level in ("stale", "snapshot", "committed"):
        for history in _runs(level)[:4]:
            placed = check(history, make_model("list-append")).consistency
            holds = {model for model in consistency.WEAKER if model not in placed["all_not"]}
            assert set(placed["may_hold"]) <= holds
            for model in consistency.WEAKER:
                verdict = check(history, make_model("list-append", consistency=model)).verdict
                assert verdict == ("valid" if model in holds else "invalid")


def test_whoever_allows_an_anomaly_allows_what_is_implied_and_stronger_models_forbid_more() -> None:
    anomalies = [
        "G0",
        "G1a",
        "G1b",
        "G1c",
        "G-single",
        "G2-item",
        "lost-update",
        "internal",
        "G0-realtime",
        "G2-item-process",
    ]
    for model, weaker in consistency.WEAKER.items():
        for other in weaker:
            assert {each for each in anomalies if consistency.forbids(other, each)} <= {
                each for each in anomalies if consistency.forbids(model, each)
            }
    # Adya's table: what each level proscribes.
    rows = {
        "read-uncommitted": {"G0"},
        "read-committed": {"G0", "G1a", "G1b", "G1c"},
        "snapshot-isolation": {"G0", "G1a", "G1b", "G1c", "G-single", "lost-update", "internal"},
        "repeatable-read": {"G0", "G1a", "G1b", "G1c", "G-single", "G2-item", "lost-update"},
    }
    for model, forbidden in rows.items():
        assert {each for each in anomalies if consistency.forbids(model, each)} == forbidden
    assert all(consistency.forbids("strict-serializable", each) for each in anomalies)


def test_other_names_mean_the_same_models_and_wrong_ones_are_refused() -> None:
    assert consistency.canonical("PL-3") == "serializable"
    with pytest.raises(ModelError, match="unknown consistency model 'snapshot': did you mean snapshot-isolation"):
        make_model("list-append", consistency="snapshot")
    with pytest.raises(ModelError, match="model register has no option 'consistency'"):
        make_model("register", consistency="serializable")


@pytest.mark.parametrize("level", ["strict", "stale", "snapshot", "committed"])
def test_renaming_and_what_never_happened_change_nothing(level: str) -> None:
    """checker.md section 8: renaming keys, values and processes; dropping an unanswered transaction that nobody saw, or a failed one."""
    for history in _runs(level, unanswered=0.1)[:15]:
        before = _kinds(history)
        renamed = []
        for op in history.operations:
            steps = [
                [
                    function,
                    f"{key}'",
                    [f"v{each}" for each in value] if isinstance(value, list) else value and f"v{value}",
                ]
                for function, key, value in op.result or op.value
            ]
            renamed.append(stores.op(steps, op.invoked, op.returned, op.type, 7 * int(op.process) + 1))
        assert _kinds(History(renamed)) == before
        seen = {
            (key, element)
            for op in history.operations
            for function, key, value in op.result or ()
            if function == "r"
            for element in value
        }
        kept = [
            op
            for op in history.operations
            if op.type != FAIL
            and (op.type != INFO or any((key, value) in seen for _, key, value in op.value if _ == "append"))
        ]
        assert _kinds(History(kept)) == before


def test_prefixes_of_valid_histories_are_valid() -> None:
    for history in _runs("strict", unanswered=0.1)[:10]:
        end = max(op.returned or op.invoked for op in history.operations)
        for cut in range(5, end, 17):
            begun = [op for op in history.operations if op.invoked < cut]
            part = [
                op
                if op.returned is not None and op.returned < cut
                else stores.op(op.result or op.value, op.invoked, None, INFO, int(op.process))
                for op in begun
            ]
            assert check(History(part), make_model("list-append")).verdict == "valid"


def test_many_readers_before_many_writers_are_joined_through_auxiliary_nodes_without_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred reads of the empty list and a hundred appends that nobody read precede each other in linear space."""
    for level in ("stale", "snapshot", "committed"):
        for seed in range(12):
            history = stores.run(Random(seed), level, transactions=40, clients=12, keys=2)
            monkeypatch.setattr(graph, "HUBS_FROM", 1 << 60)
            pairs = _kinds(history), _kinds(_of_registers(history), "rw-register")
            monkeypatch.setattr(graph, "HUBS_FROM", 0)
            assert (_kinds(history), _kinds(_of_registers(history), "rw-register")) == pairs


def _of_registers(history: History) -> History:
    """The same transactions of registers: a read gives the last element."""
    operations = []
    for op in history.operations:
        steps = (
            [
                ["w", key, value] if function == "append" else ["r", key, value[-1] if value else None]
                for function, key, value in op.result or op.value
            ]
            if op.result
            else [["w", key, value] for function, key, value in op.value if function == "append"]
        )
        operations.append(stores.op(steps, op.invoked, op.returned, op.type, int(op.process)))
    return History(operations)
