"""The viewer's tools in a real browser: any two views, the values of a place, what is dropped, and what fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from io import BytesIO
from urllib.parse import urlencode, urlsplit

import httpx2
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform
from scipy.ndimage import distance_transform_edt

from algorithms.options import OPTIONS
from tests.helpers.browser import Browser
from tests.helpers.viewing import (
    IDLE,
    ViewedScene,
    address_query,
    choose,
    colour_at,
    place_of,
    screen,
    settle,
    tile_queries,
)

SIDES = "[...document.querySelectorAll('.side')].map(e => e.textContent)"


def _drop(browser: Browser, text: str, on: str = "map") -> None:
    """Drop text on an element."""
    script = """((text, id) => {
        const data = new DataTransfer();
        data.setData('text/plain', text);
        document.getElementById(id).dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));
    })(%s, %s)"""
    browser.evaluate(script % (json.dumps(text), json.dumps(on)))


def _facts(browser: Browser) -> dict[str, str]:
    """What the page says of the place that was clicked, below the values."""
    return browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#place dt')].map(e => \
        [e.textContent, e.nextElementSibling.textContent]))"
    )


def test_any_two_views_are_compared(page: Browser, scene: ViewedScene) -> None:
    at = screen(page, scene.cloud)
    offered = page.evaluate("[...document.getElementById('left').options].map(o => o.value)")
    assert offered == page.evaluate("[...document.getElementById('right').options].map(o => o.value)")
    seen = {}
    page.press("End", on="#handle")  # all of it is left of the bar
    for view in offered:
        choose(page, "left", view)
        settle(page)
        seen[view] = colour_at(page, at)
        assert address_query(page).get("left", ["original"]) == [view]
        if view == "filled":  # the same on both sides
            assert page.evaluate("document.getElementById('swipe').hidden")
    assert seen["original"].min() > 210
    assert max(seen["filled"].min(), seen["replacement"].min()) < 200  # ground
    colours = {"cloud_mask": (255, 61, 139), "fill_source": (0, 166, 251)}
    for view, colour in colours.items():
        np.testing.assert_allclose(seen[view], colour, atol=3, err_msg=view)
    queries = [query for query in tile_queries(page) if query["url"] == [scene.replacement]]
    assert queries  # the replacement by itself, without anything of the target's
    assert {tuple(sorted(query)) for query in queries} == {("style", "tilesize", "url")}


def test_a_place_shows_the_values_before_and_after(page: Browser, scene: ViewedScene, server: str) -> None:
    x, y = screen(page, scene.cloud)
    page.drag((x, y), (x, y))
    page.wait("document.querySelector('#place table')")
    rows = page.evaluate(
        "[...document.querySelectorAll('#place tbody tr')].map(r => [...r.children].map(c => c.textContent))"
    )
    facts = _facts(page)
    # The page asks for the place that was clicked; the file itself has the original's values there.
    lat, lon = map(float, page.evaluate("document.querySelector('#place-values p').textContent").split(", "))
    with rasterio.open(scene.url) as file:
        xs, ys = transform("EPSG:4326", file.crs, [lon], [lat])
        original = next(iter(file.sample([(xs[0], ys[0])])))
        names = list(file.descriptions)
    assert [row[0] for row in rows] == [*names, "NDVI"]
    assert [float(row[1]) for row in rows[:-1]] == original.tolist()
    place = f"{server}/cog/point/{lon},{lat}?{scene.query}"
    filled = httpx2.get(place, timeout=60).json()["values"]
    assert [float(row[2]) for row in rows[:-1]] == [round(value, 1) for value in filled]
    after = dict(zip(names, filled, strict=True))
    ndvi = (after["nir"] - after["red"]) / (after["nir"] + after["red"])
    assert abs(float(rows[-1][2]) - ndvi) < 6e-4
    confidence = httpx2.get(f"{place}&algorithm=fill_confidence", timeout=60).json()["values"][0]
    assert facts["Mask"] == "cloud"
    assert facts["From"] == "replacement 1 (clear.tif)"
    assert facts["Confidence"] == f"{confidence:g} %"
    page.press("Escape", on="#map")
    assert page.evaluate("document.getElementById('place').hidden")
    page.press("Enter", on="#map")  # of the middle of the map
    page.wait("!document.getElementById('place').hidden")
    settle(page)


def test_the_mask_is_the_one_that_is_filled(page: Browser, server: str, scene: ViewedScene) -> None:
    """Refined by the replacement as the fill is, by the same switch; of the buffer the page says that it is there."""
    page.evaluate("document.getElementById('advanced').open = true")
    choose(page, "right", "original")  # no fills, which take longer
    choose(page, "left", "cloud_mask")
    settle(page)
    page.click("#refine")
    settle(page)
    legend = "document.getElementById('legend').innerText.includes('Buffer not shown')"
    for key in ("Home", "End"):
        page.press(key, on="#buffer")
        settle(page)
        assert page.evaluate(legend) == (key == "End")
    asked = [query for query in tile_queries(page) if query.get("algorithm") == ["cloud_mask"]]
    assert {tuple(query.get("replacement", [])) for query in asked} == {(scene.replacement,)}
    # The buffer is not part of the mask: for another one it is not asked for again.
    assert {query.get("algorithm_params", ["{}"])[0] for query in asked} == {"{}", '{"refine":false}'}
    query = scene.query + "&algorithm_params=" + json.dumps({"refine": False, "buffer": 15})
    mask, source = (
        np.load(BytesIO(httpx2.get(f"{server}/cog/preview.npy?{query}&algorithm={name}", timeout=60).content))[0]
        for name in ("cloud_mask", "fill_source")
    )
    depth = distance_transform_edt((mask == 0) & (source == 1))
    with rasterio.open(scene.url) as file:
        assert mask.shape == file.shape
        place = place_of(file.crs, file.transform, *divmod(int(depth.argmax()), depth.shape[1]))
    at = screen(page, place)
    page.drag(at, at)
    page.wait("document.querySelector('#place dl')")
    facts = _facts(page)
    assert (facts["Mask"], facts["From"]) == ("clear, in the buffer of a cloud", "replacement 1 (clear.tif)")


def test_a_search_that_fails_says_so_in_the_pages_words_until_the_next_change(page: Browser) -> None:
    page.evaluate("document.getElementById('find').open = true")
    asking: list[tuple[str, Callable[[], object], str]] = [
        ("suggest-note", lambda: page.click("#suggest"), "as “Cloudy image”"),
        ("find-note", lambda: page.press("Enter", on="#find-place"), "in the field “STAC API”"),
    ]
    for note, start, words in asking:
        start()
        text = f"document.getElementById('{note}').textContent"
        page.wait(f"{text}.includes({json.dumps(words)})")
        settle(page)
        assert not any(word in page.evaluate(text) for word in ("`", "=", "auto"))
        colours = f"['error', '{note}'].map(id => getComputedStyle(document.getElementById(id)).color)"
        assert len(set(page.evaluate(colours))) == 1  # an error, and no hint
        assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.getElementById('settings'))")
        page.click("#residual")
        page.wait(f"{text} === ''")
        settle(page)
    assert {problem.split(":")[0] for problem in page.problems} == {"Failed to load resource"}
    page.problems.clear()


def test_messages_break_long_paths(page: Browser) -> None:
    overflowing = page.evaluate("""(() => {
        document.querySelectorAll('details').forEach((one) => { one.open = true });
        document.getElementById('place').hidden = false;
        document.getElementById('place-values').append(document.createElement('p'));
        const settings = document.getElementById('settings');
        return [...document.querySelectorAll('#error, #hint, .note, .about, #place-values p')].filter((message) => {
            message.hidden = false;
            message.textContent = '/folder-without-a-blank'.repeat(20);
            return [message, message.parentElement, settings].some((box) => box.scrollWidth > box.clientWidth);
        }).map((message) => message.id || message.className || message.tagName);
    })()""")
    assert overflowing == []


def test_warnings_stand_next_to_the_picture_that_they_are_about(page: Browser, server: str, scene: ViewedScene) -> None:
    warning = "document.getElementById('warning')"
    assert page.evaluate(f"{warning}.hidden")
    mask = {"mask": f"{scene.folder}/truth_mask.tif", "mask_remap": "200 1"}
    page.open(f"{server}/viewer?{scene.query}&{urlencode(mask)}")
    page.wait(f"{IDLE} && !{warning}.hidden")
    said = page.evaluate(f"{warning}.innerText")
    assert "marks none" in said
    assert len(said.splitlines()) == 1  # once, however many tiles say so
    page.fill("#replacement", "")
    page.click("#settings button[type=submit]")
    page.wait(f"{IDLE} && {warning}.hidden")


def test_the_figures_are_those_of_the_view(page: Browser, server: str) -> None:
    """The share of cloud in view, put together from tiles, is that of one picture of it."""
    page.wait("document.getElementById('status').textContent.includes('cloud')")
    shown = page.evaluate("document.getElementById('status').textContent.match(/\\d+/g).map(Number)")
    page.evaluate("document.getElementById('share').open = true")
    choose(page, "snippet", "curl")
    address = page.evaluate("document.getElementById('text').value").split("'")[1]
    answer = httpx2.get(address.replace(".tif?", ".npy?"), timeout=60)
    wanted = [100 * float(answer.headers[f"X-Clearsky-{name}-Fraction"]) for name in ("Cloud", "Filled")]
    assert 5 < wanted[0] < 95
    np.testing.assert_allclose(shown, wanted, atol=3)


@pytest.fixture
def held(browser: Browser) -> Iterator[Browser]:
    """The browser, whose requests with a replacement wait for `release()`; what comes then is let through."""
    script = """(() => {
        const fetch = window.fetch;
        const gate = new Promise((open) => { window.release = open; });
        window.fetch = async (address, options) => {
            if (String(address).includes('/tiles/') && String(address).includes('replacement')) await gate;
            return fetch(address, options);
        };
    })()"""
    added = browser.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    yield browser
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


def test_the_original_stands_while_clouds_are_looked_for(held: Browser, server: str, scene: ViewedScene) -> None:
    held.open(f"{server}/viewer?{scene.query}&swipe=0")
    held.wait("!document.getElementById('looking').hidden")
    assert held.evaluate("document.getElementById('looking-text').textContent") == "Looking for clouds…"
    assert held.evaluate("document.getElementById('looking-count').textContent").startswith("0 of ")
    held.wait("document.querySelector('.leaflet-ground-pane .leaflet-tile-loaded')")
    held.wait("!document.querySelector('.leaflet-ground-pane .leaflet-tile:not(.leaflet-tile-loaded)')")
    at = screen(held, scene.cloud)
    assert colour_at(held, at).min() > 210  # the cloud, and not the empty ground
    held.evaluate("window.release()")
    settle(held)
    held.wait("document.getElementById('looking').hidden")
    assert colour_at(held, at).min() < 200


def test_a_wrong_replacement_leaves_the_original(page: Browser, server: str, scene: ViewedScene) -> None:
    at = screen(page, scene.cloud)
    before = colour_at(page, at)
    wrong = f"{scene.folder}/{'no-such-date-' * 20}.tif"
    words = httpx2.get(f"{server}/cog/scene?{urlencode({'url': scene.url, 'replacement': wrong})}", timeout=60).json()
    page.fill("#replacement", wrong)
    page.click("[type=submit]")
    page.wait("!document.getElementById('error').hidden")
    settle(page)
    page.press("Home", on="#handle")  # all of it is right of the bar
    np.testing.assert_allclose(colour_at(page, at), before, atol=8)
    page.wait(f"{SIDES}[1] === 'Original (cloud-free failed)'")
    assert page.evaluate("document.getElementById('error').textContent") == words["detail"]
    assert page.evaluate("(e => e.scrollHeight <= e.clientHeight)(document.getElementById('error'))")  # all of it
    assert page.problems
    assert all(problem.startswith("Failed to load resource") for problem in page.problems)
    page.problems.clear()


def test_what_is_dropped_is_shown(page: Browser, scene: ViewedScene) -> None:
    recipe = f"name: dropped\ntarget: {scene.url}\nreplacements: [{scene.replacement}]\nwindow: 100\nresidual: false\n\
mask: {{remap: '1 1;2 1'}}\nrender: {{bands: [nir, red, green], rescale: [[0, 6000]]}}\n"
    _drop(page, recipe)
    page.wait("location.search.includes('window=100')")
    settle(page)
    shown = address_query(page)
    assert shown == {
        "url": [scene.url], "replacement": [scene.replacement], "window": ["100"], "residual": ["false"],
        "bidx": ["4", "3", "2"], "rescale": ["0,6000"] * 3, "mask_remap": ["1 1;2 1"],
    }  # fmt: skip
    assert page.evaluate("document.getElementById('window').value") == "100"
    _drop(page, scene.replacement)
    page.wait(f"document.getElementById('url').value === {json.dumps(scene.replacement)}")
    settle(page)
    assert address_query(page)["url"] == [scene.replacement]
    assert "replacement" not in address_query(page)
    _drop(page, scene.url, on="replacement")
    page.wait("location.search.includes('replacement=')")
    settle(page)
    assert address_query(page)["replacement"] == [scene.url]
    _drop(page, "name: broken\ntarget: 5\n")
    page.wait("document.getElementById('error').textContent.includes('recipe.yaml:2: target=5')")
    page.problems.clear()


def test_zoom_stays_where_there_is_something_to_see(page: Browser, server: str, scene: ViewedScene) -> None:
    tilejson = httpx2.get(f"{server}/cog/WebMercatorQuad/tilejson.json?{scene.query}", timeout=60).json()
    for _ in range(12):
        page.evaluate("document.querySelector('.leaflet-control-zoom-out').click()")
    page.wait("document.querySelector('.leaflet-control-zoom-out').ariaDisabled === 'true'")
    settle(page)
    page.wait(f"/#\\d/.test(location.href) && parseFloat(location.hash.slice(1)) <= {tilejson['minzoom'] + 1}")
    zoom = float(page.evaluate("location.hash.slice(1).split('/')[0]"))
    asked = [urlsplit(address).path for address in page.requests if "/tiles/" in address]
    assert asked
    assert min(int(path.split("/")[-3]) for path in asked) >= tilejson["minzoom"]
    page.click("#fit")
    page.wait(f"Number(location.hash.slice(1).split('/')[0]) > {zoom}")
    settle(page)
    panel = page.evaluate("document.getElementById('panel').getBoundingClientRect().right")
    assert page.evaluate(IDLE)
    zoom = float(page.evaluate("location.hash.slice(1).split('/')[0]"))
    assert zoom % 0.25 == 0
    west, south, east, north = tilejson["bounds"]
    left, right = (screen(page, ((south + north) / 2, lon))[0] for lon in (west, east))
    assert panel < left < right < 1200  # in what the panel leaves free


def test_options_are_explained_where_they_are_set(page: Browser) -> None:
    for name, option in OPTIONS.items():
        about = page.evaluate(f"document.getElementById('about-{name}').textContent")
        assert about == f"{option.description}."
        assert page.evaluate(f"document.getElementById({json.dumps(name)}).title") == option.description
    page.click("[aria-controls=about-window]")
    assert page.evaluate("document.getElementById('about-window').checkVisibility()")


@pytest.mark.parametrize("width", [1200, 390])
def test_assistive_technology_finds_no_barrier(browser: Browser, server: str, scene: ViewedScene, width: int) -> None:
    """By the rules of axe-core, with every part of the page open."""
    browser.resize(width, 800, mobile=width < 640)
    browser.open(f"{server}/viewer?{scene.query}&panel=open&overlay=cloud_mask")
    browser.wait(IDLE)
    browser.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true })")
    browser.evaluate("document.querySelectorAll('.help').forEach((button) => button.click())")
    browser.press("Enter", on="#map")
    browser.wait("document.querySelector('#place table')")
    settle(browser)
    browser.evaluate((files("axe_core_python") / "axe.min.js").read_text() + "; 0")
    found = browser.evaluate(
        "axe.run().then(r => r.violations.map(v => [v.id, ...v.nodes.map(n => n.target.join(' '))]))"
    )
    assert found == []
    if width == 390:  # nothing is cut off at the side
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
