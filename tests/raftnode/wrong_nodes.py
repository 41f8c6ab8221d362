"""Nodes with one decision made wrong: the planted bugs, and rules of the catalogue of public bugs beyond those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from raftnode.bugs import BUGS
from raftnode.build import CURRENT, Build
from raftnode.rules import RAFT

WRONG_RULES: dict[str, dict[str, Callable[..., Any]]] = {
    "vote-twice": {"may_vote": lambda _vote, _candidate: True},
    "vote-for-stale-log": {"log_is_current": lambda *_: True},
    "vote-compares-length-only": {"log_is_current": lambda _term, index, _own_term, own_index: index >= own_index},
    "votes-while-a-leader-is-heard": {"hears_leader": lambda *_: False},
    "leader-counts-unsynced-self": {"own_match": lambda _durable, last: last},
    "commits-older-term": {"may_commit": lambda _entry_term, _own_term: True},
    "commit-past-match": {"follower_commit": lambda commit, _checked, last: min(commit, last)},
    "ack-past-check": {"acknowledged": lambda _prev, _entries, last: last},
    "truncates-on-reorder": {"clashes": lambda _own, _new: True},
    "next-below-match": {"back_up": lambda _match, refused, hint: max(1, min(hint, refused))},
    "ignores-the-hint": {"back_up": lambda match, refused, _hint: max(match + 1, refused)},
    "read-before-noop": {"read_index": lambda commit, _first: commit},
    "read-round-reused": {
        "read_confirmed": lambda rounds, wanted, quorum: sum(each >= wanted - 1 for each in rounds) >= quorum
    },
}


def wrong_node(name: str) -> Build:
    """A planted bug by its name, or the node with one of the rules above."""
    if name in BUGS:
        return BUGS[name].build
    return replace(CURRENT, name=name, rules=replace(RAFT, **WRONG_RULES[name]))


def counting(build: Build) -> tuple[Build, list[str]]:
    """The same build, and a list that grows whenever its wrong function decides otherwise than the right one would."""
    taken: list[str] = []

    def beside(name: str, wrong: Callable[..., Any], right: Callable[..., Any]) -> Callable[..., Any]:
        def decide(*arguments: Any) -> Any:
            decision = wrong(*arguments)
            if decision != right(*arguments):
                taken.append(f"{name}{arguments!r} gave {decision!r}")
            return decision

        return decide

    changed: dict[str, Any] = {}
    for record in ("rules", "machine", "storage", "answers"):
        wrong, right = getattr(build, record), getattr(CURRENT, record)
        for field in fields(right):
            functions = getattr(wrong, field.name), getattr(right, field.name)
            if functions[0] is not functions[1]:
                wrong = replace(wrong, **{field.name: beside(field.name, *functions)})
        changed[record] = wrong
    return replace(build, **changed), taken
