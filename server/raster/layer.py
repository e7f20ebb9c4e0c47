"""A raster brought to the target's pixel lattice."""

from __future__ import annotations

from dataclasses import dataclass

from server.raster.dataset import Dataset
from server.raster.units import Conversion, conversion


@dataclass(frozen=True, slots=True)
class Layer:
    """A raster brought to the target's lattice: the target itself or a replacement."""

    dataset: Dataset
    """What to read."""
    target: Dataset
    """Whose lattice."""
    indexes: tuple[int, ...]
    """1-based bands, in the order of the target's."""

    def __hash__(self) -> int:
        # Part of every key of what is read: the dataset tells layers apart nearly always.
        return hash(self.dataset)

    @property
    def conversion(self) -> Conversion | None:
        """How its numbers become the target's; None where both mean the same."""
        return conversion(self.dataset, self.target, self.indexes)

    @property
    def is_target(self) -> bool:
        """Whether it is the target itself, which is filled, rather than filled from."""
        return self.dataset == self.target
