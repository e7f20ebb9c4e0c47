"""Which file systems answer at once: those on disks of this machine, not those of other machines or programs."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from pathlib import Path
from typing import Final

import cachetools

DISK_FILE_SYSTEMS: Final = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
"""Their types, as Linux calls them."""
MOUNTS: Final = Path("/proc/self/mountinfo")
DEVICE_SECONDS: Final = 5.0
"""How long what a device is counts as known: what is mounted after another one often gets its number."""

known_devices: Final[cachetools.TTLCache[tuple[Hashable, ...], bool]] = cachetools.TTLCache(256, DEVICE_SECONDS)
"""Whether they are disks."""


def is_on_disk(path: str) -> bool:
    """Whether a file is known to be on a disk of this machine, so that the event loop may ask for its state.

    Raises:
        OSError: a file that is not there.
    """
    return _is_disk(os.stat(path).st_dev)  # noqa: PTH116  (asked for many tiles)


@cachetools.cached(known_devices, lock=threading.Lock())
def _is_disk(device: int) -> bool:
    """Whether a device is known to be one of this machine's; False on systems other than Linux."""
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = [line.split() for line in MOUNTS.read_text("utf-8", "replace").splitlines()]
    except OSError:
        return False
    # "36 35 98:0 /root /mount options [optional fields] - type source options"
    kinds = {fields[fields.index("-") + 1] for fields in mounts if fields[2] == name}
    return bool(kinds) and kinds <= DISK_FILE_SYSTEMS
