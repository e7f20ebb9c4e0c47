"""Labelled arrays: what `cloud_mask` and `fill_clouds` make of `DataArray`s, and what these say of themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import clearsky
from algorithms.errors import BandError, ShapeError
from tests.helpers.scenes import Pair, make_pair

PAIR = make_pair(size=(90, 80))
PACKED: dict[str, Any] = {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0, "valid_range": [0, 10_000]}


def labelled(pair: Pair) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    rows, cols = pair.mask.shape
    places = {"y": np.arange(rows)[::-1] * 10.0, "x": np.arange(cols) * 10.0}
    names = ["blue", "green", "red", "nir", "swir16", "swir22"]
    coords = {"band": names, **places, "spatial_ref": ((), 0, {"crs_wkt": "EPSG:32633"})}
    dims, attrs = ("band", "y", "x"), {"units": "1"}
    target = xr.DataArray(pair.target.astype(np.float32), dims=dims, coords=coords, attrs=attrs, name="cloudy")
    replacement = xr.DataArray(pair.replacement.astype(np.float32), dims=dims, coords=coords)
    return target, replacement, xr.DataArray(pair.mask, dims=("y", "x"), coords=places)


def test_labelled_arrays_come_back_labelled() -> None:
    target, replacement, mask = labelled(PAIR)
    filled = clearsky.fill_clouds(target, replacement, mask)
    assert isinstance(filled, xr.DataArray)
    assert filled.name == "cloudy"
    assert filled.attrs == target.attrs
    assert filled.coords.equals(target.coords)
    plain = clearsky.fill_clouds(target.values, replacement.values, mask.values)
    np.testing.assert_array_equal(filled.values, plain)
    assert isinstance(plain, np.ndarray)


def test_a_labelled_mask_has_the_places_of_its_scene() -> None:
    target, _, _ = labelled(PAIR)
    classes = clearsky.cloud_mask(target / 10_000, list(target.band.values))
    assert isinstance(classes, xr.DataArray)
    assert classes.dims == ("y", "x")
    assert classes.spatial_ref.attrs == target.spatial_ref.attrs
    assert "band" not in classes.coords
    np.testing.assert_array_equal(classes.x, target.x)
    assert set(np.unique(classes)) <= {0, 1, 2, 255}


def test_labelled_arrays_of_other_places_are_refused() -> None:
    target, replacement, mask = labelled(PAIR)
    with pytest.raises(ShapeError, match="reproject_match"):
        clearsky.fill_clouds(target, replacement.assign_coords(x=replacement.x + 5), mask)


def encoded(array: xr.DataArray) -> xr.DataArray:
    """An array as a NetCDF file stores it and gives it back."""
    variables, attributes = xr.conventions.cf_encoder({"found": array.variable}, {})
    return xr.decode_cf(xr.Dataset(variables, attrs=attributes))["found"]


def test_a_mask_says_what_its_own_values_mean() -> None:
    """Nothing of how the scene's numbers are stored: classes come back from a file as they went in."""
    target, _, _ = labelled(PAIR)
    scene = (target / 10_000).assign_attrs({**target.attrs, **PACKED, "grid_mapping": "spatial_ref"})
    scene[:, :5] = np.nan
    scene.encoding = {"dtype": "int16", **PACKED}
    classes: Any = clearsky.cloud_mask(scene)
    assert (classes.name, classes.dtype) == ("cloud_mask", np.uint8)
    assert classes.attrs["flag_meanings"].split() == ["clear", "cloud", "cloud_shadow"]
    assert classes.attrs["flag_values"].tolist() == [0, 1, 2]
    assert classes.attrs["grid_mapping"] == "spatial_ref"
    assert not {"scale_factor", "add_offset", "valid_range", "units"} & {*classes.attrs, *classes.encoding}
    back = encoded(classes)
    np.testing.assert_array_equal(np.isnan(back), classes == 255)
    np.testing.assert_array_equal(back.fillna(255), classes)
    assert scene.attrs.keys() >= PACKED.keys()  # the scene keeps its own


@pytest.mark.parametrize(("scale", "kept"), [(1, {"scale_factor", "add_offset", "_FillValue"}), (1e-4, set())])
def test_a_fill_keeps_the_packing_that_still_holds(scale: float, kept: set[str]) -> None:
    """Scale and offset hold for digital numbers, and no longer for the reflectance made of them."""
    target, replacement, mask = labelled(PAIR)
    stored = target.astype(np.uint16) if scale == 1 else target * scale
    filled: Any = clearsky.fill_clouds(stored.assign_attrs({**PACKED, "units": "1"}), replacement * scale, mask)
    assert set(filled.attrs) == kept | {"units"}


def test_a_labelled_mask_takes_the_names_of_its_bands() -> None:
    target, _, _ = labelled(PAIR)
    scene, names = target / 10_000, list(target.band.values)
    found: Any = clearsky.cloud_mask(scene)
    xr.testing.assert_identical(found, clearsky.cloud_mask(reflectance=scene, bands=names))
    for nameless in (scene.drop_vars("band"), scene.assign_coords(band=range(1, 7)), scene.values):
        with pytest.raises(BandError, match=r"bands=\["):
            clearsky.cloud_mask(nameless)
