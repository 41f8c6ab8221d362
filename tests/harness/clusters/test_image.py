"""The node's image: found by the digest of what goes into it, built on whatever base this machine can have."""

from __future__ import annotations

import gc
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from requests.exceptions import ReadTimeout

from harness.bootstrap import Installer
from harness.clusters import debian, image
from harness.clusters.cluster import ClusterError
from harness.clusters.engine import connect
from harness.clusters.image import digest_of, ensure_image, node_lock

LOCK = """\
# made by a tool
crc32c==2.9 \\
    --hash=sha256:01
    # via -r run.in
httptools==0.9.0 \\
    --hash=sha256:02
httpx==0.28.1 \\
    --hash=sha256:03
msgspec==0.22.0 \\
    --hash=sha256:04 \\
    --hash=sha256:05
uvloop==0.23.0 \\
    --hash=sha256:06
"""


def source_in(folder: Path, text: str = "print('{}')\n") -> Path:
    """A folder with a node that can do nothing but say its formats."""
    package = folder / "raftnode"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(text)
    return folder


def test_the_node_gets_the_locks_own_pins_with_their_digests_and_nothing_else() -> None:
    kept = node_lock(LOCK)
    assert kept.count("==") == 4
    assert "msgspec==0.22.0 \\\n    --hash=sha256:04 \\\n    --hash=sha256:05\n" in kept
    assert "httpx" not in kept
    assert "#" not in kept


def test_a_lock_that_lacks_a_library_of_the_node_is_refused() -> None:
    with pytest.raises(ClusterError, match="does not pin each of crc32c"):
        node_lock(LOCK.replace("uvloop", "trio"))


def test_the_digest_follows_the_nodes_modules_and_their_pins(tmp_path: Path) -> None:
    """Quote: 'The image is built and cached by the digest of what goes into it.'"""
    source = source_in(tmp_path)
    lock = node_lock(LOCK)
    first = digest_of(source, lock)
    (source / "README.md").write_text("not part of it")
    (source / "raftnode" / "__pycache__").mkdir()
    (source / "raftnode" / "__pycache__" / "core.cpython-311.pyc").write_bytes(b"neither")
    assert digest_of(source, lock) == first
    assert digest_of(source, lock.replace("0.22.0", "0.22.1")) != first
    (source / "raftnode" / "core.py").write_text("x = 1\n")
    second = digest_of(source, lock)
    assert second != first
    (source / "raftnode" / "core.py").rename(source / "raftnode" / "log.py")
    assert digest_of(source, lock) != second


def test_a_source_without_a_node_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="holds no raftnode package"):
        ensure_image(tmp_path, print, SimpleNamespace())


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the SDK forgets a socket that did not connect
def test_no_engine_says_so_and_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Quote: 'No Docker daemon: `--cluster docker` says so, with what to do'."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(ClusterError, match=r"no Docker engine answers at unix://.*start it, or use --cluster local"):
        connect()
    gc.collect()  # while the warning is ignored


def test_a_registry_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        closed = False

        @property
        def images(self) -> Any:
            return SimpleNamespace(pull=self._pull)

        @staticmethod
        def _pull(_tag: str) -> None:
            raise ReadTimeout("read timed out")

        def close(self) -> None:
            self.closed = True

    hanging = Hanging()
    monkeypatch.setattr(image.DockerClient, "from_env", lambda timeout: hanging)
    assert image._pull("python:3.11-slim-bookworm") == "no answer in 5 s"
    assert hanging.closed


def test_a_machine_without_apt_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(debian.shutil, "which", lambda tool: None)
    with pytest.raises(ClusterError, match=r"has no apt-get. Load or pull python:3.11-slim-bookworm"):
        debian.make_base(tmp_path, print)


def test_libraries_that_nothing_can_install_are_one_clear_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(image, "installers", lambda root: [])
    with pytest.raises(ClusterError, match=r"could not be fetched: neither pip nor uv is installed"):
        image._fetch_libraries(node_lock(LOCK), "3.11", "amd64", tmp_path / "libraries")


def test_where_one_tool_cannot_fetch_libraries_the_next_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each tool gets its own words for the base's platform, whatever Python and machine run here."""
    tools = [
        Installer(("sh", "-c", 'echo "$@" >"$0"; echo "error: no such wheel"; exit 1', str(tmp_path / "uv")), True, {}),
        Installer(("sh", "-c", 'echo "$@" >"$0"', str(tmp_path / "pip")), False, {}),
    ]
    monkeypatch.setattr(image, "installers", lambda root: tools)
    image._fetch_libraries(node_lock(LOCK), "3.9", "arm64", tmp_path / "libraries")
    assert "--python-platform aarch64-unknown-linux-gnu" in (tmp_path / "uv").read_text()
    assert "--platform manylinux_2_17_aarch64" in (tmp_path / "pip").read_text()
    assert "--python-version 3.9" in (tmp_path / "pip").read_text()
    tools.pop()
    with pytest.raises(ClusterError, match=r"could not be fetched: error: no such wheel"):
        image._fetch_libraries(node_lock(LOCK), "3.9", "arm64", tmp_path / "libraries")


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="this machine has no dpkg-deb to make a package with")
def test_a_base_holds_what_packages_hold_in_the_same_bytes_every_time(tmp_path: Path) -> None:
    package = tmp_path / "thing"
    for name, content in [("DEBIAN/control", CONTROL), ("bin/thing", "#!"), ("usr/share/doc/thing/copyright", "long")]:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(content)
    (package / "usr/bin").mkdir()
    (package / "usr/bin/other").symlink_to("thing")
    archive = tmp_path / "thing_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", "-Zxz", str(package), str(archive)], check=True, capture_output=True)
    packed = debian._pack([archive], ("thing_1_all",))
    (package / "bin/thing").touch()
    subprocess.run(["dpkg-deb", "--build", "-Zgzip", str(package), str(archive)], check=True, capture_output=True)
    assert debian._pack([archive], ("thing_1_all",)) == packed
    with tarfile.open(fileobj=BytesIO(packed)) as tar:
        names = tar.getnames()
        assert names.count("usr/bin/thing") == 1  # /bin is a link to usr/bin
        assert tar.getmember("bin").linkname == "usr/bin"
        assert tar.getmember("usr/bin/other").linkname == "thing"
        assert not [name for name in names if name.startswith("usr/share/doc")]


CONTROL = "Package: thing\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: thing\n"


@pytest.mark.docker
@pytest.mark.slow
def test_an_image_is_built_once_and_then_found(tmp_path: Path, engine: Any) -> None:
    """Quote: 'Docker: image without a registry in <= 30 s cold, <= 1 s when nothing changed'."""
    source = source_in(tmp_path / "first", "import uvloop, httptools, msgspec, crc32c\nprint('{\"cli\":1}')\n")
    said: list[str] = []
    tag = ensure_image(source, said.append, engine)
    try:
        assert f"building the image {tag}" in said
        said.clear()
        assert ensure_image(source, said.append, engine) == tag
        assert not said
        container = engine.containers.run(tag, ["--formats"], detach=True)
        try:
            assert container.wait()["StatusCode"] == 0
            assert container.logs() == b'{"cli":1}\n'
        finally:
            container.remove(v=True)
    finally:
        engine.images.remove(tag)


@pytest.mark.docker
@pytest.mark.slow
def test_a_node_that_does_not_load_fails_the_build_with_its_last_words(tmp_path: Path, engine: Any) -> None:
    source = source_in(tmp_path, "import no_such_library\n")
    say: Callable[[str], None] = [].append
    with pytest.raises(ClusterError, match=r"could not be built: .*; before that: .*No module named 'no_such_library'"):
        ensure_image(source, say, engine)
