"""A real server process, and what memory it takes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.service import free_port


@dataclass(frozen=True)
class Running:
    """`clearsky serve` in a process of its own."""

    process: subprocess.Popen[bytes]
    """The process."""
    base: str
    """Address, without a slash at its end."""

    def memory(self, name: str) -> int:
        """Bytes that Linux tells of the process: `VmRSS` is resident now, `VmHWM` the most that was."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name + ":")).split()[1]) << 10

    def forget_peak(self) -> None:
        """Let `VmHWM` begin at what is resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextmanager
def running(allowed: Path | str, *, arguments: Sequence[str] = (), **settings: str) -> Iterator[Running]:
    """A server on a free loopback port, without work ahead.

    Args:
        allowed: what may be read.
        arguments: further ones of `clearsky serve`.
        settings: further settings by their names in lower case.
    """
    port = free_port()
    chosen = {"allowed_sources": str(allowed), "prefetch": "false"} | settings
    env = os.environ | {f"CLEARSKY_{name.upper()}": value for name, value in chosen.items()}
    command = [sys.executable, "-c", "from server.cli import main; main()", "serve", "--port", str(port), *arguments]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(base + "/healthz", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "the server ended at start"
                time.sleep(0.05)
        yield Running(process, base)
    finally:
        process.terminate()
        process.wait(timeout=30)
