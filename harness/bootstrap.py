"""First use: a virtual environment beside the clone, with exactly the locked requirements in it.

`./splitbrain` calls `prepare` where an environment's stamp is not what it should be, with whatever Python 3.11+ runs it:
so nothing but the standard library may be imported here, and nothing else of ours.

uv goes first, put there by pip from a lock of its own; it installs in a second what takes pip forty. An environment is
made whole or made again: its stamp is written last, and without one the folder is not believed.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

INFRASTRUCTURE, INTERRUPTED = 4, 3
STAMP = "splitbrain-stamp"
UNFINISHED = "unfinished\n"
INSTALLER_LOCK = "installer.lock"
FIRST = ".venv"  # the one that has pip and uv; both install into any other from there
UNREACHABLE = re.compile(
    r"connection broken|NewConnectionError|ConnectTimeout|ReadTimeout|Max retries|error sending request|dns error"
    r"|client error \(Connect\)|Connection refused|timed out|Temporary failure in name resolution|ProxyError",
    re.IGNORECASE,
)
# What pip is told in its own words by its files and its environment, uv hears in these.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}
COMMAS = {"UV_FIND_LINKS"}  # several values stand between commas here, between spaces elsewhere

Stamper = Callable[[str, str], str]


class SetupError(Exception):
    """The environment cannot be made; the sentence says why and what to do."""


class Installer(NamedTuple):
    """A tool that installs packages: how it is called, and with which variables of the environment."""

    command: tuple[str, ...]  # what stands before "install"
    is_uv: bool
    environment: dict[str, str]

    def install(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Calls the tool; its output, whatever it went to, is in `stdout`."""
        return _call([*self.command, "install", *words], self.environment)


def installers(root: Path) -> list[Installer]:
    """What can install packages here, the best first: uv, then pip; [] where there is neither.

    The first environment of a clone always has both. A package that was installed elsewhere has what its own Python has,
    or what PATH gives.
    """
    pythons = [python for python in (root / FIRST / "bin" / "python", Path(sys.executable)) if python.exists()]
    with_pip = next((each for each in pythons if _call([str(each), "-m", "pip", "--version"]).returncode == 0), None)
    found = []
    if uv := shutil.which("uv", path=os.pathsep.join([*(str(each.parent) for each in pythons), _path()])):
        environment = _uv_environment(with_pip) if with_pip else dict(os.environ)
        found.append(Installer((uv, "pip"), is_uv=True, environment=environment))
    if with_pip:
        found.append(Installer((str(with_pip), "-m", "pip"), is_uv=False, environment=dict(os.environ)))
    return found


def _path() -> str:
    return os.environ.get("PATH", os.defpath)


def prepare(root: str, folder: str, lock: str, expected_stamp: Stamper) -> int:
    """Makes or mends the environment `folder` by `lock`; returns an exit status, 0 once it is ready.

    Safe to interrupt at any point, and to start twice at once: the second start waits for the first.
    """
    begun = time.monotonic()
    try:
        with _alone(Path(root)):
            if _stamp_of(Path(folder)) != expected_stamp(folder, lock):
                _make(Path(root), Path(folder), Path(lock), expected_stamp)
                _say(f"splitbrain: {Path(folder).name} is ready after {time.monotonic() - begun:.1f} s\n")
    except SetupError as error:
        _say(f"splitbrain: {error}\n")
        return INFRASTRUCTURE
    except OSError as error:
        _say(f"splitbrain: cannot make {folder}: {error.strerror or error}\n")
        return INFRASTRUCTURE
    except KeyboardInterrupt:
        _say("\nsplitbrain: interrupted; the next start sets up what is missing\n")
        return INTERRUPTED
    return 0


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Holds the set-up lock of this clone; the system lets it go if we die, and what we started has ended as well.

    After a kill -9 an installer goes on writing: its heir must not begin while it does.
    """
    with (root / ".venv.lock").open("a", encoding="utf-8") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("splitbrain: another start is setting up here; waiting for it\n")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stamp_of(folder: Path) -> str:
    try:
        return (folder / STAMP).read_text(encoding="utf-8")
    except OSError:
        return ""


def _make(root: Path, folder: Path, lock: Path, expected_stamp: Stamper) -> None:
    place, rest, _ = expected_stamp(str(folder), str(lock)).split("\n", 2)
    stands = _stamp_of(folder).startswith(f"{place}\n{rest}\n") and _works(folder / "bin" / "python")
    if stands:
        _say(f"splitbrain: {lock.name} has changed: bringing {folder.name} up to date\n")
        (folder / STAMP).write_text(UNFINISHED, encoding="utf-8")
    else:
        _say(f"splitbrain: first use: setting up {folder}\n")
        _make_empty(root, folder)
    uv = _find_uv(root)
    _install(root, folder, lock, uv)
    libraries = next((folder / "lib").glob("python3*/site-packages"))
    (libraries / "splitbrain.pth").write_text(f"{root}\n", encoding="utf-8")
    _compile(root, folder)
    draft = folder / f"{STAMP}.new"
    draft.write_text(expected_stamp(str(folder), str(lock)), encoding="utf-8")
    draft.replace(folder / STAMP)


def _works(python: Path) -> bool:
    if not python.exists():
        return False
    return subprocess.run([python, "-c", "import encodings"], capture_output=True, check=False).returncode == 0


def _make_empty(root: Path, folder: Path) -> None:
    """A fresh environment; the first one has pip. What was in its place is removed if it is ours, else moved aside."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupError(
            f"this Python ({sys.executable}) lacks the module {missing[0]}, which makes virtual environments; install it"
            f" and start again: on Debian and Ubuntu with `apt install python{version}-venv`"
        )
    if (folder / STAMP).exists():
        shutil.rmtree(folder)
    elif os.path.lexists(folder):
        aside = root / f"{folder.name}.replaced-{time.time_ns()}"
        folder.rename(aside)
        _say(f"  {folder.name} was there already, but not made by this command: moved to {aside.name}\n")
    folder.mkdir()
    (folder / STAMP).write_text(UNFINISHED, encoding="utf-8")
    with _step(f"making a virtual environment with Python {platform.python_version()}"):
        pip = [] if folder.name == FIRST else ["--without-pip"]
        done = _call([sys.executable, "-m", "venv", *pip, str(folder)])
    if done.returncode != 0:
        raise SetupError(f"a virtual environment could not be made in {folder}: {last_words(done.stdout)}")


def _find_uv(root: Path) -> Path | None:
    """The uv of the clone's first environment, installed there if need be; None where it cannot be had for this machine.

    Raises:
        SetupError: the index cannot be reached.
    """
    uv = root / FIRST / "bin" / "uv"
    if uv.exists() and _call([str(uv), "--version"]).returncode == 0:
        return uv
    with _step("installing uv with pip"):
        done = _pip(root, root / FIRST, root / "requirements" / INSTALLER_LOCK)
    if done.returncode == 0:
        return uv
    if UNREACHABLE.search(done.stdout):
        raise SetupError(_unreachable(root))
    _say(f"  no uv for this machine ({last_words(done.stdout)}): pip does its work, which takes longer\n")
    return None


def _install(root: Path, folder: Path, lock: Path, uv: Path | None) -> None:
    count = len(re.findall(r"(?m)^[A-Za-z0-9].*==", lock.read_text(encoding="utf-8")))
    if uv is not None:
        with _step(f"installing {count} locked packages with uv, and compiling them"):
            words = [
                "pip",
                "sync",
                "--python",
                str(folder / "bin" / "python"),
                "--require-hashes",
                "--compile-bytecode",
            ]
            done = _call([str(uv), *words, str(lock)], _uv_environment(root / FIRST / "bin" / "python"))
        if done.returncode == 0:
            return
        _say(f"  uv failed ({last_words(done.stdout)}): trying pip\n")
    with _step(f"installing {count} locked packages with pip"):
        done = _pip(root, folder, lock)
    if done.returncode != 0:
        if UNREACHABLE.search(done.stdout):
            raise SetupError(_unreachable(root))
        raise SetupError(f"the packages of {lock.relative_to(root)} could not be installed: {last_words(done.stdout)}")


def _compile(root: Path, folder: Path) -> None:
    """Compiles the checker's search ahead, for all environments of the clone: else the first large history would wait for it.

    Whatever is amiss with that is no reason to be without an environment: it is compiled when it is needed, or done without.
    """
    if not (root / "checker" / "search" / "build.py").exists():
        return  # a revision from before there was anything to compile
    with _step("compiling the checker's search"):
        done = _call([str(folder / "bin" / "python"), "-P", "-m", "checker.search.build"])
    if done.returncode != 0:
        _say(f"  that failed ({last_words(done.stdout)}): it will be tried again when it is needed\n")


def _pip(root: Path, folder: Path, lock: Path) -> subprocess.CompletedProcess[str]:
    """The first environment's pip, working on any of them."""
    into = [str(root / FIRST / "bin" / "python"), "-m", "pip", "--python", str(folder / "bin" / "python")]
    words = ["install", "--no-input", "--disable-pip-version-check", "--retries", "2", "--no-deps", "--require-hashes"]
    return _call([*into, *words, "-r", str(lock)])


def _uv_environment(python: Path) -> dict[str, str]:
    """Our environment, with what the pip of a Python is configured to in uv's words where uv was told nothing itself."""
    listed = _call([str(python), "-m", "pip", "config", "list"]).stdout
    told: dict[str, str] = {}
    for section in ("global", "install", ":env:"):  # the later ones win, as in pip
        for name, value in re.findall(rf"(?m)^{section}\.([a-z-]+)=(['\"].*['\"])$", listed):
            if name in UV_NAMES:
                uv_name = UV_NAMES[name]
                told[uv_name] = ("," if uv_name in COMMAS else " ").join(str(ast.literal_eval(value)).split())
    return {**told, **os.environ}


def _call(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        close_fds=False,  # hands on the set-up lock, which alone is inheritable
    )


def _unreachable(root: Path) -> str:
    index = urllib.parse.urlsplit(
        _uv_environment(root / FIRST / "bin" / "python").get("UV_DEFAULT_INDEX", "https://pypi.org/simple")
    )
    where = index.hostname or index.path  # not the whole address, which may hold a password
    if index.port:
        where += f":{index.port}"
    return (
        f"the package index at {where} cannot be reached, and what is locked has to come from one: connect to the network,"
        " or set PIP_INDEX_URL to an index that answers, and start again"
    )


def last_words(output: str) -> str:
    """The line of a tool's output that says what went wrong: its last error, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|failed|no solution", line, re.IGNORECASE)]
    return (errors or lines or ["it said nothing"])[-1]


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    begun = time.monotonic()
    _say(f"  {what} ... ")
    try:
        yield
    finally:
        _say(f"{time.monotonic() - begun:.1f} s\n")


def _say(words: str) -> None:
    """Progress goes to standard error, so that what `--json` answers stays alone on standard output."""
    sys.stderr.write(words)
    sys.stderr.flush()
