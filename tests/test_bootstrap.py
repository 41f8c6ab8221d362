"""`./splitbrain` on a bare clone: "an executable of the standard library alone: on first use it makes `.venv` from the
locked requirements, shows what it does, and then runs the CLI" (issue 3), and what it says where it cannot.

The clones here have few requirements and a command line of three lines, so that a set-up takes seconds.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import ROOT

from harness import bootstrap

ECHO = """import json, sys, idna
print(json.dumps({"arguments": sys.argv[1:], "prefix": sys.prefix, "path": sys.path}))
sys.exit(len(sys.argv) - 1)
"""
NEEDED = "splitbrain: Python 3.11 or newer is needed"
CANNOT_BE_REACHED = "cannot be reached"


def clone(folder: Path) -> Path:
    """A clone with the real executable, the real bootstrap and two small locks taken from the real ones."""
    (folder / "harness").mkdir(parents=True)
    (folder / "requirements").mkdir()
    shutil.copy(ROOT / "splitbrain", folder)
    for name in ("__init__", "bootstrap"):
        shutil.copy(ROOT / "harness" / f"{name}.py", folder / "harness")
    (folder / "harness" / "__main__.py").write_text(ECHO)
    shutil.copy(ROOT / "requirements" / "installer.lock", folder / "requirements")
    (folder / "requirements" / "run.lock").write_text(pins("idna"))
    (folder / "requirements" / "test.lock").write_text(
        pins("idna", "pytest", "iniconfig", "packaging", "pluggy", "pygments")
    )
    return folder


def pins(*names: str) -> str:
    lock = (ROOT / "requirements" / "test.lock").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", lock)
    return "\n".join(block for block in blocks if block.split("==")[0] in names) + "\n"


def start(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "splitbrain"), *arguments]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if not environment and CANNOT_BE_REACHED in done.stderr:
        pytest.skip("no package index can be reached from here")
    return done


def pretending(code: str, folder: Path, *arguments: str, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
    """Starts the executable in a Python in which `code` has changed something first."""
    script = str(folder / "splitbrain")
    words = f"import sys, runpy; {code}; sys.argv = {[script, *arguments]!r}; runpy.run_path({script!r}, run_name='__main__')"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", words], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone that has been set up; its folder has a space in its name."""
    folder = clone(tmp_path_factory.mktemp("set-up") / "a clone")
    done = start(folder)
    assert done.returncode == 0, done.stderr
    return folder


def one_sentence(stderr: str) -> str:
    """The sentence that the user reads last; fails on a traceback."""
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if line.startswith("splitbrain: ")]
    return lines[-1]


class TestWhatIsTooOldOrMissing:
    def test_any_python_since_2_7_can_read_the_executable(self) -> None:
        text = (ROOT / "splitbrain").read_text(encoding="ascii")
        tree = ast.parse(text, feature_version=(3, 4))
        younger = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.Starred, ast.Match)
        assert [node.lineno for node in ast.walk(tree) if isinstance(node, younger)] == []
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        assert [each.name for each in functions if each.returns or each.args.kwonlyargs] == []

    def test_a_python_that_is_too_old_gets_one_sentence(self, tmp_path: Path) -> None:
        old = [*Path.home().glob(".pyenv/versions/*/bin/python"), Path("/usr/bin/python2"), Path("/usr/bin/python3.9")]
        old = [python for python in old if python.exists() and _version(python) < (3, 11)]
        if not old:
            pytest.skip("no Python older than 3.11 is installed here")
        for python in old:
            done = subprocess.run(
                [python, ROOT / "splitbrain", "run"],
                env={"PATH": str(tmp_path)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 4
            assert done.stderr.startswith(NEEDED)
            assert done.stderr.count("\n") == 1

    def test_the_sentence_names_the_version_and_what_to_install(self, tmp_path: Path) -> None:
        done = pretending("sys.version_info = (3, 8, 2)", ROOT, "run", path=str(tmp_path))
        assert done.returncode == 4
        assert "this is 3.8.2" in done.stderr
        assert "apt install python3.11" in done.stderr
        assert done.stdout == ""

    def test_a_newer_python_on_path_is_taken_instead(self, ready: Path, tmp_path: Path) -> None:
        (tmp_path / "python3.12").write_text("#!/bin/sh\nexit 1\n")  # a stand-in that does not work
        (tmp_path / "python3.11").symlink_to(sys.executable)
        (tmp_path / "python3.12").chmod(0o755)
        done = pretending("sys.version_info = (3, 8, 2)", ready, "kv", "get", path=str(tmp_path))
        assert done.returncode == 2, done.stderr
        assert '"arguments": ["kv", "get"]' in done.stdout

    @pytest.mark.parametrize("module", ["venv", "ensurepip"])
    def test_a_missing_venv_module_gets_one_sentence_that_names_the_package(self, tmp_path: Path, module: str) -> None:
        folder = clone(tmp_path / "clone")
        done = pretending(f"sys.modules[{module!r}] = None", folder, "run")
        assert done.returncode == 4
        assert f"lacks the module {module}" in one_sentence(done.stderr)
        assert f"apt install python{sys.version_info.major}.{sys.version_info.minor}-venv" in done.stderr
        assert not (folder / ".venv").exists()

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        folder = clone(tmp_path / "clone")
        (folder / ".venv.lock").mkdir()  # root may write anywhere, but not open a folder as a file
        done = start(folder)
        assert done.returncode == 4
        assert "cannot make" in one_sentence(done.stderr)


def _version(python: Path) -> tuple[int, ...]:
    question = "import sys; print('%d %d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", question], capture_output=True, text=True, check=False)
    return tuple(int(part) for part in done.stdout.split()) or (99,)


@pytest.mark.slow
class TestAnIndexThatDoesNotAnswer:
    def test_it_gets_one_sentence_and_the_next_start_goes_on(self, tmp_path: Path) -> None:
        folder = clone(tmp_path / "clone")
        nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_CACHE_DIR": "1"}
        done = start(folder, "run", environment=nowhere)
        assert done.returncode == 4
        assert "the package index at 127.0.0.1:9 cannot be reached" in one_sentence(done.stderr)
        assert done.stdout == ""
        again = start(folder)
        assert again.returncode == 0, again.stderr

    def test_uv_is_told_what_pip_is_configured_to(self, ready: Path, tmp_path: Path) -> None:
        """A changed lock with an index that is only pip's: uv, too, must go there and nowhere else."""
        folder = tmp_path / "clone"
        shutil.copytree(ready, folder, symlinks=True)
        assert start(folder).returncode == 0
        (folder / "requirements" / "run.lock").write_text(pins("idna", "iniconfig"))
        nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "UV_NO_CACHE": "1", "PIP_NO_CACHE_DIR": "1"}
        done = start(folder, environment={**nowhere, "UV_HTTP_RETRIES": "0"})
        assert done.returncode == 4
        assert CANNOT_BE_REACHED in one_sentence(done.stderr)


@pytest.mark.slow
class TestSetUp:
    def test_it_shows_what_it_does_and_leaves_standard_output_to_the_command(self, tmp_path: Path) -> None:
        done = start(clone(tmp_path / "clone"))
        assert done.returncode == 0, done.stderr
        for step in (
            "setting up",
            "making a virtual environment",
            "installing uv",
            "installing 1 locked",
            "is ready after",
        ):
            assert step in done.stderr
        assert done.stdout.startswith('{"arguments"')
        assert done.stdout.count("\n") == 1

    def test_later_starts_say_nothing_and_pass_on_arguments_and_exit_status(self, ready: Path) -> None:
        done = start(ready, "run", "--time", "30")
        assert (done.returncode, done.stderr) == (3, "")
        assert '"arguments": ["run", "--time", "30"]' in done.stdout
        assert f'"prefix": "{ready / ".venv"}"' in done.stdout

    def test_it_runs_through_a_symlink_and_from_anywhere(self, ready: Path, tmp_path: Path) -> None:
        (tmp_path / "idna.py").write_text("raise SystemExit('the working directory was imported from')")
        (tmp_path / "splitbrain").symlink_to(ready / "splitbrain")
        done = start(tmp_path, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert str(ready) in done.stdout

    def test_a_changed_lock_is_noticed(self, ready: Path) -> None:
        lock = ready / "requirements" / "run.lock"
        before = lock.read_text()
        try:
            lock.write_text(pins("idna", "iniconfig"))
            done = start(ready)
            assert done.returncode == 0, done.stderr
            assert "run.lock has changed" in done.stderr
            assert list((ready / ".venv").glob("lib/python3*/site-packages/iniconfig"))
        finally:
            lock.write_text(before)
        assert start(ready).returncode == 0
        assert not list((ready / ".venv").glob("lib/python3*/site-packages/iniconfig")), "what is not locked goes"

    def test_a_clone_that_was_moved_is_set_up_again(self, ready: Path, tmp_path: Path) -> None:
        moved = tmp_path / "moved"
        shutil.copytree(ready, moved, symlinks=True)
        done = start(moved)
        assert done.returncode == 0, done.stderr
        assert "setting up" in done.stderr
        assert f'"prefix": "{moved / ".venv"}"' in done.stdout

    def test_an_environment_whose_python_is_gone_is_made_again(self, tmp_path: Path) -> None:
        folder = clone(tmp_path / "clone")
        assert start(folder).returncode == 0
        (folder / ".venv" / "bin" / "python").unlink()
        done = start(folder)
        assert done.returncode == 0, done.stderr

    def test_a_half_made_environment_of_a_killed_set_up_is_repaired(self, tmp_path: Path) -> None:
        folder = clone(tmp_path / "clone")
        command = [sys.executable, str(folder / "splitbrain")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stderr is not None
            assert "setting up" in process.stderr.readline()
            process.stderr.read(len("  making"))  # the environment's folder is there, and nothing is in it yet
            os.killpg(process.pid, signal.SIGKILL)
        assert (folder / ".venv").is_dir()
        done = start(folder)
        assert done.returncode == 0, done.stderr

    def test_a_folder_that_is_not_ours_is_moved_aside_and_not_deleted(self, tmp_path: Path) -> None:
        folder = clone(tmp_path / "clone")
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "mine").write_text("keep me")
        done = start(folder)
        assert done.returncode == 0, done.stderr
        assert [path.read_text() for path in folder.glob(".venv.replaced-*/bin/mine")] == ["keep me"]

    def test_two_first_starts_at_once_wait_for_each_other(self, tmp_path: Path) -> None:
        folder = clone(tmp_path / "clone")
        command = [sys.executable, str(folder / "splitbrain")]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"]
        outputs = [process.communicate() for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        assert sum("first use" in stderr for _, stderr in outputs) == 1
        assert all(stdout.startswith('{"arguments"') for stdout, _ in outputs)

    def test_a_start_after_a_kill_in_the_middle_of_the_set_up_gets_it_done(self, tmp_path: Path) -> None:
        """What was killed leaves an installer behind that goes on writing; the next start must not meet it."""
        folder = clone(tmp_path / "clone")
        with subprocess.Popen([sys.executable, str(folder / "splitbrain")], stderr=subprocess.PIPE) as first:
            assert first.stderr is not None
            while not (folder / ".venv" / "bin").exists():
                assert first.poll() is None
            first.kill()
        done = start(folder)
        assert done.returncode == 0, done.stderr
        assert "waiting for it" in done.stderr

    def test_pip_does_the_work_where_uv_cannot_be_had(self, tmp_path: Path) -> None:
        folder = clone(tmp_path / "clone")
        (folder / "requirements" / "installer.lock").write_text(f"uv==0.0.0 --hash=sha256:{64 * '0'}\n")
        done = start(folder)
        assert done.returncode == 0, done.stderr
        assert "no uv for this machine" in done.stderr
        assert "locked packages with pip" in done.stderr

    def test_what_does_not_have_the_locked_digest_is_refused(self, tmp_path: Path) -> None:
        folder = clone(tmp_path / "clone")
        lock = folder / "requirements" / "run.lock"
        lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + 64 * "0", lock.read_text()))
        done = start(folder)
        assert done.returncode == 4
        assert "requirements/run.lock could not be installed" in one_sentence(done.stderr)


@pytest.mark.slow
class TestSelftest:
    def test_its_arguments_go_to_pytest_and_its_exit_status_is_pytests(self, ready: Path) -> None:
        (ready / "tests").mkdir(exist_ok=True)
        (ready / "tests" / "test_two.py").write_text("def test_right(): pass\ndef test_wrong(): assert False\n")
        chosen = start(ready, "selftest", "-q", "-k", "right", "tests")
        assert chosen.returncode == 0, chosen.stderr + chosen.stdout
        assert "1 passed, 1 deselected" in chosen.stdout
        assert start(ready, "selftest", "-q", "tests").returncode == 1
        assert start(ready, "selftest", "-q", "-k", "neither", "tests").returncode == 5

    def test_what_only_tests_need_stays_out_of_the_environment_of_runs(self, ready: Path) -> None:
        assert start(ready, "selftest", "--version").returncode == 0
        assert list((ready / ".venv-selftest").glob("lib/python3*/site-packages/pytest"))
        assert not list((ready / ".venv").glob("lib/python3*/site-packages/pytest"))


class TestInstallers:
    """What later installs packages, such as those of a node's image: the first environment's tools, else what there is."""

    def test_tests_have_no_installer_of_their_own_and_take_those_of_the_first_environment(self) -> None:
        if not (ROOT / ".venv").exists():
            pytest.skip("these tests were not started by ./splitbrain selftest: there is no .venv")
        uv, pip = bootstrap.installers(ROOT)
        assert uv.is_uv
        assert uv.command == (str(ROOT / ".venv" / "bin" / "uv"), "pip")
        assert pip.command == (str(ROOT / ".venv" / "bin" / "python"), "-m", "pip")
        assert "Usage" in uv.install("--help").stdout
        assert "Usage" in pip.install("--help").stdout

    def test_uv_hears_where_pip_is_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if not (ROOT / ".venv").exists():
            pytest.skip("these tests were not started by ./splitbrain selftest: there is no .venv")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_FIND_LINKS", "/first /second")
        for name in ("UV_DEFAULT_INDEX", "UV_FIND_LINKS"):
            monkeypatch.delenv(name, raising=False)
        uv, pip = bootstrap.installers(ROOT)
        assert uv.environment["UV_DEFAULT_INDEX"] == "http://127.0.0.1:9/simple"
        assert uv.environment["UV_FIND_LINKS"] == "/first,/second"
        assert pip.environment["PIP_INDEX_URL"] == "http://127.0.0.1:9/simple"

    @pytest.mark.parametrize("there", [{"pip"}, {"uv"}, {"pip", "uv"}, set()])
    def test_outside_a_clone_the_pip_and_the_uv_that_are_there_are_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: set[str]
    ) -> None:
        python = tmp_path / "of this program" / "python"
        elsewhere = tmp_path / "on path" / "uv"
        for tool, words in ((python, "exit 0" if "pip" in there else "exit 1"), (elsewhere, "exit 0")):
            tool.parent.mkdir()
            tool.write_text(f"#!/bin/sh\n{words}\n")
            tool.chmod(0o755 if tool is python or "uv" in there else 0o644)
        monkeypatch.setattr(sys, "executable", str(python))
        monkeypatch.setenv("PATH", str(elsewhere.parent))
        found = [tool.command for tool in bootstrap.installers(tmp_path)]
        assert found == [
            *([(str(elsewhere), "pip")] if "uv" in there else []),
            *([(str(python), "-m", "pip")] if "pip" in there else []),
        ]
