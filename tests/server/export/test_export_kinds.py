"""Every kind of raster survives an export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from tests.helpers.exports import run, same_description
from tests.helpers.scenes import ORIGIN, UTM, Pair, read_raster, write_mask

KINDS = [
    # dtype, bands, nodata, alpha, internal mask, what becomes of cloud that stays
    ("uint8", 3, None, True, False, "nodata"),
    ("uint16", 1, 0, False, False, "keep"),
    ("uint16", 6, None, False, True, "keep"),
    ("uint16", 2, None, False, True, "nodata"),
    ("int16", 4, -32768, False, False, "nodata"),
    ("float32", 2, float("nan"), False, False, "nodata"),
    ("float32", 2, None, False, False, "nodata"),
]


def write_kind(path: Path, data: np.ndarray, nodata: float | None, seen: np.ndarray, alpha: bool, mask: bool) -> Path:
    """A raster of any kind, without data where `seen` is False."""
    data = data.copy()
    if nodata is not None:
        data[:, ~seen] = nodata
    opaque = 255 * seen.astype(data.dtype)
    profile = {"count": len(data) + alpha, "height": data.shape[1], "width": data.shape[2], "dtype": data.dtype}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path, "w", driver="GTiff", crs=UTM, transform=ORIGIN, nodata=nodata, tiled=True, compress="lzw", **profile
        ) as dst,
    ):
        dst.write(np.concatenate([data, opaque[None]]) if alpha else data)
        if alpha:
            dst.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        if mask:
            dst.write_mask(seen)
        dst.scales, dst.offsets = [0.5] * dst.count, [3.0] * dst.count
        dst.units = ["m"] * dst.count
        dst.set_band_description(1, "first")
        dst.update_tags(AREA_OR_POINT="Point", TIFFTAG_DATETIME="2018:07:05 10:00:00", note="a < b & c")
        dst.update_tags(1, WAVELENGTH="490", STATISTICS_MAXIMUM="7")
    return path


@pytest.mark.parametrize(("dtype", "bands", "nodata", "alpha", "mask", "unfilled"), KINDS)
def test_every_kind_of_raster_survives(
    tmp_path: Path, pair: Pair, dtype: str, bands: int, nodata: float | None, alpha: bool, mask: bool, unfilled: str
) -> None:
    """Data type, missing data in every form, names, scales, units and colours; a hole of the replacement stays open."""
    missing = nodata is not None or alpha or mask
    seen = np.ones(pair.mask.shape, bool)
    seen[:40, :70] = not missing
    there = np.ones(pair.mask.shape, bool)
    there[101:203, 50:301] = not missing
    values = [(p / (257 if dtype == "uint8" else 3)).astype(dtype)[:bands] for p in (pair.target, pair.replacement)]
    target = write_kind(tmp_path / "target.tif", values[0], nodata, seen, alpha, mask)
    other = write_kind(tmp_path / "other.tif", values[1], nodata, there, alpha, mask)
    cloud = write_mask(tmp_path / "mask.tif", pair.mask)
    out, provenance = tmp_path / "out.tif", tmp_path / "provenance.tif"
    args = ["--mask", cloud, "--buffer", 0, "--unfilled", unfilled, "--provenance", provenance]
    args += ["--replacement-mask", "none"]
    assert run(target, out, "--replacement", other, *args) == 0
    assert cog_validate(out, strict=True)[0]
    lost = read_raster(provenance)[0] == 255
    if not missing and unfilled == "nodata":
        assert not lost.any()
    elif missing:
        assert (lost & seen & pair.mask & ~there).sum() > 1000
        assert not (lost & seen & ~pair.mask & np.roll(~pair.mask, 1, 0)).all()
    same_description(target, out, added_mask=not missing and unfilled == "nodata")
    with rasterio.open(target) as a, rasterio.open(out) as b:
        before, after, source = a.read(), b.read(), read_raster(provenance)[0]
        assert b.tags(1)["WAVELENGTH"] == "490"
        assert "STATISTICS_MAXIMUM" not in b.tags(1)
        assert b.tags()["CLEARSKY_TARGET_DATE"] == "2018-07-05"
        data = b.dataset_mask() > 0
        kept = a.dataset_mask() > 0
    expected = kept & ~lost if unfilled == "nodata" else kept
    np.testing.assert_array_equal(data, expected)
    clear = (source == 0) | ~seen | (lost & (unfilled == "keep"))
    np.testing.assert_array_equal(after[:, clear], before[:, clear])
    filled = source == 1
    assert filled.sum() > 5000
    assert (after[:bands, filled] != before[:bands, filled]).any(axis=0).mean() > 0.9
    if alpha:
        np.testing.assert_array_equal(after[-1][filled], before[-1][filled])
