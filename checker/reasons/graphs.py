"""The core of an invalid verdict as a graph: what must come before what, and why, for networkx and whoever draws.

Networkx is loaded by name and only here: importing it takes longer than most checks do.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

REAL_TIME = "real time"
FORCED = "forced"


def graph(core: Sequence[Mapping[str, Any]]) -> Any:
    """A `networkx.MultiDiGraph` of the core: a node for each operation (its place in the core), with its row as attributes.

    Edges have `kind`: "real time" (it returned before the other was invoked; without those that follow from others), or
    "forced" (it brought the value that the other met, and nobody else in the core did). Raises ImportError without networkx.
    """
    networkx = importlib.import_module("networkx")
    made = networkx.MultiDiGraph()
    for number, row in enumerate(core):
        made.add_node(number, **row)
    before = networkx.DiGraph()
    before.add_nodes_from(made)
    before.add_edges_from(
        (one, other)
        for one, first in enumerate(core)
        for other, second in enumerate(core)
        if _returned_before(first, second)
    )
    made.add_edges_from(networkx.transitive_reduction(before).edges, kind=REAL_TIME)
    for other, row in enumerate(core):
        sources = [one for one, each in enumerate(core) if one != other and _brought(each, row)]
        if len(sources) == 1:
            made.add_edge(sources[0], other, kind=FORCED)
    return made


def _returned_before(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one["taken_as"] == "info" or one["return_index"] is None or other["invoke_index"] is None:
        return False
    return bool(one["return_index"] < other["invoke_index"])


def _brought(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether one operation of a register or a list brought what the other met."""
    if one["f"] == "append" and other["f"] == "read":
        return one["value"] in (other["result"] or [])
    if one["f"] not in {"write", "cas"} or other["f"] not in {"read", "cas"} or other["taken_as"] == "write":
        return False
    brought = one["value"] if one["f"] == "write" else one["value"][1]
    met = other["result"] if other["f"] == "read" else other["value"][0]
    return type(brought) is type(met) and bool(brought == met)
