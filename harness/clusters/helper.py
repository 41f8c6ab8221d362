"""Control of a run's network from inside a helper container, for a harness that may use Docker but is not root.

`python3 -m harness.clusters.helper TABLE INTERFACE ADDRESS...` in the host's namespaces. Requests come as JSON lines on
standard input, answers go to standard output in any order; the end of the input is the end of the helper, and of its
table. The other end is `helped_network.py`. Only the standard library, msgspec and what `host_network.py` needs may be
imported here: the container holds nothing else.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import msgspec

from harness.clusters.bridge import FilterError
from harness.clusters.host_network import HostNetwork
from harness.clusters.namespaces import AgentError


class Call(msgspec.Struct):
    """A request: one of the methods of `NetworkControl`, with JSON for its arguments."""

    number: int
    method: str
    arguments: list[Any] = []


class Reply(msgspec.Struct):
    """What came of a request: a result, or the words of a refusal. Number 0 tells how the start went."""

    number: int
    result: Any = None
    refusal: str = ""


class Helper:
    """Answers calls, each in a thread of its own: a probe that waits must not hold up a cut."""

    def __init__(self, network: HostNetwork) -> None:
        self._network = network
        self._writing = threading.Lock()

    def answer(self, call: Call) -> None:
        """Does what a call asks for, and replies."""
        try:
            self.reply(Reply(call.number, result=self._result(call)))
        except (FilterError, AgentError) as error:
            self.reply(Reply(call.number, refusal=str(error)))

    def _result(self, call: Call) -> Any:
        network = self._network
        match call.method:
            case "cut":
                return network.cut([(a, b) for a, b in call.arguments[0]])
            case "heal":
                return network.heal([(a, b) for a, b in call.arguments[0]])
            case "dropped":
                return [[a, b, packets] for (a, b), packets in network.dropped().items()]
            case "place":
                return network.place(*call.arguments)
            case "remove":
                return network.remove(*call.arguments)
            case "passing":
                probed = network.passing([(a, b) for a, b in call.arguments[0]])
                return [[a, b, passes] for (a, b), passes in probed.items()]
            case "connects":
                return network.connects(*call.arguments)
        raise FilterError(f"the helper knows no call {call.method!r}")

    def reply(self, reply: Reply) -> None:
        """Writes one line."""
        with self._writing:
            sys.stdout.buffer.write(msgspec.json.encode(reply) + b"\n")
            sys.stdout.buffer.flush()


def main(argv: list[str]) -> int:
    """Serves until the input ends."""
    table, interface, *addresses = argv
    try:
        network = HostNetwork(table, interface, addresses)
    except (FilterError, AgentError) as error:
        sys.stdout.buffer.write(msgspec.json.encode(Reply(0, refusal=str(error))) + b"\n")
        return 1
    helper = Helper(network)
    try:
        helper.reply(Reply(0, result=network.mechanism))
        for line in sys.stdin.buffer:
            call = msgspec.json.decode(line, type=Call)
            threading.Thread(target=helper.answer, args=(call,), daemon=True).start()
    finally:
        network.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
