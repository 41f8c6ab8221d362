"""The packet filter table of a run: cuts are sets of ordered pairs, and the table never outlives its owner."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from harness.clusters.bridge import BridgeTable, FilterError, add_addresses, sweep_tables

PREFIX = f"splitbrain-test-{os.getpid()}-"
A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"  # addresses for documentation: nobody has them


@pytest.fixture
def table() -> Iterator[BridgeTable]:
    try:
        made = BridgeTable(f"{PREFIX}a")
    except FilterError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def shown(*words: str) -> str:
    """What the packet filter's own command says of the kernel's tables."""
    if shutil.which("nft") is None:
        pytest.skip("this machine has no command nft to look at the kernel's tables with")
    return subprocess.run(["nft", "list", *words], capture_output=True, text=True, check=True).stdout


def test_the_table_is_what_its_module_says(table: BridgeTable) -> None:
    told = " ".join(shown("table", "bridge", table.name).split())
    assert "set cut { type ipv4_addr . ipv4_addr counter }" in told
    for hook in ("forward", "input", "output"):
        rule = f"chain {hook} {{ type filter hook {hook} priority -300; policy accept; ip saddr . ip daddr @cut drop }}"
        assert rule in told


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


def test_a_refused_change_changes_nothing(table: BridgeTable) -> None:
    table.cut([(A, B)])
    with pytest.raises(FilterError):
        table.heal([(A, B), (A, C)])
    assert table.dropped() == {(A, B): 0}


def test_two_tables_of_one_name_are_refused(table: BridgeTable) -> None:
    with pytest.raises(FilterError, match="no table of the bridge family can be made"):
        BridgeTable(table.name)


def test_a_closed_table_is_gone_and_may_be_closed_again(table: BridgeTable) -> None:
    table.close()
    table.close()
    assert table.name not in shown("tables")
    with pytest.raises(FilterError):
        table.cut([(A, B)])


def test_tables_made_and_changed_by_many_at_once_do_not_disturb_each_other(table: BridgeTable) -> None:
    """Libnftables 1.0.6 aborted its process here: a listing is interrupted whenever somebody changes a table."""
    churn = f"""
from harness.clusters.bridge import BridgeTable
for _ in range(200):
    other = BridgeTable({PREFIX + "churn"!r})
    other.cut([({A!r}, {B!r})])
    other.close()
"""
    with subprocess.Popen([sys.executable, "-c", churn]) as other:
        while other.poll() is None:
            table.cut([(A, B), (B, C)])
            assert set(table.dropped()) == {(A, B), (B, C)}
            sweep_tables(f"{PREFIX}none", [])
            table.heal([(A, B), (B, C)])
    assert other.returncode == 0


def test_a_table_goes_with_its_owner_even_by_sigkill() -> None:
    """Quote (faults.md): '`flags owner` removes the table when its owner dies, even by kill -9.'"""
    name = f"{PREFIX}owned"
    program = f"""
from harness.clusters.bridge import BridgeTable
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
        assert owner.stderr is not None
        if not owner.stdout.readline():
            pytest.skip(owner.stderr.read().strip().splitlines()[-1])
        assert name in shown("tables")
        assert sweep_tables(PREFIX, []) == []  # a living owner's table stays
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert name not in shown("tables")


def test_tables_of_runs_that_are_gone_are_swept_and_others_stay() -> None:
    """Kernels before 5.12 know no owner; the command nft makes tables without one."""
    names = [f"{PREFIX}gone", f"{PREFIX}there"]
    shown("tables")
    for name in names:
        made = subprocess.run(["nft", "add", "table", "bridge", name], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(made.stderr.strip().splitlines()[0])
    try:
        assert sweep_tables(PREFIX, ["there"]) == [f"table bridge {PREFIX}gone"]
        assert names[1] in shown("tables")
    finally:
        subprocess.run(["nft", "delete", "table", "bridge", names[1]], check=True)


def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(FilterError, match="no-such-bridge got no more addresses: no interface with this name"):
        add_addresses("no-such-bridge", [A])
