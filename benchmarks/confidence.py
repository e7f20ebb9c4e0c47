"""What `fill_confidence` is worth: error by decile of confidence on hide-and-reconstruct cases.

    python -m benchmarks.confidence [--figure docs/images/confidence.png]

Real pairs only (Lazio's clear dates, Congo, Tatarstan): the demo scene is easier. Cells of 2 x 2 pixels, as served.
The error of a pixel is the root mean square over the bands of (fill - truth) / std, std being that of the target's
clear ground.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from algorithms.adjust import pooled_sums
from algorithms.cells import cell_any, cell_means
from algorithms.fill import FillFields, FillOptions, Ground, apply_fields, fill_fields, padded
from algorithms.moments import WindowSums, node_lattice
from algorithms.narrow import sample_parts, with_narrow
from algorithms.sample import sampled
from algorithms.scene import fit_scene
from benchmarks.cases import Case, build, data_folder, recipes
from benchmarks.machine import machine

FACTOR = 2


def confidence_and_error(case: Case) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Confidence and error of every judged pixel of a case."""
    there = np.ones(case.mask.shape, bool)
    target, other = (cell_means(image, there, FACTOR) for image in (case.target, case.replacement))
    masked = cell_any(case.mask, FACTOR)
    scene = fit_scene(sampled(target.values), sampled(other.values), sampled(~masked))
    scene = with_narrow(scene, sample_parts(target.values, other.values, ~masked), FACTOR)
    options = FillOptions()
    lattice = node_lattice(options.window, FACTOR)
    t, r = (padded(date.values, lattice.spacing) for date in (target, other))
    sums = pooled_sums(t, r, padded(~masked, lattice.spacing), scene, lattice)
    fields: FillFields = fill_fields(
        Ground(target.values, other.values, usable=other.full, known=~masked, wanted=masked),
        WindowSums(sums, lattice, range(masked.shape[0]), range(masked.shape[1])),
        scene,
        options=options,
        factor=FACTOR,
    )
    rows, cols = np.nonzero(case.judged)
    source = case.replacement[:, rows, cols]
    fill = apply_fields(fields.gain, fields.offset, source, (rows + 0.5) / FACTOR, (cols + 0.5) / FACTOR)
    std = case.target[:, ~case.mask].std(axis=1)[:, None]
    error = np.sqrt((((fill - case.truth[:, rows, cols]) / std) ** 2).mean(axis=0))
    return fields.confidence[rows // FACTOR, cols // FACTOR], error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="where to draw the curve")
    args = parser.parse_args()
    if data_folder() is None:
        raise SystemExit("the real rasters are not there: set CLEARSKY_TEST_DATA to their folder")
    cases = [
        build(recipe) for recipe in recipes(real=True, quick=False) if recipe.group != "Demo" and recipe.trouble is None
    ]
    pairs = [confidence_and_error(case) for case in cases]
    confidence = np.concatenate([pair[0] for pair in pairs]).astype(float)
    error = np.concatenate([pair[1] for pair in pairs])
    # Ties are broken by position, so that every decile holds a tenth of the pixels.
    order = np.argsort(confidence, kind="stable")
    print(f"{machine()}\n\n{len(cases)} cases, {len(error)} pixels.\n")
    print("| decile | confidence | RMS error, std of the scene | expected from the confidence |")
    print("| --- | --- | --- | --- |")
    means, found = [], []
    for number, part in enumerate(np.array_split(order, 10), start=1):
        means.append(confidence[part].mean())
        found.append(np.sqrt((error[part] ** 2).mean()))
        expected = np.sqrt((np.log(confidence[part].clip(1) / 100) ** 2).mean())
        low, high = confidence[part].min(), confidence[part].max()
        print(f"| {number} | {low:.0f}-{high:.0f} | {found[-1]:.2f} | {expected:.2f} |")
    print(f"\nThe error falls with every decile: {bool((np.diff(found) < 0).all())}.")
    if args.figure:
        import matplotlib as mpl  # noqa: PLC0415

        mpl.use("Agg")
        from matplotlib import pyplot as plt  # noqa: PLC0415

        figure, axes = plt.subplots(figsize=(5, 3.4), dpi=110)
        axes.plot(means, found, "o-", label="measured, by decile")
        grid = np.linspace(min(means), max(means), 50)
        axes.plot(grid, -np.log(grid / 100), "--", color="grey", label="what the confidence says")
        axes.set(xlabel="fill confidence, percent", ylabel="RMS error / std of the scene")
        axes.legend()
        figure.tight_layout()
        figure.savefig(args.figure)


if __name__ == "__main__":
    main()
