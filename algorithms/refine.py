"""Two-date refinement of the cloud mask: what one date leaves in doubt, the other decides.

The model sees one date. Around clouds it masks more than it must, and the thinnest rims it leaves out. Given another
date, adjusted to the target by the scene stage (G = `SceneFit.estimate`), cloud and shadow are seen as differences:
e = t - G, averaged over 3x3 cells, in units of the noise of clear ground,

    bright = e / noise over the visible bands,    dark = -e / noise over the infrared ones.

Cloud brightens every visible band and shadow darkens every infrared one, whereas plants that grow or dry, and fields
that are ploughed, move the bands against each other. So what joins must differ in its least band, and what is
given back must agree in the mean of the bands: in doubt the mask stays as it is. (docs/masks.md has the figures.)

Every result depends on cells within `REFINE_RADIUS` alone, bit for bit, so that blocks of a scene agree by
construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from algorithms.bands import INFRARED_BANDS, VISIBLE_BANDS
from algorithms.errors import ParameterError, ShapeError
from algorithms.masks import CLOUD, NODATA, SHADOW, dilate
from algorithms.scene import SceneFit

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]

RELEASE: Final = (2.0, 1.0)
"""Difference, in noise, below which a masked cell is given back: where the model is least and most certain of it.
What is weaker than the noise does less harm in the picture than a fill, whose own error is that noise."""
CERTAIN_PROBABILITY: Final = 0.98
"""Mean probability in 3x3 cells from which on nothing is given back: cloud over snow or sand may equal the ground."""
QUIET: Final = 5.0
"""Mean over the bands of (e / noise)^2 up to which a masked cell agrees with the replacement."""
JOIN: Final = (3.0, 1.0)
"""Difference, in noise, from which on a cell can join detected cloud, and detected shadow, which has less contrast."""
JOIN_SHARE: Final = 0.2
"""What joins has at least this share of the greatest difference of its class nearby; the buffer covers thinner rims."""
LIKELY: Final = 0.1
"""Probability of the class that the model must give a cell for it to join; ploughed fields have less."""
SEED: Final = 0.2
"""Probability of the class from which on a cell that differs enough is detected cloud or shadow itself."""
GROWTH_CELLS: Final = 3
"""Cells that cloud or shadow can grow by."""
NEARBY_CELLS: Final = 6
"""Radius in cells within which cloud is `nearby`."""
REFINE_RADIUS: Final = GROWTH_CELLS + NEARBY_CELLS + 1
"""Cells around a cell that its refined class can depend on."""

FIT_BUFFER: Final = 2
"""Cells kept from the model's clouds when the scene stage that serves the refinement is fitted."""
ENOUGH_FIT_CELLS: Final = 500
"""Clear cells of both dates from which on that fit rests on them alone."""
DOUBTFUL: Final = 0.7
"""Mean probability up to which masked cells help out where fewer are clear."""
CORRELATED: Final = (0.3, 0.5)
"""Mean correlation of the bands between the dates from which on a fit is believed: on clear cells, on doubtful ones."""


def _around(planes: Image, counted: Mask) -> Image:
    """Mean over the counted cells of each 3x3 square of (C, H, W); 0 where there is none.

    Shifted additions rather than running sums, whose rounding depends on where an array begins.
    """
    count, height, width = len(planes), *counted.shape
    stack = np.zeros((count + 1, height + 2, width + 2), np.float32)
    np.copyto(stack[:count, 1:-1, 1:-1], planes, where=counted)
    stack[count, 1:-1, 1:-1] = counted
    rows = stack[:, :-2] + stack[:, 1:-1]
    rows += stack[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1]
    total += rows[:, :, 2:]
    result: Image = total[:-1]
    result /= np.maximum(total[-1], 1)
    return result


def _certainty(classes: Classes, probability: npt.NDArray[np.uint8]) -> Image:
    """(H, W) probability of cloud or of shadow, the greater, as a mean over 3x3 cells, 0..1."""
    greater = probability.max(axis=0)[None].astype(np.float32)
    mean: Image = _around(greater, classes != NODATA)[0] / np.float32(255)
    return mean


def _masked(classes: Classes) -> Mask:
    masked: Mask = (classes == CLOUD) | (classes == SHADOW)
    return masked


def fit_cells(classes: Classes, probability: npt.NDArray[np.uint8], usable: Mask) -> tuple[Mask, Mask]:
    """Cells on which the scene stage that serves the refinement may be fitted.

    Args:
        classes: (H, W) the model's: 0 clear, 1 cloud, 2 shadow, 255 nodata.
        probability: (2, H, W) uint8 of cloud and of shadow, 255 = 1.
        usable: (H, W), valid and clear in the replacement.

    Returns:
        Two (H, W) masks: clear cells away from cloud, and these with the masked cells that the model doubts. Take
        the first if it has `ENOUGH_FIT_CELLS` cells over the scene's sample, else the second. Each depends on cells
        within `FIT_BUFFER`.
    """
    valid = usable & (classes != NODATA)
    clear = valid & ~dilate(_masked(classes), FIT_BUFFER)
    return clear, valid & (~_masked(classes) | (_certainty(classes, probability) < DOUBTFUL))


def trusted(scene: SceneFit, *, doubtful: bool = False) -> bool:
    """Whether a scene stage says enough about the ground to change a mask by it.

    Between the clouds of a nearly covered scene lie haze and shadow, and what is fitted there explains little: the
    correlation shows it. The mask then stays as the model made it.

    Args:
        scene: the scene stage, fitted on cells from `fit_cells`.
        doubtful: whether masked cells were among them.
    """
    return scene.count >= ENOUGH_FIT_CELLS and float(scene.correlation.mean()) >= CORRELATED[doubtful]


def refines(bands: Sequence[str | None]) -> bool:
    """Whether a mask can be refined by bands of some common names: by a visible and an infrared one at least."""
    return not set(VISIBLE_BANDS).isdisjoint(bands) and not set(INFRARED_BANDS).isdisjoint(bands)


def _groups(bands: Sequence[str | None]) -> tuple[list[int], list[int]]:
    """Positions of the visible and of the infrared bands."""
    visible = [i for i, name in enumerate(bands) if name in VISIBLE_BANDS]
    infrared = [i for i, name in enumerate(bands) if name in INFRARED_BANDS]
    if not refines(bands):
        known = ", ".join(name or "?" for name in bands)
        raise ParameterError(f"bands [{known}]: the refinement needs a visible and an infrared one")
    return visible, infrared


def _grow(seeds: Mask, candidates: Mask) -> Mask:
    """Seeds, and the candidates that a path of at most `GROWTH_CELLS` candidates connects to them."""
    left = candidates & ~seeds
    for _ in range(GROWTH_CELLS):
        if not left.any():
            break
        joined = dilate(seeds, 1) & left
        if not joined.any():
            break
        seeds, left = seeds | joined, left & ~joined
    return seeds


def refine_mask(
    classes: Classes,
    probability: npt.NDArray[np.uint8],
    target: Image,
    estimate: Image,
    noise: npt.NDArray[np.floating],
    usable: Mask,
    *,
    bands: Sequence[str | None],
) -> Classes:
    """Give clear ground back to the target, and let thin rims join their clouds and shadows.

    Args:
        classes: (H, W) the model's: 0 clear, 1 cloud, 2 shadow, 255 nodata.
        probability: (2, H, W) uint8 of cloud and of shadow, 255 = 1.
        target: (B, H, W) cells in any linear unit.
        estimate: (B, H, W) the replacement adjusted to the target, in its unit; from a scene stage that is `trusted`.
        noise: (B,) robust standard deviation of target - estimate on clear ground, `SceneFit.noise`, > 0.
        usable: (H, W), valid and clear in the replacement (its buffer included).
        bands: common names of the B bands.

    Returns:
        (H, W) classes, changed only where `usable`. A cell's class depends on the cells within `REFINE_RADIUS`.

    Raises:
        ShapeError: shapes that do not fit. ParameterError: no visible or no infrared band among `bands`.
    """
    shape = classes.shape
    sizes = {target.shape, estimate.shape, (len(bands), *shape), (len(noise), *shape)}
    if len(shape) != 2 or len(sizes) > 1 or usable.shape != shape or probability.shape != (2, *shape):
        raise ShapeError(
            f"classes {shape}, probability {probability.shape}, target {target.shape}, estimate {estimate.shape}, "
            f"noise {np.shape(noise)}, usable {usable.shape} and {len(bands)} band names do not fit together"
        )
    seen = usable & (classes != NODATA)
    unit = np.asarray(noise, np.float32)[:, None, None]
    with np.errstate(invalid="ignore", over="ignore"):  # where nothing is seen, anything may stand
        away = target - estimate
        away /= unit
        difference = _around(away, seen)
    visible, infrared = _groups(bands)
    bright, dark = difference[visible], -difference[infrared]

    certainty = _certainty(classes, probability)
    doubt = np.clip((np.float32(CERTAIN_PROBABILITY) - certainty) / np.float32(CERTAIN_PROBABILITY - 0.5), 0, 1)
    limit = RELEASE[1] + (RELEASE[0] - RELEASE[1]) * doubt
    strongest = np.maximum(bright.mean(axis=0), dark.mean(axis=0))
    agrees = (strongest < limit) & (np.mean(difference**2, axis=0) < QUIET)
    given = _masked(classes) & seen & agrees & (certainty < CERTAIN_PROBABILITY)
    result = np.where(given, 0, classes).astype(np.uint8)

    open_ground = seen & (classes == 0)
    for kind, bands_of_kind, join in ((CLOUD, bright, JOIN[0]), (SHADOW, dark, JOIN[1])):
        likely = probability[kind - 1]
        possible = open_ground & (likely >= LIKELY * 255)
        if not possible.any():
            continue
        evidence, detected = bands_of_kind.min(axis=0), result == kind
        enough = np.maximum(join, JOIN_SHARE * _nearby(np.where(detected & seen, evidence, 0)))
        candidates = possible & (result == 0) & (evidence > enough)
        grown = _grow(detected | (candidates & (likely >= SEED * 255)), candidates)
        result[grown & candidates] = kind
    return result


def _nearby(evidence: Image) -> Image:
    """The greatest value within `NEARBY_CELLS` cells of each cell of (H, W), at least 0."""
    result: Image = ndimage.maximum_filter(evidence, size=2 * NEARBY_CELLS + 1, mode="constant", cval=0)
    return result
