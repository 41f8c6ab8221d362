"""Builds: what is under test, found by the name that a user gives it.

`current` (this tree), `git:<rev>` (the node alone from that revision, the rest from this tree), `bug:<name>` (this tree
with a planted bug) and `image:<tag>` (a container image that holds a node). How a node is started or an image is made is
for the clusters; here is only where its code lies and how to call it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from docker.errors import APIError
from requests.exceptions import RequestException

from harness.clusters.cluster import ClusterError
from harness.clusters.engine import connect
from harness.clusters.image import id_of_image, said_by_image
from harness.clusters.leftovers import cache_folder
from harness.plan import UsageError, known
from raftnode.bugs import BUGS

ROOT = Path(__file__).resolve().parents[1]
NODE_PARTS = ("raftnode", "requirements")  # what a revision gives: the node, and the pins of its libraries
# The versions of what crosses between the harness and a node. A revision may have frames and files of its own, since all
# nodes of one run come from one build.
SPOKEN = {"cli": 1, "http": 1, "events": 1}
KINDS = ("current", "git", "bug", "image")
FORMATS_SECONDS = 30


class Build(msgspec.Struct, frozen=True):
    """One build, ready to be started: `[*argv, "--id", "n1", ...]` with `env` on top of the environment."""

    text: str  # as the user named it
    argv: tuple[str, ...]  # the start of a node's command line on this machine; empty for an image
    env: dict[str, str]
    source: (
        Path | None
    )  # the folder that holds raftnode/ (and requirements/, where the revision has it); None: an image
    node_options: tuple[str, ...]  # options of the node that belong to the build; argv has them at its end, too
    image: str  # the id of the image, "" where it has to be made from `source`
    facts: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        """What is kept with a run: `name`, `digest` of the node's code, git `revision`, and whether the tree is `dirty`.

        For `git:<rev>` the revision is that of the node; an image has no revision, and its id for a digest.
        """
        return self.facts


def resolve_build(text: str, cluster: str) -> Build:
    """The build that a user named, for a cluster of a kind (`local` or `docker`).

    Raises:
        UsageError: there is no such build, bug or revision, or the cluster cannot run it.
        ClusterError: git, the engine or the image is missing, or the node speaks other formats than this harness.
    """
    kind, _, name = text.partition(":")
    known("build", kind, KINDS)
    if kind == "current" and name:
        raise UsageError(f"the build `current` takes no name, {text!r} has one")
    if kind != "current" and not name:
        raise UsageError(f"the build {text!r} names nothing; git:<rev>, bug:<name> and image:<tag> are expected")
    return _RESOLVERS[kind](text, name, cluster)


def _current(text: str, _name: str, _cluster: str) -> Build:
    return _from_source(text, ROOT, (), {**_this_tree(), "digest": digest_of(ROOT)})


def _bug(text: str, name: str, _cluster: str) -> Build:
    known("bug", name, BUGS)
    return _from_source(text, ROOT, ("--build", text), {**_this_tree(), "digest": digest_of(ROOT)})


def _image(text: str, name: str, cluster: str) -> Build:
    if cluster != "docker":
        raise UsageError(f"the build {text!r} is a container image; it needs --cluster docker, not {cluster}")
    with contextlib.closing(connect()) as engine:
        image = id_of_image(engine, name)
        try:
            said = said_by_image(engine, image, ["--formats"], FORMATS_SECONDS)
        except (APIError, RequestException):
            said = ""
    _agree_on_formats(text, said)
    facts = {"name": text, "revision": None, "dirty": None, "digest": image.removeprefix("sha256:")[:12]}
    # By its id and not its tag: what was looked at is what will run, wherever the tag moves meanwhile.
    return Build(text=text, argv=(), env={}, source=None, node_options=(), image=image, facts=facts)


def _revision(text: str, name: str, _cluster: str) -> Build:
    commit = _commit(name)
    present = _git("ls-tree", "--name-only", commit, "--", *NODE_PARTS).stdout.split()
    if "raftnode" not in present:
        raise UsageError(f"revision {name!r} ({commit[:12]}) has no node: there is no folder raftnode/ in it")
    trees = [_git("rev-parse", f"{commit}:{part}").stdout.strip() for part in present]
    folder = _cache_folder() / "-".join(tree[:20] for tree in trees)
    if not folder.is_dir():
        _unpack(commit, present, folder)
    facts = {"revision": commit, "dirty": False, "digest": digest_of(folder)}
    build = _from_source(text, folder, (), facts)
    _agree_on_formats(text, _said_by_process(build))
    return build


_RESOLVERS: dict[str, Callable[[str, str, str], Build]] = {
    "current": _current,
    "git": _revision,
    "bug": _bug,
    "image": _image,
}


def _from_source(text: str, source: Path, node_options: tuple[str, ...], facts: dict[str, Any]) -> Build:
    # -P keeps the working directory off the module path, so that the node comes from `source` wherever we stand.
    argv = (sys.executable, "-P", "-m", "raftnode", *node_options)
    return Build(
        text=text,
        argv=argv,
        env={"PYTHONPATH": str(source)},
        source=source,
        node_options=node_options,
        image="",
        facts={"name": text, **facts},
    )


def digest_of(source: Path) -> str:
    """Twelve hexadecimal digits of the names and contents of the node's modules."""
    digest = hashlib.sha256()
    for path in sorted((source / "raftnode").rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(source).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def _this_tree() -> dict[str, Any]:
    """Revision and dirtiness of this tree; both None where it is no clone or git is missing."""
    if shutil.which("git") is None or (head := _git("rev-parse", "HEAD", check=False)).returncode != 0:
        return {"revision": None, "dirty": None}
    changes = _git("status", "--porcelain", "--", *NODE_PARTS, check=False).stdout
    return {"revision": head.stdout.strip(), "dirty": bool(changes.strip())}


def _commit(name: str) -> str:
    """The full id of the commit that a user named."""
    if shutil.which("git") is None:
        raise ClusterError(f"the build git:{name} needs git, and there is none on PATH: install it")
    inside = _git("rev-parse", "--is-shallow-repository", check=False)
    if inside.returncode != 0:
        words = inside.stderr.strip().splitlines() or ["git does not say why"]
        raise UsageError(f"the build git:{name} needs a git clone, and {ROOT} is not one: {words[0]}")
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", check=False)
    if found.returncode == 0:
        return found.stdout.strip()
    if inside.stdout.strip() == "true":
        raise UsageError(
            f"there is no revision {name!r} here, and this clone is shallow; get the whole history first:"
            " git fetch --unshallow"
        )
    raise UsageError(
        f"there is no revision {name!r} in {ROOT}; a commit, branch or tag that `git log` knows is expected"
    )


def _git(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise ClusterError(f"git {words[0]} failed: {done.stderr.strip() or done.returncode}")
    return done


def _cache_folder() -> Path:
    """Where the nodes of other revisions are kept; each is small, and a tree id never changes its meaning."""
    return cache_folder() / "builds"


def _unpack(commit: str, parts: list[str], folder: Path) -> None:
    """Writes parts of a commit into `folder`, which appears whole or not at all."""
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", commit, "--", *parts], capture_output=True, check=False
    )
    if packed.returncode != 0:
        raise ClusterError(f"git archive of {commit[:12]} failed: {packed.stderr.decode(errors='replace').strip()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is not None:
                    target = draft / member.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content.read())
        if folder.is_dir():  # somebody else was faster
            shutil.rmtree(draft)
        else:
            draft.rename(folder)
    except OSError as error:
        raise ClusterError(f"cannot keep the node of {commit[:12]} in {folder}: {error.strerror}") from error


def _said_by_process(build: Build) -> str:
    """What the build's node answers to --formats; "" if it does not in time."""
    try:
        return subprocess.run(
            [*build.argv, "--formats"],
            env={**os.environ, **build.env},
            capture_output=True,
            text=True,
            timeout=FORMATS_SECONDS,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired:
        return ""


def _agree_on_formats(text: str, said: str) -> None:
    """Raises ClusterError unless a build's node, by what it said, speaks this harness's command line, HTTP and events."""
    try:
        spoken = msgspec.json.decode(said, type=dict[str, int])
    except msgspec.DecodeError as error:
        raise ClusterError(
            f"the node of {text} does not answer --formats, which versions its formats;"
            " it cannot be driven by this harness"
        ) from error
    for name, version in SPOKEN.items():
        if spoken.get(name) != version:
            raise ClusterError(
                f"the node of {text} speaks version {spoken.get(name, 'none')} of the {name} format,"
                f" this harness version {version}; check out a harness of that time to test it"
            )
