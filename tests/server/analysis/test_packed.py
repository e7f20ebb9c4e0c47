"""Masks of archives given as a plain raster: a warning says how to read their bits, and true masks stay silent."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.analysis.packed import packed_hint
from tests.helpers.scenes import CLEAR_REPLACEMENTS, make_pair, write_raster
from tests.helpers.service import application

QA_PIXEL = (21824, 22280, 23888)
"""Landsat Collection 2: clear, cloud, cloud shadow."""
PACKED: list[tuple[str, str | None, tuple[float, ...], str]] = [
    ("LC09_L2SP_193028_20250731_20250801_02_T1_QA_PIXEL.TIF", None, QA_PIXEL, "mask_bits=1,2,3,4"),
    ("https://host/qa_pixel.tif?sig=a%2Fb", None, (1, *QA_PIXEL), "mask=qa_pixel"),
    ("clouds.tif", "QA_PIXEL", QA_PIXEL, "mask_bits=1,2,3,4"),
    ("LC08_L1TP_193028_20180101_T1_BQA.TIF", None, (2720, 2800, 2976), "mask_bits=4,8"),
    ("LC08_20180101_pixel_qa.tif", None, (322, 352, 328), "mask_bits=3,5"),
    ("HLS.S30.T33TUG.2025212T101031.v2.0.Fmask.tif", None, (64, 66, 72, 255), "mask_bits=1,2,3"),
    ("LC08_MTLFmask.tif", "Fmask", (0, 1, 2, 4, 255), "mask_remap=2 1;4 1"),
    ("T33TUG_20250731T101031_SCL_20m.jp2", None, (4, 5, 8, 9), "mask_remap=3 1;8 1;9 1;10 1"),
    ("20250731_101031_2450_3B_udm2.tif", None, (1,), "mask_remap=0 1"),
    ("clouds.tif", None, QA_PIXEL, "mask_bits"),
    ("clouds.tif", None, (64, 66), "mask_bits"),
    ("clouds.tif", None, (0, *QA_PIXEL), "mask_bits"),
]
MASKS: list[tuple[str, tuple[float, ...]]] = [
    ("mask.tif", (0, 1)),
    ("mask.tif", (0, 1, 2, 3)),
    ("mask.tif", (0, 1024)),
    ("mask.tif", (0, 65535)),
    ("mask.tif", (255,)),
    ("clouds_numbered.tif", tuple(range(4000))),
    ("my_fmask.tif", (0, 1)),
    ("T33TUG_QA60.tif", (0, 1024, 2048)),
    ("nothing.tif", ()),
]


@pytest.mark.parametrize(("name", "description", "values", "remedy"), PACKED, ids=str)
def test_how_to_read_an_archives_mask_is_said(
    name: str, description: str | None, values: tuple[float, ...], remedy: str
) -> None:
    hint = packed_hint(name, description, np.array(values))
    assert hint is not None
    assert f"{remedy}`" in hint or f"{remedy}=" in hint


@pytest.mark.parametrize(("name", "values"), MASKS, ids=[f"{name} {values[:4]}" for name, values in MASKS])
def test_nothing_is_said_of_a_mask(name: str, values: tuple[float, ...]) -> None:
    assert packed_hint(name, None, np.array(values, float)) is None


@pytest.mark.parametrize("nodata", [None, 1])
def test_an_answer_and_the_log_warn_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, nodata: int | None) -> None:
    pair = make_pair(size=(80, 90))
    bits = np.where(pair.mask, QA_PIXEL[1], QA_PIXEL[0]).astype(np.uint16)
    bits[:10] = 1  # fill
    params: dict[str, Any] = {
        "url": write_raster(tmp_path / "target.tif", pair.target),
        "replacement": write_raster(tmp_path / "replacement.tif", pair.replacement),
        "mask": write_raster(tmp_path / "QA_PIXEL.TIF", bits[None], nodata=nodata, descriptions=("q",)),
        **CLEAR_REPLACEMENTS,
    }
    share = "all" if nodata is None else "87.5%"
    with application(tmp_path) as client, caplog.at_level(logging.WARNING, "clearsky"):
        for path, shown in (("preview.tif", {}), ("preview.png", {"bidx": 1, "rescale": "0,3000"})):
            warning = client.get(f"/cog/{path}", params=params | shown).headers["x-clearsky-warning"]
            for word in (f"marks {share} of the", "QA_PIXEL", "`mask_bits=1,2,3,4`", "`mask=qa_pixel`"):
                assert word in warning
        assert caplog.text.count("mask_bits=1,2,3,4") == 1
        told = client.get("/cog/info", params=params).json()["clearsky"]["warnings"]
        assert [text for text in told if text.startswith("mask")] == [warning]
        for more in ({"mask_bits": "1,2,3,4"}, {"mask_remap": f"{QA_PIXEL[1]} 1"}):
            answer = client.get("/cog/preview.tif", params=params | more)
            assert (answer.status_code, "x-clearsky-warning" in answer.headers) == (200, False)
