"""One piece of every band of a scene, each on its own grid.

A band on the lattice of the whole is filled as in a file of all bands. Of a coarser one, gain and offset of the fill
are averaged over the pixels of the lattice that lie in one of its own, and applied to the replacement's own pixel:
an average of the filled pixels of the lattice would be blurred, since these are interpolated. It is taken after all
where the replacement has no pixel of the same place and size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.fill import UNFILLED
from algorithms.masks import NODATA
from algorithms.pixels import to_dtype
from server.analysis.task import ReplacementIndex
from server.export.bands import OwnBand
from server.export.figures import FillFigures
from server.export.piece import FIGURES_KIND, IMAGE_KIND, MASK_KIND, PROVENANCE_KIND, Looked, PieceFiller
from server.export.plan import Piece, window_of
from server.export.tiles import stored_mask, stored_tiles
from server.raster.composite import only
from server.raster.grid import Box
from server.raster.layer import Layer

BandValues = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Replaced = tuple[npt.NDArray[np.float32], Bools]
"""(H, W) values of a replacement and where it has any."""
OwnReplacement = Callable[[ReplacementIndex], Replaced | None]
"""Gives a replacement's own pixels, if it has any of the same place and size."""


def band_kind(number: int, kind: str) -> str:
    """The kind of a file of a piece of the band of this number."""
    return f"{number:02d}.{kind}"


@dataclass(frozen=True, slots=True)
class BandFiller:
    """Fills pieces of one scene band by band; any number of threads may use it."""

    whole: PieceFiller
    """Fills them on the lattice of the whole."""
    bands: tuple[OwnBand, ...]
    """What to write."""
    masked: tuple[bool, ...]
    """For each band whether its file has a mask."""
    compressions: tuple[str | None, ...]
    """For each band how its pieces are compressed; those of a coarser one, which hold no whole tiles, are not."""

    @property
    def _shape(self) -> tuple[int, int]:
        return self.whole.plane.target.dataset.shape

    def parts(self, piece: Piece, number: int) -> Piece:
        """A piece in the pixels of the band of this number."""
        return Piece(piece.row, piece.col, self.bands[number].under(piece, self._shape))

    def kinds(self, piece: Piece) -> tuple[str, ...]:
        """The files of a piece, in the order they are written; a band without pixels in it has none."""
        kinds = [FIGURES_KIND, PROVENANCE_KIND]
        for number, masked in enumerate(self.masked):
            if 0 not in self.parts(piece, number).pixels.shape:
                kinds += [band_kind(number, kind) for kind in (*[MASK_KIND] * masked, IMAGE_KIND)]
        return tuple(kinds)

    def announce(self, pieces: list[Piece]) -> None:
        """See `PieceFiller`."""
        self.whole.announce(pieces)

    def infer(self, pieces: list[Piece]) -> None:
        """See `PieceFiller`."""
        self.whole.infer(pieces)

    def prepare(self, pieces: list[Piece]) -> None:
        """See `PieceFiller`."""
        self.whole.prepare(pieces)

    def keep(self, coming: list[list[Piece]]) -> None:
        """See `PieceFiller`."""
        self.whole.keep(coming)

    def make(self, piece: Piece) -> Iterator[tuple[str, bytes]]:
        """The files of a piece, by kind and in the order of `kinds`."""
        box = piece.pixels
        owns = [self.parts(piece, number).pixels for number in range(len(self.bands))]
        for band, own in zip(self.bands, owns, strict=True):
            if 0 not in own.shape:
                box = box.union(band.around(own, self._shape))
        looked = self.whole.look(box)
        core = piece.pixels.within(box)
        source, confidence, hidden = looked.source[core], looked.confidence[core], looked.hidden[core]
        yield FIGURES_KIND, FillFigures.of(source, confidence, hidden).written()
        provenance = np.stack([source, confidence])
        provenance[:, hidden] = NODATA
        yield PROVENANCE_KIND, stored_tiles(provenance, None)
        for number, (band, own, masked) in enumerate(zip(self.bands, owns, self.masked, strict=True)):
            if 0 in own.shape:
                continue
            values, mask = self._filled(band, own, looked, box, masked=masked)
            if mask is not None:
                yield band_kind(number, MASK_KIND), stored_mask(mask)
            yield band_kind(number, IMAGE_KIND), stored_tiles(values[None], self.compressions[number])

    def _filled(
        self, band: OwnBand, own: Box, looked: Looked, box: Box, *, masked: bool
    ) -> tuple[BandValues, npt.NDArray[np.uint8] | None]:
        """Some pixels of a band with their clouds filled, and their mask.

        Args:
            band: the band.
            own: which of its pixels.
            looked: the target over them.
            box: the pixels of the target that `looked` covers.
            masked: whether there is a mask.
        """
        with self.whole.sources.open_described(band.dataset) as src:
            values = src.read(band.index, window=window_of(own))
            mask = src.dataset_mask(window=window_of(own)) if masked else None
        cells = _Cells.of(band, own, box)
        fill, nodata = _BandFill.of(looked, band.position, cells), band.dataset.nodata
        touched = cells.counted(fill.flat) > 0
        if touched.any():
            made = fill.mean(lambda k: self._own_replacement(k, band, own)) if not band.place.same else fill.plain()
            values[touched] = to_dtype(made[touched], values.dtype, nodata)
            if mask is not None:
                mask[touched] = 255
        if self.whole.algorithm.unfilled == "nodata":
            lost = (cells.counted(cells.under((looked.source == UNFILLED) & ~looked.hidden)) > 0) & ~touched
            if nodata is not None:
                values[lost] = nodata
            elif mask is not None:
                mask[lost] = 0
        return values, mask

    def _own_replacement(self, k: ReplacementIndex, band: OwnBand, own: Box) -> Replaced | None:
        """The k-th replacement's own pixels under some of a band's; None where it has none of the same place."""
        plane, index = self.whole.plane, band.position
        replacement = plane.replacement(k)
        dataset = only(replacement.dataset, [replacement.indexes[index]])
        if dataset.same_grid(band.dataset) is None:
            return None
        down, right = self.whole.analysis.pairs.shift(plane, k)
        shift = (down / band.place.down, right / band.place.across)
        pixels = self.whole.analysis.rasters.pixels(Layer(dataset, band.dataset, dataset.indexes), own, shift)
        return pixels.clean[0], pixels.valid


NONE_FLAT: Final = -1
"""Number of a pixel that lies in none of those looked at."""


@dataclass(frozen=True, slots=True)
class _Cells:
    """Some pixels of a band, numbered row by row, and which of them the pixels of the target lie in."""

    shape: tuple[int, int]
    """Rows and columns of the band's pixels."""
    flat: npt.NDArray[np.intp]
    """(H, W) number of the band's pixel under each of the target's, `NONE_FLAT` for none of these."""

    @classmethod
    def of(cls, band: OwnBand, own: Box, box: Box) -> _Cells:
        rows, cols = band.numbers(box)
        rows, cols = rows - own.top, cols - own.left
        height, width = own.shape
        inside = ((rows >= 0) & (rows < height))[:, None] & ((cols >= 0) & (cols < width))[None]
        return cls((height, width), np.where(inside, rows[:, None] * width + cols[None], NONE_FLAT))

    def under(self, chosen: Bools) -> npt.NDArray[np.intp]:
        """Numbers under some (H, W) pixels of the target."""
        numbers = self.flat[chosen]
        return np.asarray(numbers[numbers != NONE_FLAT])

    def counted(self, numbers: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """(rows, cols), how often each number occurs."""
        counts: npt.NDArray[np.intp] = np.bincount(numbers, minlength=self.shape[0] * self.shape[1])
        return np.asarray(counts.reshape(self.shape))


@dataclass(frozen=True, slots=True)
class _BandFill:
    """The fill of one band at those pixels of the target that lie in some of the band's own."""

    cells: _Cells
    """The band's pixels."""
    flat: npt.NDArray[np.intp]
    """(p,) number of the band's pixel."""
    source: npt.NDArray[np.uint8]
    """(p,) which replacement."""
    gain: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]
    replacement: npt.NDArray[np.float32]
    """(p,) each: the fill is `gain * replacement + offset`."""

    @classmethod
    def of(cls, looked: Looked, position: int, cells: _Cells) -> _BandFill:
        fill = looked.clouds.fill
        if fill is None:
            none = np.zeros(0, np.float32)
            return cls(cells, np.zeros(0, np.intp), np.zeros(0, np.uint8), none, none, none)
        flat = cells.flat.ravel().take(fill.at)
        kept = (flat != NONE_FLAT) & ~looked.hidden.ravel().take(fill.at)
        return cls(
            cells,
            flat[kept],
            looked.source.ravel().take(fill.at)[kept],
            *(np.asarray(part)[position][kept] for part in (fill.gain, fill.offset, fill.replacement)),
        )

    def plain(self) -> npt.NDArray[np.float32]:
        """(rows, cols) of the fill where each of the target's pixels is one of the band's."""
        made = np.zeros(self.cells.shape, np.float32)
        made.ravel()[self.flat] = self.gain * self.replacement + self.offset
        return made

    def mean(self, own_replacement: OwnReplacement) -> npt.NDArray[np.float32]:
        """(rows, cols) of the fill on the band's own pixels, whatever share of them is filled.

        Args:
            own_replacement: gives a replacement on these pixels, or None.
        """
        total = np.zeros(self.cells.shape)
        for k in np.unique(self.source).tolist():
            at = self.source == k
            flat, gain, offset = self.flat[at], self.gain[at], self.offset[at]
            made = self._sum(flat, gain * self.replacement[at] + offset)
            if (own := own_replacement(k)) is not None:
                values, valid = own
                made = np.where(valid, self._sum(flat, gain) * values + self._sum(flat, offset), made)
            total += made
        return (total / np.maximum(self.cells.counted(self.flat), 1)).astype(np.float32)

    def _sum(self, flat: npt.NDArray[np.intp], values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        rows, cols = self.cells.shape
        sums = np.bincount(flat, weights=values.astype(np.float64), minlength=rows * cols)
        return np.asarray(sums, np.float64).reshape(rows, cols)
