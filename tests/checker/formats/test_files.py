"""Formats: found by content, and every wrong file refused with its line and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from checker.formats.edn import read_forms
from checker.formats.files import detect, load, loads
from checker.history import History, HistoryError

OURS = """{"i":0,"t":5,"type":"invoke","process":0,"f":"write","key":"k","value":1}
{"i":1,"t":6,"type":"ok","process":0,"f":"write","key":"k","value":1}
"""
EDN_LINES = """; a comment
{:process :nemesis, :type :info, :f :start, :value {"n1" #{"n2"}}}
{:index 0, :time 5, :process 0, :type :invoke, :f :write, :value 1}
{:index 1, :time 6, :process 0, :type :ok, :f :write, :value 1}
"""
EDN_VECTOR = "[{:process 0, :type :invoke, :f :write, :value 1}\n {:process 0, :type :ok, :f :write, :value 1}]\n"
EDN_TAGGED = EDN_VECTOR.replace("{", "#jepsen.history.Op{")
JEPSEN_LOG = """INFO  jepsen.core - Starting
INFO  jepsen.util - 0	:invoke	:write	1
INFO  jepsen.util - :nemesis	:info	:start	nil
INFO  jepsen.util - 0	:ok	:write	1
"""
ELLE_CLI = """[{"index":0,"type":"invoke","f":"write","process":0,"value":1},
{"index":1,"type":":ok","f":":write","process":0,"value":1}]"""


def shapes(history: History) -> list[tuple[object, ...]]:
    return [(op.process, op.f, op.value, op.type) for op in history]


@pytest.mark.parametrize(
    "text,name",
    [
        (OURS, "jsonl"),
        (EDN_LINES, "edn"),
        (EDN_VECTOR, "edn"),
        (EDN_VECTOR.replace("[", "(").replace("]", ")"), "edn"),
        (EDN_TAGGED, "edn"),
        (JEPSEN_LOG, "jepsen-log"),
        (ELLE_CLI, "json"),
        ("\ufeff" + OURS, "jsonl"),
    ],
)
def test_the_format_is_found_by_content(text: str, name: str) -> None:
    assert detect(text.removeprefix("\ufeff")) == name
    assert shapes(loads(text.encode())) == [(0, "write", 1, "ok")]
    assert shapes(loads(text.encode(), name)) == [(0, "write", 1, "ok")]


@pytest.mark.parametrize("text", ["", "\n\n", "[]", "; nothing\n"])
def test_an_empty_history_is_a_history(text: str) -> None:
    assert len(loads(text.encode())) == 0


def test_times_and_indices_are_kept_where_there_are_any() -> None:
    (op,) = loads(EDN_LINES.encode())
    assert (op.invoke_index, op.return_index, op.invoke_time, op.return_time) == (0, 1, 5, 6)


def test_independent_keys_of_jepsen_are_split() -> None:
    text = """{:process 0, :type :invoke, :f :read, :value [7 nil]}
    {:process 1, :type :invoke, :f :cas, :value [8 [3 4]]}
    {:process 0, :type :ok, :f :read, :value [7 5]}
    {:process 1, :type :info, :f :cas, :value [8 [3 4]], :error :timeout}"""
    assert [(op.key, op.value, op.result) for op in loads(text.encode())] == [(7, None, 5), (8, [3, 4], None)]


def test_two_plain_values_are_no_key() -> None:
    text = "[{:process 0, :type :invoke, :f :cas, :value [3 4]} {:process 0, :type :ok, :f :cas, :value [3 4]}]"
    assert [(op.key, op.value) for op in loads(text.encode())] == [(None, [3, 4])]


def test_porcupine_kv_logs_are_read() -> None:
    text = '{:process 6, :type :invoke, :f :get, :key "0", :value nil}\n{:process 6, :type :ok, :f :get, :key "0", :value "x"}\n'
    assert [(op.key, op.f, op.result) for op in loads(text.encode())] == [("0", "get", "x")]


@pytest.mark.parametrize(
    "text,line,sentence",
    [
        (OURS[:-20] + "\n", 2, "expected one JSON object a line"),
        (OURS.replace("{", "", 1), 1, "not a history: expected JSON lines, EDN, JSON or Jepsen log lines"),
        (OURS[:-20], 2, "the file is truncated"),
        (OURS + "[1]\n", 3, "an event must be a map"),
        (OURS.replace('"ok"', '"done"'), 2, "unknown type 'done', expected one of invoke, ok, fail, info"),
        (EDN_LINES[:-20], 4, "the file is truncated: the text ends inside a '{'"),
        (EDN_VECTOR.replace("]", ""), 2, "the text ends inside the history: expected ']'"),
        (EDN_VECTOR.replace(", :value 1}]", ", :value}]"), 2, "a map with a key that has no value"),
        (EDN_VECTOR + "{:process 0}", 3, "text after the end of the history"),
        (EDN_VECTOR.replace(":type :ok", ":type :okay"), 2, "unknown type 'okay'"),
        ("{:process 0, :type :invoke, :f :read}}", 1, "closes nothing"),
        ("{:process 0, :type :invoke, :f :write, :value 1}\n{:process 0, :type :invoke, :f :read}", 2, "is still open"),
        (ELLE_CLI[:-1], 2, "expected ']' at the end of the array"),
        (ELLE_CLI[:-10], 2, "the last object does not end"),
        (ELLE_CLI.replace('"write"', "write"), 1, "expected a JSON object"),
        (ELLE_CLI + "x", 2, "text after the end of the array"),
        (JEPSEN_LOG[:-4], 4, "expected ':type :f value' after the process"),
        (JEPSEN_LOG.replace(":ok	:write	1", ":ok"), 4, "expected ':type :f value' after the process"),
        (OURS.replace('"k"', '"\\ud83d"'), 1, r"not text: half of a surrogate pair (\ud83d)"),
        ("[" * 100_000, 1, "can't be read"),
        (
            OURS.replace('"value":1', '"value":' + "[" * 700 + "]" * 700),
            None,
            "can't be read: lists in lists, too deep",
        ),
        (OURS.replace('"value":1', '"value":' + "9" * 5000), 1, "expected one JSON object a line"),
        ("{:process " + "9" * 5000 + "}", 1, "can't be read"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(text: str, line: int | None, sentence: str) -> None:
    """Issue, "Bad input": "exit 2 with line number and what was expected"."""
    with pytest.raises(HistoryError) as refused:
        loads(text.encode())
    assert sentence in str(refused.value)
    assert refused.value.line == line


@pytest.mark.parametrize("data", [b"\xff\xfe", OURS.encode("utf-16"), OURS.encode() + b"\xc3\x28\n", b'{"a":1}\n\0\n'])
def test_what_is_not_text_is_refused(data: bytes) -> None:
    with pytest.raises(HistoryError, match=r"not text: .* expected a text file"):
        loads(data)


@pytest.mark.parametrize("text", [OURS, EDN_LINES, EDN_VECTOR, JEPSEN_LOG, ELLE_CLI])
def test_a_torn_tail_is_dropped_on_request_wherever_it_was_torn(text: str) -> None:
    """Issue: "the torn last line is cut with a warning; `check FILE` refuses it unless `--allow-torn-tail`"."""
    data = text.encode()
    start = data.index(b"1", data.index(b"invoke")) + 3
    for end in range(start, len(data)):
        history = loads(data[:end], allow_torn_tail=True)
        assert [op.f for op in history] == ["write"]
        if history.warnings:
            assert "its last event was dropped" in history.warnings[0]
            with pytest.raises(HistoryError, match="truncated"):
                loads(data[:end])


def test_a_tail_torn_inside_a_character_is_dropped_on_request() -> None:
    data = OURS.encode() + '{"i":2,"value":"é'.encode()[:-1]
    assert len(loads(data, allow_torn_tail=True)) == 1
    with pytest.raises(HistoryError, match="not text"):
        loads(data)


def test_numbers_that_are_none_are_values_of_their_own() -> None:
    """As floats NaN would differ from itself, and a read of it could never be explained."""
    text = OURS.replace('"value":1', '"value":NaN')
    assert [op.value for op in loads(text.encode())] == ["##NaN"]
    assert [op.value for op in loads(b'[{"type":"invoke","process":1,"f":"write","value":-Infinity}]')] == [
        "##-Infinity"
    ]


def test_whole_surrogate_pairs_are_text() -> None:
    assert [op.key for op in loads(OURS.replace('"k"', '"\\ud83d\\ude00"').encode())] == ["\U0001f600"]


@pytest.mark.parametrize("text", [OURS, EDN_LINES, ELLE_CLI])
def test_a_log_without_events_is_refused(text: str) -> None:
    """Read in the wrong format a history would have no operations, and so be valid."""
    with pytest.raises(HistoryError, match="no event in the whole log, expected lines such as"):
        loads(text.encode(), "jepsen-log")


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(HistoryError, match="expected one of jsonl, edn, jepsen-log, json"):
        loads(b"", "csv")


def test_a_missing_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.edn")


@pytest.mark.parametrize(
    "text,value",
    [
        ('"a\\n\\u00e9\\"b"', 'a\né"b'),
        ("[1 -2 3N 4.5 1e3 2.50M]", [1, -2, 3, 4.5, 1000.0, 2.5]),
        ("[nil true false :k a/b \\a \\newline]", [None, True, False, ":k", "a/b", "a", "\n"]),
        ("{:a {[1 2] #{3}}}", {":a": {(1, 2): {3}}}),
        ('[#inst "2020" #_ ignored 1 ##NaN]', ["2020", 1, "##NaN"]),
        ("[##Inf ##-Inf]", ["##Inf", "##-Inf"]),
        ("[1, ; comment\n 2]", [1, 2]),
    ],
)
def test_edn_values(text: str, value: object) -> None:
    assert [form for _, form in read_forms(f"[{text}]")] == [value]
