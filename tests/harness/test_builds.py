"""Builds are found by the names that a user gives: `current`, `git:<rev>`, `bug:<name>`, `image:<tag>`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from docker.errors import APIError, ImageNotFound

from harness import builds
from harness.builds import SPOKEN, resolve_build
from harness.clusters.cluster import ClusterError
from harness.plan import UsageError

ROOT = Path(__file__).resolve().parents[2]
NODE = """import sys
if "--formats" in sys.argv:
    print('{formats}')
else:
    print("{word}", sys.argv[1:])
"""
RIGHT = '{"cli": 1, "http": 1, "events": 1, "wire": 9, "storage": 9}'


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.invalid", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit_node(folder: Path, word: str, formats: str = RIGHT) -> str:
    (folder / "raftnode").mkdir(exist_ok=True)
    (folder / "raftnode" / "__init__.py").write_text("")
    (folder / "raftnode" / "__main__.py").write_text(NODE.replace("{formats}", formats).replace("{word}", word))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", word)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of its own with one revision, which stands for ours."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "-q")
    commit_node(folder, "first")
    monkeypatch.setattr(builds, "ROOT", folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def call(build: builds.Build, *words: str, cwd: Path | None = None) -> str:
    environment = {**os.environ, **build.env}
    return subprocess.run(
        [*build.argv, *words], env=environment, cwd=cwd, capture_output=True, text=True, check=True
    ).stdout


def test_current_is_this_tree_with_its_revision_and_digest(tree: Path) -> None:
    build = resolve_build("current", "local")
    assert call(build, "--id", "n1") == "first ['--id', 'n1']\n"
    assert build.source == tree
    facts = build.describe()
    assert (facts["name"], facts["revision"], facts["dirty"]) == ("current", git(tree, "rev-parse", "HEAD"), False)
    (tree / "raftnode" / "__main__.py").write_text("print('changed')")
    changed = resolve_build("current", "local").describe()
    assert changed["dirty"] is True
    assert changed["digest"] != facts["digest"]


def test_a_tree_without_git_still_has_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "raftnode", tmp_path / "raftnode")
    monkeypatch.setattr(builds, "ROOT", tmp_path)
    facts = resolve_build("current", "local").describe()
    assert (facts["revision"], facts["dirty"]) == (None, None)
    assert len(facts["digest"]) == 12


def test_the_node_alone_comes_from_the_revision(tree: Path) -> None:
    """The issue: with `git:<rev>` on local and docker the node alone comes from that revision."""
    commit_node(tree, "second")
    build = resolve_build("git:HEAD~1", "local")
    assert call(build, "--id", "n1", cwd=tree) == "first ['--id', 'n1']\n", "also where another raftnode/ is at hand"
    assert call(resolve_build("git:HEAD", "docker")) == "second []\n"
    assert build.describe()["revision"] == git(tree, "rev-parse", "HEAD~1")
    assert build.source is not None
    assert sorted(path.name for path in build.source.iterdir() if path.name != "__pycache__") == ["raftnode"]


def test_the_same_tree_is_unpacked_once(tree: Path) -> None:
    first = resolve_build("git:HEAD", "local").source
    git(tree, "commit", "-q", "--allow-empty", "-m", "nothing changed")
    assert resolve_build("git:HEAD", "local").source == first


@pytest.mark.parametrize("formats", ['{"cli": 1, "http": 2, "events": 1}', '{"cli": 1, "events": 1}'])
def test_a_node_that_speaks_another_version_is_infrastructure_with_a_sentence(tree: Path, formats: str) -> None:
    """The issue: formats carry versions; a mismatch is exit 4 with a sentence."""
    commit_node(tree, "future", formats)
    with pytest.raises(
        ClusterError, match=r"git:HEAD speaks version (2|none) of the http format, this harness version 1"
    ):
        resolve_build("git:HEAD", "local")


def test_a_node_from_before_versions_is_infrastructure_with_a_sentence(tree: Path) -> None:
    (tree / "raftnode" / "__main__.py").write_text("import sys; sys.exit('unknown option')")
    git(tree, "commit", "-q", "-am", "old")
    with pytest.raises(ClusterError, match="does not answer --formats"):
        resolve_build("git:HEAD", "local")


def test_a_missing_revision_is_a_usage_error(tree: Path) -> None:
    with pytest.raises(UsageError, match="no revision 'nowhere'"):
        resolve_build("git:nowhere", "local")
    with pytest.raises(UsageError, match="no revision '--all'"):
        resolve_build("git:--all", "local")


def test_a_shallow_clone_says_how_to_get_the_rest(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_node(tree, "second")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{tree}", str(shallow))
    monkeypatch.setattr(builds, "ROOT", shallow)
    assert call(resolve_build("git:HEAD", "local")) == "second []\n"
    with pytest.raises(UsageError, match=r"this clone is shallow.*git fetch --unshallow"):
        resolve_build("git:HEAD~1", "local")


def test_a_folder_that_is_no_clone_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "ROOT", tmp_path)
    with pytest.raises(UsageError, match="needs a git clone"):
        resolve_build("git:HEAD", "local")


def test_without_git_the_sentence_says_what_to_install(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tree))
    with pytest.raises(ClusterError, match=r"needs git.*install it"):
        resolve_build("git:HEAD", "local")


def test_a_revision_without_a_node_is_a_usage_error(tree: Path) -> None:
    git(tree, "rm", "-rq", "raftnode")
    git(tree, "commit", "-q", "--allow-empty", "-m", "gone")
    with pytest.raises(UsageError, match="has no node"):
        resolve_build("git:HEAD", "local")


def test_a_planted_bug_is_this_tree_with_an_option(tree: Path) -> None:
    build = resolve_build("bug:no-dedup", "local")
    assert call(build, "--id", "n1") == "first ['--build', 'bug:no-dedup', '--id', 'n1']\n"
    assert (build.node_options, build.source) == (("--build", "bug:no-dedup"), tree)


class Engine:
    """An engine that has one image, whose program says something."""

    def __init__(self, said: str) -> None:
        self.images = self.containers = self
        self.id = "sha256:0123456789abcdef"
        self.said = said
        self.under_way = 0

    def get(self, name: str) -> Engine:
        if name != "mine:7":
            raise ImageNotFound(name)
        return self

    def create(self, image: str, options: list[str], **_settings: object) -> Engine:
        assert (image, options) == (self.id, ["--formats"])
        self.under_way += 1
        return self

    def start(self) -> None:
        if not self.said:
            raise APIError("no such program")

    def wait(self, timeout: int) -> None:
        assert timeout > 0

    def logs(self, **_streams: bool) -> bytes:
        return self.said.encode()

    def remove(self, **_how: bool) -> None:
        self.under_way -= 1

    def close(self) -> None:
        assert self.under_way == 0


def test_an_image_is_for_docker_and_known_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a campaign that is taken up again after the tag has moved would mix two nodes."""
    monkeypatch.setattr(builds, "connect", lambda: Engine(RIGHT))
    build = resolve_build("image:mine:7", "docker")
    assert (build.image, build.source) == ("sha256:0123456789abcdef", None)
    assert build.describe() == {"name": "image:mine:7", "revision": None, "dirty": None, "digest": "0123456789ab"}
    with pytest.raises(UsageError, match="needs --cluster docker"):
        resolve_build("image:mine:7", "local")
    with pytest.raises(ClusterError, match="the Docker engine has no image other:1: pull or build it first"):
        resolve_build("image:other:1", "docker")


@pytest.mark.parametrize(
    "said, words",
    [
        (
            '{"cli": 1, "http": 2, "events": 1}',
            "image:mine:7 speaks version 2 of the http format, this harness version 1",
        ),
        ("", "image:mine:7 does not answer --formats"),
        ("hello", "image:mine:7 does not answer --formats"),
    ],
)
def test_an_image_that_speaks_another_version_is_infrastructure_with_a_sentence(
    said: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "connect", lambda: Engine(said))
    with pytest.raises(ClusterError, match=words):
        resolve_build("image:mine:7", "docker")


@pytest.mark.parametrize(
    "text, words",
    [
        ("bug:no-dedupe", "did you mean no-dedup"),
        ("curent", "did you mean current"),
        ("git", "names nothing"),
        ("bug:", "names nothing"),
        ("current:x", "takes no name"),
    ],
)
def test_an_unknown_build_names_the_nearest(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve_build(text, "local")


def test_this_trees_own_node_speaks_what_the_harness_expects() -> None:
    """Else every comparison with an own revision would end with a mismatch."""
    spoken = call(resolve_build("current", "local"), "--formats")
    for name, version in SPOKEN.items():
        assert f'"{name}":{version}' in spoken.replace(" ", "")
