"""The image of a node: found by the digest of what goes into it, else built.

`python -m harness.clusters.image` builds it by hand and tags it `splitbrain-node:latest`, for docker/compose.yaml. The
recipe is docker/Dockerfile. Its base comes from a registry where one answers, else it is made of Debian packages
(`debian.py`); libraries are fetched here and not inside the build, which may have neither network nor certificates.
"""

from __future__ import annotations

import hashlib
import io
import platform
import re
import secrets
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from docker.client import DockerClient
from docker.errors import APIError, ImageNotFound
from requests.exceptions import RequestException

from harness.bootstrap import installers, last_words
from harness.clusters.cluster import ClusterError
from harness.clusters.debian import RECIPE, make_base
from harness.clusters.engine import Engine, connect, labels_of, remove_container, words_of

REGISTRY_BASE = "python:3.11-slim-bookworm"
REGISTRY_SECONDS = 5  # silence for so long means that no registry answers
NODE_REPOSITORY = "splitbrain-node"
BASE_REPOSITORY = "splitbrain-base"
LABEL_PYTHON = "splitbrain.python"
NODE_LIBRARIES = ("crc32c", "httptools", "msgspec", "uvloop")
LOCK = Path("requirements/run.lock")
ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
FIXED_TIME = 1_700_000_000
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PLATFORMS = {"amd64": "x86_64", "arm64": "aarch64"}

Say = Callable[[str], None]


class _BaseImage(msgspec.Struct, frozen=True):
    """A base in the engine: its tag, and the version of the Python in it ("3.11")."""

    tag: str
    python: str


def ensure_image(source: Path, say: Say, engine: Engine | None = None) -> str:
    """The tag of the image of the node in `source` (the folder that holds raftnode/), built if the engine lacks it.

    Raises `ClusterError` where there is no engine, no base, or the build fails.
    """
    engine = engine or connect()
    if not (source / "raftnode" / "__main__.py").is_file():
        raise ClusterError(f"{source} holds no raftnode package: there is no node to build an image of")
    lock = node_lock((source / LOCK if (source / LOCK).is_file() else ROOT / LOCK).read_text(encoding="utf-8"))
    tag = f"{NODE_REPOSITORY}:{digest_of(source, lock)}"
    if has_image(engine, tag):
        return tag
    say(f"building the image {tag}")
    base = _ensure_base(engine, say)
    with tempfile.TemporaryDirectory(prefix="splitbrain-image-") as name:
        libraries = Path(name) / "libraries"
        _fetch_libraries(lock, base.python, _architecture(engine), libraries)
        _build(engine, tag, base.tag, _context(source, lock, libraries))
    return tag


def node_lock(text: str) -> str:
    """Of a lock file, what pins the node's own libraries. Raises `ClusterError` if one is missing."""
    wanted = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        name = re.match(r"[A-Za-z0-9_.-]+(?===)", block)
        if name and name[0].lower() in NODE_LIBRARIES:
            wanted.append("".join(f"{line}\n" for line in block.splitlines() if not line.lstrip().startswith("#")))
    if len(wanted) != len(NODE_LIBRARIES):
        raise ClusterError(f"{LOCK} does not pin each of {', '.join(NODE_LIBRARIES)}, which a node needs")
    return "".join(wanted)


def digest_of(source: Path, lock: str) -> str:
    """Twelve hexadecimal digits of everything that decides what the image holds."""
    digest = hashlib.sha256()
    parts = [
        ("Dockerfile", DOCKERFILE.read_bytes()),
        ("lock", lock.encode()),
        ("base", f"{REGISTRY_BASE} {RECIPE}".encode()),
    ]
    for name, content in [*parts, *_node_files(source)]:
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def _node_files(source: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((source / "raftnode").rglob("*.py")):
        yield path.relative_to(source).as_posix(), path.read_bytes()


def id_of_image(engine: Engine, name: str) -> str:
    """The id of the image that has this name now. Raises `ClusterError` if there is none."""
    try:
        return str(engine.images.get(name).id)
    except ImageNotFound as error:
        raise ClusterError(f"the Docker engine has no image {name}: pull or build it first") from error
    except (APIError, RequestException) as error:
        raise ClusterError(f"the Docker engine does not say what image {name} is: {words_of(error)}") from error


def said_by_image(engine: Engine, image: str, options: list[str], seconds: int) -> str:
    """What an image's program prints when it is started alone, with these options. Raises what the engine raises."""
    labels = labels_of(f"ask-{secrets.token_hex(4)}")
    container = engine.containers.create(image, options, labels=labels, network_mode="none", cap_drop=["ALL"])
    try:
        container.start()
        container.wait(timeout=seconds)
        return str(container.logs(stdout=True, stderr=False).decode(errors="replace"))
    finally:
        remove_container(container)


def has_image(engine: Engine, tag: str) -> bool:
    """Whether the engine has an image of this name."""
    try:
        engine.images.get(tag)
    except ImageNotFound:
        return False
    return True


def _architecture(engine: Engine) -> str:
    return str(engine.version()["Arch"])


def _ensure_base(engine: Engine, say: Say) -> _BaseImage:
    """A base that the engine has, else one from the registry, else one made of Debian packages."""
    own = f"{BASE_REPOSITORY}:{hashlib.sha256(RECIPE.encode()).hexdigest()[:12]}"
    for tag in (REGISTRY_BASE, own):
        if has_image(engine, tag):
            return _BaseImage(tag, _python_in(engine, tag))
    refusal = _pull(REGISTRY_BASE)
    if not refusal:
        return _BaseImage(REGISTRY_BASE, _python_in(engine, REGISTRY_BASE))
    here, there = platform.machine(), PLATFORMS.get(_architecture(engine), "unknown")
    if here != there:
        raise ClusterError(
            f"no registry gives {REGISTRY_BASE} ({refusal}), and a base of this machine's packages ({here}) "
            f"would not run on the Docker engine's ({there})"
        )
    say(f"no registry gives {REGISTRY_BASE} ({refusal}): making the base of Debian packages")
    with tempfile.TemporaryDirectory(prefix="splitbrain-base-") as name:
        base = make_base(Path(name), say)
    repository, _, digest = own.partition(":")
    packages = hashlib.sha256("\n".join(base.packages).encode()).hexdigest()
    changes = [
        f"LABEL {LABEL_PYTHON}={base.python} splitbrain.packages={packages}",
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        'CMD ["python3"]',
    ]
    try:
        engine.api.import_image_from_data(base.tar, repository=repository, tag=digest, changes=changes)
    except (APIError, RequestException) as error:
        raise ClusterError(f"the Docker engine did not take the base image: {words_of(error)}") from error
    return _BaseImage(own, base.python)


def _python_in(engine: Engine, tag: str) -> str:
    """The Python of a base: ours carries it as a label, the official one in its environment."""
    config = engine.images.get(tag).attrs["Config"]
    if label := (config.get("Labels") or {}).get(LABEL_PYTHON):
        return str(label)
    for setting in config.get("Env") or []:
        if match := re.match(r"PYTHON_VERSION=(\d+\.\d+)", setting):
            return match[1]
    raise ClusterError(f"the image {tag} does not say which Python it holds")


def _pull(tag: str) -> str:
    """Pulls an image; returns why that failed, "" if it did not. A registry that hangs is given up after some silence."""
    impatient = DockerClient.from_env(timeout=REGISTRY_SECONDS)
    try:
        impatient.images.pull(tag)
    except APIError as error:
        return _short(words_of(error))
    except RequestException:
        return f"no answer in {REGISTRY_SECONDS} s"
    finally:
        impatient.close()
    return ""


def _short(words: str) -> str:
    """The end of a chain of causes, which is the one that says something: "...: dial tcp: lookup X: no such host"."""
    return words.rpartition(": ")[2].strip() or words


def _fetch_libraries(lock: str, python: str, architecture: str, target: Path) -> None:
    """Installs the node's libraries into `target`, as wheels for the base's Python, whatever Python runs here."""
    machine = PLATFORMS.get(architecture)
    if machine is None:
        raise ClusterError(f"no libraries are known for the Docker engine's architecture {architecture}")
    requirements = target.with_suffix(".lock")
    requirements.write_text(lock, encoding="utf-8")
    common = ["--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", python, "--target", str(target)]
    versions = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
    for_pip = [word for version in versions for word in ("--platform", f"{version}_{machine}")]
    for_uv = ["--python", sys.executable, "--python-platform", f"{machine}-unknown-linux-gnu"]
    refusal = f"neither pip nor uv is installed beside {sys.executable}, or uv on PATH"
    for tool in installers(ROOT):
        done = tool.install(*common, *(for_uv if tool.is_uv else for_pip), "-r", str(requirements))
        if done.returncode == 0:
            return
        refusal = last_words(done.stdout)
    raise ClusterError(f"the node's libraries could not be fetched: {refusal}")


def _context(source: Path, lock: str, libraries: Path) -> bytes:
    """The build context as a tar, with fixed times and owners so that the engine's own cache recognises its parts."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in [
            ("Dockerfile", DOCKERFILE.read_bytes()),
            (LOCK.as_posix(), lock.encode()),
            *_node_files(source),
        ]:
            _add(tar, name, content)
        tar.add(libraries, arcname="libraries", filter=_fixed)
    return packed.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mtime = FIXED_TIME
    tar.addfile(member, io.BytesIO(content))


def _fixed(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = FIXED_TIME
    return member


def _build(engine: Engine, tag: str, base: str, context: bytes) -> None:
    arguments = {"fileobj": io.BytesIO(context), "custom_context": True, "buildargs": {"BASE": base}, "tag": tag}
    said: list[str] = []
    errors: list[str] = []
    try:
        for line in engine.api.build(**arguments, rm=True, forcerm=True, decode=True):
            said += COLOUR.sub("", str(line.get("stream", ""))).splitlines()
            errors += str(line.get("error", "")).splitlines()
    except (APIError, RequestException) as error:
        raise ClusterError(f"the image {tag} could not be built: {words_of(error)}") from error
    if errors:
        words = [line.strip() for line in said if line.strip() and not line.startswith((" --->", "Step ", "Removing "))]
        raise ClusterError(f"the image {tag} could not be built: {errors[-1]}; before that: {' / '.join(words[-2:])}")


def main() -> int:
    """Builds the image of this tree's node and tags it `latest`."""
    try:
        engine = connect()
        tag = ensure_image(ROOT, lambda sentence: print(sentence, file=sys.stderr), engine)
        engine.images.get(tag).tag(NODE_REPOSITORY, "latest")
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 4
    print(f"{NODE_REPOSITORY}:latest is {tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
