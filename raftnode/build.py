"""What a node is made of: the four records of functions, and the limits that go with them.

The right node is `CURRENT`. A planted bug is another value of the same type, with one function replaced.
"""

from __future__ import annotations

from dataclasses import dataclass

from raftnode.answers import HONEST, Answers
from raftnode.machine import KEY_VALUE, Machine
from raftnode.messages import Limits
from raftnode.rules import RAFT, Rules
from raftnode.storage import DURABLE, Storage


@dataclass(frozen=True, slots=True)
class Build:
    """A node's decisions, by the name that `--build` gives them."""

    name: str
    rules: Rules
    machine: Machine
    storage: Storage
    answers: Answers
    limits: Limits


CURRENT = Build("current", RAFT, KEY_VALUE, DURABLE, HONEST, Limits())
