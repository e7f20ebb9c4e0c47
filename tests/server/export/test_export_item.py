"""The STAC Item of an export per band: valid, true of its files, and served again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from numpy.testing import assert_array_equal
from pystac.validation import JsonSchemaSTACValidator
from starlette.testclient import TestClient

from tests.helpers.archives import ARCHIVES, write_band, write_item
from tests.helpers.exports import run
from tests.helpers.items import BANDS, OFFSET, SCALE, TwoDates, write_dates
from tests.helpers.rangeserver import range_server
from tests.helpers.scenes import BANDS as NAMES
from tests.helpers.scenes import make_pair, read_raster, write_mask, write_raster
from tests.helpers.service import application


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("items")


@pytest.fixture(scope="module")
def dates(folder: Path) -> TwoDates:
    return write_dates(folder / "dates")


@pytest.fixture(scope="module")
def made(dates: TwoDates, folder: Path) -> Path:
    out = folder / "made"
    assert run(dates.target, "--per-asset", out, "--replacement", dates.replacement, "--mask", dates.mask) == 0
    return out


@pytest.fixture(scope="module")
def item(made: Path) -> dict[str, Any]:
    return dict(json.loads((made / "item.json").read_text()))


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def check(path: Path) -> pystac.Item:
    """An Item by pystac: valid by the core's schema, its files there; addresses of extensions lead to the network."""
    item = pystac.Item.from_file(str(path))
    content = json.loads(path.read_text())
    JsonSchemaSTACValidator().validate_core(content, pystac.STACObjectType.ITEM, content["stac_version"], str(path))
    for asset in item.assets.values():
        assert asset.href.startswith("./")
        with rasterio.open(asset.get_absolute_href() or "") as src:
            assert tuple(asset.extra_fields["proj:shape"]) == src.shape
            assert_array_equal(asset.extra_fields["proj:transform"], list(src.transform)[:6])
            assert asset.extra_fields["proj:code"] == src.crs.to_string()
            [band] = asset.extra_fields["bands"]
            assert (band["data_type"], band.get("nodata")) == (src.dtypes[0], src.nodata)
            if "raster:scale" in band:
                assert (band["raster:scale"], band["raster:offset"]) == (src.scales[0], src.offsets[0])
    used = {name.partition(":")[0] for name in content["properties"] if ":" in name}
    used |= {n.partition(":")[0] for a in content["assets"].values() for n in (*a, *a["bands"][0]) if ":" in n}
    named = {"proj": "projection", "s2": "sentinel-2"}
    declared = " ".join(content["stac_extensions"])
    assert {name for name in used if f"/{named.get(name, name)}" not in declared} <= {"s2"}
    return item


def test_the_item_is_valid_and_true_of_its_files(made: Path) -> None:
    item = check(made / "item.json")
    assert [key for key, asset in item.assets.items() if "reflectance" in (asset.roles or [])] == [
        name for name, _ in BANDS.values()
    ]
    assert {asset.media_type for asset in item.assets.values()} == {pystac.MediaType.COG}


def test_what_still_holds_is_kept(item: dict[str, Any], dates: TwoDates) -> None:
    before, properties = json.loads(dates.target.read_text()), item["properties"]
    assert (item["geometry"], item["bbox"]) == (before["geometry"], before["bbox"])
    for name in ("datetime", "platform", "constellation", "view:sun_elevation", "s2:processing_baseline"):
        assert properties[name] == before["properties"][name], name
    for name in ("s2:high_proba_clouds_percentage", "proj:epsg", "proj:shape", "updated"):
        assert name not in properties
    assert item["id"] != before["id"]
    assert "collection" not in item
    assert properties["eo:cloud_cover"] == 0  # nothing is left unfilled
    assert properties["processing:level"] == "L2A"
    assert list(properties["processing:software"]) == ["ClearSky"]
    assert before["id"] in properties["processing:lineage"]
    assert "checksum" not in json.dumps(item)


def test_it_names_what_it_is_derived_from(item: dict[str, Any], made: Path, dates: TwoDates) -> None:
    links = [link for link in item["links"] if link["rel"] == "derived_from"]
    for link, path in zip(links, (dates.target, dates.replacement), strict=True):
        origin = json.loads(path.read_text())
        assert (link["id"], link["datetime"]) == (origin["id"], origin["properties"]["datetime"])
        assert (made / link["href"]).resolve() == path


def test_bands_are_named_as_the_standard_names_them(item: dict[str, Any]) -> None:
    bands = {key: asset["bands"][0] for key, asset in item["assets"].items()}
    assert (bands["red"]["name"], bands["red"]["eo:common_name"]) == ("B04", "red")
    assert bands["rededge1"]["eo:common_name"] == "rededge"  # as the target has it
    assert bands["watervapor"]["eo:common_name"] == "nir09"
    assert (bands["red"]["raster:scale"], bands["red"]["raster:offset"]) == (SCALE, OFFSET)
    assert [item["assets"][name]["gsd"] for name in ("red", "swir16", "watervapor")] == [10, 20, 60]


def test_it_is_served_again_as_it_was_written(client: TestClient, made: Path, dates: TwoDates) -> None:
    asked: dict[str, Any] = {"url": str(made / "item.json")}
    scene = client.get("/stac/scene", params=asked).json()
    assert scene["warnings"] == []
    assert scene["level"] == "l2a"
    described = [tuple(band[key] for key in ("name", "asset", "scale", "offset", "nodata")) for band in scene["bands"]]
    assert described == [(name, name, SCALE, OFFSET, 0) for name, _ in BANDS.values()]
    before = client.get("/stac/scene", params={"url": str(dates.target)}).json()
    assert [band["name"] for band in before["bands"]] == [band["name"] for band in scene["bands"]]
    for key, (name, _) in BANDS.items():
        answer = client.get("/stac/preview.npy", params=asked | {"assets": name})
        shown = np.load(io.BytesIO(answer.content))[0]
        assert_array_equal(shown, read_raster(made / f"{key}.tif")[0], key)


def test_a_flag_of_an_offset_taken_off_leaves_none(client: TestClient, dates: TwoDates, folder: Path) -> None:
    """Earth Search's flag says that the offset in the metadata is not in the numbers; the result says just what is."""
    document = json.loads(dates.target.read_text())
    document["properties"]["earthsearch:boa_offset_applied"] = True
    flagged = dates.target.with_name("flagged.json")
    flagged.write_text(json.dumps(document))
    out = folder / "flagged"
    args = ["--replacement", dates.replacement, "--mask", dates.mask, "--assets", "red,green"]
    assert run(flagged, "--per-asset", out, *args) == 0
    item = json.loads((out / "item.json").read_text())
    assert not [name for name in item["properties"] if name.startswith("earthsearch")]
    scenes = [client.get("/stac/scene", params={"url": str(path)}).json() for path in (flagged, out / "item.json")]
    offsets = [{band["name"]: band["offset"] for band in scene["bands"]} for scene in scenes]
    assert offsets[1] == {"red": 0.0, "green": 0.0}
    assert offsets[1].items() <= offsets[0].items()


def test_signatures_stay_out_of_what_is_written(dates: TwoDates, folder: Path) -> None:
    out = folder / "signed"
    with range_server(folder) as far:
        names = [f"{far.base}{path.relative_to(folder)}?sig=SECRET" for path in (dates.target, dates.replacement)]
        args = ["--per-asset", out, "--replacement", names[1], "--mask", dates.mask, "--assets", "red"]
        assert run(names[0], *args) == 0
    item = json.loads((out / "item.json").read_text())
    assert [link["href"] for link in item["links"]] == [name.partition("?")[0] for name in names]
    for path in out.iterdir():
        assert b"SECRET" not in path.read_bytes(), path


@pytest.mark.parametrize("name", ["cdse", "planetary-landsat"])
def test_items_of_the_archives(client: TestClient, folder: Path, real_data: Path, name: str) -> None:
    """JPEG 2000, several resolutions of a band, no scale in the metadata, near infrared by another name."""
    pair, place = make_pair(size=(120, 120), cloud=0.2), folder / name
    archive, documents, items = ARCHIVES[name], real_data / "stac", []
    for date, image in (("cloudy", pair.target), ("clear", pair.replacement)):
        ground = {band: values * 1e-4 for band, values in zip(NAMES, image, strict=True)}
        items.append(write_item(place, date, archive, ground | {"nir08": ground["nir"]}, documents))
    metres = 30 if archive.landsat else 10
    mask = write_band(place / "mask.tif", pair.mask.astype(np.uint8), metres, nodata=None)
    out = place / "made"
    assert run(items[0], "--per-asset", out, "--replacement", items[1], "--mask", mask) == 0
    check(out / "item.json")
    scenes = [client.get("/stac/scene", params={"url": str(path)}).json() for path in (items[0], out / "item.json")]
    keys = ("name", "asset", "scale", "offset", "resolution")
    before, after = ([tuple(band[key] for key in keys) for band in scene["bands"]] for scene in scenes)
    assert after == before
    assert scenes[1]["level"] == scenes[0]["level"]


def test_a_file_and_a_list_of_files_get_an_item_too(folder: Path, dates: TwoDates) -> None:
    """With what is known of them; of an unknown date a span of time."""
    pair = make_pair(size=(96, 96), cloud=0.2)
    place = folder / "plain"
    place.mkdir()
    tags = {"ACQUISITION_DATE": "2020-05-04"}
    target = write_raster(place / "target.tif", pair.target, tags=tags)
    other = write_raster(place / "other.tif", pair.replacement)
    mask = write_mask(place / "mask.tif", pair.mask)
    args = ["--per-asset", place / "made", "--replacement", other, "--mask", mask, "--assets", "red,nir"]
    assert run(target, *args) == 0
    item = check(place / "made" / "item.json")
    assert (item.id, str(item.datetime)[:10]) == ("target-cloud-free", "2020-05-04")
    assert {path.name for path in (place / "made").glob("target*.tif")} == {"target_red.tif", "target_nir.tif"}
    west, south, east, north = item.bbox or []
    assert (14.9 < west < east < 15.1, 41.5 < south < north < 41.6) == (True, True)
    names = "{B02,B03,B04,B08}.tif"
    scenes = [f"{path.parent}/{names}" for path in (dates.target, dates.replacement)]
    out = folder / "listed"
    assert run(scenes[0], "--per-asset", out, "--replacement", scenes[1], "--mask", dates.mask) == 0
    item = check(out / "item.json")
    assert item.id == "cloudy-cloud-free"
    assert item.datetime is None
    assert list(item.assets)[:4] == ["B02", "B03", "B04", "B08"]
    assert len([link for link in item.links if link.rel == "derived_from"]) == 8
