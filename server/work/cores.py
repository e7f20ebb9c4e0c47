"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
"""Where a container's limit is found: microseconds of processor time per period, or `max`."""


def usable_cores(quota: Path = QUOTA) -> int:
    """Cores this process may run on, within its container's limit; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        limit, period = quota.read_text().split()
        cores = min(cores, round(int(limit) / int(period)))
    except (OSError, ValueError):  # no container, no limit, or another system
        pass
    return max(1, cores)
