"""A base image made of Debian packages, for machines that reach no image registry.

The packages come from wherever this machine's apt takes them; nothing is installed here and no maintainer script runs.
The result is a tar of a file system that holds Python, its standard library and busybox, with fixed times and owners,
so that the same packages give the same bytes. Not here: the engine, the node, its libraries (`image.py`).
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import msgspec

from harness.clusters.cluster import ClusterError

ROOTS = ("python3-minimal", "libpython3-stdlib", "busybox-static")
"""What the base must have; what these depend on is asked of apt."""

KEPT = re.compile(
    r"(busybox-static|libbz2|libc6|libcrypt1|libexpat1|libffi|libgcc-s1|liblzma|libpython3|libssl|libuuid1"
    r"|python3|zlib1g|openssl-provider)"
)
"""Dependencies that Python needs as it runs a node; the others serve package management, terminals and mail."""

DROPPED = re.compile(
    r"usr/share/(doc|man|locale|info|lintian|bug|perl5|apps|applications|pixmaps|binfmts)(/|$)|usr/lib/[^/]+/gconv(/|$)"
    r"|usr/lib/python3(\.\d+)?/(test|idlelib|lib2to3|tkinter|ensurepip|pydoc_data|turtledemo)(/|$)|.*/__pycache__(/|$)"
)
MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
FIXED_TIME = 1_700_000_000
PASSWORDS = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
APPLETS = (
    "sh",
    "ls",
    "cat",
    "ps",
    "ip",
    "nc",
    "ping",
    "wget",
    "sleep",
    "kill",
    "test",
    "env",
    "vi",
    "mkdir",
    "rm",
    "grep",
)
RECIPE = f"debian 1 {ROOTS} {KEPT.pattern} {DROPPED.pattern} {APPLETS}"
"""Names what this module makes of given packages: a base in the engine that was made otherwise is not used."""


class Base(msgspec.Struct, frozen=True):
    """A file system as a tar, the Python in it ("3.11") and the packages that it was made of ("name_version_arch")."""

    tar: bytes
    python: str
    packages: tuple[str, ...]


def make_base(folder: Path, progress: Callable[[str], None]) -> Base:
    """Fetches packages into `folder` and packs them. Raises `ClusterError` where this machine has no apt, or it fails."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise ClusterError(
                "the base image can be had neither from a registry nor from Debian packages: "
                f"this machine has no {tool}. Load or pull python:3.11-slim-bookworm, then run again"
            )
    archives = _fetch(folder, progress)
    names = tuple(archive.stem for archive in archives)
    versions = [match[1] for name in names if (match := re.match(r"python(3\.\d+)-minimal_", name))]
    if not versions:
        raise ClusterError(f"apt gave no Python among the packages {', '.join(names)}")
    return Base(tar=_pack(archives, names), python=versions[0], packages=names)


def _fetch(folder: Path, progress: Callable[[str], None]) -> list[Path]:
    """Downloads the packages; with lists of its own if the machine's are missing or older than the archive."""
    own_lists = folder / "lists"
    (own_lists / "partial").mkdir(parents=True)
    downloads = folder / "packages"
    downloads.mkdir()
    try:
        _download([], downloads)
    except ClusterError:
        progress("apt's package lists are missing or out of date here: fetching them anew")
        options = [f"Dir::State::lists={own_lists}", f"Dir::Cache={folder}", "APT::Sandbox::User="]
        _run_apt("apt-get", options, ["update", "-qq"], folder)
        _download(options, downloads)
    return sorted(downloads.glob("*.deb"))


def _download(options: list[str], downloads: Path) -> None:
    listing = _run_apt(
        "apt-cache",
        options,
        [
            "depends",
            "--recurse",
            *(
                f"--no-{relation}"
                for relation in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
            ),
            *ROOTS,
        ],
        downloads,
    )
    closure = {line for line in listing.splitlines() if line and line[0] not in " <|" and ":" not in line}
    wanted = sorted(name for name in closure if KEPT.match(name))
    if not set(ROOTS) <= set(wanted):
        raise ClusterError(f"apt does not know the packages {', '.join(sorted(set(ROOTS) - set(wanted)))}")
    _run_apt("apt-get", ["APT::Sandbox::User=", *options], ["download", "-qq", *wanted], downloads)


def _run_apt(tool: str, options: list[str], arguments: list[str], folder: Path) -> str:
    command = [tool, *(word for option in options for word in ("-o", option)), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise ClusterError(f"{tool} {arguments[0]} failed: {words[-1] if words else done.returncode}")
    return done.stdout


class _Tree:
    """The tar under construction: every path once, times and owners fixed, the top folders merged under usr/."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._bytes, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed in `finish`
        self._seen: set[str] = set()

    def add(self, member: tarfile.TarInfo, content: IO[bytes] | None = None) -> None:
        if member.name in self._seen:
            return
        self._seen.add(member.name)
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = FIXED_TIME
        member.pax_headers = {}
        self._tar.addfile(member, content)

    def folder(self, name: str, mode: int = 0o755) -> None:
        member = tarfile.TarInfo(name)
        member.type = tarfile.DIRTYPE
        member.mode = mode
        self.add(member)

    def link(self, name: str, target: str) -> None:
        member = tarfile.TarInfo(name)
        member.type = tarfile.SYMTYPE
        member.linkname = target
        self.add(member)

    def text(self, name: str, text: str) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(text.encode())
        member.mode = 0o644
        self.add(member, io.BytesIO(text.encode()))

    def finish(self) -> bytes:
        self._tar.close()
        return self._bytes.getvalue()


def _pack(archives: list[Path], names: tuple[str, ...]) -> bytes:
    tree = _Tree()
    tree.folder("usr")
    for name in MERGED:
        tree.folder(f"usr/{name}")
        tree.link(name, f"usr/{name}")
    for archive in archives:
        _unpack_into(tree, archive)
    for name in ("dev", "etc", "proc", "root", "run", "sys", "var"):
        tree.folder(name)
    tree.folder("tmp", 0o1777)
    tree.text("etc/passwd", PASSWORDS)
    tree.text("etc/group", "root:x:0:\nnogroup:x:65534:\n")
    tree.text("etc/splitbrain-packages", "".join(f"{name}\n" for name in names))
    for applet in APPLETS:
        tree.link(f"usr/bin/{applet}", "busybox")
    return tree.finish()


def _unpack_into(tree: _Tree, archive: Path) -> None:
    """Streams one package's files into the tree; dpkg-deb knows every compression that Debian and Ubuntu use."""
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as unpacker,
        tarfile.open(fileobj=unpacker.stdout, mode="r|") as files,
    ):
        for member in files:
            member.name = _merged(member.name)
            if member.name in ("", ".") or DROPPED.match(member.name):
                continue
            if member.islnk():
                member.linkname = _merged(member.linkname)
            tree.add(member, files.extractfile(member) if member.isreg() else None)
    if unpacker.returncode != 0:
        raise ClusterError(f"dpkg-deb could not unpack {archive.name}")


def _merged(name: str) -> str:
    name = name.removeprefix("./").rstrip("/")
    return f"usr/{name}" if name.split("/")[0] in MERGED else name
