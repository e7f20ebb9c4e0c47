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
COLLECTIONS = "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections"
TILES = "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf"
RELATION = "http://www.opengis.net/def/rel/ogc/1.0"
MERCATOR = "<http://www.opengis.net/def/crs/EPSG/0/3857>"
UTM_BOX = "500200,4598800,501000,4599600"
"""Of the raster, in its own CRS."""

Map = Callable[..., httpx2.Response]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ogc")
    write_raster(folder / "scene.tif", make_pair(size=(120, 140), bands=4).target)
    (folder / "city.yaml").write_text("name: city\ntitle: A city in July\ntarget: scene.tif\n")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder, recipes=str(folder)) as client:
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


def linked(client: TestClient, document: dict[str, Any], rel: str, media: str = "application/json") -> Any:
    """What the link of a relation and a type leads to."""
    (link,) = [link for link in document["links"] if (link["rel"], link["type"]) == (rel, media)]
    return good(client.get(link["href"])).json()


def collection(client: TestClient) -> dict[str, Any]:
    """The recipe, found from the landing page on."""
    (found,) = linked(client, client.get("/").json(), "data")["collections"]
    described: dict[str, Any] = linked(client, found, "self")
    assert {key: described[key] for key in found} == found
    return described


def tile_sets(client: TestClient) -> list[dict[str, Any]]:
    """Its tile sets, each by its own description."""
    listed = linked(client, collection(client), f"{RELATION}/tilesets-map")["tilesets"]
    return [linked(client, entry, "self") for entry in listed]


def check_collections(client: TestClient, _: Map) -> None:
    found = collection(client)
    assert (found["id"], found["title"]) == ("city", "A city in July")
    ((west, south, east, north),) = found["extent"]["spatial"]["bbox"]
    assert 14.99 < west < east < 15.03
    assert 41.5 < south < north < 41.6
    assert client.get("/collections/town").status_code == 404


def check_tile_sets(client: TestClient, _: Map) -> None:
    """Each says on which grid it is and which tiles there are."""
    for tiles in tile_sets(client):
        grid = linked(client, tiles, f"{RELATION}/tiling-scheme")
        assert (tiles["dataType"], tiles["crs"]) == ("map", grid["crs"])
        assert tiles["tileMatrixSetURI"].endswith(f"/{grid['id']}")
        assert tiles["tileMatrixSetLimits"]
        assert {limit["tileMatrix"] for limit in tiles["tileMatrixSetLimits"]} <= {
            m["id"] for m in grid["tileMatrices"]
        }


def check_tile_sets_list(client: TestClient, _: Map) -> None:
    listed = linked(client, collection(client), f"{RELATION}/tilesets-map")["tilesets"]
    assert listed[0]["tileMatrixSetURI"].endswith("/WebMercatorQuad")
    for short, full in zip(listed, tile_sets(client), strict=True):
        assert {key: full[key] for key in short if key != "links"} == {k: v for k, v in short.items() if k != "links"}
    missing = client.get("/collections/city/map/tiles/NZTM2000Quad")
    assert (missing.status_code, "WebMercatorQuad" in missing.json()["detail"]) == (400, True)


def check_tiles(media: str = "image/png") -> Callable[[TestClient, Map], None]:
    """Every tile within the limits, by the link's template."""

    def check(client: TestClient, _: Map) -> None:
        for tiles in tile_sets(client):
            (template,) = [link["href"] for link in tiles["links"] if (link["rel"], link["type"]) == ("item", media)]
            for limit in tiles["tileMatrixSetLimits"]:
                for name in ("Row", "Col"):
                    limit[f"tile{name}"] = limit[f"minTile{name}"]
                assert good(client.get(template.format(**limit))).headers["content-type"] == media
                beyond = limit | {"tileRow": limit["maxTileRow"] + 3}
                assert client.get(template.format(**beyond)).status_code in (400, 404)

    return check


CHECKS: dict[str, Callable[[TestClient, Map], None]] = {
    COMMON: check_common,
    COLLECTIONS: check_collections,
    f"{TILES}/core": check_tiles(),
    f"{TILES}/tileset": check_tile_sets,
    f"{TILES}/tilesets-list": check_tile_sets_list,
    f"{TILES}/geodata-tilesets": check_collections,
    f"{TILES}/png": check_tiles("image/png"),
    f"{TILES}/jpeg": check_tiles("image/jpeg"),
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
