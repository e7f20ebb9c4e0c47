"""The choice of replacements: APIs that fail or lie, limits, dates that cover the clouds together, one choice each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from algorithms.errors import ClearSkyError, ParameterError
from server.analysis import choosing
from server.analysis.choosing import Chooser
from server.analysis.engine import Analysis
from server.analysis.offers import Ranking
from server.analysis.request import Request
from server.analysis.sharing import shared_cache
from server.errors import (
    SourceFaultError,
    SourceForbiddenError,
    SourceMissingError,
    SourceTimeoutError,
    SourceUnreadableError,
)
from tests.helpers.archives import write_band
from tests.helpers.scenes import Demo, read_raster
from tests.helpers.service import sources_by
from tests.helpers.stacapi import HERE, Answer, StacApi, put, scl_with, stac_api


@pytest.fixture(autouse=True)
def usual(api: StacApi) -> Iterator[None]:
    """The API as it is, after each test that has it behave otherwise."""
    yield
    api.instead = lambda request: None
    api.page, api.posts = PAGE_ITEMS, False
    api.searched.clear()


PAGE_ITEMS = 3


def chooser(api: StacApi, named: str | None = None, *, allowed: str = "", **settings: str) -> Chooser:
    """What chooses, without any memory."""
    sources = sources_by(allowed or f"{api.folder},{api.base}/", **settings)
    analysis = Analysis(sources, cache_bytes=1 << 24, threads=2, shared=shared_cache(settings.get("cache_url")))
    return Chooser(sources, analysis, api=named, retry=30, threads=8)


def ranking(api: StacApi, instead: Answer | None = None, **settings: str) -> Ranking:
    """The dates for the target."""
    if instead is not None:
        api.instead = instead
    return chooser(api, **settings).ranking(Request(api.address("target"), mask="scl"))


def on_search(answer: Callable[[HttpRequest], Any]) -> Answer:
    return lambda request: answer(request) if request.url.path == "/search" else None


def page(*features: Any, following: str | None = None) -> JSONResponse:
    links = [{"rel": "next", "href": following}] if following else []
    return JSONResponse({"type": "FeatureCollection", "features": features, "links": links})


def test_many_who_ask_at_once_wait_for_one_choice(api: StacApi) -> None:
    request, one = Request(api.address("target"), mask="scl", replacements=("auto",)), chooser(api)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one.resolved, [request] * 8))
    assert {other.replacements for other in found} == {(api.address("right_1"),)}
    assert len(api.searched) == len({json.dumps(query) for query in api.searched})


def test_workers_take_one_choice(api: StacApi, tmp_path: Path) -> None:
    request, shared = Request(api.address("target"), mask="scl"), (tmp_path / "shared").as_uri()
    first = chooser(api, cache_url=shared).ranking(request)
    searched = len(api.searched)
    assert chooser(api, cache_url=shared).ranking(request) == first
    assert len(api.searched) == searched > 0


def test_chosen_dates_stand_where_auto_does(api: StacApi) -> None:
    named = ("first.tif", "auto", "last.tif", api.address("right_1"))
    found = chooser(api).resolved(Request(api.address("target"), mask="scl", replacements=named))
    assert found.replacements == ("first.tif", api.address("right_1"), "last.tif")


def test_the_api_of_the_settings_goes_before_the_items_own(api: StacApi) -> None:
    request = Request(str(api.folder / "target.json"), mask="scl")
    assert chooser(api, api.base).ranking(request).ids == ("right_1",)
    with pytest.raises(SourceForbiddenError, match="earth-search"):
        chooser(api).ranking(request)
    with pytest.raises(SourceForbiddenError, match="CLEARSKY_ALLOWED_SOURCES"):
        chooser(api, api.base, allowed=f"{api.folder},{api.base}/collections").ranking(request)
    with pytest.raises(ParameterError, match="https://"):
        chooser(api, "/data/catalogue").ranking(request)


def write_safe(folder: Path) -> Path:
    """The target as the product of Sentinel-2 that it was made from, in four bands."""
    product = folder / "S2A_MSIL2A_20250615T100000_N0511_R122_T33TVG_20250615T150000.SAFE"
    picture = "GRANULE/L2A_T33TVG/IMG_DATA/R{0}m/T33TVG_20250615T100000_{1}_{0}m.jp2"
    with rasterio.open(folder / "target-red.tif") as src:
        red = src.read(1)
    for band, metres, values in [*((f"B0{k}", 10, red) for k in (2, 3, 4, 8)), ("SCL", 20, scl_with(HERE))]:
        path = product / picture.format(metres, band)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_band(path, values, metres)
    (product / "MTD_MSIL2A.xml").write_text(
        f"<a><PRODUCT_URI>{product.name}</PRODUCT_URI><PRODUCT_START_TIME>2025-06-15T10:00:00Z</PRODUCT_START_TIME>"
        "<PROCESSING_BASELINE>05.11</PROCESSING_BASELINE></a>"
    )
    return product


def test_a_product_in_a_folder_is_searched_for_in_the_api_of_the_settings(api: StacApi) -> None:
    request = Request(str(write_safe(api.folder)))
    found = chooser(api, api.base).ranking(request)
    assert (found.ids, found.collection, found.target.tile) == (("right_1",), "sentinel-2-l2a", "33TVG")
    with pytest.raises(ParameterError, match="CLEARSKY_STAC_API"):
        chooser(api).ranking(request)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (lambda _: page(), SourceMissingError, "no other dates.*name the replacements"),
        (lambda _: JSONResponse({"type": "Feature"}), SourceUnreadableError, "without a list of STAC Items"),
        (lambda _: PlainTextResponse("<html>"), SourceUnreadableError, "does not answer with JSON"),
        (lambda _: JSONResponse({}, status_code=500), SourceFaultError, "500"),
        (lambda _: JSONResponse({}, status_code=400), SourceFaultError, "400"),
        (lambda _: page(following="http://169.254.169.254/latest"), SourceForbiddenError, "169.254.169.254"),
        (lambda _: page(following="file:///etc/passwd"), SourceUnreadableError, "not a web address"),
        (lambda _: RedirectResponse("http://169.254.169.254/latest"), SourceForbiddenError, "redirects"),
        (lambda _: PlainTextResponse("[" * 100_000), SourceUnreadableError, "does not answer with JSON"),
    ],
)
def test_apis_that_fail_are_named(
    api: StacApi, answer: Callable[[HttpRequest], Any], kind: type[ClearSkyError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        ranking(api, on_search(answer))


def test_a_failure_is_remembered_for_a_while(api: StacApi) -> None:
    one, request = chooser(api), Request(api.address("target"), mask="scl")
    api.instead = on_search(lambda _: JSONResponse({}, status_code=400))
    for _ in range(2):
        with pytest.raises(SourceFaultError, match="400"):
            one.ranking(request)
        api.instead = on_search(lambda _: pytest.fail("asked again"))


def test_an_address_that_is_no_api_is_refused(api: StacApi) -> None:
    with pytest.raises(SourceUnreadableError, match=r"not a STAC API.*CLEARSKY_STAC_API"):
        ranking(api, lambda request: JSONResponse({"links": []}) if request.url.path == "/" else None)


def test_an_api_that_does_not_answer_takes_no_longer_than_it_may(api: StacApi) -> None:
    begun = time.monotonic()
    with pytest.raises(SourceTimeoutError, match=r"0\.5 s"):
        ranking(api, on_search(lambda _: time.sleep(1.5)), source_timeout="0.5")
    assert time.monotonic() - begun < 10


def test_pages_by_post_have_the_same_dates(api: StacApi) -> None:
    api.page, by_get = 1, ranking(api)
    asked, api.searched[:] = len(api.searched), []
    api.posts = True
    assert ranking(api) == by_get
    assert len(api.searched) >= asked > 1
    assert all("collections" in query for query in api.searched)  # what is merged keeps the search


def test_pages_that_lead_in_a_circle_or_on_and_on_end(api: StacApi) -> None:
    items = [api.shown(item) for item in api.items]
    circle = ranking(api, on_search(lambda request: page(*items, following=str(request.url))))
    assert circle.ids == ("right_1",)
    assert ["circle" in text for text in circle.warnings] == [True]
    count = iter(range(10_000))
    endless = on_search(lambda request: page(*items, following=f"{api.base}/search?collections=&page={next(count)}"))
    assert any("more" in text for text in ranking(api, endless).warnings)
    assert next(count) < 50
    many = [{**items[1], "id": f"copy{k}"} for k in range(500)]
    flood = ranking(api, on_search(lambda _: page(*items, *many)))
    assert (flood.items, flood.ids) == (200, ("right_1",))


def with_mask(item: dict[str, Any], file: str) -> dict[str, Any]:
    """An Item with another mask."""
    scl = item["assets"]["scl"]
    return item | {"assets": item["assets"] | {"scl": scl | {"href": f"{scl['href'].rpartition('/')[0]}/{file}"}}}


@pytest.fixture(scope="module", autouse=True)
def bad_masks(api: StacApi) -> None:
    """A mask that ends in its pixels, and one of another place."""
    path = write_band(api.folder / "damaged.tif", np.random.default_rng(0).integers(0, 11, (80, 80), np.uint8), 20)
    with rasterio.open(path) as src:
        place = int(src.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1))
    path.write_bytes(path.read_bytes()[: place + 50])
    with rasterio.open(write_band(api.folder / "elsewhere.tif", scl_with(), 20), "r+") as dst:
        dst.transform = rasterio.Affine(20, 0, 9e5, 0, -20, 9e5)


LIES: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "no geometry": lambda item: item | {"geometry": None, "bbox": None},
    "elsewhere": lambda item: item | {"bbox": [1, 2, 3, 4]},
    "wrong collection": lambda item: item | {"collection": "landsat-c2-l2"},
    "no collection": lambda item: {name: value for name, value in item.items() if name != "collection"},
    "no date": lambda item: item | {"properties": item["properties"] | {"datetime": None}},
    "cover of 999": lambda item: item | {"properties": item["properties"] | {"eo:cloud_cover": 999}},
    "no cover": lambda item: item | {"properties": item["properties"] | {"eo:cloud_cover": None}},
    "no assets": lambda item: item | {"assets": {}},
    "assets elsewhere": lambda item: (
        item | {"assets": {k: v | {"href": "http://169.254.169.254/x.tif"} for k, v in item["assets"].items()}}
    ),
    "mask missing": lambda item: with_mask(item, "missing.tif"),
    "mask damaged": lambda item: with_mask(item, "damaged.tif"),
    "mask of text": lambda item: with_mask(item, "target.json"),
    "mask elsewhere": lambda item: with_mask(item, "elsewhere.tif"),
    "no self link": lambda item: item | {"links": []},
    "another's self link": lambda item: item | {"links": [{"rel": "self", "href": "https://169.254.169.254/a"}]},
    "text": lambda _: "Item",
    "null": lambda _: None,
}
HARMLESS: Final = {"no geometry", "cover of 999", "no cover"}


@pytest.mark.parametrize("lie", LIES)
def test_one_item_that_lies_does_not_keep_another_from_being_chosen(api: StacApi, lie: str) -> None:
    """It shows what `far` does, the day after the target; the API does not have it at the address that it should."""
    liar = api.shown(next(item for item in api.items if item["id"] == "far"))
    liar = liar | {"id": "liar", "properties": liar["properties"] | {"datetime": "2025-06-16T10:00:00Z"}}
    others = [api.shown(item) for item in api.items if item["id"] != "far"]
    found = ranking(api, on_search(lambda _: page(LIES[lie](liar), *others)))
    named = {item.id for item in found.left_out} | {offer.acquisition.id for offer in found.offers}
    assert lie in ("text", "null") or "liar" in named
    assert found.ids == (("liar",) if lie in HARMLESS else ("right_1",))


def test_a_date_whose_bands_cannot_be_read_is_passed_over(api: StacApi, documents: Path) -> None:
    put(api, "broken", "2025-06-16", documents)
    (api.folder / "broken-nir.tif").unlink()
    try:
        found = ranking(api)
    finally:
        api.items.pop()
    assert found.ids == ("right_1",)
    assert {item.id: "broken-nir.tif" in item.reason for item in found.left_out}["broken"]


def test_a_choice_without_a_date_that_could_not_be_seen_is_made_again(
    api: StacApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers would show different dates for a day otherwise, because a server had a bad minute."""
    monkeypatch.setattr(choosing, "PROVISIONAL_SECONDS", 0.0)
    one, request = chooser(api, source_check="0.01"), Request(api.address("target"), mask="scl")
    api.instead = lambda asked: Response(status_code=503) if "right_1-scl" in asked.url.path else None
    found = one.ranking(request)
    assert "right_1" not in found.ids
    assert [text for text in found.warnings if "right_1 could not be looked at" in text]
    api.instead = lambda _: None
    found = one.ranking(request)
    assert (found.ids, found.warnings, found.provisional) == (("right_1",), (), False)


def test_dates_that_cover_the_clouds_together_are_chosen_together(tmp_path: Path, documents: Path) -> None:
    left, right = (slice(16, 60), slice(20, 36)), (slice(16, 60), slice(36, 56))
    with stac_api(tmp_path) as api:
        put(api, "target", "2025-06-15", documents, HERE)
        put(api, "left", "2025-06-17", documents, left)
        put(api, "right", "2025-06-20", documents, right)
        put(api, "right-too", "2025-06-25", documents, right)
        found = ranking(api)
        assert sorted(found.ids) == ["left", "right"]
        assert found.covered == 1
        put(api, "cloudless", "2025-06-18", documents)
        cloudless = chooser(api).ranking(Request(api.address("cloudless"), mask="scl"))
        assert (cloudless.ids, cloudless.cloud_fraction) == (("left",), 0)  # the nearest
        for item in api.items[1:]:
            item["properties"]["datetime"] = "2025-06-15T10:01:00Z"
        with pytest.raises(SourceMissingError, match=r"own clouds.*name the replacements"):
            ranking(api)


def test_without_masks_of_their_own_the_model_looks(tmp_path: Path, documents: Path, demo_scene: Demo) -> None:
    scene = demo_scene(512)
    cloudy, clear = (read_raster(path) for path in (scene.cloudy, scene.clear))
    with stac_api(tmp_path) as api:
        put(api, "target", "2025-06-15", documents, values=cloudy)
        put(api, "cloudy-here", "2025-06-17", documents, values=cloudy, cover=0.0)
        put(api, "clear", "2025-07-20", documents, values=clear, cover=60.0)
        found = chooser(api).ranking(Request(api.address("target")))
    assert found.ids == ("clear",)
    assert found.cloud_fraction == pytest.approx((read_raster(scene.truth_mask) > 0).mean(), abs=0.1)
    assert found.covered > 0.9
