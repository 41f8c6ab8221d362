"""Frames between peers: every shape of message, and everything that is not one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftnode import wire
from raftnode.messages import (
    Append,
    AppendEntries,
    AppendReply,
    Cas,
    Delete,
    Entry,
    Identity,
    Message,
    Noop,
    Put,
    ReadIndex,
    ReadIndexReply,
    Register,
    RequestVote,
    VoteReply,
)
from raftnode.wire import FrameError, FrameReader, Hello, Welcome

NUMBERS = st.integers(0, 2**63 - 1)
NAMES = st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
COMMANDS = st.one_of(
    st.builds(Noop),
    st.builds(Register),
    st.builds(Put, NAMES, VALUES),
    st.builds(Delete, NAMES),
    st.builds(Cas, NAMES, VALUES, VALUES),
    st.builds(Append, NAMES, VALUES),
)
ENTRIES = st.builds(Entry, NUMBERS, COMMANDS, st.none() | st.builds(Identity, NAMES, NUMBERS))
MESSAGES = st.one_of(
    st.builds(RequestVote, NUMBERS, st.just("n2"), NUMBERS, NUMBERS, st.booleans(), NUMBERS),
    st.builds(VoteReply, NUMBERS, st.just("n2"), st.booleans(), st.booleans(), NUMBERS),
    st.builds(
        AppendEntries,
        NUMBERS,
        st.just("n2"),
        NUMBERS,
        NUMBERS,
        st.lists(ENTRIES, max_size=4).map(tuple),
        NUMBERS,
        NUMBERS,
    ),
    st.builds(AppendReply, NUMBERS, st.just("n2"), st.booleans(), NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.builds(ReadIndex, NUMBERS, st.just("n2"), NUMBERS),
    st.builds(ReadIndexReply, NUMBERS, NUMBERS, st.integers(-1, 2**62)),
)
MEMBERS = frozenset({"n1", "n2", "n3"})


@given(st.lists(MESSAGES, min_size=1, max_size=4), st.lists(st.integers(1, 40), max_size=30))
def test_messages_survive_any_chopping_of_the_stream(messages: list[Message], cuts: list[int]) -> None:
    stream = b"".join(wire.encode(message) for message in messages)
    reader = FrameReader()
    payloads: list[bytes] = []
    for size in [*cuts, len(stream)]:
        payloads += reader.feed(stream[:size])
        stream = stream[size:]
    assert [wire.decode_message(payload, "n2") for payload in payloads] == messages
    assert not reader.in_the_middle


def test_every_cut_of_a_frame_is_noticed_as_truncated() -> None:
    """The issue: "A peer frame that is truncated, too long or of another version: dropped, counted, never a crash"."""
    frame = wire.encode(ReadIndex(3, "n2", 9))
    for size in range(1, len(frame)):
        reader = FrameReader()
        assert reader.feed(frame[:size]) == []
        assert reader.in_the_middle


def test_a_length_above_the_limit_is_refused_before_anything_is_buffered() -> None:
    with pytest.raises(FrameError) as caught:
        FrameReader().feed((wire.FRAME_LIMIT + 1).to_bytes(4, "big"))
    assert caught.value.reason == "too-long"


def test_who_has_not_said_hello_may_not_send_much() -> None:
    greeting = wire.encode(Hello(wire.VERSION, "c" * 100, "n2", "n1"))
    assert len(FrameReader(wire.GREETING_LIMIT).feed(greeting)) == 1
    with pytest.raises(FrameError, match=f"at most {wire.GREETING_LIMIT}"):
        FrameReader(wire.GREETING_LIMIT).feed((wire.GREETING_LIMIT + 1).to_bytes(4, "big"))


@given(st.binary(max_size=60))
def test_garbage_is_malformed_and_nothing_else(payload: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        wire.decode_message(payload, "n2")
    assert caught.value.reason in {"malformed", "wrong-sender"}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode(["vote", 1]),
        msgspec.msgpack.encode(["unheard", 1, 2, 3]),
        msgspec.msgpack.encode(["read", "one", "n2", 3]),
        msgspec.msgpack.encode(["read", -1, "n2", 3]),
        msgspec.msgpack.encode(["readable", 1, 3, -2]),
        msgspec.msgpack.encode(["append", 1, "n2", -5, 1, [], 0, 0]),
        msgspec.msgpack.encode(["append", 1, "n2", 0, 0, [[-1, ["noop"], None]], 0, 0]),
        msgspec.msgpack.encode(["appended", 1, "n2", True, -9, 0, 0, 0]),
        msgspec.msgpack.encode(["vote", 2**63, "n2", 0, 0, False, 0]),
        b"\x91" * 100_000,
        msgspec.msgpack.encode(ReadIndex(1, "n2", 1))[:-1],
    ],
)
def test_malformed_messages(payload: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        wire.decode_message(payload, "n2")
    assert caught.value.reason == "malformed"


def test_a_message_must_come_over_its_senders_connection() -> None:
    message = RequestVote(1, "n3", 0, 0, pre=False, round=1)
    payload = msgspec.msgpack.encode(message)
    assert wire.decode_message(payload, "n3") == message
    with pytest.raises(FrameError) as caught:
        wire.decode_message(payload, "n2")
    assert caught.value.reason == "wrong-sender"


@pytest.mark.parametrize(
    "hello,reason",
    [
        (Hello(wire.VERSION + 1, "c", "n2", "n1"), "wrong-version"),
        (Hello(wire.VERSION, "other", "n2", "n1"), "wrong-cluster"),
        (Hello(wire.VERSION, "c", "n2", "n3"), "wrong-receiver"),
        (Hello(wire.VERSION, "c", "n9", "n1"), "unknown-peer"),
        (Hello(wire.VERSION, "c", "n1", "n1"), "unknown-peer"),
        (Welcome(wire.VERSION, "c", "n2"), "malformed"),
    ],
)
def test_a_hello_that_does_not_fit_says_why(hello: Hello | Welcome, reason: str) -> None:
    with pytest.raises(FrameError) as caught:
        wire.decode_hello(msgspec.msgpack.encode(hello), "c", "n1", MEMBERS)
    assert caught.value.reason == reason


def test_a_greeting_of_a_later_version_can_still_be_read() -> None:
    later = {"type": "hello", "version": 2, "cluster": "c", "from": "n2", "to": "n1", "zone": "b"}
    with pytest.raises(FrameError, match="version 2"):
        wire.decode_hello(msgspec.msgpack.encode(later), "c", "n1", MEMBERS)


def test_hello_and_welcome_fit_each_other() -> None:
    (hello,) = FrameReader().feed(wire.encode(Hello(wire.VERSION, "c", "n2", "n1")))
    assert wire.decode_hello(hello, "c", "n1", MEMBERS).sender == "n2"
    assert msgspec.msgpack.decode(hello)["from"] == "n2"
    (welcome,) = FrameReader().feed(wire.encode(Welcome(wire.VERSION, "c", "n1")))
    assert wire.decode_welcome(welcome, "c", "n1").id == "n1"
    with pytest.raises(FrameError) as caught:
        wire.decode_welcome(welcome, "c", "n3")
    assert caught.value.reason == "wrong-receiver"


def test_entries_that_do_not_fit_into_one_frame_leave_in_several_that_say_the_same() -> None:
    """Figure 2 lets a leader send any number of entries at a time; each part must pass the check of what precedes it."""
    entries = tuple(Entry(3 + number // 8, Put("k", "v" * 1_000_000)) for number in range(20))
    message = AppendEntries(5, "n2", 7, 2, entries, 4, 11)
    reader = FrameReader()
    parts: list[AppendEntries] = []
    for frame in wire.frames(message):
        assert len(frame) <= wire.FRAME_LIMIT + wire.LENGTH_BYTES
        for payload in reader.feed(frame):
            part = wire.decode_message(payload, "n2")
            assert isinstance(part, AppendEntries)
            parts.append(part)
    assert len(parts) > 1
    terms = {7: 2, **{8 + number: entry.term for number, entry in enumerate(entries)}}
    expected = 7
    for part in parts:
        assert (part.prev_index, part.prev_term) == (expected, terms[expected])
        assert (part.term, part.commit, part.round) == (5, 4, 11)
        expected += len(part.entries)
    assert tuple(entry for part in parts for entry in part.entries) == entries
