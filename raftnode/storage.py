"""The write-ahead log on disk: its records, how they are appended, and what a restart makes of them.

One file, `log-00000001.wal`, holds everything that figure 2 calls persistent, in records of one kind:

    u32 length of the payload | u32 checksum | u32 checksum of the record before | payload          (little-endian)

The checksum is the crc32c of all that follows it, so a record can be told from garbage wherever it stands. The payload
of the first record says the format, the node and the cluster; that of every other is MessagePack of the Persist effects
that were made durable together. Three consequences:

- Hard state and entries stand in one record, so there is no order between two files to get wrong, and a cut and the
  entries that replace what was cut cannot be torn apart.
- The checksums are chained, as in etcd's log, so that no record can be lost, doubled or moved unnoticed.
- One write makes one record, and the next write starts only after the sync of the one before. So a power cut can
  damage the last record only, whatever the order in which a disk stores sectors. Damage with a valid record behind it
  is something else (a disk that forgets what it promised, a bit that flipped): the node refuses to start.

The number in the file's name is that of the segment; there is one until there are snapshots to cut the log behind.
No decision about Raft lives here, and no thread (`disk.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from crc32c import crc32c

from raftnode.files import Files
from raftnode.messages import Entry, HardState, Persist

FORMAT = 1
MAGIC = b"RAFT-WAL"
SEGMENT_NAME = "log-00000001.wal"
NO_RECORD = 0  # what the first record names as the checksum of the one before
_HEAD = struct.Struct("<II")
_PREVIOUS = struct.Struct("<I")
_RECORD_HEAD_SIZE = _HEAD.size + _PREVIOUS.size
_BATCH = tuple[int, int, str, int, tuple[Entry, ...]]  # number, term, vote, first, entries: the fields of a Persist


class StorageError(Exception):
    """The node must not start on this data directory. The sentence says why."""


class DamagedError(StorageError):
    """What was durable once cannot be read any more: going on would break promises given."""


class ForeignError(StorageError):
    """The directory belongs to another node or cluster, to another format, or to a process that still runs."""


class TornTail(msgspec.Struct, frozen=True):
    """A last record that was never finished, and therefore promised to nobody. It has been cut off."""

    offset: int  # the size of the file from now on, in bytes
    lost: int  # how many bytes were cut


class Recovered(msgspec.Struct, frozen=True):
    """What a restart found. `entries[0]` has index 1."""

    hard_state: HardState
    entries: tuple[Entry, ...]
    torn: TornTail | None
    starts: int  # the how-manieth start on this directory this is, from 1: a key for the randomness of timeouts


class _Header(msgspec.Struct, frozen=True):
    format: int
    node: str
    cluster: str


# --- the record of functions -------------------------------------------------------------------------------------------


def keep_hard_state(last: HardState) -> HardState:
    """Term and vote survive a restart (figure 2, "persistent state on all servers")."""
    return last


def always_sync(_batch: Sequence[Persist]) -> bool:
    """Everything is synced before it counts as durable: the term, a vote, an entry, a cut."""
    return True


@dataclass(frozen=True, slots=True)
class Storage:
    """The decisions of the storage; a planted bug replaces one of them."""

    hard_state: Callable[[HardState], HardState]  # the hard state after a restart, from the last one on disk
    must_sync: Callable[[Sequence[Persist]], bool]  # whether these must reach the disk before they are called durable


DURABLE = Storage(hard_state=keep_hard_state, must_sync=always_sync)


# --- records -------------------------------------------------------------------------------------------------------------


_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(_Header)
_batch_decoder: msgspec.msgpack.Decoder[tuple[_BATCH, ...]] = msgspec.msgpack.Decoder(tuple[_BATCH, ...])


def encode_record(previous: int, payload: bytes) -> tuple[bytes, int]:
    """A record, and its checksum, which the next record names."""
    named = _PREVIOUS.pack(previous)
    checksum = crc32c(payload, crc32c(named))
    return _HEAD.pack(len(payload), checksum) + named + payload, checksum


def encode_batch(batch: Sequence[Persist]) -> bytes:
    """The payload for Persist effects that become durable together."""
    return _encoder.encode(
        [(one.number, one.hard_state.term, one.hard_state.vote, one.first, one.entries) for one in batch],
    )


def _header(node: str, cluster: str) -> tuple[bytes, int]:
    record, checksum = encode_record(NO_RECORD, _encoder.encode(_Header(FORMAT, node, cluster)))
    return MAGIC + record, checksum


@dataclass(frozen=True, slots=True)
class _Record:
    """A whole record as it stands in the file."""

    previous: int
    checksum: int
    payload: memoryview
    end: int  # the offset behind it


def _record_at(data: memoryview, offset: int) -> _Record | None:
    """The record at `offset`, if there is one and its checksum is right."""
    start = offset + _RECORD_HEAD_SIZE
    if start > len(data):
        return None
    length, checksum = _HEAD.unpack_from(data, offset)
    end = start + length
    if length == 0 or end > len(data) or crc32c(data[offset + _HEAD.size : end]) != checksum:
        return None
    (previous,) = _PREVIOUS.unpack_from(data, offset + _HEAD.size)
    return _Record(previous, checksum, data[start:end], end)


def valid_record_from(data: memoryview, bad: int) -> int | None:
    """The offset of the first whole record at `bad` or behind it, if there is any.

    Any part of what is bad may be wrong, its length included, so every byte is tried as the start of a record.
    """
    return next((offset for offset in range(bad, len(data)) if _record_at(data, offset) is not None), None)


# --- recovery ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Replay:
    """What the records read so far amount to."""

    hard_state: HardState = HardState(0, "")  # noqa: RUF009 - a frozen struct, not shared state
    entries: list[Entry] = field(default_factory=list)
    checksum: int = 0  # of the last good record
    good: int = 0  # the file is good up to this byte


def _check_header(data: memoryview, path: str, node: str, cluster: str) -> _Replay:
    record = _record_at(data, len(MAGIC)) if data[: len(MAGIC)] == MAGIC else None
    if record is None:
        # The file got its name only after its header was durable, so this is not a torn write.
        raise DamagedError(f"{path} is damaged at byte 0: it does not begin like a log of this program")
    try:
        header = _header_decoder.decode(record.payload)
    except msgspec.DecodeError as error:
        raise ForeignError(f"{path} begins with a header that this program cannot read: {error}") from error
    if header.format != FORMAT:
        raise ForeignError(f"{path} is in format {header.format}; this program reads and writes format {FORMAT}")
    if (header.node, header.cluster) != (node, cluster):
        raise ForeignError(
            f"{path} belongs to node {header.node!r} of cluster {header.cluster!r}, "
            f"but this is node {node!r} of cluster {cluster!r}: give it a data directory of its own",
        )
    return _Replay(checksum=record.checksum, good=record.end)


def _replay_batch(replay: _Replay, payload: memoryview, path: str) -> None:
    try:
        batch = _batch_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedError(f"{path} is damaged at byte {replay.good}: its checksum is right, but {error}") from error
    for _number, term, vote, first, entries in batch:
        replay.hard_state = HardState(term, vote)
        if first == 0:
            continue
        if first > len(replay.entries) + 1:
            raise DamagedError(
                f"{path} is damaged at byte {replay.good}: the log ends at index {len(replay.entries)}, "
                f"and this record goes on at {first}",
            )
        replay.entries[first - 1 :] = entries


def _replay_file(data: memoryview, path: str, node: str, cluster: str) -> tuple[_Replay, TornTail | None]:
    """Reads until the first bad record. Raises StorageError unless it is the last one, torn by a crash."""
    replay = _check_header(data, path, node, cluster)
    while replay.good < len(data):
        record = _record_at(data, replay.good)
        if record is None or record.previous != replay.checksum:
            valid = valid_record_from(data, replay.good)
            if valid is not None:
                raise DamagedError(
                    f"{path} is damaged at byte {replay.good}: no record there goes on from the one before, but a "
                    f"whole one stands at byte {valid}, so this is no write that a crash cut short. "
                    "What this node has promised is lost; bring it back as a new node with an empty directory",
                )
            return replay, TornTail(replay.good, len(data) - replay.good)
        _replay_batch(replay, record.payload, path)
        replay.checksum = record.checksum
        replay.good = record.end
    return replay, None


# --- the log ---------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class WriteAheadLog:
    """The open log of a node. One caller at a time; after an OSError it must not be used again (the "fsyncgate" rule:
    a failed sync may have dropped the pages, and the next one would succeed without them).
    """

    files: Files
    storage: Storage
    handle: int
    checksum: int  # of the last record written
    syncs: int = 0
    written: int = 0  # bytes, in this life

    def write(self, batch: Sequence[Persist]) -> None:
        """Makes Persist effects durable: one record, one write, one sync. Raises OSError, which is final."""
        record, checksum = encode_record(self.checksum, encode_batch(batch))
        self.files.append(self.handle, record)
        self.checksum = checksum
        self.written += len(record)
        if self.storage.must_sync(batch):
            self.files.sync(self.handle)
            self.syncs += 1

    def close(self) -> None:
        self.files.close(self.handle)


def _replace_file(files: Files, directory: str, name: str, content: bytes) -> None:
    """Puts a whole file in place: after a crash there is the old one or the new one, never a part."""
    temporary = f"{directory}/{name}.new"
    handle = files.open(temporary)
    try:
        files.truncate(handle, 0)
        files.append(handle, content)
        files.sync(handle)
    finally:
        files.close(handle)
    files.rename(temporary, f"{directory}/{name}")
    files.sync_directory(directory)


def _count_start(files: Files, directory: str) -> int:
    path = f"{directory}/starts"
    text = files.read(path) if files.exists(path) else b"0"
    if not text.isdigit():
        # A number used before would let an answer to an earlier life pass for one to this life.
        raise DamagedError(f"{path} is damaged: it says how often this node was started, but holds {text[:20]!r}")
    starts = int(text) + 1
    _replace_file(files, directory, "starts", b"%d" % starts)
    return starts


def open_log(
    files: Files,
    directory: str,
    node: str,
    cluster: str,
    storage: Storage,
) -> tuple[WriteAheadLog, Recovered]:
    """Opens a data directory, new or used, and says what is in it.

    Raises ForeignError if the directory is not this node's or is in use, DamagedError if promises are lost, OSError if
    the disk fails.
    """
    files.make_directory(directory)
    try:
        files.lock(f"{directory}/lock")
    except BlockingIOError as error:
        raise ForeignError(f"{directory} is in use by another process that still runs") from error
    path = f"{directory}/{SEGMENT_NAME}"
    if not files.exists(path):
        _replace_file(files, directory, SEGMENT_NAME, _header(node, cluster)[0])
    replay, torn = _replay_file(memoryview(files.read(path)), path, node, cluster)
    handle = files.open(path)
    if torn is not None:
        # Before anything is appended: behind a bad record nothing would ever be read again.
        files.truncate(handle, torn.offset)
        files.sync(handle)
    log = WriteAheadLog(files, storage, handle, replay.checksum)
    starts = _count_start(files, directory)
    return log, Recovered(storage.hard_state(replay.hard_state), tuple(replay.entries), torn, starts)
