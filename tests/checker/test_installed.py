"""The checker alone: installed by pip in a clean environment with four libraries, it works, and imports nothing of the rest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT

NEEDED = ("msgspec", "networkx", "numba", "numpy")
"""What `checker/` imports of others."""
NOT_NEEDED = (
    *PACKAGES[:1],
    *PACKAGES[2:],
    "numba",
    "networkx",
    "pandas",
    "pyarrow",
    "httpx",
    "docker",
    "rich",
    "jinja2",
)
STALE = """
{"process": 0, "type": "invoke", "f": "write", "value": 1}
{"process": 0, "type": "ok", "f": "write", "value": 1}
{"process": 1, "type": "invoke", "f": "read", "value": null}
{"process": 1, "type": "ok", "f": "read", "value": 2}
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def pins() -> str:
    """The locked versions of what the checker needs, with their digests and what they need themselves."""
    lock = (ROOT / "requirements" / "run.lock").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", lock)
    return "\n".join(block for block in blocks if block.split("==")[0] in {*NEEDED, "llvmlite"}) + "\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a clean environment that the project was installed into from a copy of its sources."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / "needed.txt").write_text(pins())
    run("git", "clone", "-q", ROOT, folder / "sources", cwd=folder)
    assert run(sys.executable, "-m", "venv", folder / "venv", cwd=folder).returncode == 0
    python = folder / "venv" / "bin" / "python"
    for words in (["-r", "needed.txt"], ["--no-deps", str(folder / "sources")]):
        done = run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *words, cwd=folder)
        if "No matching distribution" in done.stderr or "NewConnectionError" in done.stderr:
            pytest.skip("no package index can be reached")
        assert done.returncode == 0, done.stderr
    return python


def examples() -> list[str]:
    """The blocks of Python in the README."""
    blocks = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"))
    return [block for block in blocks if "from checker import" in block]


def test_the_readme_shows_a_model_of_at_most_fifteen_lines() -> None:
    """Issue 4, done when 4: "A user's model of 15 lines (in the README)"."""
    models = [model for block in examples() for model in re.findall(r"(?m)^class .*\(Model\):\n(?:(?: .*)?\n)+", block)]
    assert models
    assert all(len([line for line in model.splitlines() if line]) <= 15 for model in models)


@pytest.mark.slow
def test_the_example_of_the_readme_works_where_only_the_checker_can(installed: Path, tmp_path: Path) -> None:
    """Issue 4, done when 5: "`pip install .` in a clean environment, then `python -c "from checker import check..."` as in the README"."""
    for block in examples():
        done = run(installed, "-W", "error", "-c", block, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), block


@pytest.mark.slow
def test_the_command_of_the_checker_works_where_it_is_alone(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "stale.jsonl").write_text(STALE.strip() + "\n")
    done = run(installed, "-m", "checker", "stale.jsonl", "--model", "register", "--json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (1, "invalid"), done.stderr


def test_the_checker_imports_nothing_of_the_rest_and_nothing_heavy() -> None:
    """Issue 4: "without the rest of the product being imported": nor compiled code, before a history needs it."""
    script = f"import sys; from checker import check; print([name for name in {NOT_NEEDED!r} if name in sys.modules])"
    done = run(sys.executable, "-c", script, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_history_of_less_than_200_operations_loads_no_compiled_code() -> None:
    """Issue 4, row 15: "under 200 operations plain Python, no numba import"."""
    script = """
import sys
from checker import History, Op, check, make_model
ops = [Op(process=n, f="write", value=n % 3, type="ok", invoked=2 * n, returned=2 * n + 3) for n in range(199)]
assert check(History(ops), make_model("register")).verdict == "valid"
print("numba" in sys.modules)"""
    done = run(sys.executable, "-c", script, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
