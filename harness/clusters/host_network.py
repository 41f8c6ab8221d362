"""The network of a run as the engine's host can bend it: addresses for clients, cuts between addresses, and probes.

It needs the rights to change packet filters and to enter network namespaces (root, as a rule). Not here: faults.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from harness.clusters.bridge import BridgeTable, FilterError, Pair, add_addresses
from harness.clusters.namespaces import HOST, AgentError, Prober


class NetworkControl(Protocol):
    """One run's bridge, under control. Methods may be called from any thread and raise `FilterError` or `AgentError`."""

    @property
    def mechanism(self) -> str:
        """How cuts are made, for evidence."""
        ...

    def cut(self, pairs: Collection[Pair]) -> None:
        """See `BridgeTable.cut`."""
        ...

    def heal(self, pairs: Collection[Pair]) -> None:
        """See `BridgeTable.heal`."""
        ...

    def dropped(self) -> dict[Pair, int]:
        """See `BridgeTable.dropped`."""
        ...

    def place(self, address: str, pid: int) -> None:
        """See `Prober.place`."""
        ...

    def remove(self, address: str) -> None:
        """See `Prober.remove`."""
        ...

    def passing(self, pairs: Collection[Pair]) -> dict[Pair, bool]:
        """See `Prober.passing`."""
        ...

    def connects(self, source: str, target: str, port: int) -> bool | None:
        """See `Prober.connects`."""
        ...

    def close(self) -> None:
        """Takes everything away; the addresses go with the bridge. May be called twice."""
        ...


class HostNetwork:
    """Control by this process itself."""

    def __init__(self, table: str, interface: str, addresses: Sequence[str]) -> None:
        """Makes the table and gives the host `addresses` on the bridge.

        Raises `FilterError` or `AgentError`, in the kernel's words, where this process may not.
        """
        self._table = BridgeTable(table)
        self._prober = Prober()
        try:
            add_addresses(interface, addresses)
            for address in addresses:
                self._prober.place(address, HOST)
        except (FilterError, AgentError):
            self.close()
            raise

    @property
    def mechanism(self) -> str:
        return self._table.mechanism

    def cut(self, pairs: Collection[Pair]) -> None:
        self._table.cut(pairs)

    def heal(self, pairs: Collection[Pair]) -> None:
        self._table.heal(pairs)

    def dropped(self) -> dict[Pair, int]:
        return self._table.dropped()

    def place(self, address: str, pid: int) -> None:
        self._prober.place(address, pid)

    def remove(self, address: str) -> None:
        self._prober.remove(address)

    def passing(self, pairs: Collection[Pair]) -> dict[Pair, bool]:
        return self._prober.passing(pairs)

    def connects(self, source: str, target: str, port: int) -> bool | None:
        return self._prober.connects(source, target, port)

    def close(self) -> None:
        self._prober.close()
        self._table.close()
