"""The packet filter table of a run: cuts are sets of ordered pairs, and the table never outlives its owner."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from harness.clusters.bridge import (
    BridgeTable,
    Command,
    Filter,
    FilterError,
    Library,
    add_addresses,
    open_filter,
    sweep_tables,
)

PREFIX = f"splitbrain-test-{os.getpid()}-"
A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"  # addresses for documentation: nobody has them


@pytest.fixture(params=[Library, Command], ids=lambda way: way.name)
def table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[BridgeTable]:
    """A table, spoken to in each of the two ways."""
    try:
        request.param().run("list tables bridge")
        monkeypatch.setattr("harness.clusters.bridge.WAYS", (request.param,))
        made = BridgeTable(f"{PREFIX}a")
    except FilterError as error:
        pytest.skip(f"this machine allows no packet filter: {error}")
    yield made
    made.close()


def tables() -> str:
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout


def test_a_pair_is_cut_in_one_direction_and_healed_alone(table: BridgeTable) -> None:
    table.cut([(A, B), (C, B)])
    assert table.dropped() == {(A, B): 0, (C, B): 0}
    table.heal([(A, B)])
    assert table.dropped() == {(C, B): 0}


def test_nothing_to_cut_is_no_error(table: BridgeTable) -> None:
    table.cut([])
    table.heal([])
    assert table.dropped() == {}


def test_what_the_kernel_refuses_is_told_in_its_words(table: BridgeTable) -> None:
    with pytest.raises(FilterError, match="No such file or directory"):
        table.heal([(A, C)])


def test_a_closed_table_is_gone_and_may_be_closed_again(table: BridgeTable) -> None:
    table.close()
    table.close()
    if shutil.which("nft"):
        assert table.name not in tables()


def test_without_any_way_the_reasons_of_each_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.clusters.bridge.ctypes.util.find_library", lambda name: "libnothing.so.0")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FilterError, match=r"libnftables: .*libnothing.so.0.*; nft: there is no command nft"):
        open_filter()


def test_a_table_goes_with_its_owner_even_by_sigkill() -> None:
    """Quote (faults.md): '`flags owner` removes the table when its owner dies, even by kill -9.'"""
    name = f"{PREFIX}owned"
    program = f"""
from harness.clusters.bridge import BridgeTable, Library
table = BridgeTable({name!r})
print(table.mechanism, flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        said = owner.stdout.readline()
        try:
            if "libnftables" not in said:
                pytest.skip("libnftables is missing, or may not be used here: tables have no owner then")
            assert name in tables()
            assert sweep_tables(PREFIX, []) == []  # a living owner's table stays
        finally:
            owner.send_signal(signal.SIGKILL)
            owner.wait()
    assert name not in tables()


def test_tables_of_runs_that_are_gone_are_swept_and_others_stay() -> None:
    try:
        command: Filter = Command()
        command.run(f"add table bridge {PREFIX}gone; add table bridge {PREFIX}there")
    except FilterError as error:
        pytest.skip(f"this machine allows no packet filter: {error}")
    try:
        assert sweep_tables(PREFIX, ["there"]) == [f"table bridge {PREFIX}gone"]
        assert f"{PREFIX}there" in tables()
    finally:
        command.run(f"delete table bridge {PREFIX}there")


def test_an_interface_that_is_not_there_is_told_in_the_kernels_words() -> None:
    if shutil.which("ip") is None:
        pytest.skip("this machine has no command ip")
    with pytest.raises(FilterError, match="Cannot find device"):
        add_addresses("no-such-bridge", [A])
