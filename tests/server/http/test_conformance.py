"""OGC conformance: what `/conformance` claims is what this tests, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, good, raster

COMMON = "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core"
MAPS = "https://www.opengis.net/spec/ogcapi-maps-1/1.0/conf"
MERCATOR = "<http://www.opengis.net/def/crs/EPSG/0/3857>"
UTM_BOX = "500200,4598800,501000,4599600"
"""Of the raster, in its own CRS."""

Map = Callable[..., httpx2.Response]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ogc")
    write_raster(folder / "scene.tif", make_pair(size=(120, 140), bands=4).target)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def size(answer: httpx2.Response) -> tuple[int, int]:
    """Width and height of a map."""
    _, height, width = raster(answer.content).shape
    return width, height


def check_common(client: TestClient, _: Map) -> None:
    links = {link["rel"]: link["href"] for link in client.get("/").json()["links"]}
    assert client.get(links["service-desc"]).json()["openapi"].startswith("3.")
    assert client.get(links["service-doc"]).status_code == 200
    assert COMMON in client.get(links["http://www.opengis.net/def/rel/ogc/1.0/conformance"]).json()["conformsTo"]


def check_core(_: TestClient, ask: Map) -> None:
    answer = ask()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-crs"] == "<http://www.opengis.net/def/crs/EPSG/0/32633>"
    box = [float(number) for number in answer.headers["content-bbox"].split(",")]
    assert box == pytest.approx([500_000, 4_598_800, 501_400, 4_600_000])


def check_crs(_: TestClient, ask: Map) -> None:
    assert ask(crs="http://www.opengis.net/def/crs/EPSG/0/3857").headers["content-crs"] == MERCATOR


def check_curie(_: TestClient, ask: Map) -> None:
    assert ask(crs="[EPSG:3857]").headers["content-crs"] == MERCATOR


def check_width(_: TestClient, ask: Map) -> None:
    assert size(ask(width=70))[0] == 70


def check_height(_: TestClient, ask: Map) -> None:
    assert size(ask(height=60))[1] == 60


def check_scaling(_: TestClient, ask: Map) -> None:
    assert size(ask(width=70, height=30)) == (70, 30)


def check_box(_: TestClient, ask: Map) -> None:
    """Without a CRS of its own a box is in degrees."""
    part = ask(bbox="15.003,41.54,15.008,41.545", width=50, height=50)
    box = [float(number) for number in part.headers["content-bbox"].split(",")]
    assert 500_100 < box[0] < box[2] < 500_800


def check_box_crs(_: TestClient, ask: Map) -> None:
    part = ask(**{"bbox": UTM_BOX, "bbox-crs": "[EPSG:32633]"})
    assert [float(number) for number in part.headers["content-bbox"].split(",")] == [*map(float, UTM_BOX.split(","))]
    assert size(part) == (80, 80)


def check_format(name: str) -> Callable[[TestClient, Map], None]:
    def check(_: TestClient, ask: Map) -> None:
        assert ask(f=name).headers["content-type"].split(";")[0] == f"image/{name.replace('tif', 'tiff')}"

    return check


CHECKS: dict[str, Callable[[TestClient, Map], None]] = {
    COMMON: check_common,
    f"{MAPS}/core": check_core,
    f"{MAPS}/crs": check_crs,
    f"{MAPS}/scaling": check_scaling,
    f"{MAPS}/scaling/width-definition": check_width,
    f"{MAPS}/scaling/height-definition": check_height,
    f"{MAPS}/spatial-subsetting": check_box,
    f"{MAPS}/spatial-subsetting/bbox-definition": check_box,
    f"{MAPS}/spatial-subsetting/bbox-crs": check_box_crs,
    f"{MAPS}/spatial-subsetting/crs-curie": check_curie,
    f"{MAPS}/png": check_format("png"),
    f"{MAPS}/jpeg": check_format("jpeg"),
    f"{MAPS}/tiff": check_format("tif"),
}
"""By class."""


def test_nothing_else_is_claimed(client: TestClient) -> None:
    assert set(client.get("/conformance").json()["conformsTo"]) == set(CHECKS)


@pytest.mark.parametrize("claimed", list(CHECKS))
def test_what_is_claimed_is_kept(client: TestClient, folder: Path, claimed: str) -> None:
    def ask(**asked: Any) -> httpx2.Response:
        return good(client.get("/cog/map", params={"url": str(folder / "scene.tif"), **asked}))

    CHECKS[claimed](client, ask)
