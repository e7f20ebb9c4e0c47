"""The viewer in a real browser, on a real server: what the pixels show, what the address keeps, what goes out."""

from __future__ import annotations

import json
import time
from dataclasses import fields
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import numpy as np
import pytest
import rasterio

from algorithms.options import OPTIONS
from algorithms.palettes import PALETTES
from server.http.params import RequestParams
from server.raster.sources import Sources
from server.settings import Settings
from server.viewer import viewer_defaults
from tests.helpers.browser import Browser
from tests.helpers.scenes import Demo
from tests.helpers.viewing import (
    IDLE,
    ViewedScene,
    address_query,
    choose,
    colour_at,
    move_swipe,
    screen,
    settle,
    tile_queries,
)

CLOUD_COLOUR = np.array([0xFF, 0x3D, 0x8B])  # of the overlay's class "Cloud"


def test_clouds_left_of_the_bar_and_none_right_of_it(page: Browser, scene: ViewedScene) -> None:
    cloud, clear = screen(page, scene.cloud), screen(page, scene.clear)
    move_swipe(page, max(cloud[0], clear[0]) + 60)
    original, ground = colour_at(page, cloud), colour_at(page, clear)
    assert original.min() > 210  # nearly white, and not flat
    move_swipe(page, min(cloud[0], clear[0]) - 60)
    assert colour_at(page, cloud).min() < 200
    # Off the clouds both sides are the same picture; WebP is lossy.
    np.testing.assert_allclose(colour_at(page, clear), ground, atol=8)
    assert ground.min() < 200
    tiles = tile_queries(page)
    assert {len(query.get("replacement", [])) for query in tiles} == {0, 1}
    assert all((query["url"], query["style"]) == ([scene.url], ["natural"]) for query in tiles)


def test_overlay_and_its_opacity(page: Browser, scene: ViewedScene) -> None:
    cloud, clear = screen(page, scene.cloud), screen(page, scene.clear)
    move_swipe(page, max(cloud[0], clear[0]) + 60)
    original, ground = colour_at(page, cloud), colour_at(page, clear)
    page.click("#overlay-on")
    settle(page)
    np.testing.assert_allclose(colour_at(page, cloud), 0.4 * original + 0.6 * CLOUD_COLOUR, atol=4)
    np.testing.assert_allclose(colour_at(page, clear), ground, atol=1)  # clear ground is transparent
    assert page.evaluate("document.getElementById('legend').innerText.split('\\n')") == [
        "Cloud", "Cloud shadow", "Buffer not shown"
    ]  # fmt: skip
    page.press("End", on="#opacity")
    np.testing.assert_allclose(colour_at(page, cloud), CLOUD_COLOUR, atol=2)
    page.press("Home", on="#opacity")
    np.testing.assert_allclose(colour_at(page, cloud), original, atol=1)
    page.wait("location.search.includes('opacity=0')")
    assert address_query(page)["overlay"] == ["cloud_mask"]


def test_other_overlays_colour_the_cloud_only(browser: Browser, server: str, scene: ViewedScene) -> None:
    browser.open(f"{server}/viewer?{scene.query}&overlay=cloud_probability&opacity=100&swipe=0")
    for overlay in ("cloud_probability", "fill_source", "fill_confidence"):
        if overlay != "cloud_probability":
            choose(browser, "overlay", overlay)
        settle(browser)
        colours = _legend(browser)
        at, off = colour_at(browser, screen(browser, scene.cloud)), colour_at(browser, screen(browser, scene.clear))
        assert any(np.abs(at - colour).max() < 3 for colour in colours), overlay
        assert all(np.abs(off - colour).max() > 3 for colour in colours), overlay


def _legend(browser: Browser) -> list[np.ndarray]:
    """Colours of the legend."""
    script = "[...document.querySelectorAll('.swatch')].map(e => getComputedStyle(e).backgroundColor.match(/\\d+/g))"
    return [np.array(colour, float) for colour in browser.evaluate(script)]


def test_buffer_asks_for_new_tiles_once_and_stays_in_the_address(page: Browser) -> None:
    default = page.evaluate("Number(document.getElementById('buffer').value)")
    page.clear()
    for _ in range(3):
        page.press("ArrowRight", on="#buffer")
    settle(page)
    assert address_query(page)["buffer"] == [str(default + 3)]
    tiles = tile_queries(page)
    # The steps in between are not asked for, nor is the original again.
    assert tiles
    assert {query["algorithm_params"][0] for query in tiles} == {
        json.dumps({"buffer": default + 3}, separators=(",", ":"))
    }
    page.clear()
    page.press("End", on="#window")
    settle(page)
    assert address_query(page)["window"] == ["400"]
    assert all(json.loads(query["algorithm_params"][0])["window"] == 400 for query in tile_queries(page))


def test_reload_brings_everything_back(page: Browser, scene: ViewedScene) -> None:
    page.press("ArrowRight", on="#window")
    page.press("ArrowLeft", on="#buffer")
    page.click("#residual")
    for field, value in (("adjustment", "moment"), ("preset", "false-color"), ("overlay", "fill_source")):
        choose(page, field, value)
    settle(page)
    assert page.evaluate("document.getElementById('band-0').value") == "4"  # the preset came before the overlay
    page.click("#auto")  # ranges of its own, to be changed
    settle(page)
    page.fill("#max-0", "7000")
    page.press("Enter", on="#max-0")
    settle(page)
    move_swipe(page, 700)
    page.press("ArrowLeft", on="#opacity")
    page.click(".leaflet-control-zoom-in")
    page.press("ArrowRight", on="#map")
    page.wait("/swipe=58.3.*#15/.test(location.href)")
    settle(page)
    time.sleep(0.3)  # the address follows the view with a short delay
    page.evaluate("document.activeElement.blur()")
    fields = "[...document.querySelectorAll('input, select, textarea')]"
    state = f"[location.href, handle.ariaValueNow, ...{fields}.map(e => e.type === 'checkbox' ? e.checked : e.value)]"
    before, picture = page.evaluate(state), np.asarray(page.screenshot(), float)
    search = address_query(page)
    wanted = {"window": "100", "buffer": "1", "adjustment": "moment", "residual": "false", "overlay": "fill_source"}
    assert {name: search[name][0] for name in wanted} == wanted
    assert search["style"] == ["false-color"]
    assert len(search["rescale"]) == 3
    assert search["rescale"][0].endswith(",7000")
    page.reload()
    settle(page)
    assert page.evaluate(state) == before
    for _ in range(25):  # tiles that are there fade in
        now = np.asarray(page.screenshot(), float)
        differs = float(np.abs(now - picture)[:, 320:].mean())  # the panel may be scrolled
        if differs < 0.5:
            break
        time.sleep(0.2)
    assert differs < 0.5


def test_keyboard_moves_the_bar(page: Browser, scene: ViewedScene) -> None:
    def position() -> int:
        return int(page.evaluate("document.getElementById('handle').ariaValueNow"))

    cloud = screen(page, scene.cloud)
    start = position()
    page.press("ArrowRight", on="#handle")
    page.press("ArrowRight")
    assert position() == start + 2
    page.press("ArrowLeft")
    assert position() == start + 1
    page.press("End")
    assert position() == 100
    assert colour_at(page, cloud).min() > 210
    page.press("Home")
    assert position() == 0
    assert colour_at(page, cloud).min() < 200
    page.wait("location.search.includes('swipe=0')")


def _only_failed_requests(browser: Browser) -> None:
    """Failed requests are what the test is about; everything else in the console is not."""
    assert browser.problems
    assert all(problem.startswith("Failed to load resource") for problem in browser.problems)
    browser.problems.clear()


def test_bad_url_shows_the_servers_words(page: Browser, server: str, scene: ViewedScene) -> None:
    bad = str(scene.folder / "<img src=x onerror=alert(1)>.tif")
    answer = httpx2.get(f"{server}/cog/info?url={quote(bad)}", timeout=60)
    assert answer.status_code == 404
    page.fill("#url", bad)
    page.press("Enter", on="#url")
    page.wait("!document.getElementById('error').hidden")
    settle(page)
    assert page.evaluate("document.getElementById('error').textContent") == answer.json()["detail"]
    assert page.evaluate("document.querySelectorAll('#error *').length") == 0  # text, not markup
    assert page.evaluate("document.querySelectorAll('.leaflet-tile').length") == 0
    assert address_query(page)["url"] == [bad]
    _only_failed_requests(page)
    page.fill("#url", scene.url)
    page.press("Enter", on="#url")
    page.wait("document.getElementById('error').hidden")
    page.wait("document.querySelectorAll('.leaflet-tile').length")
    settle(page)


def test_failing_tiles_show_the_servers_words(browser: Browser, server: str, scene: ViewedScene) -> None:
    elsewhere = scene.folder / "elsewhere.tif"
    with rasterio.open(scene.replacement) as source:
        profile = source.profile | {"transform": rasterio.Affine.translation(90_000, 0) @ source.transform}
        with rasterio.open(elsewhere, "w", **profile) as file:
            file.write(source.read())
            file.descriptions = source.descriptions
    browser.open(f"{server}/viewer?{urlencode({'url': scene.url, 'replacement': elsewhere})}")
    complaint = "document.getElementById('error').textContent.includes('does not overlap')"
    browser.wait(complaint)
    settle(browser)
    browser.click("#overlay-on")  # a setting that mends nothing does not take the message away
    settle(browser)
    browser.wait(complaint)
    _only_failed_requests(browser)


@pytest.mark.parametrize("prefix", ["", "/prefix"])
def test_without_a_query_it_shows_the_demo(browser: Browser, server: str, scene: ViewedScene, prefix: str) -> None:
    browser.open(f"{server}{prefix}/viewer")
    settle(browser)
    assert browser.evaluate("document.getElementById('url').value") == scene.url
    assert browser.evaluate("document.getElementById('replacement').value") == scene.replacement
    assert address_query(browser) == {"url": [scene.url], "replacement": [scene.replacement]}
    assert all(urlsplit(address).path.startswith(f"{prefix}/") for address in browser.requests if "http" in address)
    assert colour_at(browser, screen(browser, scene.clear)).max() > 60  # not the empty ground


def test_without_a_demo_it_says_how_to_start(browser: Browser, server: str, scene: ViewedScene) -> None:
    cloudy = Path(scene.url)
    hidden = cloudy.rename(cloudy.with_suffix(".hidden"))
    try:
        browser.open(f"{server}/viewer")
        settle(browser)
    finally:
        hidden.rename(cloudy)
    assert "clearsky demo" in browser.evaluate("document.getElementById('hint').innerText")
    assert browser.evaluate("document.getElementById('error').hidden")
    assert tile_queries(browser) == []
    browser.click("#toggle")  # the map has no view yet
    browser.wait("location.search.includes('panel=closed')")


def test_without_a_replacement_it_shows_the_original_alone(browser: Browser, server: str, scene: ViewedScene) -> None:
    browser.open(f"{server}/viewer?{urlencode({'url': scene.url})}")
    settle(browser)
    assert browser.evaluate("document.getElementById('swipe').hidden")
    assert tile_queries(browser)
    assert all("replacement" not in query for query in tile_queries(browser))


def test_on_a_phone_the_sheet_opens_below_the_map(browser: Browser, server: str, scene: ViewedScene) -> None:
    browser.resize(390, 844, mobile=True)
    browser.open(f"{server}/viewer?{scene.query}")
    settle(browser)
    height = "document.getElementById('map').clientHeight"
    assert browser.evaluate("document.getElementById('settings').hidden")
    assert browser.evaluate(height) > 760
    browser.click("#toggle")
    browser.wait(f"{height} < 500 && !document.getElementById('settings').hidden")
    browser.click("#toggle")
    browser.wait(f"{height} > 760")
    y = browser.evaluate("(r => r.y + r.height / 2)(document.getElementById('handle').getBoundingClientRect())")
    browser.touch_drag((195, y), (300, y))
    assert abs(browser.evaluate("Number(document.getElementById('handle').ariaValueNow)") - 300 / 3.9) < 2


def test_every_field_has_a_name(page: Browser) -> None:
    names = "[...document.querySelectorAll('input, select, textarea, button')].map(e => [e.id, e.ariaLabel, \
      [...(e.labels ?? [])].map(l => l.textContent).join(' '), e.tagName === 'BUTTON' ? e.textContent.trim() : ''])"
    fields = page.evaluate(names)
    assert len(fields) > 15
    assert [field[0] for field in fields if not any(field[1:])] == []


def test_page_and_assets(server: str) -> None:
    answer = httpx2.get(f"{server}/viewer", timeout=60)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert b"http://" not in answer.content
    assert b"//" not in answer.content.replace(b"<!doctype html>", b"")  # no address but relative ones
    for name in ("viewer/static/viewer.js", "viewer/static/viewer.css", "assets/leaflet/leaflet.js"):
        assert httpx2.get(f"{server}/{name}", timeout=60).status_code == 200, name
    for name in ("nothing.js", "..%2f__init__.py", "static", ""):
        assert httpx2.get(f"{server}/viewer/static/{name}", timeout=60).status_code == 404, name


def test_legends_have_every_class(tmp_path: Path) -> None:
    """The page's legends are the palettes of the pictures, sources as far as requests have them."""
    legends = viewer_defaults(Settings(demo=tmp_path), Sources.of(Settings()))["palettes"]
    for name, classes in PALETTES.items():
        low = [part["low"] for part in legends[name]]
        kept = [part.low for part in classes if name != "fill_source" or part.low in {*range(1, 65), 255}]
        assert low == kept


def test_defaults_name_a_complete_demo_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    demo = Path("demo")
    settings = Settings(demo=demo)
    sources = Sources.of(settings)
    assert viewer_defaults(settings, sources)["url"] is None
    demo.mkdir()
    (demo / "cloudy.tif").touch()
    assert viewer_defaults(settings, sources)["url"] is None
    (demo / "clear.tif").touch()
    defaults = viewer_defaults(settings, sources)
    assert (defaults["url"], defaults["replacement"]) == ("demo/cloudy.tif", ["demo/clear.tif"])


@pytest.mark.parametrize("absent", ["mask_bits", "mask_remap"])  # one or the other says which values are cloud
def test_an_address_carries_every_parameter_of_a_request(
    browser: Browser, server: str, scene: ViewedScene, demo_scene: Demo, absent: str
) -> None:
    """Those without a field reach the tiles, and the address keeps them; the rest has fields."""
    mask = str(demo_scene(512).truth_mask)
    asked = {
        "mask": mask, "mask_bits": "0", "replacement_mask": mask, "mask_remap": "1 1", "model": "ukis-6b-l2a",
        "level": "l2a", "bands": "blue,green,red,nir,swir16,swir22", "reflectance_scale": "0.0001",
        "reflectance_offset": "0", "assets": "red", "nodata": "0", "replacement_reflectance_scale": "0.0001",
        "replacement_reflectance_offset": "0",
    }  # fmt: skip
    del asked[absent]
    options = {"refine": "false", "unfilled": "nodata"}
    assert {f.name for f in fields(RequestParams)} - set(asked) == {"url", "replacement", absent}
    assert set(options) == {name for name, option in OPTIONS.items() if option.advanced}
    browser.open(f"{server}/viewer?{scene.query}&{urlencode(asked | options)}&overlay=cloud_mask")
    settle(browser)
    told = {name: values[0] for name, values in address_query(browser).items()}
    assert {name: told.get(name) for name in asked | options} == asked | options
    tiles = tile_queries(browser)
    filled = [query for query in tiles if "algorithm_params" in query and "algorithm" not in query]
    assert {len(query.get("replacement_mask", [])) for query in tiles} == {0, 1}  # with the replacements only
    assert {name: filled[0][name] for name in asked} == {name: [value] for name, value in asked.items()}
    assert json.loads(filled[0]["algorithm_params"][0]) == {"refine": False, "unfilled": "nodata"}


def test_every_option_has_a_field_of_its_range(page: Browser) -> None:
    fields, values = page.evaluate(
        """(fields => [
            fields.map(e => [e.id, e.type === 'range' ? [e.min, e.max, e.step] : e.tagName === 'SELECT' ?
                             [...e.options].map(o => o.value) : e.type]),
            fields.map(e => [e.id, e.type === 'checkbox' ? e.checked : e.value]),
        ].map(Object.fromEntries))([...document.querySelectorAll('#removal input, #removal select')])"""
    )
    assert list(fields) == sorted(OPTIONS, key=lambda name: OPTIONS[name].advanced)
    for name, option in OPTIONS.items():
        if option.range is not None:
            assert fields[name] == [str(option.range.least), str(option.range.most), str(option.range.step)]
            assert values[name] == str(option.default)
        else:
            assert fields[name] == (list(option.tiled_choices) or "checkbox")
            assert values[name] == option.default
    told = page.evaluate("[...document.querySelectorAll('#removal output')].map(e => e.textContent)")
    assert told == ["80 px", "2 (4 px)", "10"]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ("window=1000&buffer=-3&adjustment=magic&residual=false", ["400", "0", "regression", False]),
        ("window=71&buffer=3.6&adjustment=moment&residual=true", ["80", "4", "moment", True]),
        ("window=&buffer=x", ["80", "2", "regression", True]),
    ],
)
def test_an_address_with_values_out_of_range_takes_the_nearest(
    browser: Browser, server: str, scene: ViewedScene, asked: str, wanted: list[object]
) -> None:
    browser.open(f"{server}/viewer?{urlencode({'url': scene.url})}&{asked}")
    browser.wait(IDLE)
    fields = "['window', 'buffer', 'adjustment'].map(id => document.getElementById(id).value)"
    assert browser.evaluate(f"[...{fields}, document.getElementById('residual').checked]") == wanted
