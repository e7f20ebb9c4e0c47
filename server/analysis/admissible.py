"""Whether what lies under a shared key can be its value: types, shapes and numbers, as far as the key decides them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.border import Border
from algorithms.fill import UNFILLED
from algorithms.models import INPUT_CELLS
from algorithms.scene import SceneFit
from algorithms.shift import MOST_SHIFT, Shift
from server.analysis.blocks import ALL_DATA, BlockFields, BlockFill
from server.analysis.choosing import ChoiceKey
from server.analysis.keys import FillKey, FirstFitKey, SceneKey, ShiftKey, WindowKey
from server.analysis.offers import Ranking
from server.raster.grid import Box
from server.work.hints import matches
from server.work.shared import NamedKey

_KINDS: Final[dict[type, Any]] = {
    NamedKey: object,
    ChoiceKey: Ranking,
    WindowKey: npt.NDArray[np.uint8],
    FirstFitKey: SceneFit | None,
    ShiftKey: Shift,
    SceneKey: SceneFit,
    FillKey: BlockFill,
}
"""What each kind of key stands for."""
SHARED_KEYS: Final = tuple(_KINDS)
"""Keys of what takes inference, many cells or many requests; all else is made from these, or read, in less time."""


def fits(key: Hashable, value: Any) -> bool:
    """Whether a value can be that of a shared key; what cannot is garbage."""
    if isinstance(key, NamedKey):
        return key.fits(value)
    return matches(value, _KINDS[type(key)]) and _CHECKS[type(key)](key, value)


def _is_choice(_: ChoiceKey, value: Ranking) -> bool:
    return value.lasting


def _is_window(_: WindowKey, value: npt.NDArray[np.uint8]) -> bool:
    return value.shape == (2, INPUT_CELLS, INPUT_CELLS)


def _is_shift(_: ShiftKey, value: Shift) -> bool:
    return max(map(abs, value)) <= MOST_SHIFT


def _is_first_fit(key: FirstFitKey, value: SceneFit | None) -> bool:
    bands = len(key.target.layer.indexes)
    return value is None or _is_fit(value, bands, bands)


def _is_scene(key: SceneKey, value: SceneFit) -> bool:
    bands = len(key.target.layer.indexes)
    return _is_fit(value, bands, bands * len(key.replacements))


def _is_fit(fit: SceneFit, bands: int, explaining: int) -> bool:
    """Whether a scene stage explains so many bands by so many."""
    ofs = (fit.spread, fit.level, fit.gain, fit.ratio, fit.correlation, fit.noise, fit.misfit)
    shaped = all(part.shape == (bands,) for part in ofs) and fit.slope.shape == (bands, explaining)
    if not shaped or fit.mean.shape != (explaining,) or fit.std.shape != (explaining,) or fit.count < 0:
        return False
    if not (fit.std > 0).all() or not (fit.spread > 0).all() or not 0 <= fit.narrow <= 1:
        return False
    if (bend := fit.bend) is None:
        return True
    kernels = len(bend.centres)
    return (
        bend.axes.shape == (explaining, explaining)
        and bend.centres.shape == (kernels, explaining)
        and bend.weights.shape == (bands, kernels)
        and bend.width > 0
    )


def _is_fill(key: FillKey, value: BlockFill) -> bool:
    plane, core, size = key.plane, key.core, 1 << key.power
    shape = tuple(-(-side // size) for side in core.shape)
    if any(part.shape != shape for part in (value.source, value.confidence, value.data, value.lacking)):
        return False
    if value.confidence.max() > 100 or value.data.max() > ALL_DATA or value.lacking.max() > 1:
        return False
    filled = set(np.unique(value.source).tolist()) - {0, UNFILLED}
    if not filled <= set(value.layers) <= set(plane.task.indexes):
        return False
    box = core.parts(size) if key.power else core.pad(1).clip(plane.shape)
    pixels = core.times(plane.factor).pad(1) if key.in_pixels else None
    bands = len(plane.target.indexes)
    return all(_are_fields(layer, box, bands, pixels) for layer in value.layers.values())


def _are_fields(layer: BlockFields, box: Box, bands: int, pixels: Box | None) -> bool:
    """Whether fields cover a box, and their correction pixels of another."""
    if layer.box != box or layer.fields.shape != (*box.shape, 2 * bands):
        return False
    return layer.border is None or (pixels is not None and _is_border(layer.border, bands, pixels))


def _is_border(border: Border, bands: int, pixels: Box) -> bool:
    rows, cols = border.rows, border.cols
    if rows.ndim != 1 or not len(rows) or cols.shape != rows.shape or border.values.shape != (len(rows), bands):
        return False
    inside = (rows >= pixels.top) & (rows < pixels.bottom) & (cols >= pixels.left) & (cols < pixels.right)
    return bool(inside.all())


_CHECKS: Final[dict[type, Callable[[Any, Any], bool]]] = {
    ChoiceKey: _is_choice,
    WindowKey: _is_window,
    ShiftKey: _is_shift,
    FirstFitKey: _is_first_fit,
    SceneKey: _is_scene,
    FillKey: _is_fill,
}
"""What else holds of the values of a kind of key."""
