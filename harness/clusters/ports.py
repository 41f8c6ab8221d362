"""Ports of this machine that stay ours for the length of a run.

Not here: who listens on them.
"""

from __future__ import annotations

import socket

HOST = "127.0.0.1"


class PortReservation:
    """A port of this machine that only a process which we tell may listen on, through all its restarts.

    The socket is bound and never listens: others cannot take the port, neither on purpose nor as the near end of a
    connection (which could even connect to itself), but whoever sets SO_REUSEADDR, as nodes do, may listen on it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind((HOST, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.port = int(self._socket.getsockname()[1])

    def close(self) -> None:
        self._socket.close()
