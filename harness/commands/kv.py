"""`splitbrain kv`: get, put, cas, append, delete and status from the shell."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from harness.clusters.cluster import ClusterError
from harness.commands.answer import JSON_HELP, as_json, console
from harness.plan import UsageError, known
from harness.playground import known_endpoints
from raftnode.client import CasMismatchError, Client, KvError

HELP = """Talk to a cluster from the shell: the one that `splitbrain node` runs, or the one that --endpoints names.

A value is JSON if it can be read as JSON, else a string. Exit status: 0 done, 1 the value was not the expected one or
there is none, 4 not done or not known to be done (the sentence says which).

Examples:

  splitbrain kv put x 5

  splitbrain kv get x

  splitbrain kv cas x 5 6

  splitbrain kv append list '"a"' --endpoints n1=http://127.0.0.1:7600,n2=http://127.0.0.1:7601
"""

ARGUMENTS = {
    "get": "KEY",
    "put": "KEY VALUE",
    "cas": "KEY OLD NEW",
    "append": "KEY ELEMENT",
    "delete": "KEY",
    "status": "",
}
NOT_AS_EXPECTED = 1


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("kv", help=HELP)(command)


def command(
    what: Annotated[
        str, typer.Argument(help="get KEY, put KEY VALUE, cas KEY OLD NEW, append KEY ELEMENT, delete KEY, status")
    ],
    words: Annotated[list[str] | None, typer.Argument(help="The key and the values.")] = None,
    endpoints: Annotated[str | None, typer.Option(help="Addresses, as n1=URL,n2=URL.")] = None,
    stale: Annotated[bool, typer.Option("--stale", help="get: any node's own state, perhaps an old one.")] = False,
    seconds: Annotated[float, typer.Option("--timeout", help="How long to try.")] = 10.0,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    known("kv command", what, ARGUMENTS)
    arguments = words or []
    if len(arguments) != len(ARGUMENTS[what].split()):
        wanted = ARGUMENTS[what] or "nothing"
        raise UsageError(
            f"kv {what} takes {wanted}, not {' '.join(arguments) or 'nothing'}; see `splitbrain kv --help`"
        )
    if not 0 < seconds < math.inf:
        raise UsageError(f"--timeout must be a number of seconds above 0, not {seconds:g}")
    urls = _parse(endpoints) if endpoints else known_endpoints()
    if not urls:
        raise UsageError("no cluster to play with runs here; start one with `splitbrain node`, or give --endpoints")
    try:
        with Client(urls, deadline_seconds=seconds) as client:
            answer = _do(client, what, arguments, list(urls), stale=stale)
    except CasMismatchError as error:
        _tell({"swapped": False, "actual": error.actual}, json=json)
        raise typer.Exit(NOT_AS_EXPECTED) from error
    except KvError as error:
        if error.code.startswith("bad-") or error.code == "too-large":
            raise UsageError(str(error)) from error
        raise ClusterError(str(error)) from error
    _tell(answer, json=json)
    if answer.get("found") is False or answer.get("existed") is False:
        raise typer.Exit(NOT_AS_EXPECTED)


def _parse(text: str) -> dict[str, str]:
    urls = {}
    for part in text.split(","):
        name, sign, url = part.strip().partition("=")
        if not (name and sign and url.startswith(("http://", "https://"))):
            raise UsageError(f"--endpoints must be n1=http://HOST:PORT,n2=..., not {part!r}")
        urls[name] = url
    return urls


def _do(client: Client, what: str, words: list[str], nodes: list[str], *, stale: bool) -> dict[str, Any]:
    match what:
        case "get":
            found = client.get(words[0], stale=stale)
            return {"found": False} if found is None else {"value": found.value, "index": found.index}
        case "put":
            return {"index": client.put(words[0], _value(words[1]))}
        case "cas":
            return {"swapped": True, "index": client.cas(words[0], _value(words[1]), _value(words[2]))}
        case "append":
            return {"length": client.append(words[0], _value(words[1]))}
        case "delete":
            return {"existed": client.delete(words[0])}
        case _:
            return {node: _status(client, node) for node in nodes}


def _status(client: Client, node: str) -> dict[str, Any]:
    try:
        return client.status(node)
    except KvError as error:
        return {"error": str(error)}


def _value(word: str) -> Any:
    try:
        return msgspec.json.decode(word)
    except msgspec.DecodeError:
        return word


def _tell(answer: dict[str, Any], *, json: bool) -> None:
    if json:
        as_json(answer)
        return
    for name, value in answer.items():
        shown = (
            ", ".join(f"{key} {each}" for key, each in value.items())
            if isinstance(value, dict)
            else msgspec.json.encode(value).decode()
        )
        console().print(f"{name}: {escape(shown)}")
