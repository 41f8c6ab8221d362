"""Models of transactions: txn by search, banks by their totals and their balances, long forks by pairs of keys."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random
from typing import Any

import pytest
import referee
import stores
from stores import at_once, registers, serial

from checker import History, HistoryError, Model, ModelError, check, make_model
from checker.__main__ import main
from checker.history import OK, Op


def _ask(history: History, name: str, init: Any = None, **options: Any) -> str:
    return check(history, make_model(name, init, **options)).verdict


@pytest.mark.parametrize("level", ["strict", "stale", "snapshot", "committed"])
def test_one_machine_and_dependencies_agree_on_lists(level: str) -> None:
    """Two ways that share nothing: a search for an order, and cycles of what was read."""
    random = Random(level)
    words = set()
    for _ in range(20):
        history = stores.run(random, level, transactions=10, clients=3, keys=2, unanswered=0.1)
        words.add(_ask(history, "list-append"))
        assert _ask(history, "txn") == _ask(history, "list-append")
    assert "valid" in words


def test_one_machine_refuses_all_that_dependencies_refuse_of_registers_and_agrees_with_brute_force() -> None:
    """The order of writes that nobody read is open, so that dependencies may miss what a search sees, but never the other way round."""
    random = Random(5)
    seen = set()
    for _ in range(300):
        operations, values = [], itertools.count(1)
        places = random.sample(range(8), 8)
        written: dict[str, list[int | None]] = {"x": [None], "y": [None]}
        for number in range(4):
            steps: list[list[Any]] = []
            for _ in range(random.randint(1, 2)):
                key = random.choice("xy")
                if random.random() < 0.5:
                    written[key].append(next(values))
                    steps.append(["w", key, written[key][-1]])
                else:
                    steps.append(["r", key, random.choice(written[key])])
            operations.append(stores.op(steps, *sorted(places[2 * number : 2 * number + 2]), OK))
        history = History(operations)
        model = make_model("txn")
        expected = "valid" if referee.linearizable(model, history.operations) else "invalid"
        assert _ask(history, "txn") == expected
        answer = _ask(history, "rw-register")
        seen.add((answer, expected))
        assert (answer, expected) != ("invalid", "valid")
    assert {("valid", "valid"), ("invalid", "invalid")} <= seen


def test_keys_that_no_transaction_joins_are_objects_of_their_own() -> None:
    """Union-find: x and y are joined by one transaction, y and z by another, so all three are one object; u is not."""
    history = serial("wx1 wy1", "ry1 wz1", "wu1", read=registers)
    model = make_model("txn").prepared(history)
    groups = [model.partition(op) for op in history.operations]
    assert groups[0] == groups[1] != groups[2]
    verdict = check(History([*history.operations, stores.op(registers("ru"), 10, 11)]), make_model("txn"))
    assert verdict.verdict == "invalid"
    assert {row["verdict"]: row["operations"] for row in verdict.per_key} == {"valid": 2, "invalid": 2}


def test_initial_values_and_what_is_no_transaction() -> None:
    assert _ask(serial("rx7", read=registers), "txn", {"x": 7}) == "valid"
    assert _ask(serial("rx7", read=registers), "txn") == "invalid"
    assert _ask(serial("rx", "ax1", "rx1"), "txn") == "valid"
    with pytest.raises(ModelError, match="must be a map of keys to values"):
        make_model("txn", 3)
    with pytest.raises(ModelError, match="takes no initial value"):
        make_model("list-append", [])
    for name in ("list-append", "rw-register", "txn", "long-fork"):
        for value in ("x", [["r", "x"]], [["jump", "x", 1]], [7]):
            with pytest.raises(HistoryError, match=r"must be|unknown micro-operation"):
                check(
                    History([Op(process=0, f="txn", value=value, type=OK, result=value, invoked=0, returned=1)]),
                    make_model(name),
                )


@pytest.mark.parametrize("name", ["list-append", "rw-register", "txn", "long-fork"])
@pytest.mark.parametrize("columns", [False, True])
def test_an_answer_to_another_transaction_is_refused(name: str, *, columns: bool) -> None:
    """It says what was asked and what was answered, and where: such a history was recorded wrongly, and proves nothing."""
    write = "append" if name == "list-append" else "w"
    asked = [[write, "x", 1], ["r", "y", None]]
    for answered in (
        [[write, "x", 2], ["r", "y", None]],
        [[write, "x", 1], ["r", "z", None]],
        [["r", "y", None], [write, "x", 1]],
        [[write, "x", 1]],
        [],
    ):
        events = [
            {"process": 0, "type": "invoke", "f": "txn", "value": asked},
            {"process": 0, "type": "ok", "f": "txn", "value": answered},
        ]
        history = History.from_events(events)
        with pytest.raises(HistoryError, match=r"line 1: txn of process 0: was asked \[\[.*, but answered \["):
            check(history if columns else History(list(history)), make_model(name))
    right = [{**event, "value": asked} for event in events]
    assert check(History.from_events(right), make_model(name)).verdict == "valid"


def _bank(*events: tuple[str, Any]) -> History:
    """Reads with their balances, and transfers, one after the other."""
    operations = []
    for place, (function, value) in enumerate(events):
        result = value if function == "read" else None
        asked = None if function == "read" else dict(zip(("from", "to", "amount"), value, strict=True))
        operations.append(
            Op(
                process=place,
                f=function,
                value=asked,
                type=OK,
                result=result,
                invoked=2 * place,
                returned=2 * place + 1,
            )
        )
    return History(operations)


def test_reads_of_a_bank_add_up_and_are_not_below_zero() -> None:
    history = _bank(("read", {0: 10, 1: 0}), ("transfer", (0, 1, 4)), ("read", {0: 6, 1: 4}))
    assert _ask(history, "bank") == "valid"
    assert _ask(history, "bank", 11) == "invalid"
    verdict = check(_bank(("read", {0: 10, 1: 0}), ("read", {0: 6, 1: 3})), make_model("bank"))
    assert verdict.explanation == "Read by process 1 at event 3 adds up to 9, but the first read had 10"
    below = _bank(("read", {0: -1, 1: 11}))
    assert _ask(below, "bank") == "invalid"
    assert _ask(below, "bank", negative_balances=True) == "valid"


def test_a_bank_whose_balances_are_known_is_checked_transfer_by_transfer() -> None:
    right = _bank(("transfer", (0, 1, 4)), ("read", {0: 6, 1: 4}))
    wrong = _bank(("transfer", (0, 1, 4)), ("read", {0: 7, 1: 3}))
    over = _bank(("transfer", (0, 1, 40)))
    for history, expected in ((right, "valid"), (wrong, "invalid"), (over, "invalid")):
        assert _ask(history, "bank", {0: 10, 1: 0}) == expected
    assert _ask(over, "bank", {0: 10, 1: 0}, negative_balances=True) == "valid"
    with pytest.raises(ModelError, match="must be a map of balances or their total"):
        make_model("bank", "much")
    for event in (("read", {0: "6"}), ("transfer", (0, 1, None))):
        with pytest.raises(HistoryError, match=r"must be a map|must give a map"):
            check(_bank(event), make_model("bank"))


@pytest.mark.parametrize(
    "events,expected",
    [
        ([("read", {0: 10, 1: 10}), ("transfer", (0, 1, 5)), ("read", {0: 10, 1: 10})], "invalid"),  # it was lost
        ([("read", {0: 10, 1: 10}), ("transfer", (0, 1, 5)), ("read", {0: 5, 1: 15})], "valid"),
        ([("read", {0: 10, 1: 10}), ("read", {0: 20})], "invalid"),  # an account is gone
        ([("read", {0: 10, 1: 10}), ("read", {0: 9, 1: 11})], "invalid"),  # nobody moved anything
        ([("transfer", (0, 1, 4)), ("read", {0: 7, 1: 3})], "invalid"),  # account 1 would have begun below zero
        ([("transfer", (0, 1, 4)), ("read", {0: 7, 1: 4})], "valid"),
        ([("transfer", (0, 1, 4)), ("read", {0: 11})], "invalid"),  # account 1 was touched
        (
            [("transfer", (0, 1, 4)), ("transfer", (1, 0, 4)), ("read", {0: 3, 1: 8})],
            "invalid",
        ),  # there were no 4 to move
    ],
)
def test_a_bank_whose_balances_are_not_known_must_have_had_some(events: list[tuple[str, Any]], expected: str) -> None:
    """Reads that add up are not enough: a transfer that was acknowledged must be in all later reads."""
    assert _ask(_bank(*events), "bank") == expected


def test_a_total_bounds_what_a_bank_can_have_moved_before_anybody_read_it() -> None:
    history = _bank(("transfer", (0, 1, 4)), ("transfer", (2, 1, 3)))
    assert (_ask(history, "bank", 7), _ask(history, "bank", 6)) == ("valid", "invalid")
    assert _ask(history, "bank", 6, negative_balances=True) == "valid"


@pytest.mark.parametrize("total", [None, 3])
def test_unknown_balances_are_any_balances(total: int | None) -> None:
    """Against trying all balances of up to three in all, by brute force; reads and transfers overlap."""
    seen = set()
    for seed in range(150):
        draw = Random(seed)
        places = draw.sample(range(10), 10)
        operations = []
        for number in range(5):
            source = draw.choice("ab")
            moved = {"from": source, "to": "b" if source == "a" else "a", "amount": draw.randint(1, 2)}
            balance = draw.randint(0, 3)
            f = draw.choice(["read", "transfer"])
            type_ = OK if f == "read" or draw.random() < 0.8 else "info"
            begin, end = sorted(places[2 * number : 2 * number + 2])
            operations.append(
                Op(
                    process=number,
                    f=f,
                    value=moved if f == "transfer" else None,
                    type=type_,
                    result={"a": balance, "b": 3 - balance} if f == "read" else None,
                    invoked=begin,
                    returned=end if type_ == OK else None,
                )
            )
        if total is None and all(op.f != "read" for op in operations):
            continue  # then the total may be any
        possible = any(
            referee.linearizable(make_model("bank", {"a": balance, "b": 3 - balance}), operations)
            for balance in range(4)
        )
        assert _ask(History(operations), "bank", total) == ("valid" if possible else "invalid"), seed
        seen.add(possible)
    assert seen == {True, False}


def test_two_reads_that_saw_two_writes_in_opposite_orders_are_a_long_fork() -> None:
    verdict = check(at_once("wx1", "wy1", "rx1 ry", "rx ry1", read=registers), make_model("long-fork"))
    assert verdict.verdict == "invalid"
    assert [op["invoke_index"] for op in verdict.core] == [None, None]
    assert 'saw the write of key "x" and not yet that of key "y"' in verdict.explanation
    assert _ask(at_once("rx1 ry", "rx1 ry1", "rx ry", read=registers), "long-fork") == "valid"
    twice = check(at_once("rx1 ry", "rx2 ry", read=registers), make_model("long-fork"))
    assert (twice.verdict, twice.reason.partition(":")[0]) == ("unknown", "malformed workload")


def test_what_a_transaction_wrote_itself_is_no_part_of_its_snapshot() -> None:
    """Sovran et al. (SOSP 2011): snapshot isolation allows write skew, in which each transaction misses the write of the other."""
    assert _ask(at_once("wx1 rx1 ry", "wy1 ry1 rx", read=registers), "long-fork") == "valid"
    own_between = at_once("wx1", "rx1 ry wy1 ry1", "rx ry1", read=registers)
    assert _ask(own_between, "long-fork") == "invalid"  # it read y as nil before it wrote y
    for reads, told in (
        ("rx rx1", "as 1 after it had read it as nil"),
        ("wx1 rx", "as nil after it had written it as 1"),
    ):
        verdict = check(at_once(reads, read=registers), make_model("long-fork"))
        assert (verdict.verdict, list(verdict.anomalies)) == ("invalid", ["internal"])
        assert told in verdict.explanation


def test_only_lists_can_be_appended_to() -> None:
    """Maps and sets are frozen to tuples, as lists are; an append to them is none."""
    for value, expected in ((["a"], "valid"), ({"a": 1}, "invalid"), ({1, 2}, "invalid"), (7, "invalid")):
        asked = [["w", "x", value], ["append", "x", 1]]
        assert _ask(History([stores.op(asked, 0, 1)]), "txn") == expected
        assert _ask(History([stores.op([["append", "x", 1]], 0, 1)]), "txn", {"x": value}) == expected


def test_declared_reads_leave_every_state_as_it_is() -> None:
    random = Random(2)
    models: list[tuple[Model, History]] = [
        (make_model("txn"), stores.run(random, "committed", 40, keys=2)),
        (
            make_model("bank", {0: 5, 1: 5}),
            _bank(*[("transfer", (place % 2, 1 - place % 2, 1)) for place in range(9)], ("read", {0: 5, 1: 5})),
        ),
        (make_model("bank"), _bank(("transfer", (0, 1, 1)), ("read", {0: 5, 1: 5}), ("read", {0: 4, 1: 6}))),
    ]
    for model, history in models:
        states = {model.init}
        for op in history.operations:
            after = {state for one in states if (state := model.step(one, op)) is not None}
            if model.readonly(op):
                assert after <= states
            states |= set(list(after)[:20])


@pytest.mark.parametrize("suffix", ["edn", "json"])
def test_files_of_transactions_are_checked_by_command(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Functions and processes may be missing, as Elle's histories have it; names are keywords in EDN and strings in JSON."""
    from_file = {
        "edn": "{:index 0 :type :invoke :process 0 :f :txn :value [[:append 1 1] [:r 2 nil]]}\n"
        "{:index 1 :type :invoke :process 1 :f :txn :value [[:append 2 1] [:r 1 nil]]}\n"
        "{:index 2 :type :ok :process 0 :f :txn :value [[:append 1 1] [:r 2 [1]]]}\n"
        "{:index 3 :type :ok :process 1 :f :txn :value [[:append 2 1] [:r 1 [1]]]}\n",
        "json": '[{"index":0,"type":"invoke","process":0,"f":"txn","value":[["append",1,1],["r",2,null]]},\n'
        '{"index":1,"type":"invoke","process":1,"f":"txn","value":[["append",2,1],["r",1,null]]},\n'
        '{"index":2,"type":"ok","process":0,"f":"txn","value":[["append",1,1],["r",2,[1]]]},\n'
        '{"index":3,"type":"ok","process":1,"f":"txn","value":[["append",2,1],["r",1,[1]]]}]\n',
    }
    path = tmp_path / f"circle.{suffix}"
    path.write_text(from_file[suffix])
    assert main([str(path), "--model", "list-append"]) == 1
    assert main([str(path), "--model", "list-append", "--consistency", "read-uncommitted"]) == 0
    assert main([str(path), "--model", "list-append", "--consistency", "read-uncomitted"]) == 2
    assert "did you mean read-uncommitted" in capsys.readouterr().err
