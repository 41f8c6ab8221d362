"""What the layout promises: who imports whom, how large things are, what may touch the world, and no dead paths.

Each test is one rule of "Rules that a test can keep" in the project's layout; ARCHITECTURE.md tells the reasons.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch

from source_tree import BESIDE, PACKAGES, ROOT, Module, imported_modules, kept_files, modules

# Who may import whom: package -> package -> the modules that it may use of it ("" is the package's own door).
DOORS: dict[str, dict[str, set[str]]] = {
    "raftnode": {},
    "checker": {},
    "workloads": {"checker": {"", "history", "models.base"}},
    "harness": {
        "raftnode": {"bugs", "client", "core", "events", "messages", "storage", "wire"},
        "checker": {"", "command", "following", "formats.convert", "formats.files", "formats.porcupine"},
        "workloads": {"catalog", "generator", "mix", "workload"},
    },
}

# What touches the world: processes, sockets, threads, the clock.
WORLD = {
    "asyncio",
    "ctypes",
    "fcntl",
    "multiprocessing",
    "os",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
}
MAY_TOUCH_THE_WORLD = {
    "raftnode/__main__.py",
    "raftnode/client.py",
    "raftnode/connections.py",
    "raftnode/disk.py",
    "raftnode/files.py",
    "raftnode/peers.py",
    "raftnode/server.py",
    "checker/search/build.py",  # compiles in two processes
    "checker/budget.py",  # the one clock of the checker: a budget has seconds
    "checker/following.py",  # a file that grows is looked at again and again
    "checker/workers.py",  # keys are tried on all cores, by processes
    "harness/bootstrap.py",
    "harness/builds.py",
    "harness/interrupts.py",
    "harness/onlookers.py",  # they are processes
    "harness/playground.py",
    "harness/store.py",
    "harness/clusters/*.py",
    "harness/commands/*.py",
}
# These must stay pure whatever else happens: their tests are tables, and a simulation can drive them.
PURE = {
    "raftnode/messages.py",
    "raftnode/log.py",
    "raftnode/rules.py",
    "raftnode/machine.py",
    "raftnode/core.py",
    "raftnode/elections.py",
    "raftnode/replication.py",
    "raftnode/reads.py",
    "checker/models/*.py",
    "checker/history.py",
    "workloads/*.py",
    "harness/evidence.py",
    "harness/loop.py",
    "harness/nemesis.py",
    "harness/plan.py",
    "harness/worker.py",
    "harness/clusters/cluster.py",
}
IMPURE_VALUES = WORLD | {"pathlib", "random", "secrets", "uuid", "datetime", "httpx", "docker"}

FUNCTION_LINES = 70
CLASS_LINES = 149
MODULE_LINES = 700
SENTENCE_LENGTH = 130


def ours() -> tuple[Module, ...]:
    return modules(*PACKAGES)


def matches(place: str, patterns: set[str]) -> bool:
    return any(fnmatch(place, pattern) for pattern in patterns)


def test_packages_import_only_what_stands_below_them_and_by_its_door() -> None:
    wrong = []
    for module in ours():
        for imported, line in imported_modules(module):
            package, _, inner = imported.partition(".")
            if package != module.package and inner not in DOORS[module.package].get(package, set()):
                wrong.append(f"{module.place}:{line} imports {imported}")
    assert wrong == []


def test_nothing_of_ours_imports_tests_or_benchmarks() -> None:
    wrong = [
        f"{module.place}:{each.line}"
        for module in ours()
        for each in module.imports
        if each.module.split(".")[0] in BESIDE
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    below = {module.name: {name for name, _ in imported_modules(module)} - {module.name} for module in ours()}
    # Take away what imports nothing that is left, again and again; what cannot be taken away stands in a circle.
    while free := {name for name, needed in below.items() if not needed & below.keys()}:
        below = {name: needed for name, needed in below.items() if name not in free}
    assert below == {}


def test_imports_stand_on_top_and_name_their_module_in_full() -> None:
    wrong = []
    for module in modules():
        on_top = {node.lineno for node in module.tree.body if isinstance(node, ast.Import | ast.ImportFrom)}
        wrong += [f"{module.place}:{each.line} is not on top" for each in module.imports if each.line not in on_top]
        wrong += [f"{module.place}:{each.line} is relative" for each in module.imports if each.module.startswith(".")]
    assert wrong == []


def test_init_files_hold_one_sentence() -> None:
    """Only checker/__init__.py hands on names: it is the door of a package that can be used alone."""
    wrong = [
        module.place
        for module in ours()
        if module.path.name == "__init__.py" and module.place != "checker/__init__.py" and len(module.tree.body) != 1
    ]
    assert wrong == []


def test_each_of_our_packages_is_installed() -> None:
    """A folder that setuptools is not told of is there in the clone, and missing wherever the package is installed."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    made = [module.place.removesuffix("/__init__.py") for module in ours() if module.path.name == "__init__.py"]
    of_data = setuptools["package-data"].keys()  # what a page is made of
    assert sorted(setuptools["packages"]) == sorted([*(place.replace("/", ".") for place in made), *of_data])


def test_only_listed_modules_touch_the_world() -> None:
    wrong = []
    for module in ours():
        if not matches(module.place, MAY_TOUCH_THE_WORLD):
            wrong += [
                f"{module.place}:{each.line} {each.module}"
                for each in module.imports
                if each.module.split(".")[0] in WORLD
            ]
    assert wrong == []


def test_the_list_of_those_that_touch_the_world_is_not_longer_than_need_be() -> None:
    touching = [module.place for module in ours() if {each.module.split(".")[0] for each in module.imports} & WORLD]
    stale = [pattern for pattern in MAY_TOUCH_THE_WORLD if not any(fnmatch(place, pattern) for place in touching)]
    assert stale == []


def test_pure_modules_stay_pure() -> None:
    """Sans-IO: no clock, socket, disk, thread, or randomness of its own."""
    pure = [module for module in ours() if matches(module.place, PURE)]
    wrong = [
        f"{module.place}:{each.line} {each.module}"
        for module in pure
        for each in module.imports
        if each.module.split(".")[0] in IMPURE_VALUES and each.names != ("Random",)
    ]
    assert wrong == []
    assert [pattern for pattern in PURE if not any(fnmatch(module.place, pattern) for module in pure)] == []


def test_nobody_draws_from_the_hidden_global_generator() -> None:
    """Randomness is an argument: `random.random()` is nobody's, a seeded Random has an owner."""
    wrong = []
    for module in modules():
        for each in module.imports:
            if each.module == "random" and not set(each.names) <= {"Random"}:
                wrong.append(f"{module.place}:{each.line} takes {each.names or 'the module'} of random")
        for node in ast.walk(module.tree):
            called = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if re.fullmatch(r"(np|numpy)\.random\.(?!default_rng$|Generator$)\w+", called):
                wrong.append(f"{module.place}:{node.lineno} {called}")
    assert wrong == []


def test_functions_classes_and_modules_keep_their_size() -> None:
    wrong = []
    for module in modules():
        lines = module.text.count("\n")
        if lines > MODULE_LINES:
            wrong.append(f"{module.place} has {lines} lines")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                size = (node.end_lineno or node.lineno) - node.lineno + 1
                most = CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES
                if size > most:
                    wrong.append(f"{module.place}:{node.lineno} {node.name} has {size} lines, {most} are the most")
    for place in kept_files():
        if place.startswith("harness/page/") and (lines := (ROOT / place).read_text().count("\n")) > MODULE_LINES:
            wrong.append(f"{place} has {lines} lines")
    assert wrong == []


def test_modules_open_with_a_short_sentence_that_says_what_lives_there() -> None:
    wrong = []
    for module in modules(*PACKAGES, "benchmarks"):
        words = " ".join((ast.get_docstring(module.tree) or "").split())
        sentence = re.split(r"(?<=[.:;])\s", words, maxsplit=1)[0]
        if not words or not sentence.endswith((".", ":", ";")) or len(sentence) > SENTENCE_LENGTH:
            wrong.append(f"{module.place}: {sentence!r}")
        if re.search(r"licen[cs]ed? under|copyright", module.text[:600], re.IGNORECASE):
            wrong.append(f"{module.place}: a licence head takes the place of that sentence")
    assert wrong == []


def test_no_exception_of_any_kind_is_swallowed_and_nothing_is_left_to_do_later() -> None:
    wrong = []
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler):
                kind = ast.unparse(node.type) if node.type else "BaseException"
                silent = all(isinstance(each, ast.Pass | ast.Continue) for each in node.body)
                if silent and kind in {"Exception", "BaseException"}:
                    wrong.append(f"{module.place}:{node.lineno} swallows {kind}")
        for number, line in enumerate(module.text.splitlines(), 1):
            if re.search(r"#.*\b(TODO|FIXME|XXX|HACK)\b", line) and "re.search" not in line:
                wrong.append(f"{module.place}:{number} {line.strip()}")
        if module.path.stem in {"utils", "helpers", "misc", "common"}:
            wrong.append(f"{module.place}: a name that says nothing")
    assert wrong == []


def test_every_module_is_reached_from_something_that_is_run() -> None:
    """Dead files: a module counts as run if it has a `__main__` guard, or if code starts it by its dotted name."""
    by_name = {module.name: module for module in ours()}
    texts = [(module.name, module.text) for module in ours()] + [("", (ROOT / "splitbrain").read_text())]
    commands = set(re.findall(r'(?m)^    "(\w+)": "', (ROOT / "harness/__main__.py").read_text()))
    ahead = []
    for name, module in by_name.items():
        started = any(re.search(rf'"{re.escape(name)}"', text) for other, text in texts if other != name)
        command = name.startswith("harness.commands.") and name.rpartition(".")[2] in commands
        if 'if __name__ == "__main__"' in module.text or name.endswith("__main__") or started or command:
            ahead.append(name)
    ahead.append("harness.bootstrap")  # by ./splitbrain
    reached: set[str] = set()
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += [imported for imported, _ in imported_modules(by_name[name])]
    dead = [name for name, module in by_name.items() if name not in reached and module.path.name != "__init__.py"]
    assert dead == []


def test_every_other_file_is_used_by_something_that_names_it_or_its_folder() -> None:
    """Scenarios and histories by their folder, everything else by its name."""
    texts = {place: _text(place) for place in kept_files()}
    wrong = []
    for place in kept_files():
        path = ROOT / place
        if path.suffix in {".py", ".md", ".in"} or "/" not in place or place.startswith("results/"):
            continue
        folder = path.parent.name
        named = [re.escape(path.name)] + ([rf"\b{re.escape(folder)}\b"] if place.startswith("tests/") else [])
        if not any(re.search("|".join(named), text) for other, text in texts.items() if other != place):
            wrong.append(place)
    assert wrong == []


def _text(place: str) -> str:
    path = ROOT / place
    if path.suffix in {".png", ".parquet", ".jsonl", ".lock"} or path.stat().st_size > 500_000:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _paths_named_in(text: str, *, markdown: bool) -> Iterator[str]:
    """Words that look like a path from the root: in a document those in code spans, links and blocks."""
    tops = {place.split("/")[0] for place in kept_files() if "/" in place}
    spans = re.findall(r"`([^`\n]+)`|\]\(([^)\s]+)\)", text) if markdown else re.findall(r"(\S+)()", text)
    for word in (part for span in spans for words in span for part in words.split()):
        path = word.strip("`'\".,;:()[]").removeprefix("./").split("#")[0].split("::")[0]
        is_path = re.fullmatch(r"[\w.-]+(/[\w.*{},-]+)+/?", path) and path.split("/")[0] in tops
        if is_path and (markdown or re.search(r"\.(py|md|txt|toml|yaml|lock|html|js|css|jsonl)$", path)):
            yield path


def _stand_for(path: str) -> list[str]:
    """`a/{b,c}.py` stands for two paths."""
    found = re.search(r"\{([^}]*)\}", path)
    if not found:
        return [path]
    return [
        one for part in found[1].split(",") for one in _stand_for(path[: found.start()] + part + path[found.end() :])
    ]


def test_every_path_that_a_document_or_a_comment_names_exists() -> None:
    wrong = []
    for place in kept_files():
        if not place.endswith((".md", ".py", ".toml", ".yaml")) or place.startswith("results/"):
            continue
        for named in _paths_named_in(_text(place), markdown=place.endswith(".md")):
            if named.startswith("results/") and not named.startswith("results/sample"):
                continue  # what runs write
            for path in _stand_for(named):
                if not any(ROOT.glob(path.rstrip("/"))):
                    wrong.append(f"{place} names {path}")
    assert wrong == []


def test_bootstrap_needs_nothing_that_has_to_be_installed() -> None:
    """`./splitbrain` is an executable of the standard library alone."""
    bootstrap = next(module for module in ours() if module.place == "harness/bootstrap.py")
    allowed = set(sys.stdlib_module_names)
    assert [each.module for each in bootstrap.imports if each.module.split(".")[0] not in allowed] == []
