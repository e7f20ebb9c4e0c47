"""Figures of docs/fidelity.md, drawn from the demo scene only: the real rasters' licences are not stated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt

from algorithms import fill_clouds
from benchmarks.baselines import baselines
from benchmarks.cases import Case, Recipe, build
from benchmarks.metrics import score

if TYPE_CHECKING:
    from benchmarks.fidelity import Results

Image = npt.NDArray[np.float32]

CROP: Final = 160
"""Side of the crops in pixels; every pixel is shown."""
BRIGHT: Final = 3000
"""Digital number shown as white."""
SHOWN: Final = (
    "one regression per band",
    "MNSPI",
    "stepwise colocated, W = 40",
    "Poisson of the replacement",
    "Poisson of one regression per band",
    "ours: moment",
    "ours: default",
    "ours (as served): default",
)


def _corner(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """The crop that holds as much of the mask's border as possible."""
    edge = mask ^ np.roll(mask, 1, axis=0)
    total = np.pad(edge.cumsum(axis=0).cumsum(axis=1), [(1, 0), (1, 0)])
    held = total[CROP:, CROP:] - total[:-CROP, CROP:] - total[CROP:, :-CROP] + total[:-CROP, :-CROP]
    y, x = np.unravel_index(int(held[::16, ::16].argmax()), held[::16, ::16].shape)
    return slice(16 * int(y), 16 * int(y) + CROP), slice(16 * int(x), 16 * int(x) + CROP)


def _rgb(image: Image, crop: tuple[slice, slice]) -> npt.NDArray[np.float64]:
    """Red, green, blue of a crop, 0..1."""
    return np.clip(np.moveaxis(image[[2, 1, 0]][(slice(None), *crop)], 0, -1) / BRIGHT, 0, 1) ** 0.7


def _panels(count: int) -> tuple[Any, list[Any]]:
    """A figure with `count` panels, two screen pixels to a pixel of the crop."""
    fig, axes = plt.subplots(1, count, figsize=(count * 3.3, 3.65), dpi=100, layout="constrained")
    for axis in axes:
        axis.set_axis_off()
    return fig, list(axes)


def _outline(axis: Any, mask: npt.NDArray[np.bool_]) -> None:
    axis.contour(mask, levels=[0.5], colors="white", linewidths=0.6)


def _save(fig: Any, path: Path) -> None:
    """Write the figure with a palette, which keeps the file small, and without a date."""
    fig.savefig(path, metadata={"Software": None}, pil_kwargs={"optimize": True})
    plt.close(fig)


def before_and_after(case: Case, crop: tuple[slice, slice], path: Path) -> None:
    """Cloudy picture, replacement, paste, ours, truth."""
    ours = fill_clouds(case.target, case.replacement, case.mask, analysis_factor=2)
    pictures = {
        "cloudy": case.target,
        "replacement, another date": case.replacement,
        "pasted": np.where(case.mask, case.replacement, case.target),
        "ClearSky (as served)": ours,
        "truth": case.truth,
    }
    fig, axes = _panels(len(pictures))
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(_rgb(picture, crop), interpolation="nearest")
        axis.set_title(name)
    _save(fig, path)


def error_maps(case: Case, crop: tuple[slice, slice], path: Path) -> None:
    """Error of the two best baselines and of our two default fills, mean over bands of the absolute value."""
    fills = {name: run() for name, run in baselines(case.target, case.replacement, case.mask).items()}
    rmse = {name: score(fill, case.truth, case.judged, case.mask).rmse for name, fill in fills.items()}
    best = sorted(rmse, key=rmse.__getitem__)[:2]
    shown = {name: fills[name] for name in best}
    for name, factor in (("ours: default", 1), ("ours (as served): default", 2)):
        shown[name] = fill_clouds(case.target, case.replacement, case.mask, analysis_factor=factor)
    fig, axes = _panels(len(shown))
    for axis, (name, fill) in zip(axes, shown.items(), strict=True):
        error = np.abs(fill - case.truth).mean(axis=0)
        image = axis.imshow(error[crop], cmap="magma", vmin=0, vmax=600, interpolation="nearest")
        _outline(axis, case.mask[crop])
        value = score(fill, case.truth, case.judged, case.mask).rmse
        axis.set_title(f"{name}\nRMSE {value:.0f}", fontsize=10)
    fig.colorbar(image, ax=axes, shrink=0.85, label="mean |error|, DN")
    _save(fig, path)


def group_bars(results: Results, path: Path) -> None:
    """RMSE relative to one regression per band, per group; the whisker ends at the worst case."""
    groups = results.each_group()
    fig, axis = plt.subplots(figsize=(11, 4.6), dpi=100, layout="constrained")
    width = 0.8 / len(SHOWN)
    colours = [mpl.colormaps["Greys"](v) for v in np.linspace(0.3, 0.75, len(SHOWN) - 3)]
    colours += ["#9ecae1", "#4292c6", "#08519c"]
    for k, (method, colour) in enumerate(zip(SHOWN, colours, strict=True)):
        relative = results.relative(method)
        means = np.array([relative[held].mean() for _, held in groups])
        worst = np.array([relative[held].max() for _, held in groups])
        axis.bar(
            np.arange(len(groups)) + (k - len(SHOWN) / 2 + 0.5) * width,
            means,
            0.92 * width,
            yerr=[np.zeros(len(groups)), worst - means],
            error_kw={"lw": 0.8, "alpha": 0.6},
            color=colour,
            label=method,
        )
    axis.axhline(1, color="black", lw=0.8)
    axis.set_ylim(0.5, 1.6)
    axis.set_xticks(range(len(groups)), [f"{name} ({held.sum()})" for name, held in groups])
    axis.set_ylabel("RMSE / RMSE of one regression per band")
    axis.set_title("Lower is better; bars are means over cases, whiskers end at the worst case", fontsize=10)
    axis.legend(fontsize=8, ncols=2, loc="upper right")
    _save(fig, path)


def draw(results: Results, folder: Path) -> None:
    """Draw all figures into `folder`."""
    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    case = build(Recipe("Demo", "demo", seed=0))
    crop = _corner(case.mask)
    before_and_after(case, crop, folder / "fidelity-demo.png")
    error_maps(case, crop, folder / "fidelity-errors.png")
    group_bars(results, folder / "fidelity-groups.png")


__all__ = ["draw"]
