"""The network of a run as the engine's host can bend it: addresses for clients, cuts between addresses, and probes.

It needs the rights to change packet filters and to enter network namespaces (root, as a rule). Not here: faults.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.clusters.bridge import BridgeTable, FilterError, Pair, add_addresses
from harness.clusters.namespaces import HOST, AgentError, Prober


class HostNetwork:
    """One run's bridge. Methods may be called from any thread."""

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
        """How cuts are made, for evidence."""
        return self._table.mechanism

    def cut(self, pairs: Collection[Pair]) -> None:
        """See `BridgeTable.cut`."""
        self._table.cut(pairs)

    def heal(self, pairs: Collection[Pair]) -> None:
        """See `BridgeTable.heal`."""
        self._table.heal(pairs)

    def dropped(self) -> dict[Pair, int]:
        """See `BridgeTable.dropped`."""
        return self._table.dropped()

    def place(self, address: str, pid: int) -> None:
        """See `Prober.place`."""
        self._prober.place(address, pid)

    def remove(self, address: str) -> None:
        """See `Prober.remove`."""
        self._prober.remove(address)

    def passing(self, pairs: Collection[Pair]) -> dict[Pair, bool]:
        """See `Prober.passing`."""
        return self._prober.passing(pairs)

    def connects(self, source: str, target: str, port: int) -> bool | None:
        """See `Prober.connects`."""
        return self._prober.connects(source, target, port)

    def close(self) -> None:
        """Takes the table away. The addresses go with the bridge. May be called twice."""
        self._prober.close()
        self._table.close()
