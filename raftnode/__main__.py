"""`python -m raftnode`: one node from its command line."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from raftnode import events, storage, wire
from raftnode.bugs import BUGS
from raftnode.build import CURRENT, Build
from raftnode.messages import Limits
from raftnode.server import EXIT_USAGE, Settings, say, serve

CLI_VERSION = 1
HTTP_VERSION = 1
FORMATS = {
    "cli": CLI_VERSION,
    "http": HTTP_VERSION,
    "events": events.VERSION,
    "wire": wire.VERSION,
    "storage": storage.FORMAT,
}

T = TypeVar("T")


class UsageError(Exception):
    """A wrong argument; the sentence says which and what is expected."""


def parse_address(text: str) -> tuple[str, int]:
    """HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{text!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


def parse_map(text: str, value: Callable[[str], T]) -> dict[str, T]:
    """NAME=VALUE,NAME=VALUE."""
    found: dict[str, T] = {}
    for part in filter(None, text.split(",")):
        name, equals, rest = part.partition("=")
        if not equals or not name or name in found:
            raise UsageError(f"{part!r} is no NAME=VALUE, or its name comes twice")
        found[name] = value(rest)
    return found


def nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.3)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"


def parse_limits(text: str, limits: Limits) -> Limits:
    """NAME=NUMBER,...: these limits replaced, the others as they were."""
    known = list(Limits.__struct_fields__)
    changed: dict[str, Any] = msgspec.structs.asdict(limits)
    for name, value in parse_map(text, str).items():
        if name not in changed:
            raise UsageError(f"--limits: there is no limit {name!r}: {nearest(name, known)}")
        changed[name] = value
    try:
        result = msgspec.convert(changed, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"--limits: {error}") from error
    if not 0 < result.election_min <= result.election_max:
        raise UsageError("--limits: election_min must be above 0 and not above election_max")
    if min(result.heartbeat, result.entries_per_message, result.window, result.request_timeout, result.sessions) < 1:
        raise UsageError(
            "--limits: heartbeat, entries_per_message, window, request_timeout and sessions must be above 0"
        )
    return result


def find_build(name: str) -> Build:
    """`current`, or `bug:NAME`."""
    builds = {"current": CURRENT, **{bug.build.name: bug.build for bug in BUGS.values()}}
    if name in builds:
        return builds[name]
    raise UsageError(f"--build: there is no build {name!r}: {nearest(name, list(builds))}")


def parse_arguments(arguments: list[str]) -> tuple[Settings, Build]:
    """The command line as settings and a build. Raises UsageError."""
    parser = argparse.ArgumentParser(
        prog="raftnode", description="One node of a Raft key-value store.", allow_abbrev=False
    )
    parser.add_argument("--id", required=True, help="this node's id, one of the members")
    parser.add_argument("--data", required=True, help="directory of its log; made if it is not there")
    parser.add_argument(
        "--client", required=True, metavar="HOST:PORT", help="where clients connect (port 0: any free one)"
    )
    parser.add_argument("--peer", required=True, metavar="HOST:PORT", help="where peers connect (port 0: any free one)")
    parser.add_argument(
        "--members", required=True, metavar="ID,...", help="all nodes of the cluster, this one included"
    )
    parser.add_argument("--peers", default="", metavar="ID=HOST:PORT,...", help="where to reach the other members")
    parser.add_argument("--clients", default="", metavar="ID=URL,...", help="what a redirect to a node says")
    parser.add_argument("--cluster", required=True, metavar="NAME", help="peers of another cluster are turned away")
    parser.add_argument("--seed", type=int, default=7, help="of the election timeouts")
    parser.add_argument("--build", default="current", help="current, or bug:NAME for a planted bug")
    parser.add_argument("--limits", default="", metavar="NAME=NUMBER,...", help="times in nanoseconds")
    parser.add_argument("--formats", action="store_true", help="print the versions of all formats, and exit")
    options = parser.parse_args(arguments)
    members = tuple(filter(None, options.members.split(",")))
    peers = parse_map(options.peers, parse_address)
    if options.id not in members or len(set(members)) != len(members):
        raise UsageError(f"--members {options.members}: each id once, and {options.id!r} among them")
    if set(peers) != set(members) - {options.id}:
        raise UsageError(
            f"--peers {options.peers}: an address is wanted for each of the other members, and for no one else"
        )
    build = find_build(options.build)
    settings = Settings(
        id=options.id,
        data=options.data,
        client=parse_address(options.client),
        peer=parse_address(options.peer),
        members=members,
        peers=peers,
        clients=parse_map(options.clients, str),
        cluster=options.cluster,
        seed=options.seed,
    )
    return settings, replace(build, limits=parse_limits(options.limits, build.limits))


def main(arguments: list[str]) -> int:
    """Runs a node; returns its exit status."""
    if "--formats" in arguments:
        print(msgspec.json.encode(FORMATS).decode())
        return 0
    try:
        settings, build = parse_arguments(arguments)
    except UsageError as error:
        say(f"raftnode: {error}")
        return EXIT_USAGE
    return serve(settings, build)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Not sys.exit: a disk that hangs or a name that does not resolve must not hold up a node that is to stop.
    os._exit(status)
