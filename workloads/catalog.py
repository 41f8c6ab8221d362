"""Every workload by name."""

from __future__ import annotations

from workloads.append import APPEND
from workloads.register import REGISTER
from workloads.workload import Workload

WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in (REGISTER, APPEND)}
