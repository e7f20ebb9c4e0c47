"""One server, one browser and one scene for all tests of the viewer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
from scipy.ndimage import distance_transform_edt

from tests.helpers.browser import Browser
from tests.helpers.scenes import Demo
from tests.helpers.service import server_process
from tests.helpers.viewing import IDLE, ViewedScene, place_of


@pytest.fixture(scope="package")
def scene(demo_scene: Demo) -> ViewedScene:
    """A small demo scene, its deepest cloud over dark ground, and a place far from any cloud."""
    made = demo_scene(512)
    with rasterio.open(made.truth_mask) as file:
        classes, affine, crs = file.read(1), file.transform, file.crs
    inside = np.zeros(classes.shape, bool)
    inside[40:-40, 40:-40] = True
    depth = distance_transform_edt(classes == 1) * inside
    distance = distance_transform_edt(classes == 0) * inside
    places = [place_of(crs, affine, *divmod(int(a.argmax()), a.shape[1])) for a in (depth, distance)]
    return ViewedScene(made.cloudy.parent, str(made.cloudy), str(made.clear), *places)


@pytest.fixture(scope="package")
def server(scene: ViewedScene) -> Iterator[str]:
    """A server process; yields its address."""
    # Under a root path every address must work with the prefix and without: a proxy may strip it or leave it.
    with server_process(scene.folder, demo=str(scene.folder), root_path="/prefix") as base:
        yield base


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if binary is None:
        message = "no chromium on the PATH: install it to test the viewer's page"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with Browser(binary, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, server: str) -> Iterator[Browser]:
    """The browser, watched: every request stays on the server, nothing complains."""
    chromium.resize(1200, 800)
    chromium.clear()
    yield chromium
    assert chromium.hosts == {urlsplit(server).netloc}
    assert chromium.problems == []


@pytest.fixture
def page(browser: Browser, server: str, scene: ViewedScene) -> Browser:
    """The viewer with the demo scene loaded."""
    browser.open(f"{server}/viewer?{scene.query}")
    browser.wait(IDLE)
    return browser
