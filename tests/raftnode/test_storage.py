"""The write-ahead log: what was synced survives every torn write, and damage is never taken for one.

"Recovery from a torn tail" and "every torn write of the log" of the node's issue; the two ways in which a bad record is
judged are those of etcd's log: the last one is cut, one in the middle stops the node.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftnode.disk import DiskThread
from raftnode.files import LocalFiles
from raftnode.messages import Append, Entry, HardState, Identity, Noop, Persist, Put
from raftnode.storage import (
    DURABLE,
    MAGIC,
    NO_RECORD,
    SEGMENT_NAME,
    DamagedError,
    ForeignError,
    Recovered,
    WriteAheadLog,
    encode_batch,
    encode_record,
    open_log,
)


class UnlockedFiles(LocalFiles):
    """A restart within one process: the lock of the life before would keep it out."""

    def lock(self, path: str) -> None:
        pass


def opened(directory: Path) -> tuple[WriteAheadLog, Recovered]:
    return open_log(UnlockedFiles(), str(directory), "n1", "c", DURABLE)


def recovered(directory: Path) -> Recovered:
    log, found = opened(directory)
    log.close()
    return found


def entry(term: int, value: object) -> Entry:
    return Entry(term, Put("k", value), Identity("s1", 1))


BATCHES = [
    [Persist(1, HardState(1, "n1"))],
    [Persist(2, HardState(1, "n1"), 1, (Entry(1, Noop()), entry(1, "a"), entry(1, "b")))],
    [Persist(3, HardState(2, "")), Persist(4, HardState(2, "n2"), 3, (entry(2, {"x": [1, None, 2.5]}),))],
    [Persist(5, HardState(3, ""), 2)],
    [Persist(6, HardState(3, ""), 2, (Entry(3, Append("l", 7)), entry(3, "end")))],
]
STATES: list[tuple[HardState, tuple[Entry, ...]]] = [
    (HardState(0, ""), ()),
    (HardState(1, "n1"), ()),
    (HardState(1, "n1"), (Entry(1, Noop()), entry(1, "a"), entry(1, "b"))),
    (HardState(2, "n2"), (Entry(1, Noop()), entry(1, "a"), entry(2, {"x": [1, None, 2.5]}))),
    (HardState(3, ""), (Entry(1, Noop()),)),
    (HardState(3, ""), (Entry(1, Noop()), Entry(3, Append("l", 7)), entry(3, "end"))),
]


def written(directory: Path) -> list[int]:
    """Writes all batches; returns the size of the file after each, the header's first."""
    log, _ = opened(directory)
    path = directory / SEGMENT_NAME
    sizes = [path.stat().st_size]
    for batch in BATCHES:
        log.write(batch)
        sizes.append(path.stat().st_size)
    log.close()
    return sizes


def state(found: Recovered) -> tuple[HardState, tuple[Entry, ...]]:
    return found.hard_state, found.entries


def test_a_new_directory_is_empty_and_counts_its_starts(tmp_path: Path) -> None:
    first = recovered(tmp_path / "new" / "deep")
    assert state(first) == STATES[0]
    assert first.torn is None
    assert first.starts == 1
    assert recovered(tmp_path / "new" / "deep").starts == 2


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    """Cuts and the entries that replace what was cut included: "later record wins"."""
    sizes = written(tmp_path)
    for size, expected in zip(reversed(sizes), reversed(STATES), strict=True):
        os.truncate(tmp_path / SEGMENT_NAME, size)
        found = recovered(tmp_path)
        assert state(found) == expected
        assert found.torn is None


@pytest.mark.parametrize("last", range(1, len(BATCHES) + 1))
def test_every_cut_of_the_last_record_is_a_torn_tail_and_appends_after_it_recover(tmp_path: Path, last: int) -> None:
    """Whatever the last record holds: a hard state alone, entries, several persists at once, a cut alone, a cut and entries.

    The planted bug "appends-after-torn-tail" of the catalogue: a tail that is skipped but not cut hides what follows.
    """
    sizes = written(tmp_path)
    path = tmp_path / SEGMENT_NAME
    whole = path.read_bytes()
    for size in range(sizes[last - 1] + 1, sizes[last]):
        path.write_bytes(whole[:size])
        log, found = opened(tmp_path)
        assert state(found) == STATES[last - 1]
        assert found.torn is not None
        assert (found.torn.offset, found.torn.lost) == (sizes[last - 1], size - sizes[last - 1])
        assert path.stat().st_size == sizes[last - 1]
        log.write(BATCHES[last - 1])
        log.close()
        again = recovered(tmp_path)
        assert state(again) == STATES[last]
        assert again.torn is None
        assert path.read_bytes() == whole[: sizes[last]], "the chain of checksums goes on as if nothing had happened"


def test_the_last_record_torn_by_sectors_in_any_order(tmp_path: Path) -> None:
    """A disk may store any part of the last write: zeros from any byte on, or before any byte, are a torn tail too."""
    sizes = written(tmp_path)
    path = tmp_path / SEGMENT_NAME
    whole = path.read_bytes()
    start, end = sizes[-2], sizes[-1]
    for middle in range(start, end):
        for torn in (
            whole[:middle] + bytes(end - middle),
            whole[:start] + bytes(middle + 1 - start) + whole[middle + 1 :],
        ):
            if torn == whole:
                continue  # the record ends in zeros itself
            path.write_bytes(torn)
            found = recovered(tmp_path)
            assert state(found) == STATES[-2]
            assert found.torn is not None


@pytest.mark.parametrize("zeros", [1, 7, 8, 9, 4096])
def test_zeros_behind_a_whole_log_are_cut(tmp_path: Path, zeros: int) -> None:
    sizes = written(tmp_path)
    with (tmp_path / SEGMENT_NAME).open("ab") as file:
        file.write(bytes(zeros))
    found = recovered(tmp_path)
    assert state(found) == STATES[-1]
    assert found.torn is not None
    assert (found.torn.offset, found.torn.lost) == (sizes[-1], zeros)


def test_every_flipped_bit_of_the_last_record_is_a_torn_tail(tmp_path: Path) -> None:
    sizes = written(tmp_path)
    path = tmp_path / SEGMENT_NAME
    whole = path.read_bytes()
    for byte in range(sizes[-2], sizes[-1]):
        for bit in range(8):
            path.write_bytes(whole[:byte] + bytes([whole[byte] ^ (1 << bit)]) + whole[byte + 1 :])
            found = recovered(tmp_path)
            assert state(found) == STATES[-2]
            assert found.torn is not None


def test_every_flipped_bit_before_the_last_record_stops_the_node_and_names_the_byte(tmp_path: Path) -> None:
    """The catalogue's damage-read-as-end: cutting in the middle would lose what was promised."""
    sizes = written(tmp_path)
    path = tmp_path / SEGMENT_NAME
    whole = path.read_bytes()
    for byte in range(sizes[-2]):
        damaged_record = max((size for size in sizes if size <= byte), default=0)
        for bit in range(8):
            path.write_bytes(whole[:byte] + bytes([whole[byte] ^ (1 << bit)]) + whole[byte + 1 :])
            with pytest.raises(DamagedError, match=f"damaged at byte {damaged_record}:"):
                opened(tmp_path)
    path.write_bytes(whole)
    assert state(recovered(tmp_path)) == STATES[-1]


def test_a_zeroed_stretch_in_the_middle_stops_the_node(tmp_path: Path) -> None:
    """Length, checksum and payload of a record are gone together; one record behind it is enough to know."""
    sizes = written(tmp_path)
    path = tmp_path / SEGMENT_NAME
    whole = path.read_bytes()
    for start, end in itertools.pairwise(sizes[:-1]):
        path.write_bytes(whole[:start] + bytes(end - start) + whole[end:])
        with pytest.raises(DamagedError, match=f"damaged at byte {start}:"):
            opened(tmp_path)


def test_a_record_that_does_not_continue_the_one_before_cannot_pass(tmp_path: Path) -> None:
    """Checksums are chained: a whole record of another place, or a record that is missing whole, is damage."""
    sizes = written(tmp_path)
    path = tmp_path / SEGMENT_NAME
    whole = path.read_bytes()
    stale, _ = encode_record(12345, encode_batch(BATCHES[1]))
    path.write_bytes(whole + stale)
    with pytest.raises(DamagedError, match=f"damaged at byte {sizes[-1]}:"):
        opened(tmp_path)
    path.write_bytes(whole[: sizes[2]] + whole[sizes[3] :])
    with pytest.raises(DamagedError, match=f"damaged at byte {sizes[2]}:"):
        opened(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_tail_of_any_length_is_cut_back_to_a_whole_prefix(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("log")
    sizes = written(directory)
    path = directory / SEGMENT_NAME
    kept = data.draw(st.integers(0, len(BATCHES)))
    garbage = data.draw(st.binary(min_size=1, max_size=200))
    path.write_bytes(path.read_bytes()[: sizes[kept]] + garbage)
    found = recovered(directory)
    assert state(found) == STATES[kept]
    assert found.torn is not None
    assert found.torn.lost == len(garbage)


@pytest.mark.parametrize("content", [b"", b"-1", b"one", b"1 "])
def test_a_count_of_starts_that_cannot_be_read_is_damage(tmp_path: Path, content: bytes) -> None:
    """Rounds and tickets of a life are told from those of others by it: a number used twice could confirm a stale read."""
    written(tmp_path)
    (tmp_path / "starts").write_bytes(content)
    with pytest.raises(DamagedError, match="how often this node was started"):
        opened(tmp_path)


@pytest.mark.parametrize("node,cluster", [("n2", "c"), ("n1", "d")])
def test_the_directory_of_another_node_or_cluster_is_refused(tmp_path: Path, node: str, cluster: str) -> None:
    written(tmp_path)
    with pytest.raises(ForeignError, match="belongs to node 'n1' of cluster 'c'"):
        open_log(UnlockedFiles(), str(tmp_path), node, cluster, DURABLE)


def test_another_format_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / SEGMENT_NAME
    payload = msgspec.msgpack.encode({"format": 2, "node": "n1", "cluster": "c"})
    header, _ = encode_record(NO_RECORD, payload)
    path.write_bytes(MAGIC + header)
    with pytest.raises(ForeignError, match="format 2; this program reads and writes format 1"):
        opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"RAFT", b"something else entirely, and longer than a header"])
def test_a_file_that_is_no_log_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SEGMENT_NAME).write_bytes(content)
    with pytest.raises(DamagedError, match="damaged at byte 0"):
        opened(tmp_path)


def test_a_crash_before_the_file_got_its_name_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / f"{SEGMENT_NAME}.new").write_bytes(MAGIC[:5])
    assert state(recovered(tmp_path)) == STATES[0]


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    log, _ = open_log(LocalFiles(), str(tmp_path), "n1", "c", DURABLE)
    with pytest.raises(ForeignError, match="in use"):
        open_log(LocalFiles(), str(tmp_path), "n1", "c", DURABLE)
    log.close()


def test_a_gap_in_the_log_is_damage(tmp_path: Path) -> None:
    log, _ = opened(tmp_path)
    log.write([Persist(1, HardState(1, ""), 3, (entry(1, "a"),))])
    log.close()
    with pytest.raises(DamagedError, match="the log ends at index 0, and this record goes on at 3"):
        opened(tmp_path)


def test_the_recovered_hard_state_is_a_decision_that_a_build_can_replace(tmp_path: Path) -> None:
    written(tmp_path)
    forgetful = replace(DURABLE, hard_state=lambda _last: HardState(0, ""))
    log, found = open_log(UnlockedFiles(), str(tmp_path), "n1", "c", forgetful)
    log.close()
    assert found.hard_state == HardState(0, "")
    assert found.entries == STATES[-1][1]


class RecordingFiles(UnlockedFiles):
    """Notes each operation, and fails where it is told to."""

    def __init__(self, failing: str = "") -> None:
        self.done: list[str] = []
        self.failing = failing

    def append(self, handle: int, data: bytes) -> None:
        self.done.append("append")
        super().append(handle, data)

    def sync(self, handle: int) -> None:
        self.done.append("sync")
        if self.failing == "sync":
            raise OSError(5, "Input/output error")
        super().sync(handle)

    def truncate(self, handle: int, size: int) -> None:
        self.done.append("truncate")
        super().truncate(handle, size)

    def rename(self, old: str, new: str) -> None:
        self.done.append("rename")
        super().rename(old, new)

    def sync_directory(self, path: str) -> None:
        self.done.append("sync-directory")
        super().sync_directory(path)


def test_a_new_log_has_its_name_only_when_its_header_is_durable(tmp_path: Path) -> None:
    files = RecordingFiles()
    log, _ = open_log(files, str(tmp_path), "n1", "c", DURABLE)
    log.close()
    assert files.done[:5] == ["truncate", "append", "sync", "rename", "sync-directory"]


def test_a_torn_tail_is_cut_durably_before_anything_is_appended(tmp_path: Path) -> None:
    written(tmp_path)
    with (tmp_path / SEGMENT_NAME).open("ab") as file:
        file.write(b"torn")
    files = RecordingFiles()
    log, _ = open_log(files, str(tmp_path), "n1", "c", DURABLE)
    log.close()
    assert files.done[:2] == ["truncate", "sync"]


class Outcomes:
    """What a disk thread has reported."""

    def __init__(self) -> None:
        self.durable: list[int] = []
        self.failures: list[Exception] = []


def test_all_that_waits_for_the_disk_goes_in_one_write_and_one_sync(tmp_path: Path) -> None:
    """Group commit (thesis 10.2.1); what is queued when the node is told to stop is still written."""
    files = RecordingFiles()
    log, _ = open_log(files, str(tmp_path), "n1", "c", DURABLE)
    files.done.clear()
    outcomes = Outcomes()
    disk = DiskThread(log, outcomes.durable.append, outcomes.failures.append)
    for batch in BATCHES:
        for persist in batch:
            disk.put(persist)
    disk.start()
    disk.stop(10)
    assert files.done == ["append", "sync"]
    assert outcomes.durable == [6]
    assert not outcomes.failures
    assert state(recovered(tmp_path)) == STATES[-1]


def test_a_failed_sync_is_final(tmp_path: Path) -> None:
    """Pitfall 10: "a failed fsync is final: stop the node, never retry"."""
    files = RecordingFiles()
    log, _ = open_log(files, str(tmp_path), "n1", "c", DURABLE)
    files.done.clear()
    files.failing = "sync"
    outcomes = Outcomes()
    disk = DiskThread(log, outcomes.durable.append, outcomes.failures.append)
    disk.put(BATCHES[0][0])
    disk.start()
    disk.stop(10)
    disk.put(BATCHES[1][0])
    disk.stop(10)
    assert files.done == ["append", "sync"]
    assert outcomes.durable == []
    assert [str(error) for error in outcomes.failures] == ["[Errno 5] Input/output error"]
