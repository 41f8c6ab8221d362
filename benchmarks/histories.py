"""Large histories of simulated atomic objects: registers, cas and list-append transactions, with faults that are certain.

All clients are always busy, so that the real overlap is the number of clients. Times are drawn as whole arrays; only the state
itself is carried from effect to effect in a loop, so a million operations take a second or two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from checker.columns import NEVER, Columns
from checker.formats import files
from checker.history import History
from checker.values import NOTHING_CODE, Values

READ, WRITE, CAS = 0, 1, 2
FUNCTIONS = ("read", "write", "cas")
OK, FAIL, INFO = 0, 1, 2
TYPES = ("ok", "fail", "info")
INITIAL = 0
"""The value that every register begins with."""
Column = NDArray[np.int64]


class Registers(NamedTuple):
    """Operations on one register in the order of their invocations, as columns of whole numbers.

    `a` is what a read answered, a write wrote or a cas expected, `b` what a cas brings. `invoked` and `returned` are places
    in the order of all events, an `info` included.
    """

    process: Column
    f: Column
    a: Column
    b: Column
    type: Column
    invoked: Column
    returned: Column
    invoke_time: Column
    return_time: Column


class Spans(NamedTuple):
    """When operations are invoked, take effect and return, in the order of their invocations."""

    client: Column
    invoke_time: Column
    effect_time: Column
    return_time: Column
    invoked: Column
    returned: Column


def spans(draw: np.random.Generator, operations: int, clients: int) -> Spans:
    """Clients that wait up to 50 ticks, then up to 1,000 for the effect, then up to 1,000 for the answer, again and again."""
    each = -(-operations // clients)
    waits = draw.integers(1, 50, (clients, each))
    starts = draw.integers(1, 1000, (clients, each))
    ends = draw.integers(1, 1000, (clients, each))
    return_time = np.cumsum(waits + starts + ends, axis=1)
    effect_time = return_time - ends
    invoke_time = effect_time - starts
    order = np.argsort(invoke_time, axis=None, kind="stable")[:operations]
    client = np.repeat(np.arange(clients), each)[order]
    began, took, ended = (times.ravel()[order] for times in (invoke_time, effect_time, return_time))
    # At equal times invocations come before returns, as intervals are closed.
    events = np.lexsort((np.repeat([0, 1], operations), np.concatenate([began, ended])))
    places = np.empty(2 * operations, np.int64)
    places[events] = np.arange(2 * operations)
    return Spans(client, began, took, ended, places[:operations], places[operations:])


def processes(client: Column, dropped: NDArray[np.bool_], clients: int) -> Column:
    """The process of each operation: a worker goes on under a new number after an operation without an answer."""
    found = client.copy()
    for each in range(clients):
        mine = np.flatnonzero(client == each)
        lost = np.cumsum(dropped[mine])
        found[mine[1:]] += clients * lost[:-1]
    return found


def registers(
    operations: int,
    clients: int,
    *,
    unanswered: float = 0.0,
    cas: bool = False,
    values: int = 0,
    seed: int = 0,
) -> Registers:
    """An atomic register: half reads; with `cas` 30 % cas and 20 % writes, else half writes.

    `values` is how many values there are (from 1 on), 0: each is used once; a cas then expects what its client read last.
    `unanswered` is the share that is never answered, of which half take effect; a refused cas is a fail.
    """
    draw = np.random.default_rng(seed)
    when = spans(draw, operations, clients)
    kind = draw.random(operations)
    f = np.where(kind < 0.5, READ, np.where((kind < 0.8) & cas, CAS, WRITE))
    fresh = np.cumsum(f != READ) if not values else draw.integers(1, values + 1, operations)
    expected = draw.integers(0, values + 1, operations) if values else None
    dropped = draw.random(operations) < unanswered
    happens = ~dropped | (draw.random(operations) < 0.5)
    a, refused = _answers(when, f, fresh, expected, happens)
    kinds = np.where(dropped, INFO, np.where(refused, FAIL, OK))
    a[(f == READ) & dropped] = -1
    return Registers(
        processes(when.client, dropped, clients),
        f,
        a,
        np.where(f == CAS, fresh, 0),
        kinds,
        when.invoked,
        when.returned,
        when.invoke_time,
        when.return_time,
    )


def _answers(
    when: Spans, f: Column, fresh: Column, expected: Column | None, happens: NDArray[np.bool_]
) -> tuple[Column, NDArray[np.bool_]]:
    """Lets the operations take effect one after the other: what each read answered or expected, and which cas were refused."""
    order = np.lexsort((when.client, when.effect_time))
    columns = [column[order].tolist() for column in (f, when.client, fresh, happens)]
    wanted = expected[order].tolist() if expected is not None else [None] * len(order)
    seen = [INITIAL] * (int(when.client.max(initial=0)) + 1)
    state = INITIAL
    found = []
    refused = []
    for kind, client, value, does, want in zip(*columns, wanted, strict=True):
        no = False
        given = value
        if kind == READ:
            given = state
            if does:
                seen[client] = state
        elif kind == CAS:
            given = seen[client] if want is None else want
            if does and given == state:
                state = value
            else:
                no = True
        elif does:
            state = value
        found.append(given)
        refused.append(no)
    a = np.empty(len(order), np.int64)
    no_answer = np.empty(len(order), np.bool_)
    a[order] = found
    no_answer[order] = refused
    return a, no_answer


def with_stale_read(given: Registers, where: float = 0.5) -> Registers | None:
    """The history with one read, the first possible one from `where` on, that certainly answers an overwritten value.

    It answers v although every operation that can bring v and was invoked before the read returned had itself returned
    before an answered write of another value was invoked, which returned before the read was invoked. None if there is no
    such read, as with few values and unanswered writes: any of those may have brought v later.
    """
    reads = np.flatnonzero((given.f == READ) & (given.type == OK))
    reads = reads[int(len(reads) * where) :]
    produced = np.where(given.f == WRITE, given.a, np.where(given.f == CAS, given.b, -1))
    produced[given.type == FAIL] = -1
    values, counts = np.unique(produced[produced >= 0], return_counts=True)
    found = (
        _of_few(given, reads, produced, values) if len(values) <= 64 else _of_many(given, reads, values[counts == 1])
    )
    if found is None:
        return None
    read, value = found
    a = given.a.copy()
    a[read] = value
    return given._replace(a=a)


def _walls(given: Registers, chosen: Column) -> tuple[Column, Column]:
    """Writes by their return, with the latest invocation of a write that returned by then."""
    order = chosen[np.argsort(given.returned[chosen])]
    return given.returned[order], np.maximum.accumulate(given.invoked[order])


def _of_few(given: Registers, reads: Column, produced: Column, values: Column) -> tuple[int, int] | None:
    best: tuple[int, int] | None = None
    sure = np.flatnonzero((given.f == WRITE) & (given.type == OK))
    for value in values.tolist():
        makers = np.flatnonzero(produced == value)
        ends = np.maximum.accumulate(np.where(given.type[makers] == INFO, NEVER, given.returned[makers]))
        count = np.searchsorted(given.invoked[makers], given.returned[reads])
        last = np.where(count > 0, ends[np.maximum(count, 1) - 1], -1)
        returns, invokes = _walls(given, sure[given.a[sure] != value])
        done = np.searchsorted(returns, given.invoked[reads])
        wall = np.where(done > 0, invokes[np.maximum(done, 1) - 1], -1)
        possible = np.flatnonzero((last >= 0) & (last < wall))
        if len(possible) and (best is None or reads[possible[0]] < best[0]):
            best = int(reads[possible[0]]), value
    return best


def _of_many(given: Registers, reads: Column, single: Column) -> tuple[int, int] | None:
    sure = np.flatnonzero((given.f == WRITE) & (given.type == OK))
    returns, invokes = _walls(given, sure)
    once = sure[np.isin(given.a[sure], single)]
    once = once[np.argsort(given.returned[once])]
    done = np.searchsorted(returns, given.invoked[reads])
    wall = np.where(done > 0, invokes[np.maximum(done, 1) - 1], -1)
    older = np.searchsorted(given.returned[once], wall)
    possible = np.flatnonzero(older > 0)
    if not len(possible):
        return None
    return int(reads[possible[0]]), int(given.a[once[older[possible[0]] - 1]])


def history_of(given: Registers) -> History:
    """The history as the checker holds it, for a model whose initial value is `INITIAL`."""
    values = Values()
    numbers: Iterable[int] = range(int(max(given.a.max(initial=0), given.b.max(initial=0))) + 1)
    codes = np.array([values.code(number) for number in numbers], np.int64)
    value = np.where(given.f == WRITE, codes[given.a], NOTHING_CODE)
    cas = np.flatnonzero(given.f == CAS)
    pairs = zip(given.a[cas].tolist(), given.b[cas].tolist(), strict=True)
    value[cas] = np.fromiter((values.code(list(pair)) for pair in pairs), np.int64, len(cas))
    read = (given.f == READ) & (given.type == OK)
    nothing = np.zeros_like(value)
    places = np.arange(len(value))
    columns = Columns(
        names=list(FUNCTIONS),
        values=values,
        process=given.process,
        f=given.f,
        key=nothing,
        value=value,
        result=np.where(read, codes[given.a], NOTHING_CODE),
        error=nothing,
        type=given.type.astype(np.int8),
        invoked=given.invoked,
        returned=np.where(given.type == INFO, NEVER, given.returned),
        invoke_index=given.invoked,
        return_index=given.returned,
        invoke_time=given.invoke_time,
        return_time=given.return_time,
        line=places,
    )
    return History.of_columns(columns)


def loaded(path: Path) -> History:
    """The history in a file."""
    return files.load(path)


def save(path: Path, given: Registers) -> None:
    """Keeps the columns for another process, which then has not paid for making them."""
    np.savez(path, **given._asdict())


def saved(path: Path) -> Registers:
    """The columns that `save` kept."""
    with np.load(path) as arrays:
        return Registers(**arrays)


# --- transactions --------------------------------------------------------------------------------------------------------


class Transaction(NamedTuple):
    """One transaction: what it asked, what it was answered, and its places in the order of all events."""

    process: int
    asked: list[list[Any]]
    answered: list[list[Any]] | None
    invoked: int
    returned: int
    invoke_time: int
    return_time: int


def list_append(
    transactions: int,
    clients: int,
    *,
    unanswered: float = 0.0,
    keys: int = 10,
    longest: int = 4,
    writes: int = 32,
    seed: int = 0,
) -> list[Transaction]:
    """Strictly serializable transactions of 1 to `longest` appends and reads of whole lists, in the order of invocations.

    As Jepsen's generator does, `keys` lists are in use at once, and one that was given `writes` elements makes place for a
    new one, so that lists stay short. Half of the transactions without an answer take effect.
    """
    draw = np.random.default_rng(seed)
    when = spans(draw, transactions, clients)
    dropped = draw.random(transactions) < unanswered
    happens = ~dropped | (draw.random(transactions) < 0.5)
    process = processes(when.client, dropped, clients).tolist()
    asked = _asked(draw, transactions, keys, longest, writes)
    answered = _carried_out(asked, when, happens)
    times = zip(*(column.tolist() for column in when[1:]), strict=True)
    return [
        Transaction(process[number], asked[number], None if lost else answered[number], invoked, returned, began, ended)
        for number, ((began, _, ended, invoked, returned), lost) in enumerate(zip(times, dropped.tolist(), strict=True))
    ]


def _asked(draw: np.random.Generator, count: int, keys: int, longest: int, writes: int) -> list[list[list[Any]]]:
    lengths = draw.integers(1, longest + 1, count)
    total = int(lengths.sum())
    places = draw.integers(0, keys, total).tolist()
    reads = (draw.random(total) < 0.5).tolist()
    active = list(range(keys))
    written = [0] * keys
    fresh = keys
    steps = []
    for place, is_read in zip(places, reads, strict=True):
        if is_read:
            steps.append(["r", active[place], None])
            continue
        written[place] += 1
        steps.append(["append", active[place], written[place]])
        if written[place] == writes:
            active[place], written[place] = fresh, 0
            fresh += 1
    ends = np.cumsum(lengths).tolist()
    return [steps[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]


def _carried_out(asked: list[list[list[Any]]], when: Spans, happens: NDArray[np.bool_]) -> dict[int, list[list[Any]]]:
    lists: dict[int, list[int]] = {}
    answered = {}
    does = happens.tolist()
    for number in np.lexsort((when.client, when.effect_time)).tolist():
        if not does[number]:
            continue
        steps = []
        for f, key, value in asked[number]:
            if f == "r":
                steps.append([f, key, list(lists.get(key, ()))])
            else:
                lists.setdefault(key, []).append(value)
                steps.append([f, key, value])
        answered[number] = steps
    return answered


def with_late_read(given: list[Transaction], where: float = 0.5) -> list[Transaction]:
    """The transactions with one read that misses an element whose append was answered before the read's transaction began."""
    ends: dict[tuple[int, int], int] = {}
    for each in given:
        for f, key, value in each.answered or ():
            if f == "append":
                ends[key, value] = each.returned
    for number in range(int(len(given) * where), len(given)):
        each = given[number]
        steps = each.answered or []
        if len(steps) == 1 and steps[0][0] == "r" and steps[0][2]:
            key, values = steps[0][1], steps[0][2]
            if ends.get((key, values[-1]), NEVER) < each.invoked:
                late = each._replace(answered=[["r", key, values[:-1]]])
                return [*given[:number], late, *given[number + 1 :]]
    raise ValueError("no read of a list is later than the answer of its last append")


# --- files ---------------------------------------------------------------------------------------------------------------


def register_lines(given: Registers, *, edn: bool = False) -> Iterator[str]:
    """The history as it is recorded: one event a line, in JSON as ours or in EDN as Jepsen's."""
    count = len(given.f)
    moments = np.argsort(np.concatenate([given.invoked, given.returned]), kind="stable").tolist()
    process, f, a, b, kinds, _, _, began, ended = (cast("list[int]", column.tolist()) for column in given)
    shape = _EDN if edn else _JSON
    nothing = "nil" if edn else "null"
    comma = " " if edn else ","
    for place, moment in enumerate(moments):
        number, end = moment % count, moment >= count
        value: str | int = f"[{a[number]}{comma}{b[number]}]" if f[number] == CAS else a[number]
        if f[number] == READ and (not end or kinds[number] != OK):
            value = nothing
        kind = TYPES[kinds[number]] if end else "invoke"
        time = ended[number] if end else began[number]
        yield shape.format(place, time, kind, process[number], FUNCTIONS[f[number]], value)


def transaction_lines(given: list[Transaction]) -> Iterator[str]:
    """The transactions as they are recorded, one event a line in JSON."""
    events = [(each.invoked, False, each) for each in given] + [(each.returned, True, each) for each in given]
    encode = msgspec.json.Encoder().encode
    for place, (_, end, each) in enumerate(sorted(events, key=lambda event: event[0])):
        kind = "invoke" if not end else "info" if each.answered is None else "ok"
        value = encode(each.answered if end and each.answered is not None else each.asked).decode()
        time = each.return_time if end else each.invoke_time
        yield _JSON.format(place, time, kind, each.process, "txn", value)


_JSON = '{{"i":{},"t":{},"type":"{}","process":{},"f":"{}","value":{}}}\n'
_EDN = "{{:index {}, :time {}, :type :{}, :process {}, :f :{}, :value {}}}\n"


def write_lines(path: Path, lines: Iterator[str]) -> int:
    """Writes the lines and returns how many there were."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for count, line in enumerate(lines, 1):  # noqa: B007 -- the last number is the result
            file.write(line)
    return count
