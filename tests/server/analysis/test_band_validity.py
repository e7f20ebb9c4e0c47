"""Validity per band: a pixel is missing where every band is, and what one band lacks does not keep clouds in others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from rasterio.transform import from_origin
from scipy import ndimage
from starlette.testclient import TestClient

from tests.helpers.scenes import CLEAR_REPLACEMENTS, ORIGIN, Pair, make_pair, write_mask, write_raster
from tests.helpers.service import application, raster

SIDE: Final = 120
NIR, SWIR22 = 3, 5
HOLE = slice(20, 60), slice(30, 80)
"""Pixels that lack one band, cloudy and clear ones."""
GONE = slice(90, 110), slice(10, 60)
"""Pixels that lack every band, cloudy and clear ones."""
KINDS: Final[dict[str, tuple[str, float]]] = {
    "uint16 0": ("uint16", 0),
    "float 0": ("float32", 0),
    "int16 -9999": ("int16", -9999),
    "float nan": ("float32", np.nan),
}
VIEWS: Final[dict[str, dict[str, Any]]] = {
    "native": {},
    "reprojected": {"dst_crs": "EPSG:3857"},
    "coarse": {"max_size": 40},
    "smooth": {"dst_crs": "EPSG:3857", "reproject": "bilinear"},
}


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(SIDE, SIDE), seed=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    """Rasters of every kind: `whole` but for what is gone, others that lack a band in the hole."""
    folder = tmp_path_factory.mktemp("bands")
    write_mask(folder / "mask.tif", pair.mask)
    padded = np.pad(pair.replacement, ((0, 0), (0, 1), (0, 1)), mode="edge")
    between = ndimage.shift(padded, (0, 0.5, 0.5), order=1, mode="nearest")
    for kind, (dtype, nodata) in KINDS.items():
        target, replacement, moved = (a.astype(dtype) for a in (pair.target, pair.replacement, between))
        target[(slice(None), *GONE)] = nodata
        write_raster(folder / f"target whole {kind}.tif", target, nodata=nodata)
        target[(NIR, *HOLE)] = nodata
        write_raster(folder / f"target lacking {kind}.tif", target, nodata=nodata)
        shifted = from_origin(ORIGIN.c - 5, ORIGIN.f + 5, 10, 10)
        for name, values, place in (("replacement", replacement, ORIGIN), ("moved", moved, shifted)):
            write_raster(folder / f"{name} whole {kind}.tif", values, transform=place, nodata=nodata)
            values[(SWIR22, *HOLE)] = nodata
            write_raster(folder / f"{name} lacking {kind}.tif", values, transform=place, nodata=nodata)
            values[(SWIR22, *HOLE)] = 1
            write_raster(folder / f"{name} dark {kind}.tif", values, transform=place, nodata=nodata)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def image(client: TestClient, params: dict[str, Any], **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """The bands of an image, and where it has data."""
    answer = client.get("/cog/preview.tif", params=params | options)
    assert answer.status_code == 200, answer.text
    pixels = raster(answer.content)
    return pixels[:-1], pixels[-1] > 0


def asked(folder: Path, target: str, *replacements: str, **options: Any) -> dict[str, Any]:
    return {
        "url": str(folder / f"target {target}.tif"),
        "replacement": [str(folder / f"{name}.tif") for name in replacements],
        "mask": str(folder / "mask.tif"),
        **CLEAR_REPLACEMENTS,
        "algorithm_params": json.dumps({"buffer": 0, **options}),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_cloud_is_filled_in_every_band_of_a_target_that_lacks_one(
    client: TestClient, folder: Path, pair: Pair, kind: str
) -> None:
    """Nothing of the target under its cloud is used: with a hole there alone, the fill is that without one."""
    whole, lacking = (asked(folder, f"{name} {kind}", f"replacement whole {kind}") for name in ("whole", "lacking"))
    source = image(client, lacking, algorithm="fill_source")[0][0]
    np.testing.assert_array_equal(source[HOLE] == 1, image(client, whole, algorithm="fill_source")[0][0][HOLE] == 1)
    assert ((source == 1) & pair.mask)[HOLE].sum() > 50
    filled, _ = image(client, lacking, algorithm="cloud_removal")
    cloudy = pair.target.max() * 0.75
    assert filled[(slice(0, 4), *HOLE)][:, pair.mask[HOLE]].max() < cloudy


@pytest.mark.parametrize("kind", KINDS)
def test_clear_pixels_stay_as_they_are(client: TestClient, folder: Path, kind: str) -> None:
    params = asked(folder, f"lacking {kind}", f"replacement lacking {kind}")
    source = image(client, params, algorithm="fill_source")[0][0]
    filled, there = image(client, params, algorithm="cloud_removal")
    plain, plainly_there = image(client, {"url": params["url"]})
    clear = source == 0
    assert clear[HOLE].any()
    np.testing.assert_array_equal(filled[:, clear], plain[:, clear])
    np.testing.assert_array_equal(there[clear], plainly_there[clear])


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", ["replacement", "moved"])
@pytest.mark.parametrize("kind", ["uint16 0", "float 0"])
def test_zero_in_one_band_of_the_replacement_is_dark(
    client: TestClient, folder: Path, kind: str, name: str, view: str
) -> None:
    """It fills as a 1 does, as nearly as 0 is to 1."""

    def shown(what: str) -> list[np.ndarray]:
        params = asked(folder, f"whole {kind}", f"{name} {what} {kind}")
        return [image(client, params, algorithm=a, **VIEWS[view])[0] for a in ("fill_source", "cloud_removal")]

    lacking, dark = shown("lacking"), shown("dark")
    np.testing.assert_array_equal(lacking[0], dark[0])
    assert np.abs(lacking[1].astype(float) - dark[1]).max() < (100 if view == "coarse" else 40)  # overviews leave 0 out


@pytest.mark.parametrize("kind", ["int16 -9999", "float nan"])
@pytest.mark.parametrize("name", ["replacement", "moved"])
def test_a_replacement_without_a_number_leaves_the_pixel_to_the_next(
    client: TestClient, folder: Path, pair: Pair, kind: str, name: str
) -> None:
    alone = asked(folder, f"whole {kind}", f"{name} lacking {kind}")
    both = asked(folder, f"whole {kind}", f"{name} lacking {kind}", f"replacement whole {kind}")
    there = np.ones(pair.mask.shape, bool)
    there[GONE] = False
    inner = np.zeros_like(there)
    inner[HOLE[0].start + 2 : HOLE[0].stop - 2, HOLE[1].start + 2 : HOLE[1].stop - 2] = True
    cloudy = pair.mask & there & inner
    assert (image(client, alone, algorithm="fill_source")[0][0][cloudy] == 255).all()
    assert (image(client, both, algorithm="fill_source")[0][0][cloudy] == 2).all()
    filled, shown = image(client, both, algorithm="cloud_removal")
    assert np.isfinite(filled[:, shown & pair.mask]).all()
    assert filled[:, shown & pair.mask].min() > -2000


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_band_agrees_with_all_and_with_the_source(client: TestClient, folder: Path, kind: str, view: str) -> None:
    """No pixel is said to be filled that an image lacks, and none is filled without being said so."""
    params = asked(folder, f"lacking {kind}", f"replacement whole {kind}")
    source = image(client, params, algorithm="fill_source", **VIEWS[view])[0][0]
    every, there = image(client, params, algorithm="cloud_removal", **VIEWS[view])
    assert there[source == 1].all()
    assert (source[~there] == 255).all()
    for band in (0, NIR):
        alone, has = image(client, params, algorithm="cloud_removal", bidx=band + 1, **VIEWS[view])
        assert has[source == 1].all()
        np.testing.assert_array_equal(alone[0][source == 1], every[band][source == 1])
        plain, plainly_has = image(client, {"url": params["url"]}, bidx=band + 1, **VIEWS[view])
        np.testing.assert_array_equal(has[source == 0], plainly_has[source == 0])
        np.testing.assert_array_equal(alone[0][source == 0], plain[0][source == 0])
