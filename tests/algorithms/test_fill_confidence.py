"""How sure a fill is of itself."""

import numpy as np
from scipy import ndimage

from algorithms.adjust import pooled_sums
from algorithms.fill import FillOptions, Ground, fill_fields
from algorithms.moments import WindowSums, node_lattice
from algorithms.scene import fit_scene
from tests.helpers.landscapes import another_date, landscape


def test_confidence_falls_as_the_cloud_grows() -> None:
    shape = (480, 480)
    r = landscape(shape)
    t = another_date(r)
    lattice = node_lattice(20, 1)
    middles = []
    frame = np.ones(shape, bool)
    frame[20:460, 20:460] = False  # clear for every cloud but the last: the scene's own figures stay the same
    for half in (10, 40, 80, 120, 220, 240):
        mask = np.zeros(shape, bool)
        mask[240 - half : 240 + half, 240 - half : 240 + half] = True
        scene = fit_scene(t, r, frame & ~mask)
        fields = fill_fields(
            Ground(t, r, usable=np.ones_like(mask), known=~mask, wanted=mask),
            WindowSums(pooled_sums(t, r, ~mask, scene, lattice), lattice, range(480), range(480)),
            scene,
            options=FillOptions(window=20),
            factor=1,
        )
        middles.append(float(fields.confidence[232:248, 232:248].mean()))
    assert middles[0] > middles[1] > middles[2] > middles[-1] == 1, middles  # filled, so not 0
    assert max(middles[3:-1]) <= middles[2] + 1, middles


def test_confidence_is_full_on_clear_ground_and_falls_inwards() -> None:
    shape = (256, 256)
    r = landscape(shape)
    t = another_date(r)
    mask = np.zeros(shape, bool)
    mask[64:192, 64:192] = True
    lattice = node_lattice(80, 1)
    assert shape[0] % lattice.spacing == 0
    scene = fit_scene(t, r, ~mask)
    fields = fill_fields(
        Ground(t, r, usable=np.ones_like(mask), known=~mask, wanted=mask),
        WindowSums(pooled_sums(t, r, ~mask, scene, lattice), lattice, range(256), range(256)),
        scene,
        options=FillOptions(),
        factor=1,
    )
    assert fields.confidence.dtype == np.uint8
    assert (fields.confidence[~mask] == 100).all()
    assert fields.confidence[mask].max() <= 99
    depth = ndimage.distance_transform_edt(mask)
    means = [fields.confidence[mask & (depth > a) & (depth <= a + 8)].mean() for a in (0, 8, 24, 48)]
    assert means[0] > max(means[1:]) + 3
    np.testing.assert_allclose((fields.gain * r + fields.offset)[:, ~mask], t[:, ~mask], atol=0.01)


def test_under_a_bank_the_confidence_knows_of_changed_ground() -> None:
    """Where no window sees clear ground, the scene's own misfit stands, the fields that changed included."""
    shape = (480, 480)
    r = landscape(shape)
    t = another_date(r)
    rng = np.random.default_rng(3)
    fields = np.kron(rng.random((30, 30)) < 0.15, np.ones((16, 16))) > 0
    t = np.where(fields, t + 1.5 * t.std(axis=(1, 2), keepdims=True), t).astype(np.float32)
    mask = np.zeros(shape, bool)
    mask[80:400, 80:400] = True
    lattice = node_lattice(20, 1)
    scene = fit_scene(t, r, ~mask)
    fill = fill_fields(
        Ground(t, r, usable=np.ones_like(mask), known=~mask, wanted=mask),
        WindowSums(pooled_sums(t, r, ~mask, scene, lattice), lattice, range(480), range(480)),
        scene,
        options=FillOptions(window=20),
        factor=1,
    )
    error = ((fill.gain * r + fill.offset - t) / scene.spread[:, None, None]) ** 2
    depth = ndimage.distance_transform_edt(mask)
    rim, middle = (mask & (depth > a) & (depth <= b) for a, b in ((0, 8), (100, 160)))
    assert fill.confidence[middle].mean() < fill.confidence[rim].mean() - 5
    expected = np.log(100 / fill.confidence[middle].astype(float))
    assert np.sqrt((expected**2).mean()) > 0.75 * np.sqrt(error.mean(axis=0)[middle].mean())
