"""Formats of other tools: what their operations mean here, and how what is wrong with a file is said."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from checker import check, make_model
from checker.formats.files import FORMATS, detect, loads
from checker.history import History, HistoryError

STACK = """# A small one
# @object atomic-stack
[1] call push(a)
    [2] call pop
[1] return
    [2] return a
[1] call pop()
[1] return empty
[3] call push 7
[3] return
[4] call pop(7)
[4] return
[5] call pop
"""
TEX = "\\call{1}{\\push{b}}\n\\ret{1}\n\\call{2}{\\pop}\n\\ret[b]{2}\n"


def test_logs_of_limo() -> None:
    """Issue: "LiMo's queue and stack logs"; a taking that found nothing answers None, as the model of a stack asks."""
    assert detect(STACK) == "limo"
    assert [(op.process, op.f, op.value, op.type, op.result) for op in loads(STACK.encode())] == [
        (1, "push", "a", "ok", None),
        (2, "pop", None, "ok", "a"),
        (1, "pop", None, "ok", None),
        (3, "push", 7, "ok", None),
        (4, "pop", None, "ok", 7),
        (5, "pop", None, "info", None),
    ]
    assert [(op.f, op.value, op.result) for op in loads(TEX.encode())] == [("push", "b", None), ("pop", None, "b")]


def etcd(client: int, input_: dict[str, Any], call: int, back: int, **output: Any) -> str:
    """An operation as etcd's tests record it: indented, one object after the other."""
    return json.dumps({"ClientId": client, "Input": input_, "Call": call, "Output": output, "Return": back}, indent=2)


def put(key: str, value: Any, conditions: Any = None) -> dict[str, Any]:
    step = {"Type": "put-operation", "Put": {"Key": key, "Value": value}}
    return {
        "Type": "txn",
        "Txn": {"Conditions": conditions, "OperationsOnSuccess": [step], "OperationsOnFailure": None},
    }


def get(key: str, **more: Any) -> dict[str, Any]:
    return {"Type": "range", "Range": {"Start": key, "End": "", "Limit": 0, "KeysOnly": False, "Revision": 0, **more}}


ETCD = "\n".join(
    [
        etcd(1, put("a", {"Value": "7"}), 10, 20, Txn={"Failure": False, "Results": [{}]}, **{"member-id": "82"}),
        etcd(2, get("a"), 20, 30, Range={"KVs": [{"Key": "a", "Value": {"Value": "7"}, "ModRevision": 2}], "Count": 1}),
        etcd(1, put("a", {"Hash": 99}, [{"Key": "a", "ExpectedRevision": 2}]), 40, 50, Txn={"Failure": True}),
        etcd(2, get("b"), 60, 70, Range={"KVs": None, "Count": 0}),
        etcd(3, put("a", {"Value": "8"}), 80, 99, Error="context deadline exceeded"),
        etcd(2, {"Type": "leaseGrant", "LeaseGrant": {"LeaseID": 1}}, 81, 82),
        etcd(2, get("a", Revision=1), 83, 84, Range={"KVs": None}),
    ]
)


def test_operations_of_etcds_tests() -> None:
    """harness.md 5.5: "ops with Error -> info; map put/range/CAS to our write/read/cas"."""
    assert detect(ETCD) == "etcd"
    history = loads(ETCD.encode())
    assert [(op.process, op.f, op.key, op.value, op.type, op.result) for op in history] == [
        (1, "write", "a", "7", "ok", None),
        (2, "read", "a", None, "ok", "7"),
        (1, "write", "a", {"Hash": 99}, "fail", None),
        (2, "read", "b", None, "ok", None),
        (3, "write", "a", "8", "info", None),
    ]
    assert (history.operations[0].node, history.operations[0].return_time) == ("82", 20)
    first, second = history.operations[:2]
    assert first.returned is not None
    assert second.invoked < first.returned  # intervals are closed
    assert history.warnings == [
        "1 operations: a read of an old revision is left out",
        "1 operations: leaseGrant is passed over, it changes no key",
        "1 operations: the condition on a revision is not checked, a model of values has none",
    ]
    assert check(history, make_model("register")).verdict == "valid"


def page(*rows: tuple[int, int, int, str], end: str = "99", metadata: str = "") -> str:
    history = [
        {
            "ClientId": client,
            "Start": start,
            "End": stop,
            "OriginalStart": "5",
            "OriginalEnd": end,
            "Description": says,
            "Metadata": metadata,
        }
        for client, start, stop, says in rows
    ]
    return json.dumps(
        {"Partitions": [{"History": history, "PartialLinearizations": [], "Largest": {}}], "Annotations": []}
    )


def test_pages_of_porcupine() -> None:
    """harness.md 5.4: places order, the original ones are times; a result that is not known has no end."""
    text = page((0, 0, 800, "put('x', 'a b')"), (1, 100, 300, "get('x') -> 'a b'"), (2, 300, 400, "cas(1, 2) -> ok"))
    assert detect(text) == "porcupine"
    history = loads(text.encode())
    assert [(op.process, op.f, op.key, op.value, op.type, op.result) for op in history] == [
        (0, "put", "x", "a b", "ok", None),
        (1, "get", "x", None, "ok", "a b"),
        (2, "cas", None, [1, 2], "ok", None),
    ]
    one, two = history.operations[1:]
    assert one.returned is not None
    assert two.invoked < one.returned
    assert (one.invoke_time, one.return_time) == (5, 99)
    unknown = loads(page((0, 0, 800, "write(3)"), end=str(2**63 - 1)).encode())
    assert [(op.value, op.type, op.returned) for op in unknown] == [(3, "info", None)]


ELLE = """{:index 0 :type :invoke, :value [[:append 1 1]]}
{:index 1 :type :ok      :value [[:append 1 1]]}
{:index 2 :type :invoke, :value [[:r 1 nil]]}
{:index 3 :type :ok,     :value [[:r 1 [1]]]}
"""


def test_transactions_need_neither_a_function_nor_a_process() -> None:
    """Elle's own examples leave both out: a completion belongs to the invocation before it, and no client is known."""
    history = loads(ELLE.encode())
    assert [(op.process, op.f, op.type, op.result) for op in history] == [
        (1, "txn", "ok", [[":append", 1, 1]]),
        (2, "txn", "ok", [[":r", 1, [1]]]),
    ]
    with pytest.raises(HistoryError, match='line 3: an event needs a "process"'):
        loads(ELLE.replace(":index 0", ":index 0 :process 1").replace(":index 1", ":index 1 :process 1").encode())
    with pytest.raises(HistoryError, match="ok of process 1 completes nothing"):
        loads("\n".join(ELLE.splitlines()[i] for i in (0, 1, 3)).encode())


@pytest.mark.parametrize(
    "name,text,line,sentence",
    [
        ("limo", STACK.replace("call pop()", "pops"), 7, r"expected '\[1\] call push\(5\)', .* this is '\[1\] pops'"),
        ("limo", STACK.replace("[1] return", "[9] return", 1), 5, "ok of process 9 completes nothing"),
        ("etcd", ETCD.replace('"Call"', '"Called"', 1), 1, r"not an operation of etcd's tests \(KeyError: 'Call'\)"),
        ("etcd", ETCD + "x", None, "not an operation of etcd's tests"),
        (
            "etcd",
            ETCD.replace('"put-operation"', '"watch"', 1),
            1,
            "a transaction with 'watch': expected puts, gets and deletes",
        ),
        ("etcd", ETCD.replace('"leaseGrant"', '"elect"', 1), None, "unknown type 'elect'"),
        ("porcupine", page((0, 0, 1, "put")), None, r"expected a description such as put\('x'\) -> ok, this is 'put'"),
        ("porcupine", '{"Partitions": 5}', None, "not a page of Porcupine: expected"),
        ("porcupine", '{"Partitions": [{"History": [', None, "not a page of Porcupine: expected"),
        ("parquet", "PAR1 and no more", None, "not a Parquet file, or a torn one"),
        (
            "porcupine-kv",
            '{:process 0, :type :invoke, :f :get, :key "1" :value}',
            1,
            "a map with a key that has no value",
        ),
    ],
)
def test_a_wrong_file_is_refused(name: str, text: str, line: int | None, sentence: str) -> None:
    """Issue: "exit 2 with file, line, what is wrong, what was expected"."""
    with pytest.raises(HistoryError, match=sentence) as refused:
        loads(text.encode(), name)
    if line is not None:
        assert refused.value.line == line


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("data", [b"\xff\xfe", b"{", b"[[[", b"\0", b'{"a":', b"PAR1", b"hello\n", b"7", b'"x', b"()"])
def test_no_bytes_whatever_make_a_reader_stumble(name: str, data: bytes) -> None:
    """Nothing but a history or a `HistoryError` comes of it."""
    with contextlib.suppress(HistoryError):
        assert isinstance(loads(data, name), History)


CONSOLE = """INFO [2024-01-06 15:07:52,655] jepsen test runner - jepsen.core Relative time begins now
INFO [2024-01-06 15:07:52,664] jepsen worker 0 - jepsen.util 0\t:invoke\t:write\t1
INFO [2024-01-06 15:07:52,664] jepsen nemesis - jepsen.util :nemesis\t:info\t:start\tnil
INFO [2024-01-06 15:07:52,666] jepsen worker 0 - jepsen.util 0\t:ok\t:write\t1
INFO [2024-01-06 15:07:52,700] jepsen worker 1 - jepsen.util 1  :invoke :read   nil
INFO [2024-01-06 15:07:52,701] node n1 - maelstrom.process Received {:type=>"echo", :msg_id=>1} :ok
WARN [2024-01-06 15:07:53,700] jepsen worker 1 - jepsen.util 1\t:info\t:read\tnil\t:net-timeout
"""
RUN_FILE = """2024-01-06 15:07:52,655{GMT}\tINFO\t[jepsen test runner] jepsen.core: Relative time begins now
2024-01-06 15:07:52,664{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:invoke\t:write\t1
2024-01-06 15:07:52,664{GMT}\tINFO\t[jepsen nemesis] jepsen.util: :nemesis\t:info\t:start\tnil
2024-01-06 15:07:52,666{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:ok\t:write\t1
2024-01-06 15:07:52,700{GMT}\tINFO\t[jepsen worker 1] jepsen.util: 1\t:invoke\t:read\tnil
2024-01-06 15:07:53,700{GMT}\tWARN\t[jepsen worker 1] jepsen.util: 1\t:info\t:read\tnil\t:net-timeout
"""


@pytest.mark.parametrize("text", [CONSOLE, RUN_FILE])
def test_logs_of_jepsen_with_threads(text: str) -> None:
    """As Jepsen writes them today, on the console and into the file of a run; times and lines that tell of no event are passed over."""
    assert detect(text) == "jepsen-log"
    assert [(op.process, op.f, op.value, op.type, op.result) for op in loads(text.encode())] == [
        (0, "write", 1, "ok", 1),
        (1, "read", None, "info", None),
    ]


@pytest.mark.parametrize("text", [CONSOLE, RUN_FILE])
@pytest.mark.parametrize("before, after", [("\t:ok\t", ":ok\t"), ("0\t:ok", "zero\t:ok"), ("0\t:ok", ":ok")])
def test_a_line_of_a_log_that_tells_of_an_event_is_never_skipped(text: str, before: str, after: str) -> None:
    """A write whose answer was passed over would be unanswered, and might never have happened."""
    with pytest.raises(HistoryError, match="line 4: a line that tells of an event and can't be read"):
        loads(text.replace(before, after, 1).encode())
