"""Pictures that a notebook shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from struct import unpack

PathOrUrl = str | Path
"""A local file, or an address."""


@dataclass(frozen=True, slots=True, repr=False)
class Picture:
    """A PNG, which a notebook shows."""

    png: bytes
    """The file."""

    def __repr__(self) -> str:
        """Format, size and bytes; never the bytes themselves."""
        width, height = unpack(">II", self.png[16:24])
        return f"<Picture: PNG, {width} x {height} pixels, {len(self.png) / 1e3:.1f} kB>"

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: PathOrUrl) -> None:
        """Write it to a file."""
        Path(path).write_bytes(self.png)
