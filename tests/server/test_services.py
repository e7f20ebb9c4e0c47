"""Applications of one process, each with its own settings, caches and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server.app import create_app
from server.settings import Settings, get_settings
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import analysis_of, settings_used


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_raster(tmp_path_factory.mktemp("services") / "target.tif", make_pair(size=(64, 64)).target)


def settings(url: str, **chosen: object) -> Settings:
    return Settings(allowed_sources=(str(Path(url).parent),), prefetch=False, **chosen)  # type: ignore[arg-type]


def test_each_goes_by_its_own_settings(url: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"name: r\ntarget: {url}\n")
    one = settings(url, max_tile_size=256, cachecontrol="no-cache", recipes=tmp_path)
    other = settings(url, empty_outside=True)
    tile, outside = "/cog/tiles/WebMercatorQuad/12/2218/1527.png", "/cog/tiles/WebMercatorQuad/12/0/0.png"
    large: dict[str, Any] = {"url": url, "bidx": 1, "tilesize": 512}
    with settings_used(one), TestClient(create_app(one)) as first, TestClient(create_app(other)) as second:
        assert first.get(tile, params=large).status_code == 400
        assert second.get(tile, params=large).status_code == 200
        small = large | {"tilesize": 256}
        assert first.get(tile, params=small).headers["cache-control"] == "no-cache"
        assert second.get(tile, params=small).headers["cache-control"] == other.cachecontrol
        assert first.get(outside, params=small).status_code == 404
        assert second.get(outside, params=small).status_code == 204
        listed = [[r["name"] for r in client.get("/recipes").json()["recipes"]] for client in (first, second)]
        assert listed == [["r"], []]


def test_each_has_its_own_caches(url: str) -> None:
    chosen = settings(url)
    params: dict[str, Any] = {"url": url, "replacement": url, "bidx": 1}
    with settings_used(chosen), TestClient(create_app(chosen)) as first, TestClient(create_app(chosen)) as second:
        assert first.get("/cog/preview.png", params=params).status_code == 200
        kept = [analysis_of(client).cache.nbytes for client in (first, second)]
    assert kept[0] > 0
    assert kept[1] == 0


def test_the_allow_list_is_that_of_the_settings_given(url: str, tmp_path: Path) -> None:
    elsewhere = write_raster(tmp_path / "target.tif", make_pair(size=(64, 64)).target)
    chosen = settings(url)
    with settings_used(chosen), TestClient(create_app(chosen)) as client:
        assert client.get("/cog/info", params={"url": url}).status_code == 200
        assert client.get("/cog/info", params={"url": elsewhere}).status_code == 403


def test_without_settings_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARSKY_MAX_TILE_SIZE", "333")
    with settings_used(None):
        app = create_app()
        assert app.state.services.settings.max_tile_size == 333
        assert get_settings() is app.state.services.settings
        app.state.services.close()
