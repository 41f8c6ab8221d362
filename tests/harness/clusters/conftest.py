"""What tests of containers share: an engine, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.clusters.cluster import ClusterError
from harness.clusters.engine import connect


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """The Docker engine of this machine."""
    try:
        connected = connect()
    except ClusterError as error:
        pytest.skip(str(error))
    yield connected
    connected.close()
