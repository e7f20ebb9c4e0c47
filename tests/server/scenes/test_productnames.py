"""Names of products and files: which product, which level, whatever lies around them."""

from __future__ import annotations

import pytest

from server.scenes.productnames import level_of_files, product_named

SENTINEL = "S2B_MSIL2A_20220413T150759_N0511_R025_T33XWJ"
LANDSAT = "LC08_L2SP_017036_20130419_20200913_02_T2"
HLS = "HLS.S30.T33XWJ.2022103T150759"


@pytest.mark.parametrize(
    ("path", "level"),
    [
        (f"/data/{SENTINEL}_20220414T082126.SAFE/GRANULE/L2A_T33XWJ/IMG_DATA/R10m/T33XWJ_B02_10m.jp2", "l2a"),
        (f"/data/{SENTINEL}_20220414T082126_B02.tif", "l2a"),
        ("/data/S2B_20EPT_20250731_0_L2A/B02.tif", "l2a"),
        (f"https://example.org/{LANDSAT}_SR_B2.TIF?sig=MSIL1C", "l2a"),
        ("/data/LC09_L2SR_084082_20250722_20250725_02_T1_SR_B2.TIF", "l2a"),
        (f"s3://bucket/{HLS}.v2.0.B02.tif", "l2a"),
        ("/data/B02_10m.tif", "l2a"),
        ("/data/T33XWJ_20220413T150759_B8A_20m.jp2", "l2a"),
        ("/data/SR_B2.tif", "l2a"),
        ("/data/B02.tif", None),
        ("/data/B02_30m.tif.d/B02.tif", None),
        ("/data/T33XWJ_20220413T150759_B02.jp2", None),
        ("/data/HLS.d/B02.tif", None),
        ("/data/S2B_MSIL1C_20220413T150759_N0400_R025_T33XWJ_20220414T082126.SAFE/B02.jp2", "l1c"),
        ("/all_L2A/S2B_20EPT_20250731_0_L1C/B02_10m.tif", "l1c"),
        ("/data/LC08_L1TP_017036_20130419_20200913_02_T2_B2.TIF", "l1c"),
    ],
)
def test_levels(path: str, level: str | None) -> None:
    assert level_of_files([path]) == level
    assert level_of_files(["/data/B02.tif", path]) == level


@pytest.mark.parametrize("name", [SENTINEL, LANDSAT, HLS])
def test_a_product_is_known_wherever_its_name_stands(name: str) -> None:
    for path in (f"/data/{name}_x.SAFE/B02.tif", f"https://a.org/{name}_B02.tif?a=b", f"s3://b/{name}/{name}.B02.tif"):
        assert product_named(["/data/other.tif", path]) == name
    assert product_named([f"/data/x{name}_B02.tif", "/data/B02.tif"]) is None


def test_of_several_products_none_is_meant() -> None:
    assert product_named([f"/data/{SENTINEL}_B02.tif", f"/data/{LANDSAT}_SR_B2.TIF"]) is None
