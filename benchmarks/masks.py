"""How good is the cloud mask, and what do a second date and the buffer make of it?

Prints tables in Markdown: F1 and IoU of cloud and of shadow by model and ground resolution, on a labelled Landsat 7
picture and on demo scenes; then, on cells of 2 x 2 pixels, the model's mask against the refined one
(`algorithms.refine`) for buffers of 0 to 10 steps, on demo scenes and on real clear rasters under painted clouds.
Some 2 minutes. The real rasters are read from CLEARSKY_TEST_DATA or ../shared/data; without them only
the demo scenes are measured.

    python benchmarks/masks.py
    python benchmarks/masks.py --write     # also docs/masks.md
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

# One thread, as each worker of the server; before numpy is loaded.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import rasterio  # noqa: E402
from scipy import ndimage  # noqa: E402

from algorithms import fill_clouds  # noqa: E402
from algorithms.bands import ROLES  # noqa: E402
from algorithms.cells import cell_means  # noqa: E402
from algorithms.deck import with_decks  # noqa: E402
from algorithms.mask import classify, cloud_probability  # noqa: E402
from algorithms.masks import buffer_cells, dilate  # noqa: E402
from algorithms.options import CloudOptions  # noqa: E402
from algorithms.refine import ENOUGH_FIT_CELLS, FIT_BUFFER, fit_cells, refine_mask, trusted  # noqa: E402
from algorithms.rules import cloud_by_rules  # noqa: E402
from algorithms.sample import sampled  # noqa: E402
from algorithms.scene import fit_scene  # noqa: E402
from benchmarks.machine import machine  # noqa: E402
from server.demo import write_demo  # noqa: E402
from server.demo.clouds import DIMMED, VISIBLE  # noqa: E402

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.uint8]

BUFFERS: Final = (0, 1, 2, 4, 6, 10)
DEFAULT: Final = 4
"""Buffer that the errors are relative to, with the model's own mask: what was the default before this study."""
FACTOR: Final = 2
"""Pixels per side of a cell in the study of buffers: 20 m."""
TRIED: Final = "## What was tried"
"""Heading of docs/masks.md from which on its text stays."""
PAINTED: Final = 50
"""Sensitivity of the mask that finds the clouds to be painted; the cases must not depend on the default."""
SIZE: Final = 512
SEEDS: Final = (range(4), range(4, 8))
"""Seeds of the demo scenes that the constants were chosen on, and of others."""

Painting = tuple[str, str, str]
LAZIO: Final[dict[bool, tuple[Painting, ...]]] = {
    True: (
        ("20180720", "20180928", "lazio_20180705"),
        ("20180928", "20180720", "lazio_20180918"),
        ("20180720", "20180210", "lazio_20180121"),
        ("20180210", "20180928", "lazio_20180307"),
        ("20180928", "20180720", "congo_p100"),
        ("20180720", "20180928", "congo_p838"),
        ("20180928", "20180210", "lazio_20180705"),
        ("20180210", "20180720", "congo_p100"),
    ),
    False: (
        ("20180928", "20180720", "lazio_20180307"),
        ("20180720", "20180928", "lazio_20180121"),
        ("20180210", "20180720", "lazio_20180705"),
        ("20180928", "20180210", "congo_p838"),
        ("20180210", "20180928", "lazio_20180918"),
        ("20180720", "20180210", "congo_p500"),
        ("20180720", "20180928", "congo_p500+lazio_20180705"),
        ("20180928", "20180720", "congo_p500+lazio_20180918"),
        ("20180928", "20180210", "lazio_20180918+congo_p100"),
    ),
}
"""Clear target, clear replacement, and whose clouds are painted: on cases the constants were chosen on, and others."""
ELSEWHERE: Final[dict[bool, tuple[tuple[str, str], ...]]] = {
    True: (
        ("congo_p100", "lazio_20180705"),
        ("congo_p500", "lazio_20180121"),
        ("congo_p838", "congo_p100"),
        ("tatarstan_core", "lazio_20180705"),
    ),
    False: (
        ("congo_p100", "congo_p838"),
        ("congo_p500", "lazio_20180307"),
        ("congo_p838", "lazio_20180918"),
        ("tatarstan_core", "congo_p100"),
    ),
}
CLEAR_OF: Final = {"lazio_20180705": "20180720", "lazio_20180918": "20180928", "lazio_20180121": "20180210"}
NOISE: Final = (25, 35, 35, 190, 110, 55)
"""Standard deviation per band of what one date does not explain of the other, as between the real dates of Congo."""
GAIN: Final = (0.92, 0.95, 0.97, 1.06, 1.04, 0.98)


@dataclass(frozen=True)
class Case:
    """A cloudy picture whose ground and clouds are known."""

    group: str
    name: str
    seen: bool
    """Whether the constants were chosen on it."""
    target: npt.NDArray[np.uint16]
    replacement: npt.NDArray[np.uint16]
    truth: npt.NDArray[np.uint16]
    classes: Classes
    """0 clear, 1 cloud, 2 shadow, per pixel."""


@dataclass(frozen=True)
class Found:
    """Masks of a case on cells."""

    model: Classes
    refined: Classes


def data_folder() -> Path | None:
    named = os.environ.get("CLEARSKY_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def read(path: Path) -> npt.NDArray[np.uint16]:
    with rasterio.open(path) as src:
        bands: npt.NDArray[np.uint16] = src.read(range(1, 7))
    return bands


def to_pixels(cells: npt.NDArray[Any], shape: tuple[int, ...], factor: int) -> npt.NDArray[Any]:
    return np.repeat(np.repeat(cells, factor, axis=0), factor, axis=1)[: shape[0], : shape[1]]


def either(classes: npt.NDArray[Any]) -> Mask:
    return np.asarray((classes == 1) | (classes == 2))


def detect(
    target: npt.NDArray[np.uint16],
    factor: int,
    bands: int,
    level: str,
    *,
    sensitivity: int = CloudOptions.sensitivity,
    pixel: float = 10,
) -> tuple[Image, Mask, npt.NDArray[np.uint8], Classes]:
    """Cells of a picture with pixels of so many metres, their validity, and the model's probabilities and classes."""
    cells = cell_means(target[:bands], np.all(target[:bands] > 0, axis=0), factor)
    hidden = np.broadcast_to(~cells.valid, cells.values.shape)
    reflectance = np.ma.MaskedArray(cells.values * np.float32(1e-4), mask=hidden)
    probability, valid = cloud_probability(reflectance, ROLES[:bands], level=level, model=f"ukis-{bands}b-{level}")
    return (
        cells.values,
        cells.full,
        probability,
        classify(probability, valid, sensitivity=sensitivity, metres=pixel * factor),
    )


def by_rules(target: npt.NDArray[np.uint16], factor: int) -> Classes:
    """Classes of cells by the rules for red, green and blue."""
    cells = cell_means(target[:3], np.all(target[:3] > 0, axis=0), factor)
    cloud = cloud_by_rules(cells.values * np.float32(1e-4))[1]
    return np.where(cells.valid, cloud, 255).astype(np.uint8)


def find(case: Case, *, factor: int = FACTOR, bands: int = 6, level: str = "l1c") -> Found:
    """The model's mask of a case, and what the replacement makes of it."""
    t, t_full, probability, classes = detect(case.target, factor, bands, level)
    r, r_full, _, hidden = detect(case.replacement, factor, bands, level)
    usable = t_full & r_full & ~dilate(either(hidden), FIT_BUFFER)
    names, light = ROLES[:bands], np.float32(1e-4)
    certain = with_decks(classes, t * light, r * light, usable, bands=names)
    clear, wider = fit_cells(certain, probability, usable)
    wider &= certain == classes
    doubtful = int(sampled(clear).sum()) < ENOUGH_FIT_CELLS
    scene = fit_scene(t, r, sampled(wider if doubtful else clear), bends=False)
    if not trusted(scene, doubtful=doubtful):
        return Found(classes, certain)
    estimate = scene.estimate(scene.standardise(r))
    refined = refine_mask(classes, probability, t, estimate, scene.noise, usable, bands=names)
    return Found(classes, with_decks(refined, t * light, estimate * light, usable, bands=names))


def demo_cases() -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as folder:
        for seen, seeds in zip((True, False), SEEDS, strict=True):
            for seed in seeds:
                scene = write_demo(Path(folder), size=SIZE, seed=seed)
                with rasterio.open(scene.truth_mask) as src:
                    classes = src.read(1)
                cloudy, clear, truth = (read(path) for path in (scene.cloudy, scene.clear, scene.truth))
                yield Case("demo", f"demo scene, seed {seed}", seen, cloudy, clear, truth, classes)


@cache
def clouds_of(name: str) -> tuple[Image, Image]:
    """Opacity (H, W) and brightness (6, H, W) of the clouds of a real picture, seen against its clear date.

    What hides less than 6 % of the ground is lost in the ground's own change: painted rims are a little harder
    than real ones.
    """
    folder = data_folder()
    assert folder is not None
    target = read(folder / f"s2_{name}_cloudy.tif")
    date = f"lazio_{CLEAR_OF.get(name, '20180210')}" if name.startswith("lazio") else name
    clear = read(folder / f"s2_{date}_clear.tif")
    t, t_full, probability, classes = detect(target, FACTOR, 6, "l1c", sensitivity=PAINTED)
    r, r_full, _, _ = detect(clear, FACTOR, 6, "l1c", sensitivity=PAINTED)
    sure = t_full & r_full & ~either(classes)
    if sure.sum() < ENOUGH_FIT_CELLS:
        sure = t_full & r_full & (probability[0] < 60)
    scene = fit_scene(t, r, sure)
    ground = scene.estimate(scene.standardise(clear.astype(np.float32)))
    t = target.astype(np.float32)
    thick = np.percentile(t, 97, axis=(1, 2))[:, None, None]
    excess = ((t - ground)[:3] / (thick - ground)[:3]).min(axis=0).clip(0)
    excess = ndimage.median_filter(excess, 3)
    near = ndimage.binary_dilation(excess > 0.35, iterations=12)
    alpha = ndimage.gaussian_filter(np.clip((excess - 0.06) / 0.64, 0, 1) * near, 0.7).astype(np.float32)
    alpha[alpha < 0.01] = 0
    light = np.clip(t - (1 - alpha) * np.minimum(ground, t), 0, 1.3 * alpha * thick)
    return alpha, light


def paint(truth: npt.NDArray[np.uint16], names: str, shift: tuple[int, int]) -> tuple[npt.NDArray[np.uint16], Classes]:
    """A picture under the clouds of others, with their shadow `shift` pixels away; and the classes."""
    alpha, light = clouds_of(names.split("+", maxsplit=1)[0])
    for name in names.split("+")[1:]:
        other, other_light = clouds_of(name)
        light = np.where(other > alpha, other_light, light)
        alpha = np.maximum(alpha, other)
    shade = ndimage.shift(ndimage.gaussian_filter(alpha, 1.2), shift, order=1, mode="nearest").clip(0, 1)
    shade[shade < 0.01] = 0
    path = 0.9 * np.percentile(truth, 0.5, axis=(1, 2))[:, None, None]
    dimmed = np.array(DIMMED, np.float32)[:, None, None]
    ground = truth - shade * dimmed * np.maximum(truth - path, 0)
    target = (1 - alpha) * ground + light
    classes = np.where(alpha > VISIBLE, 1, np.where(shade > VISIBLE, 2, 0)).astype(np.uint8)
    return np.clip(np.rint(target), 1, 65535).astype(np.uint16), classes


def another_date(truth: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """A made-up second date: gains per band, and change from pixels to fields of the size of a real pair's."""
    rng = np.random.default_rng(7)
    planes = np.stack(
        [
            sum(
                weight * sigma * 2.8 * ndimage.gaussian_filter(rng.standard_normal(truth.shape[1:]), sigma)
                for sigma, weight in ((1, 0.5), (4, 0.5), (20, 0.6))
            )
            for _ in range(3)
        ]
    )
    # Brightness, plants and wetness, roughly, as each band sees them.
    mix = [[1, 0, 0.3], [1, 0, 0.4], [1, 0, 0.5], [-0.3, 1, 0], [0.5, -0.3, 0.8], [0.8, -0.2, 0.8]]
    change = np.einsum("bk,kij->bij", mix, planes)
    change *= (np.array(NOISE) / change.std(axis=(1, 2)))[:, None, None]
    return np.clip(truth * np.array(GAIN)[:, None, None] + 40 + change, 1, 65535).astype(np.uint16)


def painted_cases(folder: Path) -> Iterator[Case]:
    for seen in (True, False):
        for number, (target, replacement, names) in enumerate(LAZIO[seen]):
            truth = read(folder / f"s2_lazio_{target}_clear.tif")
            angle = 2.4 * number
            cloudy, classes = paint(truth, names, (round(20 * np.cos(angle)), round(20 * np.sin(angle))))
            other = read(folder / f"s2_lazio_{replacement}_clear.tif")
            name = f"Lazio {target} <- {replacement}, clouds of {names.replace('_', ' ')}"
            group = "Lazio, nearly covered" if "+" in names else "Lazio"
            yield Case(group, name, seen, cloudy, other, truth, classes)
        for place, names in ELSEWHERE[seen]:
            truth = np.ascontiguousarray(read(folder / f"s2_{place}_clear.tif")[:, :256, :256])
            cloudy, classes = paint(truth, names, (-16, 12))
            name = f"{place.replace('_', ' ')}, clouds of {names.replace('_', ' ')}"
            yield Case("Congo, Tatarstan", name, seen, cloudy, another_date(truth), truth, classes)


def scores(found: Mask, truth: Mask) -> tuple[float, float]:
    """F1 and IoU."""
    both, one = int((found & truth).sum()), int((found | truth).sum())
    return 2 * both / max(both + one, 1), both / max(one, 1)


def accuracy_rows(name: str, pairs: list[tuple[Classes, Classes]]) -> str:
    """A row of the table of accuracy: means over pictures of (found, truth)."""
    values = []
    for found, truth in pairs:
        values.append(
            [
                *scores(found == 1, truth == 1),
                *scores(found == 2, truth == 2),
                *scores(either(found), either(truth)),
            ]
        )
    cells = " | ".join(f"{a:.3f} / {b:.3f}" for a, b in np.mean(values, axis=0).reshape(3, 2))
    return f"| {name} | {cells} |"


def accuracy(cases: list[Case], folder: Path | None) -> Iterator[str]:
    head = "| {} | cloud F1 / IoU | shadow F1 / IoU | both F1 / IoU |\n| --- | --- | --- | --- |"
    models = list(itertools.product((4, 6), ("l1c", "l2a")))
    if folder and (path := folder / "ukis_landsat7_labelled_image.tif").is_file():
        picture = read(path)
        with rasterio.open(folder / "ukis_landsat7_labelled_mask.tif") as src:
            truth = src.read(1)
        yield "\n## The model on a labelled picture\n"
        yield (
            "Landsat 7, 512 x 512 pixels at 30 m, top of atmosphere, labelled by hand; from the tests of\n"
            "`ukis-csmask`, so the networks may have been trained on it. One date, hence no refinement.\n"
        )
        yield head.format("model, resolution")
        for (bands, level), factor in itertools.product(models, (1, 2)):
            found = to_pixels(detect(picture, factor, bands, level, pixel=30)[3], truth.shape, factor)
            yield accuracy_rows(f"{bands} bands, {level.upper()}, {30 * factor} m", [(found, truth)])
        for factor in (1, 2):
            found = to_pixels(by_rules(picture, factor), truth.shape, factor)
            yield accuracy_rows(f"rgb-rules, {30 * factor} m", [(found, truth)])
    seeds = [case for case in cases if case.group == "demo" and case.seen]
    yield "\n## Demo scenes, by model and resolution\n"
    yield (
        f"Means over {len(seeds)} scenes of {SIZE} pixels of 10 m. They are top of atmosphere (L1C); the L2A\n"
        "models show what a wrong level costs. The server runs the models at 20 m and coarser.\n"
    )
    yield head.format("model, resolution, mask")
    for factor in (1, 2, 3, 6):
        rules = [(to_pixels(by_rules(c.target, factor), c.classes.shape, factor), c.classes) for c in seeds]
        yield accuracy_rows(f"rgb-rules, {10 * factor} m", rules)
    for (bands, level), factor in itertools.product(models, (1, 2, 3, 6)):
        masks = [(case, find(case, factor=factor, bands=bands, level=level)) for case in seeds]
        for name in ("model", "refined"):
            pairs = [(to_pixels(getattr(m, name), c.classes.shape, factor), c.classes) for c, m in masks]
            yield accuracy_rows(f"{bands} bands, {level.upper()}, {10 * factor} m, {name}", pairs)


@dataclass(frozen=True)
class Result:
    """What one mask does to one case."""

    cloud: float
    """F1 of cloud."""
    both: float
    """F1 of cloud and shadow taken together."""
    eaten: float
    """Share of the pixels that neither cloud nor shadow touches in the least, which the mask takes."""
    freed: float
    """Share of the cloud that the mask leaves out."""
    freed_shadow: float
    """Share of the shadow that the mask leaves out."""
    scene: tuple[float, ...]
    """RMSE of the filled picture against the truth over all pixels, by buffer."""
    union: tuple[float, ...]
    """RMSE over the pixels that are cloud or shadow in the truth or are filled, by buffer."""


def judge(case: Case, cells: Classes) -> Result:
    found = to_pixels(cells, case.classes.shape, FACTOR)
    untouched = (case.target == case.truth).all(axis=0)
    scene, union = [], []
    for buffer in BUFFERS:
        mask = to_pixels(dilate(either(cells), buffer_cells(buffer, FACTOR)), case.classes.shape, FACTOR)
        filled = fill_clouds(case.target, case.replacement, mask, analysis_factor=FACTOR)
        square = ((filled - case.truth) ** 2).mean(axis=0)
        scene.append(float(np.sqrt(square.mean())))
        union.append(float(np.sqrt(square[mask | either(case.classes)].mean())))
    return Result(
        cloud=scores(found == 1, case.classes == 1)[0],
        both=scores(either(found), either(case.classes))[0],
        eaten=float((either(found) & untouched).sum() / max(untouched.sum(), 1)),
        freed=float(((case.classes == 1) & ~either(found)).sum() / max((case.classes == 1).sum(), 1)),
        freed_shadow=float(((case.classes == 2) & ~either(found)).sum() / max((case.classes == 2).sum(), 1)),
        scene=tuple(scene),
        union=tuple(union),
    )


def relative(results: list[tuple[Case, Result, Result]], name: str, key: str, k: int) -> float:
    """Geometric mean over cases of an error, relative to the model's mask with the buffer `DEFAULT`."""
    base = BUFFERS.index(DEFAULT)
    logs = []
    for _, model, refined in results:
        chosen = model if name == "model" else refined
        logs.append(np.log(getattr(chosen, key)[k] / getattr(model, key)[base]))
    return float(np.exp(np.mean(logs)))


def study(cases: list[Case]) -> Iterator[str]:
    results = []
    for case in cases:
        found = find(case)
        results.append((case, judge(case, found.model), judge(case, found.refined)))
    groups = dict.fromkeys((case.group, case.seen) for case in cases)
    rows = {key: [entry for entry in results if (entry[0].group, entry[0].seen) == key] for key in groups}
    yield "\n## The mask with and without refinement\n"
    yield (
        "6 bands, L1C, cells of 20 m, no buffer. *Eaten*: share of the ground entirely free of cloud and shadow\n"
        "that the mask covers. *Freed*: share of the cloud (of the shadow) that it leaves out. In the\n"
        f"truth a pixel is cloud or shadow where {VISIBLE:.0%} of the ground's light is lost.\n"
    )
    yield "| cases | mask | F1 cloud | F1 both | eaten | cloud freed | shadow freed |\n" + "| --- " * 7 + "|"
    keys = ("cloud", "both", "eaten", "freed", "freed_shadow")
    for (group, seen), entries in rows.items():
        for column, name in ((1, "model"), (2, "refined")):
            means = [np.mean([getattr(entry[column], key) for entry in entries]) for key in keys]
            figures = " | ".join([f"{v:.3f}" for v in means[:2]] + [f"{100 * v:.1f} %" for v in means[2:]])
            yield f"| {_title(group, seen, len(entries))} | {name} | {figures} |"
    for key, title, text in (
        (
            "scene",
            "over the whole picture",
            "A pixel given back has no error; a pixel of cloud that is not masked keeps all of its own.",
        ),
        (
            "union",
            "over cloud, shadow and mask",
            "Taken over the pixels that are filled or are cloud or shadow in the truth. A wide mask includes easy\n"
            "ground, which alone lowers this mean; clear ground outside the mask does not count.",
        ),
    ):
        yield f"\n## Error of the fill {title}\n"
        yield (
            "RMSE of `fill_clouds` against the truth, all bands; geometric means over the cases, relative to the\n"
            f"model's mask with a buffer of {DEFAULT} steps. {text}\n"
        )
        yield (
            "| cases | mask | "
            + " | ".join(f"buffer {b}" for b in BUFFERS)
            + " |\n| --- | --- |"
            + " --- |" * len(BUFFERS)
        )
        for (group, seen), entries in rows.items():
            for name in ("model", "refined"):
                figures = " | ".join(f"{relative(entries, name, key, k):.3f}" for k in range(len(BUFFERS)))
                yield f"| {_title(group, seen, len(entries))} | {name} | {figures} |"
        for name in ("model", "refined"):
            figures = " | ".join(f"{relative(results, name, key, k):.3f}" for k in range(len(BUFFERS)))
            yield f"| **all {len(results)}** | {name} | {figures} |"
    for k, buffer in enumerate(BUFFERS):
        better = sum(refined.scene[k] < model.scene[k] for _, model, refined in results)
        yield (
            "\n" if k == 0 else ""
        ) + f"* buffer {buffer}: refinement lowers the error of {better} of {len(results)} cases"
    better = sum(refined.both > model.both for _, model, refined in results)
    yield f"* F1 of cloud and shadow: refinement raises it in {better} of {len(results)} cases"
    yield "\n## Case by case\n"
    yield "RMSE over the whole picture in digital numbers (reflectance x 10000): model / refined.\n"
    yield (
        "| case | F1 both | "
        + " | ".join(f"buffer {b}" for b in BUFFERS)
        + " |\n| --- | --- |"
        + " --- |" * len(BUFFERS)
    )
    for case, model, refined in results:
        errors = " | ".join(f"{a:.0f} / {b:.0f}" for a, b in zip(model.scene, refined.scene, strict=True))
        yield f"| {case.name} | {model.both:.3f} / {refined.both:.3f} | {errors} |"


def _title(group: str, seen: bool, count: int) -> str:
    return f"{group} ({count}, {'chosen on' if seen else 'held out'})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/masks.md")
    args = parser.parse_args()
    folder = data_folder()
    lines = [
        "# The cloud mask: accuracy, refinement, buffer\n",
        "How accurate the cloud mask is, and how refinement and buffer change the fill. "
        f"Made by `benchmarks/masks.py`. {machine()}\n",
        "*Chosen on* marks the cases on which the constants of `algorithms.refine` were chosen, *held out* the rest.\n"
        "Lazio: real clear dates 10 weeks to 7 months apart, with clouds of real pictures and their shadows added.\n"
        "Congo and Tatarstan: the same, but with one clear date each, so the second is simulated: gains per band,\n"
        "and as much change as was measured between real dates.",
    ]
    for line in lines:
        print(line, flush=True)
    cases = [*demo_cases(), *(painted_cases(folder) if folder else ())]
    for line in itertools.chain(accuracy(cases, folder), study(cases)):
        lines.append(line)
        print(line, flush=True)
    if args.write:
        page = ROOT / "docs" / "masks.md"
        written = page.read_text()
        page.write_text("\n".join(lines) + "\n\n" + written[written.index(TRIED) :])


if __name__ == "__main__":
    main()
