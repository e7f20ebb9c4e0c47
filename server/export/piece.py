"""One piece: read, fill with the server's own code, encode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.io import MemoryFile
from rasterio.windows import bounds as window_bounds
from rasterio.windows import transform as window_transform
from rio_tiler.reader import read

from algorithms.fill import UNFILLED
from algorithms.masks import NODATA
from algorithms.removal import CloudImage, CloudRemoval
from server.analysis.engine import Analysis
from server.analysis.outputs import completed, hidden_pixels, read_layer
from server.analysis.sidecar import classes_sidecar, fill_sidecar
from server.analysis.task import Task
from server.export.plan import Piece
from server.raster.dataset import dataset_crs
from server.raster.grid import Grid
from server.raster.opening import open_raster
from server.raster.sampling import OutputGrid

TILE = 256
"""Side in pixels of the tiles of a piece's file: whoever puts the pieces together holds some of each."""


@dataclass(frozen=True, slots=True)
class Filled:
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
    task: Task
    """What to analyse."""
    grid: Grid
    """Level of the analysis grid."""
    algorithm: CloudRemoval
    """How to fill."""
    provenance: bool
    """Whether provenance is wanted."""
    needs_mask: bool
    """Whether the output has a mask."""
    reading: dict[str, Any]
    """Options for reading replacements."""

    def fill(self, piece: Piece) -> Filled:
        """Read a piece and fill its clouds."""
        target = self.task.target.dataset
        rows, cols = piece.pixels.shape
        with open_raster(target.url, target.version) as src:
            image = read(src, window=piece.window, indexes=target.indexes, nodata=target.nodata)
            others = [i for i in src.indexes if i not in target.indexes]
            alpha = src.read(others, window=piece.window) if others else None
            own_mask = src.dataset_mask(window=piece.window)[None] if self.needs_mask else None
        crs = image.crs
        output = OutputGrid(target.crs, window_bounds(piece.window, target.affine), cols, rows)
        bands = tuple(range(len(target.indexes)))
        clouds = fill_sidecar(
            self.analysis,
            self.task,
            output,
            needs="fill",
            bands=bands,
            grid=self.grid,
            read_replacement=lambda k: read_layer(self.task.replacements[k], bands, output, crs, self.reading),
        )
        hidden = hidden_pixels(image)
        clouds = completed(clouds, hidden)
        filled = self.algorithm(CloudImage.of(image, clouds))
        data = filled.array.data
        assert clouds.source is not None  # noqa: S101  (completed)
        lost = (clouds.source == UNFILLED) & ~hidden
        if self.algorithm.unfilled == "nodata" and lost.any():
            if target.nodata is not None:
                data[:, lost] = target.nodata
            elif alpha is not None:
                alpha[:, lost] = 0
            elif own_mask is not None:
                own_mask[:, lost] = 0
        return Filled(
            image=data if alpha is None else self._with_others(data, alpha, others),
            mask=own_mask,
            provenance=self._provenance(output, clouds.source, hidden) if self.provenance else None,
        )

    def _with_others(self, data: npt.NDArray[Any], alpha: npt.NDArray[Any], others: list[int]) -> npt.NDArray[Any]:
        """All bands in the target's order."""
        indexes = self.task.target.dataset.indexes
        result = np.empty((len(indexes) + len(others), *data.shape[1:]), data.dtype)
        result[[i - 1 for i in indexes]] = data
        result[[i - 1 for i in others]] = alpha
        return result

    def _provenance(
        self, output: OutputGrid, source: npt.NDArray[np.uint8], hidden: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.uint8]:
        """Source, confidence and classes; 255 in all three without data."""
        clouds = fill_sidecar(
            self.analysis, self.task, output, needs="provenance", bands=(), read_replacement=_never, grid=self.grid
        )
        confidence = completed(clouds, hidden).confidence
        classes = classes_sidecar(self.analysis, self.task, output).classes
        assert confidence is not None  # noqa: S101  (completed)
        assert classes is not None  # noqa: S101  (asked for)
        # Pixels that the replacement lacks within a cell it covers in part are not filled after all.
        confidence = np.where(source == UNFILLED, 0, confidence)
        result = np.stack([source, confidence, classes])
        result[:, hidden] = NODATA
        return result

    def encode(self, piece: Piece, pixels: npt.NDArray[Any]) -> bytes:
        """A piece as a GeoTIFF, uncompressed: it is read twice, and soon gone."""
        target = self.task.target.dataset
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
            "blockxsize": TILE,
            "blockysize": TILE,
            "interleave": "pixel",
        }
        # In memory first: Python tells of a full disk, GDAL does not always.
        with MemoryFile() as memory:
            with memory.open(**profile) as file:
                file.write(pixels)
            return bytes(memory.getbuffer())


def _never(_: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Provenance needs no replacement's pixels."""
    raise NotImplementedError
