"""Applications of one process, each with its own settings, caches and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server.app import create_app
from server.settings import Settings
from tests.helpers.rangeserver import range_server
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import analysis_of, application


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
    with TestClient(create_app(one)) as first, TestClient(create_app(other)) as second:
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
    with TestClient(create_app(chosen)) as first, TestClient(create_app(chosen)) as second:
        assert first.get("/cog/preview.png", params=params).status_code == 200
        kept = [analysis_of(client).cache.nbytes for client in (first, second)]
    assert kept[0] > 0
    assert kept[1] == 0


@pytest.mark.parametrize("where", ["local", "remote"])
def test_each_has_its_own_allow_list(url: str, tmp_path: Path, where: str) -> None:
    """Also where another application has read, described and kept what this one may not."""
    write_raster(tmp_path / "other.tif", make_pair(size=(64, 64)).target)
    with range_server(Path(url).parent) as one, range_server(tmp_path) as other:
        here, there = (f"{Path(url).parent}/", f"{tmp_path}/") if where == "local" else (one.base, other.base)
        names = [f"{here}{Path(url).name}", f"{there}other.tif"]
        with application(here) as first, application(there) as second:
            clients = [first, second]
            for _ in range(2):
                for path, more in (
                    ("info", {}),
                    ("preview.tif", {}),
                    ("preview.tif", {"replacement": ""}),
                    ("validate", {}),
                ):
                    got = [
                        client.get(f"/cog/{path}", params={"url": name} | dict.fromkeys(more, name)).status_code
                        for client in clients
                        for name in names
                    ]
                    assert got == [200, 403, 403, 200], (path, more)
            assert [c.get("/cog/info", params={"url": names[0], "mask": names[1]}).status_code for c in clients] == [
                403
            ] * 2


@pytest.mark.parametrize("patient", [True, False])
def test_each_has_its_own_remote_files(url: str, patient: bool) -> None:
    """What one application knows of a file is neither asked of the server nor believed by the other."""
    with range_server(Path(url).parent) as served:
        name = f"{served.base}{Path(url).name}"
        with (
            application(served.base, source_check="600") as first,
            application(served.base, source_check="600") as second,
        ):
            assert first.get("/cog/info", params={"url": name}).status_code == 200
            asked = served.reset().requests
            served.trouble = None if patient else lambda path, start: 404
            assert first.get("/cog/info", params={"url": name}).status_code == 200
            assert served.reset().requests == 0
            assert second.get("/cog/info", params={"url": name}).status_code == (200 if patient else 404)
            assert served.reset().requests == (asked if patient else 1)


def test_without_settings_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARSKY_MAX_TILE_SIZE", "333")
    app = create_app()
    assert app.state.services.settings.max_tile_size == 333
    app.state.services.close()
