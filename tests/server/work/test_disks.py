"""Which file systems answer at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.work import disks
from server.work.disks import DEVICE_SECONDS, DISK_FILE_SYSTEMS, is_on_disk, known_devices

NAMES = {"ext2/ext3": "ext4", "overlayfs": "overlay"}
"""Types as `stat` calls them."""


@pytest.mark.skipif(sys.platform != "linux", reason="file systems have these names on Linux")
@pytest.mark.parametrize("path", ["/proc/self/status", "/sys/kernel", "/dev/shm", "/", __file__])
def test_a_disk_is_what_the_system_says(path: str) -> None:
    if not Path(path).exists():
        pytest.skip(f"there is no {path}")
    said = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True).stdout.strip()
    assert is_on_disk(path) == (NAMES.get(said, said) in DISK_FILE_SYSTEMS)


def test_a_device_number_that_is_given_away_again_is_looked_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(disks, "MOUNTS", mounts)
    known_devices.clear()
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for kind, expected in (("tmpfs", True), ("nfs4", False)):
        mounts.write_text(f"36 35 {number} / /data rw shared:1 - {kind} source rw\n")
        assert is_on_disk(str(tmp_path)) is expected
        known_devices.expire(known_devices.timer() + DEVICE_SECONDS + 1)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_on_disk(str(tmp_path / "nothing.tif"))
