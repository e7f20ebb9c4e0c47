"""The bands of a scene as files of their own: their names, and where their grids lie on the lattice of the whole."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt

from algorithms.errors import ParameterError
from server.analysis.request import Request
from server.analysis.task import Task
from server.export.plan import Piece
from server.raster.composite import only
from server.raster.dataset import Dataset
from server.raster.drivers import BY_SUFFIX
from server.raster.grid import Box
from server.raster.sources import Sources
from server.raster.stack import BandPlace, finest, place
from server.scenes.scene import Scene

SOURCE_FILE: Final = "fill_source.tif"
CONFIDENCE_FILE: Final = "fill_confidence.tif"
"""Files that record where every pixel comes from."""
LONGEST_STEM: Final = 200
"""Bytes in UTF-8 of a source's name that are kept: file systems take 255 with the ending."""
_SUFFIXES: Final = frozenset({".tif", ".tiff", *BY_SUFFIX})
_SAME_GRID: Final = BandPlace(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class OwnBand:
    """A band of the target that gets a file of its own, on its own grid."""

    label: str
    """What the product calls it, `B04`; the asset's key."""
    name: str | None
    """Common name, `red`."""
    file: str
    """Name of the file to write."""
    position: int
    """0-based, among the bands of the task's target."""
    dataset: Dataset
    """The band alone."""
    place: BandPlace
    """Where its grid lies on the target's pixels."""
    asset: str | None = None
    """Key of its asset in the target's Item, or what another product calls it; None in a raster of one file."""
    number: int = 1
    """Its 1-based number in the source's file."""
    resolution: float | None = None
    """Metres of a pixel, where the document says so."""

    @property
    def index(self) -> int:
        """Its 1-based number in what its description opens."""
        return self.dataset.indexes[0]

    def under(self, piece: Piece, shape: tuple[int, int]) -> Box:
        """The band's pixels that belong to a piece: those with their middle in it, at the scene's edge all beyond.

        Args:
            piece: of the target's pixels.
            shape: rows and columns of the target.
        """
        box, at = piece.pixels, self.place
        top, bottom = _span(box.top, box.bottom, at.top, at.down, shape[0], self.dataset.height)
        left, right = _span(box.left, box.right, at.left, at.across, shape[1], self.dataset.width)
        return Box(top, bottom, left, right)

    def around(self, own: Box, shape: tuple[int, int]) -> Box:
        """The target's pixels with their middle in some of the band's."""
        at = self.place
        return Box(
            math.ceil(at.top + own.top * at.down - 0.5),
            math.ceil(at.top + own.bottom * at.down - 0.5),
            math.ceil(at.left + own.left * at.across - 0.5),
            math.ceil(at.left + own.right * at.across - 0.5),
        ).clip(shape)

    def numbers(self, box: Box) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The band's row for each row of a box of the target's pixels, and its column for each column."""
        at = self.place
        rows = np.floor((np.arange(box.top, box.bottom) + 0.5 - at.top) / at.down)
        cols = np.floor((np.arange(box.left, box.right) + 0.5 - at.left) / at.across)
        return rows.astype(np.intp), cols.astype(np.intp)


def _span(low: int, high: int, start: float, step: float, whole: int, count: int) -> tuple[int, int]:
    """First of a band's rows or columns that belong to those from `low` to `high` of the target, and one past the last.

    Args:
        low: the target's.
        high: one past the last.
        start: where the band begins on the target's pixels.
        step: of the target's pixels that one of the band's takes.
        whole: rows or columns of the target.
        count: rows or columns of the band.
    """
    first = 0 if low <= 0 else math.ceil((low - start) / step - 0.5)
    last = count if high >= whole else math.ceil((high - start) / step - 0.5)
    first, last = min(max(first, 0), count), min(max(last, 0), count)
    return first, max(first, last)


def written_bands(request: Request, sources: Sources) -> tuple[int, ...]:
    """1-based bands of the target's description that get files.

    Args:
        request: whose `shown` says which, see `Request.whole`; for a raster of one file its `assets`.
        sources: what describes the target.

    Raises:
        ParameterError: a name that means no band.
    """
    if request.scene(sources, request.target) is not None:
        numbers = request.numbers(sources)
        return tuple(numbers.index(number) + 1 for number in request.shown)
    target = request.target_dataset(sources)
    if not request.assets:
        return target.indexes
    labels = {label.casefold(): k for k in target.indexes for label in (f"b{k}", target.names[k - 1] or f"b{k}")}
    if unknown := [word for word in request.assets if word.casefold() not in labels]:
        known = ", ".join(name or f"b{k}" for k, name in zip(target.indexes, target.names, strict=True))
        raise ParameterError(f"{unknown[0]!r} is not a band of {request.target!r}, which has {known}")
    return tuple(labels[word.casefold()] for word in request.assets)


def own_bands(request: Request, sources: Sources, task: Task) -> tuple[OwnBand, ...]:
    """The bands of a target that get files, in the order they are asked for.

    Args:
        request: see `written_bands`.
        sources: what describes the target.
        task: made from it.
    """
    target, scene = task.target.dataset, request.scene(sources, request.target)
    if scene is None:
        indexes = written_bands(request, sources)
        labels = [target.names[target.indexes.index(k)] or f"b{k}" for k in indexes]
        stem = _stem(request.target) or "band"
        files = _unique([stem if len(target.indexes) == 1 else f"{stem}_{label}" for label in labels], labels)
        return tuple(
            OwnBand(
                label, target.names[at := target.indexes.index(k)], file, at, only(target, (k,)), _SAME_GRID, number=k
            )
            for k, label, file in zip(indexes, labels, files, strict=True)
        )
    base = finest(target.parts)
    bands = [scene.bands[number - 1] for number in request.shown]
    described = [request.dataset(sources, request.target, (number,)) for number in request.shown]
    labels, files = _scene_names(scene, request.shown)
    return tuple(
        OwnBand(
            label,
            dataset.names[0],
            file,
            target.parts.index(dataset.parts[0]),
            dataset,
            place(dataset.parts[0], base),
            band.asset,
            band.index,
            band.resolution,
        )
        for band, label, file, dataset in zip(bands, labels, files, described, strict=True)
    )


def _scene_names(scene: Scene, numbers: Sequence[int]) -> tuple[list[str], list[str]]:
    """Keys and file names of some bands of a scene: each as in the product, but no two the same."""
    bands = [scene.bands[number - 1] for number in numbers]
    assets = [band.asset for band in bands]
    places = [(band.url, band.member) for band in bands]
    labels = [
        band.asset if assets.count(band.asset) == 1 else f"{band.asset}-{band.name or band.index}" for band in bands
    ]
    stems = []
    for band, label, where in zip(bands, labels, places, strict=True):
        stem = _stem(band.member.name if band.member else band.url)
        stems.append(label if stem is None else stem if places.count(where) == 1 else f"{stem}_{band.name or label}")
    return labels, _unique(stems, labels)


def _stem(source: str) -> str | None:
    """The name of a raster without its ending; None where it does not end as a raster's does."""
    path = PurePosixPath(unquote(urlsplit(source).path) if "://" in source else source)
    return path.stem if path.suffix.lower() in _SUFFIXES else None


def _unique(stems: Sequence[str], labels: Sequence[str]) -> list[str]:
    """File names, each of a stem, else of the label, else numbered; the same in any case is the same."""
    taken = {SOURCE_FILE, CONFIDENCE_FILE}
    names = []
    for number, (stem, label) in enumerate(zip(stems, labels, strict=True), start=1):
        plain = [_plain(text) for text in (stem, label)]
        choices = [f"{text}.tif" for text in (*filter(None, plain), f"band{number}")]
        name = next((choice for choice in choices if choice.casefold() not in taken), f"band{number}_{number}.tif")
        taken.add(name.casefold())
        names.append(name)
    return names


def _plain(text: str) -> str:
    """A text as part of a file's name."""
    kept = re.sub(r"[^\w.+-]", "_", text).encode()[:LONGEST_STEM].decode(errors="ignore")
    return kept.lstrip(".")
