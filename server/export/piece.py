"""One piece: read, fill with the server's own code, encode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.windows import bounds as window_bounds
from rasterio.windows import transform as window_transform
from rio_tiler.reader import read

from algorithms.fill import UNFILLED
from algorithms.masks import NODATA
from algorithms.removal import CloudImage, CloudRemoval
from algorithms.sidecar import CloudSidecar, hidden_pixels
from server.analysis.engine import Analysis
from server.analysis.outputs import completed, read_layer
from server.analysis.plane import Plane
from server.analysis.sidecar import classes_sidecar, fill_sidecar
from server.export.plan import Piece, blocks_under, ground_around
from server.raster.dataset import dataset_crs
from server.raster.sampling import OutputGrid
from server.raster.sources import Sources

TILE_PIXELS: Final = 256
"""Side in pixels of the tiles of a piece's file: the process that puts the pieces together holds some of each."""


@dataclass(frozen=True, slots=True)
class FilledPiece:
    """The pixels of a piece."""

    image: npt.NDArray[Any]
    """(bands, rows, cols) of the target's data type, alpha bands included."""
    mask: npt.NDArray[np.uint8] | None
    """(1, rows, cols), 255 where there is data; None where the output has no mask."""
    provenance: npt.NDArray[np.uint8] | None
    """(3, rows, cols): source, confidence, classes."""


@dataclass(frozen=True, slots=True)
class PieceFiller:
    """Fills pieces of one scene; any number of threads may use it."""

    analysis: Analysis
    """What is computed, and its cache."""
    plane: Plane
    """What to analyse."""
    algorithm: CloudRemoval
    """How to fill."""
    provenance: bool
    """Whether provenance is wanted."""
    needs_mask: bool
    """Whether the output has a mask."""
    reading: dict[str, Any]
    """Options for reading replacements."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The files of a piece, in the order they are written."""
        return (*["mask"] * self.needs_mask, *["provenance"] * self.provenance, "image")

    @property
    def _sources(self) -> Sources:
        return self.analysis.rasters.sources

    def prepare(self, pieces: list[Piece]) -> None:
        """Compute and keep what filling pieces needs: masks first, which squares would otherwise make around each."""
        numbers = blocks_under(self.plane, pieces)
        around = self.plane.mask_cells(ground_around(self.plane, numbers))
        self.analysis.pairs.classes(self.plane.masks, around)
        self.analysis.squares(self.plane, numbers)

    def fill(self, piece: Piece) -> FilledPiece:
        """Read a piece and fill its clouds."""
        target = self.plane.target.dataset
        with self._sources.open_described(target) as src:
            image = read(src, window=piece.window, indexes=target.indexes, nodata=target.nodata)
            others = [i for i in src.indexes if i not in target.indexes]
            alpha = src.read(others, window=piece.window) if others else None
            own_mask = src.dataset_mask(window=piece.window)[None] if self.needs_mask else None
        rows, cols = piece.pixels.shape
        output = OutputGrid.from_bounds(target.crs, window_bounds(piece.window, target.affine), cols, rows)
        hidden = hidden_pixels(image)
        clouds = completed(self._fill_sidecar(output, image.crs), hidden)
        data = self.algorithm(CloudImage.of(image, clouds)).array.data
        assert clouds.source is not None  # noqa: S101  (completed)
        if self.algorithm.unfilled == "nodata":
            self._open((clouds.source == UNFILLED) & ~hidden, data, alpha, own_mask)
        return FilledPiece(
            image=data if alpha is None else self._with_others(data, alpha, others),
            mask=own_mask,
            provenance=self._provenance(output, clouds.source, hidden) if self.provenance else None,
        )

    def _fill_sidecar(self, output: OutputGrid, crs: CRS) -> CloudSidecar:
        """The fill of the cloudy pixels of a piece."""
        bands = tuple(range(len(self.plane.target.dataset.indexes)))
        return fill_sidecar(
            self.analysis,
            self.plane.task,
            output,
            needs="fill",
            bands=bands,
            grid=self.plane.grid,
            read_replacement=lambda k: read_layer(
                self._sources, self.plane.replacement(k), bands, output, crs, self.reading
            ),
        )

    def _open(
        self,
        lost: npt.NDArray[np.bool_],
        data: npt.NDArray[Any],
        alpha: npt.NDArray[Any] | None,
        own_mask: npt.NDArray[np.uint8] | None,
    ) -> None:
        """Mark pixels as without data, in the target's own way."""
        nodata = self.plane.target.dataset.nodata
        if nodata is not None:
            data[:, lost] = nodata
        elif alpha is not None:
            alpha[:, lost] = 0
        elif own_mask is not None:
            own_mask[:, lost] = 0

    def _with_others(self, data: npt.NDArray[Any], alpha: npt.NDArray[Any], others: list[int]) -> npt.NDArray[Any]:
        """All bands in the target's order."""
        indexes = self.plane.target.dataset.indexes
        result = np.empty((len(indexes) + len(others), *data.shape[1:]), data.dtype)
        result[[i - 1 for i in indexes]] = data
        result[[i - 1 for i in others]] = alpha
        return result

    def _provenance(
        self, output: OutputGrid, source: npt.NDArray[np.uint8], hidden: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.uint8]:
        """Source, confidence and classes; 255 in all three without data."""
        clouds = fill_sidecar(
            self.analysis,
            self.plane.task,
            output,
            needs="provenance",
            bands=(),
            grid=self.plane.grid,
        )
        confidence = completed(clouds, hidden).confidence
        classes = classes_sidecar(self.analysis, self.plane.task, output).classes
        assert confidence is not None  # noqa: S101  (completed)
        assert classes is not None  # noqa: S101  (asked for)
        # Pixels that the replacement lacks within a cell it covers in part are not filled after all.
        confidence = np.where(source == UNFILLED, 0, confidence)
        result = np.stack([source, confidence, classes])
        result[:, hidden] = NODATA
        return result

    def encode(self, piece: Piece, pixels: npt.NDArray[Any]) -> bytes:
        """A piece as a GeoTIFF, uncompressed: it is read twice and soon removed."""
        target = self.plane.target.dataset
        count, height, width = pixels.shape
        profile = {
            "driver": "GTiff",
            "count": count,
            "height": height,
            "width": width,
            "dtype": pixels.dtype,
            "crs": dataset_crs(target),
            "transform": window_transform(piece.window, target.affine),
            "tiled": True,
            "blockxsize": TILE_PIXELS,
            "blockysize": TILE_PIXELS,
            "interleave": "pixel",
        }
        # In memory first: Python tells of a full disk, GDAL does not always.
        with MemoryFile() as memory:
            with memory.open(**profile) as file:
                file.write(pixels)
            return bytes(memory.getbuffer())
