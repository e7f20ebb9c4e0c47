"""The line that names the machine a figure was taken on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """Processor, cores, Python and the libraries that matter."""
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "onnxruntime", "rasterio", "titiler-core"))
    load = f"load {os.getloadavg()[0]:.1f} at start"
    return f"Machine: {name}, {os.cpu_count()} cores; Python {platform.python_version()}, {packages}; {load}."
