"""Histories as tables: pandas data frames and Parquet files, one row an operation.

pandas and pyarrow are loaded when a table is made or read: a checker that only checks would wait for them twice as long.
"""

from __future__ import annotations

import importlib
import io
import math
from typing import Any, BinaryIO

import numpy as np

from checker.columns import NEVER, OPTIONAL, UNKNOWN, Columns, Row
from checker.formats.edn import read_forms, written
from checker.formats.source import Source
from checker.history import INFO, TYPES, History, HistoryBuilder, HistoryError, Op
from checker.values import Values, freeze, thaw

MAGIC = b"PAR1"
_VALUES = ("key", "value", "result", "error")
_NUMBERS = ("invoked", "returned", "invoke_index", "return_index", "invoke_time", "return_time")
_COLUMNS = ("process", "f", *_VALUES, "type", *_NUMBERS, *OPTIONAL)
_TYPES = TYPES[1:]
_MARK = b"splitbrain"


def to_frame(history: History) -> Any:
    """The history as a pandas `DataFrame`, in the order of invocations.

    Columns: process, f, key, value, result, error, type (ok, fail, info), invoked and returned (places in the order of
    events), invoke_index, return_index, invoke_time, return_time (nanoseconds), node, op, workload. What is not known is None
    in columns of objects and missing (`pandas.NA`) in columns of numbers.
    """
    pandas = importlib.import_module("pandas")
    operations = list(history)
    table = {name: pandas.Series([_cell(op, name) for op in operations], dtype=object) for name in _COLUMNS}
    for name in ("process", *_NUMBERS):
        if all(value is None or (type(value) is int and abs(value) < NEVER) for value in table[name]):
            table[name] = table[name].astype("Int64")
    return pandas.DataFrame(table)


def _cell(op: Op, name: str) -> Any:
    return thaw(op.key) if name == "key" else op.workload or None if name == "workload" else getattr(op, name)


def from_frame(frame: Any) -> History:
    """The history that a data frame holds, one row an operation, in any order.

    Needs `process`, `f` and `type`, and the order of events: `invoked` and `returned` as places of which no two are equal, or
    `invoke_time` and `return_time` as closed intervals. All other columns of `to_frame` may be missing. An operation without a
    return is unknown (info). Raises `HistoryError`, with the number of the row as its line (from 1).
    """
    names = set(map(str, frame.columns))
    places = "invoked" in names
    needed = {"process", "f", "type"} | ({"invoked", "returned"} if places else {"invoke_time", "return_time"})
    if not needed <= names:
        raise HistoryError(
            f"a table of a history needs the columns process, f, type, and invoked and returned, or invoke_time and "
            f"return_time; it lacks {', '.join(sorted(needed - names))}"
        )
    known = [name for name in _COLUMNS if name in names]
    lists = [frame[name].astype(object).tolist() for name in known]
    operations = [
        _operation(dict(zip(known, row, strict=True)), line) for line, row in enumerate(zip(*lists, strict=True), 1)
    ]
    if not places:
        return History.from_intervals(operations)
    builder = HistoryBuilder()
    for op in operations:
        builder.add(op)
    return builder.finish()


def _operation(row: dict[str, Any], line: int) -> Op:
    facts = {name: value for name, value in row.items() if not _is_missing(value)}
    for name in ("process", *_NUMBERS):
        value = facts.get(name)
        if isinstance(value, np.integer) or (isinstance(value, float) and value.is_integer()):
            facts[name] = int(value)  # a column of numbers with gaps is one of floats in pandas
    if facts.get("type") not in _TYPES or not isinstance(facts.get("f"), str) or "process" not in facts:
        raise HistoryError(f"expected a process, a function and a type ({', '.join(_TYPES)}), this is {row}", line)
    if facts["type"] == INFO:
        facts.pop("returned", None)
    elif not ({"returned"} <= facts.keys() or {"return_time"} <= facts.keys()):
        raise HistoryError(f"an operation that ended as {facts['type']} returned at some time: none is given", line)
    facts["key"] = freeze(facts.get("key"))
    return Op(**{"invoked": 0, **facts})


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or type(value).__name__ in {"NAType", "NaTType"}
        or (isinstance(value, float) and math.isnan(value))
    )


def write(history: History, file: BinaryIO) -> list[str]:
    """Writes a Parquet file; keys, values, results and errors are EDN texts, so that 6 and "6" stay apart.

    Raises `HistoryError` for numbers beyond 64 bits and times with fractions.
    """
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    columns = history.columns
    if history.kept:
        op = next(iter(history.kept.values()))
        raise HistoryError(
            f"parquet holds whole numbers of 64 bits: {op.f} of process {op.process!r} has others", op.line
        )
    texts = arrow.array(
        [None, *(written(columns.values[code]) for code in range(1, len(columns.values)))], arrow.string()
    )
    table: dict[str, Any] = {
        "process": columns.process,
        "f": _coded(arrow, columns.f, arrow.array(columns.names, arrow.string())),
    }
    for name in (*_VALUES, *OPTIONAL):
        codes = getattr(columns, name)
        if codes is not None:
            table[name] = _coded(arrow, codes, texts)
    table["type"] = _coded(arrow, columns.type, arrow.array(list(_TYPES)))
    for name in _NUMBERS:
        numbers = getattr(columns, name)
        table[name] = arrow.array(numbers, mask=numbers == (NEVER if name == "returned" else UNKNOWN))
    whole = arrow.table(table)
    parquet.write_table(whole.replace_schema_metadata({_MARK: b"operations, values as EDN"}), file)
    return []


def _coded(arrow: Any, codes: Any, dictionary: Any) -> Any:
    """A column of texts by number; those that the dictionary has as missing are missing."""
    used, places = np.unique(codes, return_inverse=True)
    texts = dictionary.take(arrow.array(used))
    missing = texts.is_null().to_numpy(zero_copy_only=False)
    shifted = np.cumsum(~missing) - 1  # a dictionary in Parquet can't hold what is missing, places can
    indices = arrow.array(shifted[places].astype(np.int32), mask=missing[places])
    return arrow.DictionaryArray.from_arrays(indices, texts.drop_null())


def load(source: Source) -> History:
    """The history in a Parquet file: one of ours, or a table as `from_frame` takes it. Raises `HistoryError`."""
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    try:
        table = parquet.read_table(io.BytesIO(source.whole()))
    except (arrow.ArrowException, OSError) as error:
        raise HistoryError(f"not a Parquet file, or a torn one: {error}") from None
    if _MARK in (table.schema.metadata or {}):
        try:
            columns = _columns(table)
        except (ValueError, LookupError, AttributeError, arrow.ArrowException) as error:
            raise HistoryError(f"a Parquet file of ours that something has changed: {error}") from None
        if not (np.all(columns.invoked < columns.returned) and np.all(columns.invoked[:-1] <= columns.invoked[1:])):
            raise HistoryError("a Parquet file of ours that something has changed: its operations are out of order")
        return History.of_columns(columns)
    return from_frame(table.to_pandas())


def _columns(table: Any) -> Columns:
    """The columns of a table that `write` made."""
    values = Values()
    arrays: dict[str, Any] = {
        "process": table["process"].to_numpy(),
        "line": np.full(len(table), UNKNOWN, dtype=np.int64),
    }
    names, arrays["f"] = _decoded(table["f"])
    kinds, types = _decoded(table["type"])
    arrays["type"] = np.array([_TYPES.index(kind) for kind in kinds[:-1]], dtype=np.int8)[types]
    for name in (*_VALUES, *OPTIONAL):
        if name in table.column_names:
            texts, places = _decoded(table[name])
            codes = [values.code(None if text is None else _read(text)) for text in texts]
            arrays[name] = np.array(codes, dtype=np.int64)[places]
    for name in _NUMBERS:
        arrays[name] = table[name].fill_null(NEVER if name == "returned" else UNKNOWN).to_numpy()
    assert set(arrays) <= set(Row.__struct_fields__)
    return Columns(names=names[:-1], values=values, **arrays)


def _decoded(column: Any) -> tuple[list[Any], Any]:
    """The dictionary of a column, and the places in it."""
    whole = (
        column.combine_chunks().dictionary_encode()
        if not hasattr(column.type, "value_type")
        else column.unify_dictionaries().combine_chunks()
    )
    chunk = whole.chunk(0) if hasattr(whole, "chunk") and hasattr(whole, "num_chunks") else whole
    texts = [*chunk.dictionary.to_pylist(), None]
    return texts, chunk.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False).astype(np.int64)


def _read(text: str) -> Any:
    if text.isascii() and text.isdigit():
        return int(text)
    ((_, value),) = read_forms(f"[{text}\n]")
    return value
