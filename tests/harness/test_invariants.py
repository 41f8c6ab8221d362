"""The protocol's own invariants, judged from what the nodes wrote."""

from __future__ import annotations

import json
import time
from pathlib import Path

from harness.invariants import look_for_broken


def elected(term: int) -> dict[str, object]:
    return {"kind": "leader-elected", "term": term, "index": 1}


def committed(index: int, digest: str) -> dict[str, object]:
    return {"kind": "committed", "index": index, "term": 1, "digest": digest}


def write(folder: Path, **nodes: list[dict[str, object]]) -> Path:
    for node, events in nodes.items():
        (folder / node).mkdir()
        text = "".join(
            json.dumps({"v": 1, "t": t, "node": node, **each}, separators=(",", ":")) + "\n"
            for t, each in enumerate(events)
        )
        (folder / node / "events.jsonl").write_text(text)
    return folder


def test_nodes_that_keep_the_invariants(tmp_path: Path) -> None:
    nodes = write(
        tmp_path,
        n1=[elected(1), committed(1, "aa"), committed(3, "cc")],
        n2=[committed(1, "aa"), committed(2, "bb"), elected(2), committed(1, "aa")],
    )
    found = look_for_broken(nodes)
    assert (found.verdict, found.leaders, found.commits, found.broken) == ("valid", 2, 5, [])


def test_two_leaders_in_one_term_are_named(tmp_path: Path) -> None:
    found = look_for_broken(write(tmp_path, n5=[elected(13)], n2=[elected(12), elected(13)]))
    assert (found.verdict, found.broken) == ("invalid", ["two leaders in term 13: n2 and n5"])


def test_a_node_elected_twice_in_one_term_is_one_leader(tmp_path: Path) -> None:
    assert look_for_broken(write(tmp_path, n1=[elected(3), elected(3)])).broken == []


def test_the_first_index_at_which_committed_logs_differ_is_named(tmp_path: Path) -> None:
    nodes = write(
        tmp_path,
        n1=[committed(1, "aa"), committed(3, "cc"), committed(4, "dd")],
        n2=[committed(4, "xx"), committed(3, "yy")],
    )
    assert look_for_broken(nodes).broken == ["committed logs differ at index 3: n1 (cc) and n2 (yy)"]


def test_a_node_that_commits_something_else_in_a_later_life_is_convicted_by_itself(tmp_path: Path) -> None:
    nodes = write(tmp_path, n1=[committed(1, "aa"), {"kind": "started"}, committed(1, "bb")])
    assert look_for_broken(nodes).broken == ["committed logs differ at index 1: n1 (aa) and n1 (bb)"]


def test_torn_and_strange_lines_are_passed_over(tmp_path: Path) -> None:
    nodes = write(tmp_path, n1=[elected(1), committed(1, "aa")])
    with (nodes / "n1" / "events.jsonl").open("ab") as file:
        file.write(b'{"v":1,"kind":"committed","index":1,"dig\n\xff\x00"kind":"committed"\n')
        file.write(b'{"kind":"committed","index":"one","digest":"bb"}\n[]\n{"kind":"committed","index":1,"di')
    (nodes / "n2").mkdir()
    found = look_for_broken(nodes)
    assert (found.verdict, found.leaders, found.commits) == ("valid", 1, 1)


def test_a_long_run_is_judged_at_once(tmp_path: Path) -> None:
    events = [committed(index, f"{index:016x}") for index in range(20_000)]
    nodes = write(tmp_path, n1=events, n2=events, n3=events)
    began = time.process_time()
    assert look_for_broken(nodes).commits == 60_000
    assert time.process_time() - began < 1.0
