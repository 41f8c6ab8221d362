"""The quick readers: the same history as the general reader's, or none at all."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checker.formats import jepsen, jsonl, source
from checker.formats.edn import written
from checker.formats.files import FORMATS, load, read_generally
from checker.formats.quick import DoubtfulError
from checker.formats.source import Source
from checker.history import History, HistoryError

WORDS = st.sampled_from(["", "a", ":a", "nil", "##NaN", 'a"b', "x 1 y", "\\", ";", "{", "é", "\x07"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 1 << 65), WORDS, st.floats(allow_nan=False, allow_infinity=False)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=2)),
    max_leaves=5,
)
KEYED = st.tuples(st.sampled_from(["k", 7, None]), st.one_of(st.none(), st.integers(0, 2))).map(list)
STEPS = st.lists(st.sampled_from([[":append", 1, 2], [":r", 1, None], [":r", 1, [1, 2]], ["w", 3]]), max_size=3)
MORE: dict[str, st.SearchStrategy[Any]] = {
    "key": st.sampled_from(["k", 1, True, None, [1]]),
    "error": st.sampled_from([None, ":timeout", [":timeout", "no answer"], "x", {"a": 1}]),
    "node": st.sampled_from(["n1", ":n2", None, 5, ""]),
    "op": st.sampled_from(["o1", None, ""]),
    "workload": st.sampled_from(["register", "", None]),
    "worker": st.sampled_from([1, "w", [1, 2]]),
    "f": st.sampled_from(["read", None, ":write"]),
    "process": st.sampled_from(["nemesis", ":nemesis", True, -1, 1 << 70, None, 1.0]),
    "type": st.sampled_from(["ok", "started", ":ok", None]),
    "time": st.sampled_from([-1, 5, None, 7.5, True, 1 << 70, 3.0]),
    "t": st.sampled_from([0, 9, None, -3]),
    "index": st.sampled_from([0, 100, None, "1", 2.0, -7]),
    "i": st.sampled_from([0, 100, None]),
}


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events of a few processes, mostly well formed; some with a field that is not."""
    values = draw(st.sampled_from([st.integers(0, 3), VALUES, KEYED, STEPS]))
    random = Random(draw(st.integers(0, 1 << 16)))
    asked: dict[int, dict[str, Any]] = {}
    events: list[dict[str, Any]] = []
    following = 3
    processes = [0, 1, 2]
    for index in range(draw(st.integers(0, 10))):
        place = random.randrange(3)
        process = processes[place]
        if process in asked:
            kind = random.choice(["ok", "ok", "fail", "info"])
            begun = asked.pop(process)
            value = begun["value"] if random.random() < 0.5 else draw(values)
            events.append({**begun, "type": kind, "value": value, "index": index, "time": index * 10})
            if kind == "info":
                processes[place], following = following, following + 1
        else:
            f = random.choice(["read", "read", "write"])
            value = [random.choice(["k", 7]), None] if f == "read" and values is KEYED else draw(values)
            asked[process] = {
                "process": process,
                "type": "invoke",
                "f": f,
                "value": value,
                "index": index,
                "time": index * 10,
            }
            events.append(asked[process])
    for _ in range(draw(st.integers(0, 2)) if events else 0):
        place = draw(st.integers(0, len(events) - 1))
        name = draw(st.sampled_from(sorted(MORE)))
        events[place] = {**events[place], name: draw(MORE[name])}
    for name in draw(st.sets(st.sampled_from(["f", "index", "time", "value", "process"]), max_size=1)):
        events = [{key: value for key, value in event.items() if key != name} for event in events]
    return events


def outcome(text: str, name: str) -> tuple[list[str], str]:
    """The operations that the general reader finds, or its error."""
    try:
        history = read_generally(Source(text.encode()), FORMATS[name])
    except HistoryError as error:
        return [], str(error)
    return [repr(op) for op in history], ""


def agree(text: str, name: str) -> bool:
    """Whether the quick reader took the text; if it did, it found what the general one finds."""
    quick = FORMATS[name].quick
    assert quick is not None
    try:
        found = [repr(op) for op in History.of_columns(quick(Source(text.encode())))]
    except DoubtfulError:
        return False
    assert (found, "") == outcome(text, name)
    return True


SLOWLY = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def edn_line(event: dict[str, Any]) -> str:
    keywords = {"type", "f", "process"}
    pairs = (
        f":{key} :{str(value).removeprefix(':')}"
        if key in keywords and isinstance(value, str)
        else f":{key} {written(value)}"
        for key, value in event.items()
    )
    return "{" + ", ".join(pairs) + "}"


@SLOWLY
@given(histories(), st.sampled_from(["\n", "\n\n", "\r\n", ""]))
def test_json_lines_are_read_alike(events: list[dict[str, Any]], end: str) -> None:
    agree("\n".join(json.dumps(event) for event in events) + end, "jsonl")


@SLOWLY
@given(histories(), st.sampled_from(["\n", "\n\n; end", "\n]", "}", "]", ")"]), st.sampled_from(["", "[", "("]))
def test_edn_is_read_alike(events: list[dict[str, Any]], end: str, begin: str) -> None:
    agree(begin + "\n".join(map(edn_line, events)) + end, "edn")


def usual(count: int) -> list[dict[str, Any]]:
    events = []
    for number in range(count):
        asked = {
            "process": number % 7,
            "f": "cas",
            "value": [number, number + 1],
            "index": 2 * number,
            "time": 5 * number,
        }
        events += [{"type": "invoke", **asked}, {"type": "ok", **asked, "index": 2 * number + 1}]
    return events


@pytest.mark.parametrize("name,line", [("jsonl", json.dumps), ("edn", edn_line)])
def test_usual_histories_are_read_quickly(name: str, line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above would hold for a reader that is never sure."""
    monkeypatch.setattr(source, "BLOCK_BYTES", 100)  # so that lines and operations stretch over blocks
    events = usual(50)
    assert agree("\n".join(map(line, events)) + "\n", name)
    assert agree("\ufeff" + "\n".join(map(line, events)), name)
    if name == "edn":
        assert agree("[" + ",\n".join(map(line, events)) + "]\n", name)
        assert agree("; so\n(" + "\n #jepsen.history.Op".join(map(line, events)) + "\n)", name)
    assert agree("\r\n".join(map(line, events)), name)
    given_more = [
        {**event, "error": [":timeout", "late"], "node": "n1"} if n % 9 == 1 else event
        for n, event in enumerate(events)
    ]
    assert agree("\n".join(map(line, given_more)), name)
    nemesis = [
        *events[:6],
        {"type": "info", "process": "nemesis", "f": "start", "value": {"n1": [1, "a"]}},
        *events[6:],
    ]
    assert agree("\n".join(map(line, nemesis)), name)
    keyed = [
        {"type": kind, "process": 0, "f": "read", "value": [n, value]}
        for n in range(9)
        for kind, value in (("invoke", None), ("ok", n))
    ]
    assert agree("\n".join(map(line, keyed)), name)
    assert [op.key for op in read_generally(Source("\n".join(map(line, keyed)).encode()), FORMATS[name])] == list(
        range(9)
    )


@pytest.mark.parametrize(
    "lines",
    [
        '{"type":"invoke","process":0,"f":"read"}{"type":"ok","process":0}\n\n',
        '{"type":"invoke","process":0,\n"f":"read"}\n',
        '{"type":"invoke","process":0,"f":"read"}\n{"type":"ok",\n"process":0}{"type":"invoke","process":0,"f":"read"}\n',
        '{"type":"invoke","process":0,"f":"read","value":NaN}\n',
        '{"type":"invoke","process":0,"f":"read","x":"\\ud83d"}\n',
    ],
)
def test_what_is_not_one_object_a_line_is_left_to_the_general_reader(lines: str) -> None:
    with pytest.raises(DoubtfulError):
        jsonl.quick(Source(lines.encode()))


@pytest.mark.parametrize(
    "line",
    [
        "{:type :invoke, :process 0, :f :read, :value [1 [2]}",
        "{:type :invoke, :process 0, :f :read, :value [1] [2]}",
        "{:type :invoke, :process 0, :f :read, :value }",
        "{:type :invoke, :process 0, :f :read, :value 1 :f :write}",
        "[{:type :invoke, :process 0, :f :read}]",
        "[{:type :invoke, :process 0, :f :read}",
        "({:type :invoke, :process 0, :f :read}]",
        "[{:type :invoke, :process 0, :f :read} {:type :info, :process 0}",
        "{:type :invoke, :process 0, :f :read, :value 08x\0}",
        '{:type :invoke, :process 0, :f :read, :value #inst "2020" 1}',
    ],
)
def test_edn_that_is_not_sure_to_be_one_map_a_line_is_left_to_the_general_reader(line: str) -> None:
    with pytest.raises(DoubtfulError):
        jepsen.quick(Source(f"{line}\n{{:type :ok, :process 0, :f :read, :value 1}}\n".encode()))


def test_long_loads_tell_how_far_they_are(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in usual(20_000)))
    told: list[Sequence[int]] = []
    assert len(load(path, progress=lambda done, size: told.append((done, size)))) == 20_000
    size = path.stat().st_size
    assert [each[1] for each in told] == [size] * len(told)
    assert [each[0] for each in told] == sorted({each[0] for each in told})
    assert told[-1][0] == size
    assert len(told) > 1


@pytest.mark.parametrize("line", [json.dumps, edn_line])
def test_what_a_load_takes_does_not_grow_with_the_text(
    line: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue: "peak memory with the history" is that of its columns; here the text is twenty times as long."""
    monkeypatch.setattr(source, "BLOCK_BYTES", 1 << 16)
    path = tmp_path / "history"
    path.write_text("".join(line({**event, "note": "x" * 2000}) + "\n" for event in usual(2000)))
    tracemalloc.start()
    history = load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(history) == 2000
    assert peak < path.stat().st_size / 4
