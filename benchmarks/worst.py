"""The worst cases of `benchmarks.fidelity`: a table of them, and where their error lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from algorithms import fill_clouds
from benchmarks.baselines import baselines
from benchmarks.cases import Recipe, build

if TYPE_CHECKING:
    from benchmarks.fidelity import Results

WORST_CASES: Final = 10
"""How many are shown."""
PER_PICTURE: Final = 5
"""How many of them stand in one picture."""
MAP_PIXELS: Final = 96
"""Side of an error map: every pixel is a mean over the ground below it."""
DARKEST_ERROR: Final = 600
"""Digital number from which on an error is shown as the greatest."""
COLOURS: Final = 64
"""Colours of a picture."""

Floats = npt.NDArray[np.float64]


def worst_cases(results: Results, served: str) -> list[tuple[int, str, float]]:
    """Position, best baseline and RMSE relative to it of the cases in which the fill as served does worst."""
    rivals = results.of("rmse", results.theirs)
    best = rivals.argmin(axis=1)
    relative = results.of("rmse", served) / rivals.min(axis=1)
    order = np.argsort(-relative, kind="stable")[:WORST_CASES]
    return [(int(k), results.theirs[best[k]], float(relative[k])) for k in order]


def worst_rows(results: Results, served: str) -> list[list[str]]:
    """Rows of the table: number in the pictures, group, case, masked, best baseline, RMSE of both, relative."""
    return [
        [
            str(number),
            str(results.groups[k]),
            results.names[k],
            f"{100 * results.covers[k]:.0f} %",
            baseline,
            f"{results.of('rmse', baseline)[k]:.0f}",
            f"{results.of('rmse', served)[k]:.0f} ({100 * (relative - 1):+.1f} %)",
        ]
        for number, (k, baseline, relative) in enumerate(worst_cases(results, served), start=1)
    ]


def _error_map(fill: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], judged: npt.NDArray[np.bool_]) -> Floats:
    """Mean over bands of the absolute error on a square of `MAP_PIXELS`, NaN where nothing is judged."""
    error = np.where(judged, np.abs(fill - truth).mean(axis=0), 0).astype(np.float64)
    parts = [np.arange(MAP_PIXELS) * length // MAP_PIXELS for length in judged.shape]
    total, count = (
        np.add.reduceat(np.add.reduceat(plane, parts[0], axis=0), parts[1], axis=1)
        for plane in (error, judged.astype(np.float64))
    )
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def draw_worst(results: Results, recipes: list[Recipe], served: str, folder: Path) -> None:
    """Error maps of the worst cases, best baseline above the fill as served, five to a picture."""
    from matplotlib import pyplot as plt  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    worst = worst_cases(results, served)
    for start in range(0, len(worst), PER_PICTURE):
        part = worst[start : start + PER_PICTURE]
        fig, axes = plt.subplots(2, len(part), figsize=(len(part) * 2.2, 5.2), dpi=72, layout="constrained")
        image: Any = None
        for column, (k, baseline, _) in enumerate(part):
            case = build(recipes[k])
            fills = {
                baseline: baselines(case.target, case.replacement, case.mask)[baseline](),
                "ours (as served)": fill_clouds(case.target, case.replacement, case.mask, analysis_factor=2),
            }
            for axis, (name, fill) in zip(axes[:, column], fills.items(), strict=True):
                error = _error_map(fill, case.truth, case.judged)
                image = axis.imshow(error, cmap="magma", vmin=0, vmax=DARKEST_ERROR, interpolation="nearest")
                axis.set_axis_off()
                title = name.replace(" of one regression per band", " of a\nregression per band")
                axis.set_title(f"{start + column + 1}: {title}", fontsize=8)
        fig.colorbar(image, ax=axes, shrink=0.7, label="mean |error|, digital numbers")
        path = folder / f"fidelity-worst-{start // PER_PICTURE + 1}.png"
        fig.savefig(path)
        plt.close(fig)
        with Image.open(path) as drawn:  # noise in colour: few colours keep the file small
            drawn.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


__all__ = ["WORST_CASES", "draw_worst", "worst_cases", "worst_rows"]
