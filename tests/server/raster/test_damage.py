"""Rasters cut short: an error, wherever they are; never what was in memory before."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from server.errors import SourceFaultError, SourceUnreadableError
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.scenes import write_bare
from tests.helpers.service import application, raster, sources_of

SIDE = 512
OTHER = 77
"""Value that only another raster has."""

SHAPES: list[dict[str, Any]] = [
    {"tiled": True, "blockxsize": 128, "blockysize": 128},
    {"blockysize": 16},
    {"blockysize": SIDE},
]
TIFFS = [
    {"compress": compress, "interleave": interleave, **shape}
    for compress, interleave, shape in product((None, "deflate", "lzw", "zstd", "packbits"), ("pixel", "band"), SHAPES)
]
IMAGES = [{"driver": driver} for driver in ("PNG", "JPEG", "WEBP", "JP2OpenJPEG")]
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "JP2OpenJPEG": ".jp2"}


def name_of(profile: dict[str, Any]) -> str:
    return "-".join(str(value) for value in profile.values()) + SUFFIXES.get(profile.get("driver", ""), ".tif")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    values = np.random.default_rng(1).integers(100, 200, (3, SIDE, SIDE)).astype(np.uint8)
    for profile in TIFFS + IMAGES:
        write_bare(folder / name_of(profile), values, **profile)
        other = {**profile, "quality": 100} if profile.get("driver") in ("JPEG", "WEBP") else profile
        write_bare(folder / f"other-{name_of(profile)}", np.full_like(values, OTHER), **other)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[RangeServer]:
    with range_server(folder) as served:
        yield served


@pytest.fixture(scope="module")
def client(folder: Path, served: RangeServer) -> Iterator[TestClient]:
    with application(f"{folder},{served.base}") as client:
        yield client


def preview(client: TestClient, url: str) -> Any:
    return client.get("/cog/preview.tif", params={"url": url, "max_size": SIDE})


@pytest.mark.parametrize("where", ["local", "remote"])
@pytest.mark.parametrize("profile", [*TIFFS, IMAGES[-1]], ids=name_of)
def test_a_raster_cut_short_is_an_error(
    client: TestClient, folder: Path, served: RangeServer, profile: dict[str, Any], where: str
) -> None:
    base = served.base if where == "remote" else f"{folder}/"
    whole = (folder / name_of(profile)).read_bytes()
    assert preview(client, base + name_of(profile)).status_code == 200
    for kept in (0.97, 0.6, 0.3):
        assert preview(client, f"{base}other-{name_of(profile)}").status_code == 200
        cut = folder / f"cut{kept}-{where}-{name_of(profile)}"
        cut.write_bytes(whole[: int(kept * len(whole))])
        answer = preview(client, base + cut.name)
        assert answer.status_code in (400, 502), f"{kept}: {np.bincount(raster(answer.content)[0].ravel())[OTHER]}"
        assert cut.name in answer.json()["detail"]
        assert "vsiclearsky" not in answer.text


@pytest.mark.parametrize("where", ["local", "remote"])
@pytest.mark.parametrize("profile", IMAGES, ids=name_of)
def test_a_picture_cut_short_is_an_error(
    client: TestClient, folder: Path, served: RangeServer, profile: dict[str, Any], where: str
) -> None:
    base = served.base if where == "remote" else f"{folder}/"
    sources, whole = sources_of(client), (folder / name_of(profile)).read_bytes()
    for kept in (0.97, 0.6, 0.3):
        for name in (name_of(profile), f"other-{name_of(profile)}"):
            with sources.open(base + name) as src:
                src.read()
        cut = folder / f"cut{kept}-{where}-{name_of(profile)}"
        cut.write_bytes(whole[: int(kept * len(whole))])
        with (
            pytest.raises((SourceFaultError, SourceUnreadableError), match=cut.name),
            sources.open(base + cut.name) as src,
        ):
            src.read()


@pytest.mark.parametrize("where", ["local", "remote"])
@pytest.mark.parametrize("tiled", [True, False])
def test_a_tile_that_lies_behind_the_end_is_an_error(
    client: TestClient, folder: Path, served: RangeServer, tiled: bool, where: str
) -> None:
    """The window that is whole is served, the one that is not is refused."""
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128} if tiled else {"blockysize": 16}
    path = folder / f"partly-{tiled}-{where}.tif"
    values = np.full((1, SIDE, SIDE), 150, np.uint8)
    write_bare(path, values, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])
    url = (served.base if where == "remote" else f"{folder}/") + path.name
    crs = {"coord_crs": "EPSG:32633", "dst_crs": "EPSG:32633"}
    top = client.get("/cog/bbox/500000,4598000,505120,4600000.tif", params={"url": url, **crs})
    assert top.status_code == 200, top.text
    assert (raster(top.content)[0] == 150).all()
    bottom = client.get("/cog/bbox/500000,4594880,505120,4596000.tif", params={"url": url, **crs})
    assert bottom.status_code == 502, bottom.text
