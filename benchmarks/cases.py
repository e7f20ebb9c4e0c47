"""Cases of hide-and-reconstruct: pictures whose ground under the mask is known.

Three kinds. *Lazio*: clear date as target, another clear date as replacement, the shape of the clouds of a third date
laid over it. *Congo, Tatarstan*: only one clear date each, so ground that is clear on the cloudy date is hidden under
the shape of another raster's clouds; the real clouds stay masked for every method, and only the painted part is judged.
*Demo*: the project's synthetic scene, whose truth comes with it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import rasterio
from scipy import ndimage

from algorithms import buffer_mask
from algorithms.cells import cell_means
from algorithms.mask import classify, cloud_probability
from server.demo import write_demo

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Kind = Literal["all", "cloud", "shadow", "core"]
Trouble = Literal["haze", "thin cloud", "nearly covered", "deep bank", "misregistration", "far-off radiometry"]

HIDDEN: Final = 9000
"""Digital number under the mask: a method that peeks at the hidden ground finds cloud."""
BUFFER: Final = 2
"""Buffer around every mask, in steps of 2 pixels."""
SHAPE_SENSITIVITY: Final = 50
"""Sensitivity at which the model finds the clouds whose shapes are laid over a picture: whatever is likelier."""
BANDS: Final = 6
"""Blue, green, red, near infrared and both shortwave infrared bands; the first four where 4 bands are asked for."""
DATES: Final = ("20180210", "20180720", "20180928")
"""Lazio's clear dates; their ordered pairs are target and replacement."""

# Each of Lazio's cloudy dates once per pair, thin and thick in turn, so that the masks cover 14 to 64 % of the scene.
_SHAPES: Final[tuple[tuple[tuple[str, Kind], ...], ...]] = (
    (("20180121", "all"), ("20180307", "core"), ("20180705", "cloud"), ("20180918", "core")),
    (("20180121", "core"), ("20180307", "cloud"), ("20180705", "all"), ("20180918", "shadow")),
)
# The other cloudy dates of these places have too little clear ground left (Congo p500 3 %, Tatarstan 0 to 7 %).
COVERS: Final = (0.85, 0.9, 0.95)
"""Shares of a nearly covered scene that lie under the mask."""
_SCATTERED: Final = np.array([1.0, 0.8, 0.65, 0.45, 0.2, 0.12], np.float32)[:, None, None]
"""Light that haze adds to each band, in that of blue."""
_ELSEWHERE: Final[dict[str, tuple[tuple[str, Kind], ...]]] = {
    "s2_congo_p100": (("s2_lazio_20180705", "cloud"), ("s2_lazio_20180121", "all"), ("s2_congo_p500", "shadow")),
    "s2_congo_p838": (("s2_lazio_20180705", "cloud"), ("s2_lazio_20180121", "core"), ("s2_congo_p100", "shadow")),
    "s2_tatarstan_p500": (("s2_lazio_20180705", "cloud"), ("s2_lazio_20180121", "all"), ("s2_congo_p838", "cloud")),
}


@dataclass(frozen=True)
class Case:
    """A target to fill, and what it has to look like."""

    group: str
    name: str
    target: Image
    """(B, H, W), `HIDDEN` where the truth is kept back."""
    replacement: Image
    """(B, H, W)."""
    mask: Mask
    """(H, W), what every method fills: clouds, shadows and the buffer."""
    judged: Mask
    """(H, W), the part of the mask whose truth is known."""
    truth: Image
    """(B, H, W)."""


@dataclass(frozen=True)
class Recipe:
    """How to make a case; small, so that it can be sent to another process."""

    group: str
    target: str
    replacement: str = ""
    shape: tuple[str, Kind] = ("", "all")
    bands: int = BANDS
    seed: int = 0
    trouble: Trouble | None = None
    """What is made harder about it; the group is named after it."""


def data_folder() -> Path | None:
    """Folder of the real rasters: `CLEARSKY_TEST_DATA`, or `shared/data` next to the repository; None if missing."""
    named = os.environ.get("CLEARSKY_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() and any(folder.glob("s2_lazio_*.tif")) else None


def recipes(*, real: bool, quick: bool) -> list[Recipe]:
    """All cases; with `quick` one in seven."""
    lazio, elsewhere, harder = [], [], []
    if real:
        pairs = [(t, r) for t in DATES for r in DATES if t != r]
        for bands in (6, 4):
            for k, (target, replacement) in enumerate(pairs):
                lazio += [
                    Recipe(
                        f"Lazio, {bands} bands",
                        f"s2_lazio_{target}_clear",
                        f"s2_lazio_{replacement}_clear",
                        (f"s2_lazio_{date}", kind),
                        bands,
                    )
                    for date, kind in _SHAPES[k % 2]
                ]
        for place, shapes in _ELSEWHERE.items():
            elsewhere += [Recipe("Congo, Tatarstan", f"{place}_cloudy", f"{place}_clear", shape) for shape in shapes]
        for k, trouble in enumerate(get_args(Trouble)):
            # Nearly covered scenes and deep banks, where least is clear, on every pair; the rest on four of six.
            few = trouble in ("nearly covered", "deep bank")
            for n, (target, replacement) in enumerate(pairs[k % 2 :: 2] + pairs[(k + 1) % 2 :: 2][: 3 if few else 1]):
                shape = _SHAPES[n % 2][(k + n) % 4]
                files = f"s2_lazio_{target}_clear", f"s2_lazio_{replacement}_clear"
                painted = f"s2_lazio_{shape[0]}", shape[1]
                harder.append(Recipe(f"Lazio, {trouble}", *files, painted, seed=n, trouble=trouble))
    demo = [Recipe("Demo", "demo", seed=seed) for seed in range(4)]
    if quick:
        return lazio[::7] + elsewhere[::4] + harder[::7] + demo[:1]
    return lazio + elsewhere + harder + demo


@cache
def _read(path: Path) -> tuple[Image, tuple[str, ...]]:
    """First six bands of a raster, and their names."""
    with rasterio.open(path) as src:
        return src.read(range(1, BANDS + 1)).astype(np.float32), src.descriptions[:BANDS]


@cache
def _clouds(path: Path, kind: Kind) -> Mask:
    """Clouds of a raster as the model finds them on cells of 2 x 2 pixels, in pixels, without buffer."""
    values, names = _read(path)
    made = cell_means(values, np.all(values > 0, axis=0), 2)
    cells, valid = made.values, made.valid
    probabilities, known = cloud_probability(cells * 1e-4, names)
    classes = classify(probabilities, known & valid, sensitivity=SHAPE_SENSITIVITY)
    found = {
        "all": (classes == 1) | (classes == 2),
        "cloud": classes == 1,
        "shadow": classes == 2,
        # The thick middle of the clouds, where the network is sure.
        "core": (classes == 1) & (probabilities[0] > 0.99 * 255),
    }[kind]
    height, width = values.shape[1:]
    return np.repeat(np.repeat(found, 2, axis=0), 2, axis=1)[:height, :width]


def _hidden(truth: Image, mask: Mask) -> Image:
    return np.where(mask, np.float32(HIDDEN), truth)


def _smooth(shape: tuple[int, ...], scale: float, seed: int) -> Image:
    """(H, W) random field of unit standard deviation that changes over `scale` pixels."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), scale, mode="reflect")
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _harder(trouble: Trouble, truth: Image, replacement: Image, mask: Mask, seed: int) -> tuple[Image, Image, Mask]:
    """Target, replacement and mask of a case with one thing made harder; `seed` tells its cases apart.

    * haze: light scattered above the target's ground, by a field over 60 pixels, less of it the longer the wave;
    * thin cloud: the same over 12 pixels, as thin cloud that the mask leaves out;
    * nearly covered: 85, 90 or 95 % under the mask;
    * deep bank: all but a rim of 24 pixels along two edges under the mask, or of 40 along one;
    * misregistration: the replacement moved by 1.3 and -0.8 pixels;
    * far-off radiometry: every band of the replacement bent, scaled and shifted differently.
    """
    shape = mask.shape
    if trouble in ("haze", "thin cloud"):
        scale, most = (60.0, 500.0) if trouble == "haze" else (12.0, 800.0)
        field = np.clip(0.5 + 0.5 * _smooth(shape, scale, 1), 0, 2)
        return truth + most * field * _SCATTERED[: len(truth)], replacement, mask
    if trouble == "nearly covered":
        field = ndimage.gaussian_filter(mask.astype(np.float32), 12) + 0.05 * _smooth(shape, 8, 2)
        return truth, replacement, field > np.quantile(field, 1 - COVERS[seed % len(COVERS)])
    if trouble == "deep bank":
        bank = np.zeros(shape, bool)
        if seed % 2:
            bank[:-40] = True
        else:
            bank[24:, 24:] = True
        return truth, replacement, bank
    if trouble == "misregistration":
        return truth, ndimage.shift(replacement, (0, 1.3, -0.8), order=3, mode="nearest"), mask
    bands = np.arange(len(replacement))[:, None, None]
    bent = 3000 * (replacement / 3000) ** (0.7 + 0.1 * bands)
    return truth, np.asarray(bent * (1.5 - 0.2 * bands) + 300 * (bands % 3), np.float32), mask


def build(recipe: Recipe) -> Case:
    """Read and hide what a recipe names."""
    if recipe.group == "Demo":
        with tempfile.TemporaryDirectory() as demo:
            scene = write_demo(Path(demo), size=512, seed=recipe.seed)
            truth, cloudy, clear = (_read(path)[0] for path in (scene.truth, scene.cloudy, scene.clear))
            with rasterio.open(scene.truth_mask) as src:
                mask = buffer_mask(src.read(1), BUFFER)
        return Case("Demo", f"seed {recipe.seed}", cloudy, clear, mask, mask, truth)
    folder = data_folder()
    assert folder is not None
    truth, replacement = (
        _read(folder / f"{name}.tif")[0][: recipe.bands] for name in (recipe.target, recipe.replacement)
    )
    source, kind = recipe.shape
    painted = buffer_mask(_clouds(folder / f"{source}_cloudy.tif", kind), BUFFER)
    name = f"{recipe.target[3:]} from {recipe.replacement.split('_')[-2]}, shape {source[3:]} {kind}"
    if recipe.trouble is not None:
        truth, replacement, painted = _harder(recipe.trouble, truth, replacement, painted, recipe.seed)
    if not recipe.target.endswith("_cloudy"):
        return Case(recipe.group, name, _hidden(truth, painted), replacement, painted, painted, truth)
    real = buffer_mask(_clouds(folder / f"{recipe.target}.tif", "all"), BUFFER)
    judged = painted & ~real
    name = f"{recipe.target[3:]}, shape {source[3:]} {kind}"
    return Case(recipe.group, name, _hidden(truth, judged), replacement, painted | real, judged, truth)


__all__ = ["Case", "Recipe", "build", "data_folder", "recipes"]
