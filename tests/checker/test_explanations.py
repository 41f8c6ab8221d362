"""What an invalid verdict says is true: held against brute force over random small histories, claim by claim."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest
import referee
import simulate

from checker import History, Op, Verdict, check
from checker.history import OK
from checker.models.base import NOTHING, Model
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings
from checker.reasons import phrases
from checker.reasons.breaks import cut

MODELS: list[Model] = [Register(), Register(0), AppendList(), KeyValueStrings(), Mutex()]


def broken(model: Model, seeds: range) -> list[tuple[list[Op], Verdict]]:
    """Random histories that are invalid, with their verdicts."""
    found = []
    for seed in seeds:
        operations = [simulate.stamped(op) for op in simulate.small_history(Random(seed), model)]
        verdict = check(History(operations), model)
        assert (verdict.verdict == "valid") == referee.linearizable(model, operations), seed
        if verdict.verdict == "invalid":
            found.append((operations, verdict))
    return found


def first_impossible(operations: Sequence[Op], verdict: Verdict) -> Op:
    assert verdict.first_impossible is not None
    return next(op for op in operations if op.invoke_index == verdict.first_impossible["invoke_index"])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{model.init}")
def test_the_first_impossible_operation_is_the_first_that_brute_force_cannot_explain(model: Model) -> None:
    cases = broken(model, range(400))
    assert len(cases) > 40
    for operations, verdict in cases:
        op = first_impossible(operations, verdict)
        returns = sorted(other.returned for other in operations if other.returned is not None)
        bad = [end for end in returns if not referee.linearizable(model, cut(model, operations, end))]
        assert op.returned == bad[0], operations


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{model.init}")
def test_the_prefix_is_an_order_of_all_that_came_before_with_the_state_after_each(model: Model) -> None:
    for operations, verdict in broken(model, range(400, 600)):
        before = cut(model, operations, (first_impossible(operations, verdict).returned or 0) - 1)
        known = {op.invoke_index: op for op in before}
        order = [known[step["op"]["invoke_index"]] for step in verdict.prefix]
        assert referee.replay(model, before, order) == ""
        assert verdict.prefix_length == len(order)
        state: Any = model.init
        for op, step in zip(order, verdict.prefix, strict=True):
            state = model.step(state, op)
            assert step["state"] == model.describe(state)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{model.init}")
def test_the_possible_states_are_those_of_brute_force(model: Model) -> None:
    """The states in which an operation that only looks, in the place of the impossible one, could have stood."""
    counts = set()
    for operations, verdict in broken(model, range(400)):
        op = first_impossible(operations, verdict)
        expected = referee.possible_states(model, cut(model, operations, op.returned or 0), op)
        texts = {model.describe(state) for state in expected}
        if verdict.possible_states_complete:
            assert set(verdict.possible_states) == texts, operations
        else:  # six concurrent appends can stand in 1,957 ways
            assert len(expected) > 20
            assert set(verdict.possible_states) < texts
        counts.add(len(expected))
    assert {1, 2} <= counts


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{model.init}")
def test_the_core_is_impossible_by_itself_and_not_for_want_of_a_source(model: Model) -> None:
    """checker.md, section 6: "Removing an ok write whose value is read stays invalid, but for a silly reason: forbid it".

    So the core must be impossible even if those of its operations whose value comes from outside are taken at their word: a
    cas counts as a write then, and a read as nothing.
    """
    for operations, verdict in broken(model, range(600)):
        places = {op["invoke_index"] for op in verdict.core}
        core = [op for op in operations if op.invoke_index in places]
        impossible = first_impossible(operations, verdict)
        assert impossible in core
        assert len(core) == len(verdict.core)
        assert not referee.linearizable(model, core), (operations, verdict.explanation)
        prefix = [op for op in operations if op.invoked < (impossible.returned or 0)]
        trusted = [op if op is impossible else trusting(model, op, core, prefix) for op in core]
        left = [op for op in trusted if op is not None]
        assert not referee.linearizable(model, left), (operations, verdict.explanation)
        wanted = model.effect(impossible)
        if wanted is not None and wanted.requires not in (NOTHING, model.init):
            sources = [op for op in prefix if produces(model, op, wanted.requires)]
            assert not sources or any(op in core for op in sources), (operations, verdict.explanation)


def trusting(model: Model, op: Op, core: Sequence[Op], prefix: Sequence[Op]) -> Op | None:
    """The operation without what it requires, if that was there but nobody in the core brings it."""
    effect = model.effect(op)
    if effect is None or effect.requires in (NOTHING, model.init) or op.returned is None:
        return op
    if any(produces(model, other, effect.requires) for other in core):
        return op
    if not any(produces(model, other, effect.requires) for other in prefix):
        return op
    if effect.produces in (NOTHING, effect.requires):
        return None
    return msgspec.structs.replace(op, f="write", value=op.value[1])


def produces(model: Model, op: Op, state: Any) -> bool:
    effect = model.effect(op)
    return op.type != "fail" and effect is not None and effect.produces == state != effect.requires


MENTION = re.compile(
    r"(?P<what>[a-z]+[^()]*?) \(process (?P<process>\d+), (?P<how>completed|invoked|failed) at (?P<time>[\d.]+) s"
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{model.init}")
def test_the_sentence_names_the_operation_what_it_saw_and_what_was_possible(model: Model) -> None:
    """Issue: "each with a sentence that names the operation, what it saw and what was possible"."""
    for operations, verdict in broken(model, range(400)):
        op = first_impossible(operations, verdict)
        text = verdict.explanation
        assert text.startswith(phrases.answered(op))
        assert f"process {op.process}" in text
        assert phrases.end(op) in text
        stated = re.search(r"every order of the operations leaves (.*?)(: |\. )", text)
        if stated:
            texts = [phrases.clip(state) for state in verdict.possible_states]
            if "unanswered updates" in stated[1]:
                assert stated[1].startswith(phrases.one_of(texts[:1]))
            else:
                assert stated[1].removeprefix("the lock ") == phrases.one_of(texts)
        effect = model.effect(op)
        if effect is not None and stated:
            assert model.describe(effect.requires) not in verdict.possible_states
        if model.name != "append":
            assert ("that were tried" in text) == (not verdict.possible_states_complete)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{model.init}")
def test_operations_that_the_sentence_mentions_are_there_and_stand_as_it_says(model: Model) -> None:
    mentions = 0
    for operations, verdict in broken(model, range(800)):
        impossible = first_impossible(operations, verdict)
        _, _, because = verdict.explanation.partition(": ")
        for found in MENTION.finditer(because):
            place = round(float(found["time"]))
            named = [
                op
                for op in operations
                if str(op.process) == found["process"]
                and place == (op.invoked if found["how"] == "invoked" else op.returned)
            ]
            assert named, verdict.explanation
            assert found["what"].endswith(phrases.action(named[0])), verdict.explanation
            assert (found["how"] == "failed") == (named[0].type == "fail")
            mentions += 1
            after = because[found.end() :]
            if after.startswith(
                (") before the read began", ") before it began", ") replaced it before", ") was acknowledged before")
            ):
                assert named[0].returned is not None
                assert named[0].returned < impossible.invoked, verdict.explanation
        for process in re.findall(r"process (\d+) had already read", because):
            assert any(op.process == int(process) and (op.returned or 99) < impossible.invoked for op in operations)
    assert mentions > (20 if isinstance(model, Register | AppendList) else -1)


def test_what_came_after_what_is_true_in_every_order() -> None:
    """The sentence says that one value came after another: so it is in all orders of what came before."""
    model = Register()
    checked = 0
    for operations, verdict in broken(model, range(2500)):
        said = re.search(
            r": (\S+) (?:came after (\S+), which|was overwritten by \w+ (?:from \S+ to )?(\S+) )", verdict.explanation
        )
        if not said:
            continue
        new, old = (said[1], said[2]) if said[2] else (said[3], said[1])
        impossible = first_impossible(operations, verdict)
        before = [
            op for op in cut(model, operations, (impossible.returned or 0) - 1) if op.invoked != impossible.invoked
        ]
        for states in referee.paths(model, before):
            shown = [model.describe(state) for state in states]
            if old in shown and new in shown:
                assert shown.index(new) > len(shown) - 1 - shown[::-1].index(old), verdict.explanation
        checked += 1
    assert checked > 20


def test_a_value_of_another_type_is_said_to_be_one() -> None:
    """checker.md: "never coerce silently; do say so when all mismatches vanish under coercion"."""
    write = Op(process=0, f="write", value=6, type=OK, invoked=0, returned=1)
    read = Op(process=1, f="read", result="6", type=OK, invoked=2, returned=3)
    assert (
        "6 was written as a number and read back as a string" in check(History([write, read]), Register()).explanation
    )


def test_where_not_all_is_known_the_sentence_does_not_say_every_order() -> None:
    """Five concurrent appends leave 326 strings: more states are possible than are tried."""
    appends = [Op(process=n, f="append", value="abcde"[n], type=OK, invoked=n, returned=50 + n) for n in range(5)]
    get = Op(process=9, f="get", result="x", type=OK, invoked=40, returned=41)
    verdict = check(History([*appends, get]), KeyValueStrings())
    assert verdict.verdict == "invalid"
    assert not verdict.possible_states_complete
    assert "the orders that were tried leave" in verdict.explanation


def test_300_concurrent_writes_may_all_have_been_the_last() -> None:
    writes = [Op(process=n, f="write", value=n, type=OK, invoked=n, returned=500 + n) for n in range(300)]
    read = Op(process=999, f="read", result="x", type=OK, invoked=400, returned=401)
    verdict = check(History([*writes, read]), Register())
    assert verdict.possible_states == ["nil", *(str(n) for n in range(300))]
    assert verdict.possible_states_complete


def test_what_was_possible_is_found_among_hundreds_of_unanswered_writes() -> None:
    """A sweep over writes that nobody saw ran out of time there, and the sentence said nothing of what was possible."""
    history = simulate.register_history(Random(4), operations=3000, clients=20, unanswered=0.3)
    last = max(op.returned or op.invoked for op in history) + 1
    write = Op(process=10**6, f="write", key="k0", value=-1, type=OK, invoked=last, returned=last + 1)
    read = Op(process=10**6 + 1, f="read", key="k0", result=-2, type=OK, invoked=last + 2, returned=last + 3)
    verdict = check(History([*history, write, read]), Register())
    assert verdict.verdict == "invalid"
    assert "-1" in verdict.possible_states
    assert "of the operations leaves -1" in verdict.explanation or "tried leave" in verdict.explanation
