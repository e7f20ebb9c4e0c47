"""Hide-and-reconstruct: how close the fill is to the ground it hides, compared with published methods.

    python -m benchmarks.fidelity [--quick] [--jobs 2] [--write]

Prints the tables; `--write` puts them into docs/fidelity.md and draws the figures in docs/images. Real rasters are
read from CLEARSKY_TEST_DATA or ../shared/data; without them only the demo scene is measured.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms import fill_clouds
from benchmarks.baselines import baselines
from benchmarks.cases import Case, Recipe, build, data_folder, recipes
from benchmarks.machine import machine
from benchmarks.metrics import Scores, score
from benchmarks.worst import draw_worst, worst_rows

Image = npt.NDArray[np.float32]

REFERENCE: Final = "one regression per band"
DEFAULT: Final = "ours: default"
SERVED: Final = "ours (as served): default"
DOCUMENT: Final = Path(__file__).resolve().parents[1] / "docs" / "fidelity.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TOLERANCE: Final = 1.01
"""Within 1 % of the lowest counts as the lowest."""


def ours(case: Case) -> dict[str, Callable[[], Image]]:
    """Our fills by name; `as served` on analysis cells of 2 x 2 pixels, as the server takes them at 10 m."""
    kinds: dict[str, dict[str, Any]] = {
        "moment, no residual": {"adjustment": "moment", "residual": False},
        "moment": {"adjustment": "moment"},
        "regression, no residual": {"residual": False},
        "default": {},
    }
    methods: dict[str, Callable[[], Image]] = {}
    for name, factor in (("ours", 1), ("ours (as served)", 2)):
        for kind, options in kinds.items():
            methods[f"{name}: {kind}"] = partial(
                fill_clouds, case.target, case.replacement, case.mask, analysis_factor=factor, **options
            )
    return methods


def measure(recipe: Recipe) -> tuple[str, str, float, dict[str, Scores]]:
    """Group, name and covered share of a case, and the scores of every method."""
    case = build(recipe)
    methods = baselines(case.target, case.replacement, case.mask) | ours(case)
    scores = {name: score(run(), case.truth, case.judged, case.mask) for name, run in methods.items()}
    return case.group, case.name, float(case.mask.mean()), scores


class Results:
    """Scores of all cases, as arrays."""

    def __init__(self, measured: list[tuple[str, str, float, dict[str, Scores]]]) -> None:
        self.groups = np.array([m[0] for m in measured])
        self.names = [m[1] for m in measured]
        self.covers = np.array([m[2] for m in measured])
        self.methods = list(measured[0][3])
        self._values = {
            metric: np.array([[m[3][method].values()[metric] for method in self.methods] for m in measured])
            for metric in ("rmse", "mae", "cc", "ssim", "sam", "jump")
        }

    @property
    def theirs(self) -> list[str]:
        """Names of the baselines."""
        return [m for m in self.methods if not m.startswith("ours")]

    def of(self, metric: str, methods: str | list[str]) -> npt.NDArray[np.float64]:
        """(cases,) or (cases, methods) values of a metric."""
        if isinstance(methods, str):
            return self._values[metric][:, self.methods.index(methods)]
        return self._values[metric][:, [self.methods.index(m) for m in methods]]

    def relative(self, method: str) -> npt.NDArray[np.float64]:
        """(cases,) RMSE relative to one regression per band."""
        return self.of("rmse", method) / self.of("rmse", REFERENCE)

    def each_group(self) -> list[tuple[str, npt.NDArray[np.bool_]]]:
        """Groups in order, and which cases they hold."""
        return [(str(g), self.groups == g) for g in dict.fromkeys(self.groups)]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary(results: Results) -> str:
    """The main table: relative RMSE per group, mean (worst)."""
    rows = []
    for method in results.methods:
        relative = results.relative(method)
        cells = [f"{relative[held].mean():.3f} ({relative[held].max():.2f})" for _, held in results.each_group()]
        rows.append([method, *cells, f"{relative.mean():.3f} ({relative.max():.2f})"])
    return _table(["method", *(f"{g} ({n.sum()})" for g, n in results.each_group()), "all"], rows)


def details(results: Results, held: npt.NDArray[np.bool_]) -> str:
    """All metrics of a group, means over its cases."""
    form = {"rmse": ".0f", "mae": ".0f", "cc": ".3f", "ssim": ".3f", "sam": ".2f", "jump": ".0f"}
    rows = [
        [method, *(f"{results.of(metric, method)[held].mean():{f}}" for metric, f in form.items())]
        for method in results.methods
    ]
    return _table(["method", "RMSE", "MAE", "CC", "SSIM", "SAM °", "border jump"], rows)


def goals(results: Results) -> str:
    """Whether the goals are reached, group by group, for the default fill."""
    rows = []
    for name in (DEFAULT, SERVED):
        for group, held in [*results.each_group(), ("all", np.ones(len(results.names), bool))]:
            mine, jump = results.of("rmse", name)[held], results.of("jump", name)[held]
            rivals, jumps = results.of("rmse", results.theirs)[held], results.of("jump", results.theirs)[held]
            best = rivals.min(axis=1)
            # Two readings of "the best baseline on average": of each case, and the one that is best over the group.
            single = int(np.argmin((rivals / results.of("rmse", REFERENCE)[held, None]).mean(axis=0)))
            rows.append(
                [
                    name,
                    group,
                    f"{(mine <= TOLERANCE * best).sum()} of {len(mine)}",
                    f"{100 * ((mine / rivals[:, single]).mean() - 1):+.1f} % ({results.theirs[single]})",
                    f"{100 * ((mine / best).mean() - 1):+.1f} %",
                    f"{(jump <= TOLERANCE * jumps.min(axis=1)).sum()} of {len(mine)}",
                    f"{jump.mean():.0f} / {jumps.mean(axis=0).min():.0f}",
                ]
            )
    head = "lowest RMSE or within 1 %", "mean RMSE against the best baseline", "against the best of each case"
    return _table(["", "cases", *head, "lowest border jump", "jump ours / best"], rows)


def losses(results: Results) -> str:
    """Cases in which a baseline is more than 1 % better than the default fill."""
    rows = []
    for k, name in enumerate(results.names):
        rivals = results.of("rmse", results.theirs)[k]
        best = int(np.argmin(rivals))
        mine, served = (results.of("rmse", m)[k] for m in (DEFAULT, SERVED))
        if mine > TOLERANCE * rivals[best] or served > TOLERANCE * rivals[best]:
            rows.append(
                [
                    str(results.groups[k]),
                    name,
                    f"{100 * results.covers[k]:.0f} %",
                    f"{results.theirs[best]} {rivals[best]:.0f}",
                    f"{mine:.0f} ({100 * (mine / rivals[best] - 1):+.1f} %)",
                    f"{served:.0f} ({100 * (served / rivals[best] - 1):+.1f} %)",
                ]
            )
    if not rows:
        return "In no case is a baseline more than 1 % better."
    return _table(["group", "case", "masked", "best baseline, RMSE", DEFAULT, SERVED], rows)


def every_case(results: Results) -> str:
    """RMSE of a few methods in every case."""
    shown = [REFERENCE, "MNSPI", "stepwise colocated + Poisson", "Poisson of the replacement"]
    shown += ["Poisson of one regression per band", "ours: moment", DEFAULT, SERVED]
    rows = [
        [str(results.groups[k]), name, f"{100 * results.covers[k]:.0f} %"]
        + [f"{results.of('rmse', m)[k]:.0f}" for m in shown]
        for k, name in enumerate(results.names)
    ]
    return _table(["group", "case", "masked", *shown], rows)


def report(results: Results, note: str) -> str:
    """The measured part of the document."""
    parts = [
        note,
        "### RMSE relative to one regression per band: mean (worst case)",
        summary(results),
        "![Relative RMSE per group](images/fidelity-groups.png)",
        "### Goals",
        goals(results),
        "### Where a baseline is better by more than 1 %",
        losses(results),
        "### The ten worst cases",
        _table(["no.", "group", "case", "masked", "best baseline", "RMSE", SERVED], worst_rows(results, SERVED)),
        "![Error maps of the worst five](images/fidelity-worst-1.png)",
        "![Error maps of the next five](images/fidelity-worst-2.png)",
    ]
    for group, held in results.each_group():
        parts += [f"### All metrics: {group}, mean of {held.sum()} cases", details(results, held)]
    parts += [
        "<details><summary>RMSE of every case (digital numbers)</summary>",
        every_case(results),
        "</details>",
    ]
    return "\n\n".join(parts)


def run(chosen: list[Recipe], jobs: int) -> Results:
    """Measure all cases, in processes of one thread each."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return Results(list(pool.map(measure, chosen)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one case in seven, for a first look")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--write", action="store_true", help="write docs/fidelity.md and docs/images")
    args = parser.parse_args()
    where = machine()
    start = time.perf_counter()
    real = data_folder() is not None
    if not real:
        print("Lazio, Congo and Tatarstan skipped: no rasters in CLEARSKY_TEST_DATA or ../shared/data.\n", flush=True)
    chosen = recipes(real=real, quick=args.quick)
    results = run(chosen, args.jobs)
    spent = time.perf_counter() - start
    command = "python -m benchmarks.fidelity" + (" --quick" if args.quick else "")
    note = f"`{command}`: {len(chosen)} cases in {spent:.0f} s, {args.jobs} processes. {where}"
    text = report(results, note)
    print(text)
    if args.write:
        # Only here: drawing takes matplotlib, measuring does not.
        from benchmarks.figures import draw  # noqa: PLC0415

        old = DOCUMENT.read_text() if DOCUMENT.exists() else f"# Fidelity\n\n{BEGIN}\n{END}\n"
        before, rest = old.split(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")
        draw(results, DOCUMENT.parent / "images")
        draw_worst(results, chosen, SERVED, DOCUMENT.parent / "images")


if __name__ == "__main__":
    main()
