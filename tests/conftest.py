"""What all tests share: options, and the marks that depend on what this machine has."""

from __future__ import annotations

import functools
import shutil
import signal

import docker
import pytest
from docker.errors import DockerException

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_configure() -> None:
    """What a shell starts in the background ignores Ctrl-C (nohup: a closed terminal), and so does all that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="write what the scenarios give into their files; then read the diff"
    )


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    """Whether expectations that stand in files are to be written anew."""
    return bool(request.config.getoption("--rewrite"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what this machine cannot do, with the reason; `-rs` prints it."""
    if item.get_closest_marker("docker") and (reason := no_docker()):
        pytest.skip(reason)
    if item.get_closest_marker("browser") and not browser_path():
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)} is on PATH")


@functools.cache
def no_docker() -> str:
    """Why no Docker engine can be used here; "" where one answers."""
    try:
        client = docker.from_env(timeout=10)
        try:
            client.ping()
        finally:
            client.close()
    except DockerException as error:
        return f"no Docker engine answers: {str(error).splitlines()[0][:120]}"
    return ""


@functools.cache
def browser_path() -> str:
    """A Chromium that Playwright can drive; "" where there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), "")
