"""Lists of files: what their products' names say of reflectance."""

from __future__ import annotations

import pytest

from server.scenes.bandlist import band_list

SAFE = "/data/S2B_MSIL2A_20220413T150759_N{}_R025_T33XWJ_20220414T082126.SAFE/GRANULE/x/IMG_DATA/R10m/T33XWJ_{}_10m.jp2"
NAMED = "{}/S2B_MSIL2A_20220413T150759_N{}_R025_T33XWJ_20220414T082126_{}.tif"
LANDSAT = "https://example.org/LC08_L2SP_017036_20130419_20200913_02_T2_SR_{}.TIF"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([SAFE.format("0400", "B02"), SAFE.format("0400", "B08")], (1e-4, -0.1)),
        ([SAFE.format("0301", "B02"), SAFE.format("0301", "B08")], (1e-4, 0.0)),
        ([NAMED.format("/data", "0511", band) for band in ("B02", "B08")], (1e-4, -0.1)),
        ([NAMED.format("s3://a", "0511", band) + "?sig=x" for band in ("B02_10m", "B08_10m")], (1e-4, -0.1)),
        ([NAMED.format("/data", "0301", band) for band in ("B02", "B08")], (1e-4, 0.0)),
        ([LANDSAT.format("B2") + "?sig=x", LANDSAT.format("B5") + "?sig=x"], (2.75e-5, -0.2)),
        ([LANDSAT.replace("L2SP", "L1TP").format("B2"), LANDSAT.format("B5").replace("L2SP", "L1TP")], (None, None)),
        ([LANDSAT.format("B2"), LANDSAT.format("B5")], (2.75e-5, -0.2)),
        (["B02.tif", "B08.tif"], (None, None)),
        (["/data/_N0400_/B02.tif", "/data/_N0400_/B08.tif"], (None, None)),
        (["SR_B2.tif", "SR_B5.tif"], (None, None)),
    ],
)
def test_a_products_whole_name_says_what_its_numbers_mean(
    files: list[str], expected: tuple[float | None, float | None]
) -> None:
    scene = band_list("list", files)
    assert [band.name for band in scene.bands] == ["blue", "nir"]
    assert {(band.scale, band.offset) for band in scene.bands} == {expected}
    assert {band.source == "the file" for band in scene.bands} == {expected[0] is None}
