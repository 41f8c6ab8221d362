"""The tree as tests see it: its Python files parsed once, who imports whom, and the files that git would keep."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("raftnode", "checker", "workloads", "harness")
BESIDE = ("tests", "benchmarks")


@dataclass(frozen=True)
class Import:
    module: str  # the imported module, in full
    names: tuple[str, ...]  # what is taken from it; empty for `import module`
    line: int


@dataclass(frozen=True)
class Module:
    name: str  # dotted; a package's own module is named as the package
    path: Path
    text: str
    tree: ast.Module

    @property
    def place(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    @functools.cached_property
    def imports(self) -> tuple[Import, ...]:
        return tuple(_imports(self.tree))


def _imports(tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), node.lineno)
        elif isinstance(node, ast.ImportFrom):
            yield Import("." * node.level + (node.module or ""), tuple(alias.name for alias in node.names), node.lineno)


@functools.cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Every Python file below the folders (by default our packages, the tests and the benchmarks), parsed."""
    found = []
    for folder in folders or (*PACKAGES, *BESIDE):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            found.append(Module(name, path, text, ast.parse(text)))
    return tuple(found)


def imported_modules(module: Module) -> Iterator[tuple[str, int]]:
    """The modules of ours that a module imports, with the line; `from package import module` counts as that module.

    A name that the package hands on itself (`from checker import check`) counts as the package.
    """
    ours = modules(*PACKAGES)
    names = {each.name for each in ours}
    handed_on = {
        f"{each.name}.{name}"
        for each in ours
        if each.path.name == "__init__.py"
        for imported in each.imports
        for name in imported.names
    }
    for each in module.imports:
        inner = [f"{each.module}.{name}" for name in each.names if f"{each.module}.{name}" not in handed_on]
        for name in [name for name in inner if name in names] or [each.module]:
            if name in names:
                yield name, each.line


@functools.cache
def kept_files() -> tuple[str, ...]:
    """Every file that git keeps or would keep, by its path from the root."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return tuple(line for line in sorted(set(listed.splitlines())) if (ROOT / line).is_file())
