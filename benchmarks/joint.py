"""`adjustment="joint"`: what two replacements together gain over each alone, and what they cost.

    python -m benchmarks.joint

Prints a table: the cases of Lazio from `benchmarks.cases`, whose three clear dates give each target two replacements.
CPU time of one fill as served, one thread.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

# One thread; before anything computes.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from algorithms import fill_clouds  # noqa: E402
from benchmarks.cases import DATES, Case, Recipe, build, recipes  # noqa: E402
from benchmarks.machine import machine  # noqa: E402

Image = npt.NDArray[np.float32]

SERVED_FACTOR: Final = 2
"""Pixels per side of a cell at 10 m."""


def other_replacement(recipe: Recipe) -> Recipe:
    """The same case from the clear date that is neither its target nor its replacement."""
    (date,) = (date for date in DATES if date not in recipe.target and date not in recipe.replacement)
    return replace(recipe, replacement=f"s2_lazio_{date}_clear")


def _error(case: Case, fill: Image) -> float:
    return float(np.sqrt(((fill - case.truth)[:, case.judged].astype(np.float64) ** 2).mean(axis=1)).mean())


def measure_joint(recipe: Recipe) -> tuple[float, float, float, float, float]:
    """RMSE from the first replacement, from the second, from both; CPU seconds of the first and of both."""
    case, second = build(recipe), build(other_replacement(recipe)).replacement
    errors, spent = [], []
    for other, adjustment in (
        (case.replacement, "regression"),
        (second, "regression"),
        (np.stack([case.replacement, second]), "joint"),
    ):
        start = time.process_time()
        fill = fill_clouds(case.target, other, case.mask, adjustment=adjustment, analysis_factor=SERVED_FACTOR)
        spent.append(time.process_time() - start)
        errors.append(_error(case, fill))
    return errors[0], errors[1], errors[2], spent[0], spent[2]


def main() -> None:
    print(machine() + "\n")
    print("| cases | joint against the better of the two | against the first | lower in | CPU time |")
    print("| --- | --- | --- | --- | --- |")
    chosen = [recipe for recipe in recipes(real=True, quick=False) if recipe.group.startswith("Lazio")]
    for group in dict.fromkeys(recipe.group for recipe in chosen):
        found = np.array([measure_joint(recipe) for recipe in chosen if recipe.group == group])
        best = found[:, 2] / found[:, :2].min(axis=1) - 1
        first = found[:, 2] / found[:, 0] - 1
        print(
            f"| {group} ({len(found)}) "
            f"| {100 * best.mean():+.1f} % ({100 * best.min():+.1f} to {100 * best.max():+.1f}) "
            f"| {100 * first.mean():+.1f} % | {(best < 0).sum()} of {len(best)} "
            f"| {found[:, 4].sum() / found[:, 3].sum():.1f} x |",
            flush=True,
        )


if __name__ == "__main__":
    main()
