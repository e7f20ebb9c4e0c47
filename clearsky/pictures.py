"""Pictures that a notebook shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PathOrUrl = str | Path
"""A local file, or an address."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG, which a notebook shows."""

    png: bytes
    """The file."""

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: PathOrUrl) -> None:
        """Write it to a file."""
        Path(path).write_bytes(self.png)
