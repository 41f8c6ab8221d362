"""The tables of a run: "tables/ pandas: operations.parquet, latency.csv, availability.csv, summary.csv" (DESIGN.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from recorded_run import MILLISECOND, SECOND, write_run

from harness.reading import read_run
from harness.tables import OPERATION_COLUMNS, unavailability_table, write_tables


def folder_of(place: Path, events: list[dict[str, Any]], **files: list[dict[str, Any]]) -> Path:
    """A run folder of a few lines; `files` are further JSON line files by their stem."""
    for name, lines in {"history": events, **files}.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (place / "run.json").write_text(json.dumps({"version": 1, "phase": "ran"}))
    return place


def operation(number: int, f: str, start_ms: int, end_ms: int, type_: str = "ok", **more: Any) -> list[dict[str, Any]]:
    common = {"process": number, "worker": number, "workload": "register", "f": f, "key": "r0", "op": f"c{number}-1"}
    asked = {"i": 2 * number, "t": start_ms * MILLISECOND, "type": "invoke", "value": 1, **common}
    return [asked, {"i": 2 * number + 1, "t": end_ms * MILLISECOND, "type": type_, "value": 1, **common, **more}]


def fault_lines(name: str, family: str, start: float, end: float, **resolved: Any) -> list[dict[str, Any]]:
    common = {"fault": name, "family": family, "kind": family, "evidence": {}}
    return [
        {**common, "phase": "installed", "t": round(start * SECOND), "resolved": resolved},
        {**common, "phase": "healed", "t": round(end * SECOND), "resolved": {}},
    ]


def elected(node: str, term: int, seconds: float) -> dict[str, Any]:
    return {"t": round(seconds * SECOND), "node": node, "kind": "leader-elected", "term": term, "index": 1}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("tables") / "run", violation=True)
    write_tables(folder)
    return folder


def test_operations_have_one_row_each_with_what_was_asked_and_answered(whole_run: Path) -> None:
    events = [json.loads(line) for line in (whole_run / "history.jsonl").read_text().splitlines()]
    table = pd.read_parquet(whole_run / "tables" / "operations.parquet")
    assert list(table.columns) == list(OPERATION_COLUMNS)
    assert len(table) == sum(event["type"] == "invoke" for event in events)
    assert table["type"].value_counts().to_dict() == {
        type_: sum(event["type"] == type_ for event in events) for type_ in ("ok", "fail", "info")
    }
    stale = table[(table["key"] == "r77") & (table["node"] == "n3")].iloc[0]
    assert (stale["f"], stale["value"], stale["result"], stale["type"]) == ("read", "null", "9001", "ok")
    assert stale["latency"] == stale["end"] - stale["start"] == 3_400_000


def test_the_history_is_kept_as_parquet_event_by_event(whole_run: Path) -> None:
    table = pd.read_parquet(whole_run / "history.parquet")
    lines = (whole_run / "history.jsonl").read_text().splitlines()
    assert table["i"].tolist() == [json.loads(line)["i"] for line in lines]
    last = json.loads(lines[-1])
    assert json.loads(table["value"].iloc[-1]) == last["value"]


def test_latency_is_that_of_answered_operations_by_the_phase_in_which_they_were_asked(tmp_path: Path) -> None:
    """An operation that was asked before a fault says nothing about the fault, whenever it ended."""
    events = [
        *operation(0, "read", 100, 110),
        *operation(1, "read", 200, 230),
        *operation(2, "read", 1200, 1900, "fail"),
        *operation(3, "read", 1500, 1540),
        *operation(4, "write", 2600, 2605),
    ]
    write_tables(folder_of(tmp_path, events, faults=fault_lines("f1", "partition", 1.0, 2.0)))
    table = pd.read_csv(tmp_path / "tables" / "latency.csv").set_index(["phase", "f"])
    assert table.loc[("before", "read"), ["count", "p50_ms", "max_ms"]].tolist() == [2, 20, 30]
    assert table.loc[("during", "read"), ["count", "p50_ms"]].tolist() == [1, 40]
    assert table.loc[("after", "write"), ["count", "max_ms"]].tolist() == [1, 5]
    assert table.loc[("all", "all"), "count"] == 4


def test_a_second_in_which_nothing_ended_has_its_row(tmp_path: Path) -> None:
    events = [
        *operation(0, "write", 100, 110),
        *operation(1, "write", 200, 2300, "info"),
        *operation(2, "read", 2310, 2320),
    ]
    write_tables(folder_of(tmp_path, events))
    table = pd.read_csv(tmp_path / "tables" / "availability.csv")
    whole = table[table["f"] == "all"].set_index("second")
    assert whole.index.tolist() == [0, 1, 2]
    assert whole.loc[1, ["ok", "fail", "info"]].tolist() == [0, 0, 0]
    assert pd.isna(whole.loc[1, "share_ok"])
    assert whole.loc[2, "share_ok"] == 0.5
    assert table[(table["f"] == "write") & (table["second"] == 2)]["info"].tolist() == [1]


def test_unavailability_runs_from_the_kill_of_the_leader_to_the_next_answered_write(tmp_path: Path) -> None:
    """Time from the kill to the next ok write; an answer of the dead that was on its way is none."""
    events = [
        *operation(0, "write", 100, 110, node="n1"),
        *operation(1, "write", 998, 1002, node="n1"),  # answered before it died, read after
        *operation(2, "read", 1100, 1200, node="n2"),
        *operation(3, "write", 1010, 1700, node="n2"),
        *operation(4, "write", 5100, 5110, node="n2"),
    ]
    events.sort(key=lambda event: event["t"])
    kills = fault_lines("kill-1", "kill", 1.0, 2.0, nodes=["n1"]) + fault_lines(
        "kill-2", "kill", 4.0, 4.5, nodes=["n1"]
    )
    run = read_run(folder_of(tmp_path, events, faults=kills, cluster=[elected("n1", 1, 0), elected("n2", 2, 1.6)]))
    table = unavailability_table(run)
    assert table[table["kind"] == "leader-kill"][["fault", "node", "seconds"]].to_numpy().tolist() == [
        ["kill-1", "n1", 0.7]
    ]
    assert table[table["kind"] == "longest"]["seconds"].tolist() == [3.41]


def test_a_store_that_stops_answering_for_good_shows_as_the_longest_gap(tmp_path: Path) -> None:
    events = [*operation(0, "write", 100, 110), *operation(1, "write", 9000, 9400, "info")]
    table = unavailability_table(read_run(folder_of(tmp_path, events)))
    assert table["seconds"].tolist() == [8.89]


def test_the_summary_has_the_figures_that_builds_are_compared_by(whole_run: Path) -> None:
    figures = pd.read_csv(whole_run / "tables" / "summary.csv").set_index("name")["value"]
    assert figures["ok"] + figures["fail"] + figures["info"] == figures["operations"]
    assert 0.9 < figures["share_ok"] < 1
    assert figures["latency_p50"] < figures["latency_p99"] <= figures["latency_max"]
    assert (figures["faults"], figures["faults_shown_to_bite"], figures["elections"]) == (3, 3, 3)
    assert 0.4 < figures["unavailable_after_leader_kill_median"] < 0.7


@pytest.mark.parametrize("history", [b"", b'{"i":0,"t":5,"type":"inv', b"\xff\xfe\n"])
def test_an_empty_or_torn_history_gives_tables_without_rows(tmp_path: Path, history: bytes) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "history.jsonl").write_bytes(history)
    write_tables(tmp_path)
    assert pd.read_parquet(tmp_path / "tables" / "operations.parquet").empty
    assert list(pd.read_parquet(tmp_path / "tables" / "operations.parquet").columns) == list(OPERATION_COLUMNS)
    assert pd.read_csv(tmp_path / "tables" / "summary.csv").set_index("name").loc["operations", "value"] == 0


def test_operations_whose_completion_was_torn_off_stay_open(tmp_path: Path) -> None:
    events = [*operation(0, "write", 100, 110), operation(1, "write", 200, 210)[0]]
    folder = folder_of(tmp_path, events)
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"i":3,"t":210')
    write_tables(folder)
    table = pd.read_parquet(folder / "tables" / "operations.parquet")
    assert table["type"].tolist() == ["ok", "info"]
    assert pd.isna(table["end"].iloc[1])
    assert read_run(folder).warnings == ["history.jsonl, line 4 is torn or no event, and was left out"]
