"""What inference finds: the dependency graph, and the anomalies that need no cycle to be seen."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from checker.transactions.graph import Edges
from checker.transactions.table import Ints, Table

EXAMPLES = 8
"""How many anomalies of one kind are told in words; all are counted."""


class Example(msgspec.Struct, frozen=True):
    """One anomaly: the transactions (rows of the table) that show it, and a sentence."""

    transactions: tuple[int, ...]
    sentence: str


class Anomaly(msgspec.Struct):
    """A kind of anomaly: how often it was found, and the first examples."""

    kind: str
    count: int = 0
    examples: list[Example] = []


class Findings:
    """What was inferred of a history; `unclear` is why its dependencies can't be told, where they can't."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.edges = Edges(len(table.operations))
        self.anomalies: dict[str, Anomaly] = {}
        self.committed: Ints = table.status == 0
        self.position: Ints | None = None  # of lists: the place of each append among what was read, or -1
        self.unclear = ""

    def found(self, kind: str, count: int, examples: Iterable[Example]) -> None:
        """Notes anomalies of a kind; examples are only made where there are any."""
        if count:
            anomaly = self.anomalies.setdefault(kind, Anomaly(kind))
            anomaly.count += count
            for example in examples:
                if len(anomaly.examples) >= EXAMPLES:
                    break
                anomaly.examples.append(example)
