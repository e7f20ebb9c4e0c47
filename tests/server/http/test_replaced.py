"""Files that are replaced while the server runs: every answer is that of the new ones, by whichever way it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from httpx2 import Response
from starlette.testclient import TestClient

from server.raster import sources
from tests.helpers.items import write_dates
from tests.helpers.scenes import CLEAR_REPLACEMENTS, UTM, make_pair, write_pair, write_raster
from tests.helpers.service import application

SIDE: Final = 240
BOX: Final = "500200,4598400,501700,4599700"
WAYS: Final[dict[str, dict[str, Any]]] = {
    "/tiles/WebMercatorQuad/14/8875/6109.tif": {},
    "/tiles/WebMercatorQuad/11/1109/763.tif": {},
    "/tiles/WebMercatorQuad/14/8875/6109.tif?": {"algorithm": "fill_source"},
    f"/bbox/{BOX}.tif": {"coord_crs": UTM, "dst_crs": UTM},
    "/preview.png": {"max_size": 64, "rescale": "0,6000"},
    "/point/15.0119,41.5426": {},
    "/info": {},
}
"""Paths and parameters: gathered by a warp, from overviews, in the own CRS, and what documents say."""


@dataclass(frozen=True)
class Served:
    """A scene as a request names it."""

    prefix: str
    params: dict[str, Any]
    shown: dict[str, Any]
    """Which bands pictures show."""

    def answers(self, client: TestClient, tags: dict[str, str]) -> dict[str, Response]:
        """Those by all ways; to conditional requests where there are tags."""
        found = {}
        for way, options in WAYS.items():
            headers = {"if-none-match": tags[way]} if way in tags else {}
            shown = {} if way == "/info" else self.shown
            path = self.prefix + way.rstrip("?")
            found[way] = client.get(path, params=self.params | shown | options, headers=headers)
            assert found[way].status_code in ((200, 304) if tags else (200,)), found[way].text
        return found


def changed(values: np.ndarray) -> np.ndarray:
    """Other values of the same shape and type."""
    return np.roll(values, 40, axis=-1)


def rewritten(path: Path) -> None:
    """The file with other pixels: a new one in its place."""
    with rasterio.open(path) as src:
        values, profile, names = src.read(), src.profile, src.descriptions
    fresh = path.with_suffix(".new.tif")
    write_raster(fresh, changed(values), descriptions=names, **{**profile, "crs": UTM})
    fresh.replace(path)


def written_into(path: Path) -> None:
    """The file with other pixels: the same one, written into."""
    with rasterio.open(path, "r+") as dst:
        dst.write(changed(dst.read()))


def other_scale(path: Path) -> None:
    """The document with another scale."""
    path.write_text(path.read_text().replace('"scale": 0.0001', '"scale": 0.0002'))


def plain(folder: Path) -> Served:
    pair = make_pair(size=(SIDE, SIDE), seed=2)
    return Served("/cog", write_pair(folder, pair), {"bidx": [1, 2, 3]})


def item(folder: Path) -> Served:
    dates = write_dates(folder)
    files = {"url": str(dates.target), "replacement": str(dates.replacement), "mask": str(dates.mask)}
    return Served("/stac", files | CLEAR_REPLACEMENTS, {"assets": ["red", "rededge1"]})


def band_list(folder: Path) -> Served:
    dates = write_dates(folder)
    urls = [str(date.parent / "{B02,B03,B04,B05}.tif") for date in (dates.target, dates.replacement)]
    names = {"bands": "blue,green,red,rededge"}
    files = {"url": urls[0], "replacement": urls[1], "mask": str(dates.mask)}
    return Served("/cog", files | names | CLEAR_REPLACEMENTS, {})


Change = Callable[[Path], None]
CASES: Final[list[tuple[Callable[[Path], Served], list[tuple[str, Change]]]]] = [
    (
        plain,
        [
            ("target.tif", rewritten),
            ("replacement.tif", written_into),
            ("mask.tif", rewritten),
        ],
    ),
    (
        item,
        [
            ("cloudy/B04.tif", rewritten),
            ("clear/B05.tif", written_into),
            ("cloudy/item.json", other_scale),
        ],
    ),
    (band_list, [("clear/B04.tif", written_into)]),
]


@pytest.mark.parametrize(("served", "changes"), CASES, ids=["plain", "item", "list"])
def test_every_answer_is_that_of_the_files_as_they_are(
    served: Callable[[Path], Served], changes: list[tuple[str, Change]], tmp_path: Path
) -> None:
    scene = served(tmp_path)
    with application(tmp_path) as running:
        scene.answers(running, {})
        before = scene.answers(running, {})
        for name, change in changes:
            change(tmp_path / name)
            tags = {way: answer.headers["etag"] for way, answer in before.items() if "etag" in answer.headers}
            asked = scene.answers(running, tags)
            now = scene.answers(running, {})
            with application(tmp_path) as fresh:
                true = scene.answers(fresh, {})
            different = 0
            for way in WAYS:
                assert now[way].content == true[way].content, (name, change.__name__, way)
                if true[way].content != before[way].content:
                    different += 1
                    assert asked[way].status_code == 200, (name, change.__name__, way)
                    assert asked[way].content == true[way].content, (name, change.__name__, way)
            assert different > 0, (name, change.__name__)
            before = now


@dataclass
class Opening:
    """Counts files that are opened, and replaces one right before it is opened for the n-th time."""

    path: Path
    at: int | None = None
    """Number, from 0; None: never."""
    count: int = 0

    def hooked(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """A function that opens files."""

        def opening(*args: Any, **options: Any) -> Any:
            if self.count == self.at:
                rewritten(self.path)
            self.count += 1
            return real(*args, **options)

        return opening


def test_no_answer_mixes_two_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, opening = item(tmp_path), Opening(tmp_path / "cloudy/B04.tif")
    for function in ("open_raster", "open_stack"):
        monkeypatch.setattr(sources, function, opening.hooked(getattr(sources, function)))

    def ask(client: TestClient, at: int | None = None) -> Response:
        opening.at, opening.count = at, 0
        return client.get(scene.prefix + next(iter(WAYS)), params=scene.params | scene.shown)

    with application(tmp_path) as running, application(tmp_path) as other:
        refused = 0
        for at in (1, 5):
            written_into(opening.path)  # nothing that is kept helps
            old = ask(other)
            answer = ask(running, at)
            assert opening.count > at
            new = ask(running)
            assert old.status_code == new.status_code == 200
            assert old.content != new.content
            if answer.status_code == 200:
                assert answer.content in (old.content, new.content), at
            else:
                assert "ask again" in answer.text
                refused += 1
        assert refused > 0
