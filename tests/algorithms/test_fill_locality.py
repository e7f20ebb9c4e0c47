"""A part of the scene is filled as in the whole, from no more ground than it says it needs."""

import numpy as np

from algorithms import fill_clouds
from algorithms.adjust import pooled_sums
from algorithms.fill import FillOptions, Ground, fill_fields
from algorithms.moments import WindowSums, lacking, node_lattice, pool
from algorithms.residual import residual_reach
from algorithms.scene import fit_scene
from tests.helpers.landscapes import (
    another_date,
    both_adjustments,
    both_residuals,
    clouds,
    covered,
    landscape,
    rmse,
    smooth,
)


def grown(around: tuple[range, range], by: int, shape: tuple[int, int], align: int = 1) -> list[range]:
    return [
        range(max(0, (s.start - by) // align * align), min(n, -(-(s.stop + by) // align) * align))
        for s, n in zip(around, shape, strict=True)
    ]


def cut(array: np.ndarray, to: tuple[range, range] | list[range]) -> np.ndarray:
    return array[..., to[0].start : to[0].stop, to[1].start : to[1].stop]


def region_fill(
    t: np.ndarray, r: np.ndarray, mask: np.ndarray, region: tuple[range, range], options: FillOptions
) -> np.ndarray:
    """The fill of a part of a scene, from an extent that reaches no farther than it says it has to."""
    lattice = node_lattice(options.window, 1)
    scene = fit_scene(t, r, ~mask)
    wide = grown(region, residual_reach(1), mask.shape)
    whole = grown((wide[0], wide[1]), 0, mask.shape, lattice.spacing)
    extent = grown((whole[0], whole[1]), lattice.reach(1), mask.shape, lattice.spacing)
    sums = pooled_sums(
        cut(t, extent), cut(r, extent), ~cut(mask, extent), scene, lattice, adjustment=options.adjustment
    )
    rows, cols = (range(w.start - e.start, w.stop - e.start) for w, e in zip(wide, extent, strict=True))
    clear = ~cut(mask, wide)
    fields = fill_fields(
        Ground(cut(t, wide), cut(r, wide), usable=np.ones_like(clear), known=clear, wanted=~clear),
        WindowSums(sums, lattice, rows, cols),
        scene,
        options=options,
        factor=1,
    )
    inner = [range(s.start - w.start, s.stop - w.start) for s, w in zip(region, wide, strict=True)]
    return cut(fields.gain * cut(r, wide) + fields.offset, inner)


@both_adjustments
@both_residuals
def test_a_part_of_the_scene_is_filled_as_in_the_whole(adjustment: str, residual: bool) -> None:
    shape = (512, 512)
    r, mask = landscape(shape), clouds(shape, 0.3, 6)
    t = covered(another_date(r), mask)
    options = FillOptions(window=20, adjustment=adjustment, residual=residual)
    lattice = node_lattice(20, 1)
    whole = region_fill(t, r, mask, (range(512), range(512)), options)
    region = range(210, 270), range(240, 300)
    assert cut(mask, region).any()
    near = np.zeros(shape, bool)
    cut(near, grown(region, residual_reach(1), shape))[:] = True
    counts, nodes = (pool(plane.astype(np.float32), lattice.spacing) for plane in (~mask, near))
    assert not lacking(counts, lattice, near=nodes > 0).any()
    part = region_fill(t, r, mask, region, options)
    difference = np.abs(part - cut(whole, region))
    assert difference.max() < (0.005 * 500 if residual else 0.05)


def test_neighbours_agree_where_they_touch() -> None:
    shape = (512, 512)
    r, mask = landscape(shape), clouds(shape, 0.5, 10)
    t = covered(another_date(r), mask)
    options = FillOptions(window=20)
    parts = [(range(200, 300), cols) for cols in (range(180, 260), range(240, 330))]
    left, right = (region_fill(t, r, mask, part, options) for part in parts)
    np.testing.assert_allclose(left[:, :, 60:], right[:, :, :20], atol=1.0)


def test_far_away_nothing_changes() -> None:
    shape = (512, 512)
    r, mask = landscape(shape), clouds(shape, 0.2, 5)
    t = covered(another_date(r), mask)
    changed = t.copy()
    changed[:, :, 400:] += 40 * smooth((3, 512, 112), 3, 8).astype(np.float32)
    one, other = (fill_clouds(image, r, mask, window=20) for image in (t, changed))
    near = mask.copy()
    near[:, 250:] = False
    assert rmse(other, one, near) < 0.01 * t[:, ~mask].std()  # the scene's own fit is all that may change
    far = mask.copy()
    far[:, :400] = False
    assert rmse(other, one, far) > 5
