"""Operations a second of a bare run while faults go on, what this machine could do at most, and where the time goes.

Two peers are measured just before, alone: what one of our client processes gets from a server that only echoes, and how
many syncs a second the disk gives one writer. Then come a bare run and the same run as a closed loop (`--rate 0`), whose
processor time is told by the processes that took it.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from benchmarks.figures import ROOT, Figure, heading, scratch, table
from benchmarks.processors import OTHERS, Processors
from harness.clusters.client_process import Clients, Start, make_clients, operate
from harness.clusters.cluster import NANOSECONDS, Request
from harness.plan import Plan
from harness.reading import read_run

LEAST_RATE = 300.0
PEER_SECONDS = 3.0
SAMPLE_SECONDS = 0.1
LOAD = "load"
PHASES = {
    "seed": "start of the command",
    "waiting for": "start of the cluster",
    "healed": LOAD,  # with the last heal
    "checking": "final reads",
    "drawing": "checks",
    "": "tables and report",
}
"""What has passed when the first line that begins so is printed, in order."""


class Ran(msgspec.Struct):
    """One run, as it was seen from outside and from its files."""

    ok: float  # operations a second, from the first fault to the end of the last
    all: float
    cpu: dict[str, float]  # role -> seconds of processor time while the load ran
    phases: dict[str, float]  # phase -> seconds
    outcome: str

    @property
    def per_second_of_cpu(self) -> float:
        """What the run gets out of a processor, however much of it others took."""
        return self.all * self.phases[LOAD] / sum(seconds for role, seconds in self.cpu.items() if role != OTHERS)


def main() -> None:
    """Measures the peers, makes the runs, prints the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--time", type=float, default=Plan().seconds)
    chosen = options.parse_args()
    print(heading("rate"))
    with scratch() as out:
        echoes = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(ask_echo())
        syncs = syncs_per_second(out / "syncs")
        words = ["--seed", str(chosen.seed), "--time", f"{chosen.time:g}"]
        bare = run([*words], out / "bare")
        closed = run([*words, "--rate", "0"], out / "closed")
    asked = Plan().rate
    print(
        table(
            [
                Figure("bare run, answered while faults go on", bare.ok, "/s", LEAST_RATE, "the limit", ">= 1"),
                Figure("bare run, all that ended then", bare.all, "/s", asked, "what the run asks for"),
                Figure("closed loop, answered while faults go on", closed.ok, "/s", LEAST_RATE, "the limit", ">= 1"),
                Figure("closed loop, all that ended then", closed.all, "/s", echoes, "one client process and an echo"),
                Figure("the same against the disk", closed.all, "/s", syncs, "syncs of one writer"),
                Figure("ended for each second of processor time, bare run", bare.per_second_of_cpu, "/s"),
                Figure("ended for each second of processor time, closed loop", closed.per_second_of_cpu, "/s"),
            ]
        )
    )
    for title, ran in (("Bare run", bare), ("Closed loop", closed)):
        print(f"\n{title} ({ran.outcome}), processor time while the load ran, against all cores:\n")
        most = ran.phases[LOAD] * (os.cpu_count() or 1)
        print(table([Figure(role, seconds, "s", most, "all cores") for role, seconds in ran.cpu.items()]))
    print("\nThe bare run from the outside:\n")
    print(table([Figure(phase, seconds, "s") for phase, seconds in bare.phases.items()]))


# --- peers ---------------------------------------------------------------------------------------------------------------


class Echo(asyncio.Protocol):
    """Answers each request with the same read of a key, and looks at nothing."""

    ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"value":1}'

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(self.ANSWER * data.count(b"\r\n\r\n"))


def serve_echo(ready: Connection) -> None:
    """A process that echoes until it is ended; tells its port."""

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(serve())


@contextmanager
def echo() -> Iterator[int]:
    """The port of an echoing process."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve_echo, args=(there,), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
        process.join()


async def ask_echo() -> float:
    """Reads a second that the clients of one client process get from an echo, as many at once as such a process has."""
    with echo() as port:
        workers = tuple(range(Plan().concurrency // 2))
        clients = make_clients(Start(("n1",), workers, {"n1": {"n1": ("127.0.0.1", port)}}, {}, 1.0))
        began = time.monotonic()
        end = began + PEER_SECONDS
        counts = await asyncio.gather(*(_read_until(end, clients, worker) for worker in workers))
        return sum(counts) / (time.monotonic() - began)


async def _read_until(end: float, clients: Clients, worker: int) -> int:
    count = 0
    while time.monotonic() < end:
        request = Request(worker, f"c{worker}-{count}", "read", "k", None, "", NANOSECONDS, NANOSECONDS)
        completion = await operate(clients, request)
        count += completion.attempts[-1].status == 200
    return count


def syncs_per_second(path: Path) -> float:
    """Appends of a record's size that one writer can make durable, one after the other."""
    count = 0
    with path.open("ab", buffering=0) as file:
        began = time.monotonic()
        while time.monotonic() < began + PEER_SECONDS:
            file.write(bytes(256))
            os.fdatasync(file.fileno())
            count += 1
    return count / PEER_SECONDS


# --- runs ----------------------------------------------------------------------------------------------------------------


def run(words: list[str], out: Path) -> Ran:
    """One run by the command line, watched from outside."""
    command = [sys.executable, "-P", "-m", "harness", "run", *words, "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    cpu = Processors(process.pid)
    phases = Phases(process.stderr or [])
    while process.poll() is None:
        cpu.look(counts=phases.load_goes_on)
        time.sleep(SAMPLE_SECONDS)
    phases.end()
    if process.returncode not in {0, 1, 3}:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    ok, ended, outcome = _while_faults_go_on(out / "latest")
    return Ran(ok, ended, cpu.used, phases.took, outcome)


class Phases:
    """How long each phase of a run takes, by the lines that it prints; a thread hears them as they come."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.took: dict[str, float] = {}
        self._since = time.monotonic()
        self._thread = threading.Thread(target=self._hear, args=(lines,), daemon=True)
        self._thread.start()

    @property
    def load_goes_on(self) -> bool:
        return list(PHASES.values())[len(self.took) : len(self.took) + 1] == [LOAD]

    def end(self) -> None:
        """The run has ended."""
        self._thread.join()
        self._passed(PHASES[""])

    def _hear(self, lines: Iterable[str]) -> None:
        for line in lines:
            for start, name in PHASES.items():
                if start and line.startswith(start) and name not in self.took:
                    self._passed(name)

    def _passed(self, name: str) -> None:
        now = time.monotonic()
        self.took[name] = now - self._since
        self._since = now


def _while_faults_go_on(folder: Path) -> tuple[float, float, str]:
    """Answered and all operations a second between the first fault and the end of the last, and the run's outcome."""
    found = read_run(folder)
    begin = min(fault.start for fault in found.faults)
    end = max(fault.end or fault.start for fault in found.faults)
    ended = [each for each in found.operations if each.end is not None and begin <= each.end <= end]
    seconds = (end - begin) / NANOSECONDS
    return sum(each.type == "ok" for each in ended) / seconds, len(ended) / seconds, str(found.run["outcome"])


if __name__ == "__main__":
    main()
