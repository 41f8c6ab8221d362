"""A bank: transfers between accounts, and reads of all balances, whose total never changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from checker.budget import Meter
from checker.history import FAIL, OK, History, Op
from checker.models.base import Model, ModelError, State
from checker.verdict import INVALID, Verdict


class _Unread(msgspec.Struct, frozen=True):
    """What transfers did before the first read: of each account, what they moved in all, and the least that it ever was."""

    accounts: tuple[tuple[str, int, int], ...]


class Bank(Model):
    """Accounts with whole balances: transfer {from, to, amount}, and read, which gives a map of all balances.

    The initial value is a map of balances, or their total. Without balances the question is whether there are any from which one
    bank could have answered so. Every read must add up to the total (without one: to that of the first read), and no balance
    is below zero unless `negative_balances` allows it: Jepsen's promise, which is looked at first, and alone would not tell a transfer
    that was acknowledged and lost.
    """

    functions = frozenset({"read", "transfer"})
    options = frozenset({"negative_balances"})

    def __init__(self, init: Any = None, name: str = "bank", *, negative_balances: bool = False) -> None:
        self.name = name
        self.negative_balances = negative_balances
        balances = init if isinstance(init, Mapping) else {}
        if not (init is None or type(init) is int or (isinstance(init, Mapping) and _are_numbers(init))):
            raise ModelError(
                f"the initial value of model {name} must be a map of balances or their total, not {init!r}"
            )
        self._total = init if type(init) is int else sum(balances.values()) if balances else None
        self._known = bool(balances)
        self.init: State = _state(balances) if self._known else _Unread(())

    def judge(self, history: History, meter: Meter) -> Verdict | None:
        """Invalid where a read adds up to another total, or names a balance below zero; None where the search goes on from there."""
        total, first = self._total, "the initial balances have"
        for op in history:
            if op.f != "read" or op.type != OK:
                continue
            meter.spend(1)
            found = sum(op.result.values())
            if total is None:
                total, first = found, "the first read had"
            below = sorted((str(account), each) for account, each in op.result.items() if each < 0)
            if found != total:
                return self._broken(history, op, f"adds up to {found:,}, but {first} {total:,}")
            if below and not self.negative_balances:
                return self._broken(history, op, f"names {below[0][1]:,} on account {below[0][0]}, below zero")
        return None

    def prepared(self, history: History) -> Model:
        """The bank with the balances of a read that was over before any transfer began: nothing can have changed them before."""
        if self._known:
            return self
        begun = min((op.invoked for op in history if op.f == "transfer" and op.type != FAIL), default=None)
        for op in history:
            if op.f == "read" and op.type == OK and (begun is None or (op.returned or begun) < begun):
                return Bank(op.result, self.name, negative_balances=self.negative_balances)
        return self

    def step(self, state: State, op: Op) -> State | None:
        """A read gives all balances; a transfer moves money that is there, or any if balances may be below zero."""
        if isinstance(state, _Unread):
            return self._unread(state, op)
        assert isinstance(state, tuple)
        if op.f == "read":
            return state if op.type != OK or state == _state(op.result) else None
        source, target, amount = (_part(op.value, name) for name in ("from", "to", "amount"))
        balances = dict(state)
        balances[_account(source)] = balances.get(_account(source), 0) - amount
        if balances[_account(source)] < 0 and not self.negative_balances:
            return None
        balances[_account(target)] = balances.get(_account(target), 0) + amount
        return _state(balances)

    def _unread(self, state: _Unread, op: Op) -> State | None:
        """A step before the first read, which tells the balances: those accounts were touched, and had enough.

        Let m be the least that the transfers ever left on an account that began with 0, and s what they leave: from b there is never
        less than b + m, and b + s in the end. So some b will do unless the read gives less than s - m, or the total less than all -m.
        """
        if op.f == "read":
            if op.type != OK:
                return state
            found = {_account(account): balance for account, balance in op.result.items()}
            enough = all(
                account in found and (self.negative_balances or found[account] >= moved - least)
                for account, moved, least in state.accounts
            )
            return _state(found) if enough and self._total in (None, sum(found.values())) else None
        source, target, amount = (_part(op.value, name) for name in ("from", "to", "amount"))
        accounts = {account: (moved, least) for account, moved, least in state.accounts}
        moved, least = accounts.get(_account(source), (0, 0))
        accounts[_account(source)] = moved - amount, min(least, moved - amount)
        moved, least = accounts.get(_account(target), (0, 0))
        accounts[_account(target)] = moved + amount, least
        needed = -sum(least for _, least in accounts.values())
        if self._total is not None and needed > self._total and not self.negative_balances:
            return None
        return _Unread(tuple(sorted((account, *each) for account, each in accounts.items())))

    def readonly(self, op: Op) -> bool:
        """Reads; while the balances are not known only those without an answer, since the first one tells them."""
        return op.f == "read" and (self._known or op.type != OK)

    def describe(self, state: State) -> str:
        """The balances."""
        if isinstance(state, _Unread):
            return "balances that no read has told yet"
        assert isinstance(state, tuple)
        return "{" + ", ".join(f"{account}: {balance}" for account, balance in state) + "}"

    def refuses(self, op: Op) -> str:
        """A read that gives no balances, a transfer that does not say what it moves."""
        if op.f == "transfer":
            parts = [_part(op.value, name) for name in ("from", "to", "amount")]
            if None in parts or type(parts[2]) is not int:
                return f"the value of a transfer must be a map of from, to and a whole amount, this is {op.value!r}"
        elif op.type == OK and not (isinstance(op.result, Mapping) and _are_numbers(op.result)):
            return f"a read of a bank must give a map of whole balances, this is {op.result!r}"
        return ""

    def _broken(self, history: History, op: Op, what: str) -> Verdict:
        place = f"at {op.return_time / 1e9:.3f} s" if op.return_time is not None else f"at event {op.returned}"
        return Verdict(
            verdict=INVALID,
            model=self.name,
            way="totals",
            operations=len(history),
            first_impossible=op.as_dict(),
            core=[op.as_dict()],
            explanation=f"Read by process {op.process} {place} {what}",
        )


def _account(name: Any) -> str:
    """The name of an account as text: a map in JSON has no other keys, while a transfer beside it says 6."""
    return str(name).removeprefix(":")


def _state(balances: Mapping[Any, int]) -> State:
    return tuple(sorted((_account(account), balance) for account, balance in balances.items()))


def _are_numbers(balances: Mapping[Any, Any]) -> bool:
    return all(type(balance) is int for balance in balances.values())


def _part(value: Any, name: str) -> Any:
    """A part of a transfer; EDN writes the name as a keyword."""
    return value.get(name, value.get(f":{name}")) if isinstance(value, Mapping) else None
