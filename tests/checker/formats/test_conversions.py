"""Conversions: there and back nothing changes, and what a format can't hold is refused or named."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulate import list_history

from checker.formats.convert import Conversion, convert, format_for, main
from checker.formats.files import FORMATS, load, loads
from checker.history import History, HistoryError

HOLD_ALL = ("jsonl", "edn", "json", "porcupine", "parquet")
"""The formats that hold all that an event of ours can say; the others say what they lose."""


def shapes(history: History) -> list[str]:
    """The operations without their lines, which are a file's."""
    return [repr(msgspec.structs.replace(op, line=None)) for op in history]


def in_format(history: History, name: str) -> bytes:
    write = FORMATS[name].write
    assert write is not None
    file = io.BytesIO()
    assert write(history, file) == []
    return file.getvalue()


WORDS = st.sampled_from(["", "a", ":a", "nil", "##NaN", 'a"b', "x 1 y", "\\", ";", "é\U0001f600", "\x07"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 1 << 65), WORDS, st.floats(allow_nan=False, allow_infinity=False)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=2)),
    max_leaves=5,
)


@st.composite
def event_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Well-formed events of some processes with all that an event of ours can say, and values of every kind."""
    random = Random(draw(st.integers(0, 1 << 16)))
    keyed = draw(st.booleans())
    asked: dict[int, dict[str, Any]] = {}
    events: list[dict[str, Any]] = []
    processes, following = [0, 1, 2], 3
    for i in range(draw(st.integers(0, 9))):
        place = random.randrange(3)
        process = processes[place]
        more = {"node": random.choice(["n1", "n2"]), "i": 2 * i, "t": 7 * i}
        if process in asked:
            kind = random.choice(["ok", "ok", "fail", "info"])
            error = {} if kind == "ok" else {"error": draw(st.sampled_from([":timeout", ["x", 1], "gone"]))}
            events.append({**asked.pop(process), **more, "type": kind, "value": draw(VALUES), **error})
            if kind == "info":
                processes[place], following = following, following + 1
        else:
            f = random.choice(["read", "write", "cas"])
            event = {
                "process": process,
                "type": "invoke",
                "f": f,
                "value": None if f == "read" else draw(VALUES),
                **more,
            }
            event |= {"op": f"o{i}", "workload": "register"} | ({"key": random.choice(["k", 7])} if keyed else {})
            asked[process] = event
            events.append(event)
    return events


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(event_lists())
def test_there_and_back_nothing_changes(events: list[dict[str, Any]]) -> None:
    """Issue: "converters both ways"; each pair of formats that can hold everything."""
    history = History.from_events(events)
    written = {name: loads(in_format(history, name), name) for name in HOLD_ALL}
    for name, read in written.items():
        assert shapes(read) == shapes(history), name
        for other in HOLD_ALL:
            assert shapes(loads(in_format(read, other), other)) == shapes(history), (name, other)


@pytest.mark.parametrize("name", HOLD_ALL)
def test_what_was_written_is_known_by_its_content(name: str, tmp_path: Path) -> None:
    history = History.from_events(
        [
            {"process": 0, "type": "invoke", "f": "append", "key": "k", "value": 1},
            {"process": 0, "type": "ok", "f": "append"},
        ]
    )
    path = tmp_path / "history"
    path.write_bytes(in_format(history, name))
    found = load(path)
    assert [(op.f, op.key, op.value, op.type) for op in found] == [("append", "k", 1, "ok")]


EDN = """{:process 0, :type :invoke, :f :txn, :value [[:append 1 2] [:r 1 nil]], :index 0, :time 5}
{:process 0, :type :ok, :f :txn, :value [[:append 1 2] [:r 1 [2]]], :index 1, :time 9}
"""


def test_steps_of_transactions_are_keywords_in_edn_and_strings_in_json() -> None:
    """harness.md 5.2: `[:append 253 1]` in EDN, `["append",253,1]` in the JSON that elle-cli accepts."""
    as_json = in_format(loads(EDN.encode()), "json")
    assert json.loads(as_json)[1]["value"] == [["append", 1, 2], ["r", 1, [2]]]
    assert shapes(loads(in_format(loads(as_json), "edn"))) == shapes(loads(EDN.encode()))


def test_keys_become_pairs_in_edn_where_that_is_read_back() -> None:
    """harness.md 5.1: "Keyed workloads: the value is a tuple: read [k nil] -> [k v], write [k v]"."""
    events = [
        {"process": 0, "type": "invoke", "f": "write", "key": 3, "value": 1},
        {"process": 0, "type": "ok", "f": "write", "key": 3, "value": 1},
        {"process": 0, "type": "invoke", "f": "read", "key": 3},
        {"process": 0, "type": "ok", "f": "read", "key": 3, "value": 1},
    ]
    text = in_format(History.from_events(events), "edn").decode()
    assert ":f :read, :value [3 nil]" in text
    assert [(op.key, op.result) for op in loads(text.encode())] == [(3, 1), (3, 1)]
    only_writes = in_format(History.from_events(events[:2]), "edn").decode()
    assert ":key 3, :value 1" in only_writes
    assert [(op.key, op.value) for op in loads(only_writes.encode())] == [(3, 1)]


LOSSY = [
    {"process": 0, "type": "invoke", "f": "push", "value": 5, "i": 0, "t": 1, "node": "n1"},
    {"process": 0, "type": "ok", "f": "push", "i": 1, "t": 2, "node": "n1"},
    {"process": 1, "type": "invoke", "f": "pop", "i": 2, "t": 3},
    {"process": 2, "type": "invoke", "f": "push", "value": "b", "i": 3, "t": 4},
    {"process": 1, "type": "ok", "f": "pop", "value": 5, "i": 4, "t": 5},
    {"process": 2, "type": "fail", "f": "push", "error": "full", "i": 5, "t": 6},
    {"process": 3, "type": "invoke", "f": "pop", "i": 6, "t": 7},
    {"process": 3, "type": "ok", "f": "pop", "value": None, "i": 7, "t": 8},
    {"process": 4, "type": "invoke", "f": "push", "value": -7, "i": 8, "t": 9},
]


def converted(
    tmp_path: Path, events: list[dict[str, Any]], target: str, name: str | None = None
) -> tuple[Conversion, History]:
    source, place = tmp_path / "source.jsonl", tmp_path / target
    source.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
    done = convert(source, place, None, name)
    return done, load(place)


def test_what_a_log_of_limo_loses_is_named(tmp_path: Path) -> None:
    done, history = converted(tmp_path, LOSSY, "stack.hist")
    assert (tmp_path / "stack.hist").read_text() == (
        "# @object atomic-stack\n[0] call push(5)\n[0] return\n[1] call pop\n[1] return 5\n"
        "[3] call pop\n[3] return empty\n[4] call push(-7)\n"
    )
    assert [(op.f, op.value, op.type, op.result) for op in history] == [
        ("push", 5, "ok", None),
        ("pop", None, "ok", 5),
        ("pop", None, "ok", None),
        ("push", -7, "info", None),
    ]
    assert done.lost == [
        "limo does not hold the index of its events: 5 of 5 operations lose it",
        "limo does not hold times: 5 of 5 operations lose it",
        "limo does not hold an error: 1 of 5 operations lose it",
        "limo does not hold a node: 1 of 5 operations lose it",
        "limo does not hold operations that failed: 1 are left out, as they did nothing",
    ]


def test_a_jepsen_log_keeps_what_it_can(tmp_path: Path) -> None:
    done, history = converted(tmp_path, LOSSY, "jepsen.log")
    assert [(op.process, op.f, op.value, op.type, op.result) for op in history] == [
        (op.process, op.f, op.value, op.type, op.result) for op in History.from_events(LOSSY)
    ]
    assert [loss.split(":")[0] for loss in done.lost] == [
        f"jepsen-log does not hold {what}" for what in ("the index of its events", "times", "an error", "a node")
    ]


def test_a_log_of_porcupines_tests_holds_strings(tmp_path: Path) -> None:
    events = [
        {"process": 9, "type": "invoke", "f": "append", "key": "0", "value": "x 9 0 y"},
        {"process": 9, "type": "ok", "f": "append", "key": "0", "value": "x 9 0 y"},
        {"process": 1, "type": "invoke", "f": "get", "key": "0"},
        {"process": 1, "type": "ok", "f": "get", "key": "0", "value": "x 9 0 y"},
    ]
    done, history = converted(tmp_path, events, "kv.txt")
    assert (tmp_path / "kv.txt").read_text().splitlines()[0] == (
        '{:process 9, :type :invoke, :f :append, :key "0", :value "x 9 0 y"}'
    )
    assert shapes(history) == shapes(History.from_events(events))
    assert done.lost == []


@pytest.mark.parametrize(
    "events,target,sentence",
    [
        ([{**LOSSY[0], "value": "5"}], "a.hist", "LiMo's logs can't hold '5'"),
        ([{**LOSSY[0], "value": "empty"}], "a.hist", "LiMo's logs can't hold 'empty'"),
        ([{**LOSSY[0], "key": 1}], "a.hist", "LiMo's logs tell of one object: this history has keys"),
        ([{**LOSSY[0], "key": 1}], "a.log", "jepsen-log can hold keys only where every operation has one"),
        (LOSSY[:1], "a.txt", "porcupine-kv can't hold push of key None with 5"),
        ([{**LOSSY[0], "t": 1.5}], "a.parquet", "parquet holds whole numbers of 64 bits: push of process 0 has others"),
        (LOSSY, "a.operations.json", "can't write the format 'etcd', expected one of jsonl"),
        (LOSSY, "a", "does not tell a format: expected one that ends with .jsonl"),
    ],
)
def test_what_can_not_be_held_is_refused_and_leaves_nothing(
    events: list[dict[str, Any]], target: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(HistoryError) as refused:
        converted(tmp_path, events, target)
    assert sentence in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source.jsonl"]


def test_only_a_regular_file_is_replaced_and_a_link_stays(tmp_path: Path) -> None:
    """A rename would put a file in the place of a device: /dev/stdout of the machine."""
    pipe, folder, link, loop = (tmp_path / name for name in ("pipe", "folder", "link", "loop"))
    os.mkfifo(pipe)
    folder.mkdir()
    loop.symlink_to(loop)
    for target, sentence in ((pipe, "is no regular file"), (folder, "is no regular file"), (loop, "back to itself")):
        with pytest.raises(HistoryError, match=sentence):
            converted(tmp_path, LOSSY, target.name, "jsonl")
    link.symlink_to(pipe)
    with pytest.raises(HistoryError, match="is no regular file"):
        converted(tmp_path, LOSSY, "link", "jsonl")
    assert pipe.is_fifo()
    for content in ("old", None):  # a link may name what is not there yet
        real = folder / f"real-{content}"
        link.unlink()
        link.symlink_to(real)
        if content:
            real.write_text(content)
        converted(tmp_path, LOSSY, "link", "jsonl")
        assert link.is_symlink()
        assert '"invoke"' in real.read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["real-None", "real-old"]


@pytest.mark.parametrize("value,what", [("{0 1}", "a map with the key 0"), ("#{1}", r"(frozenset\()?\{1\}")])
@pytest.mark.parametrize("name", ["jsonl", "json", "porcupine"])
def test_json_refuses_what_it_would_change(value: str, what: str, name: str) -> None:
    history = loads(f"{{:process 0, :type :invoke, :f :add, :value {value}}}\n".encode())
    with pytest.raises(HistoryError, match=f"JSON can't hold {what}"):
        in_format(history, name)
    assert shapes(loads(in_format(history, "parquet"))) == shapes(history)


def test_the_end_of_a_name_tells_the_format() -> None:
    assert {each.suffix: format_for(f"x{each.suffix}") for each in FORMATS.values()} == {
        each.suffix: name for name, each in FORMATS.items()
    }


def test_histories_of_intervals_that_touch_are_written_as_running_at_once() -> None:
    """checker.md: "Intervals are closed: a return and an invoke at the same stamp are concurrent"."""
    history = list_history(Random(3), operations=60, clients=4)
    for name in HOLD_ALL:
        read = loads(in_format(history, name), name)
        assert [(op.f, op.key, op.value, op.result) for op in read] == [
            (op.f, op.key, op.value, op.result) for op in history
        ]


def test_a_frame_holds_what_the_history_holds() -> None:
    pandas = pytest.importorskip("pandas")
    history = History.from_events(LOSSY)
    frame = history.to_frame()
    assert list(frame["type"]) == ["ok", "ok", "fail", "ok", "info"]
    assert frame["returned"].isna().tolist() == [False, False, False, False, True]
    assert shapes(History.from_frame(frame)) == shapes(history)
    assert shapes(History.from_frame(frame.sample(frac=1, random_state=1))) == shapes(history)
    few = frame[["process", "f", "value", "result", "type", "invoke_time", "return_time"]]
    assert [(op.f, op.value, op.type) for op in History.from_frame(few)] == [
        (op.f, op.value, op.type) for op in history
    ]
    for broken, sentence in (
        (frame.drop(columns="type"), "it lacks type"),
        (frame.assign(type="done"), r"line 1: expected a process, a function and a type \(ok, fail, info\)"),
        (frame.assign(returned=pandas.NA, return_time=pandas.NA), "ended as ok returned at some time: none is given"),
    ):
        with pytest.raises(HistoryError, match=sentence):
            History.from_frame(broken)


def test_the_checker_alone_converts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "h.edn", tmp_path / "h.json"
    source.write_text(EDN)
    assert main([str(source), str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["operations"] == 1
    assert main([str(target), str(tmp_path / "log"), "--to", "jepsen-log"]) == 0
    answered = capsys.readouterr()
    assert "1 operations from json to jepsen-log" in answered.out
    assert "jepsen-log does not hold times: 1 of 1 operations lose it" in answered.err
    source.write_text(EDN.replace(":process 0", ":process", 1))
    assert main([str(source), str(target)]) == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.startswith(f"{source}: line 1: ")
