"""`replacement=auto` chooses dates with all bands of the target, else those with the most, and says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import rasterio
from click.testing import CliRunner

from algorithms.errors import BandError
from server.analysis.choosing import Chooser
from server.analysis.engine import Analysis
from server.analysis.offers import Ranking
from server.analysis.request import Request
from server.export.command import export
from tests.helpers.service import application, good, sources_by
from tests.helpers.stacapi import HERE, StacApi, put, stac_api

BANDS: Final = {"blue", "green", "red", "nir", "nir08", "swir16", "swir22"}


def lacking(api: StacApi, name: str, date: str, documents: Path, *bands: str) -> None:
    """Add a clear date without some bands."""
    item = put(api, name, date, documents)
    item["assets"] = {key: asset for key, asset in item["assets"].items() if key not in bands}


@pytest.fixture(scope="module")
def dates(tmp_path_factory: pytest.TempPathFactory, documents: Path) -> Iterator[StacApi]:
    """A cloudy target; the later a date, the fewer bands it lacks."""
    with stac_api(tmp_path_factory.mktemp("lacking")) as api:
        put(api, "target", "2025-06-15", documents, HERE)
        lacking(api, "rgb", "2025-06-16", documents, *(BANDS - {"blue", "green", "red"}))
        lacking(api, "four", "2025-06-18", documents, "nir08", "swir16", "swir22")
        lacking(api, "seldom", "2025-06-22", documents, "nir08")
        put(api, "full", "2025-07-10", documents)
        yield api


@pytest.fixture
def among(dates: StacApi) -> Iterator[Callable[..., StacApi]]:
    """Has the API hold the target and some dates only."""
    everything = list(dates.items)

    def hold(*names: str) -> StacApi:
        dates.items[:] = [item for item in everything if item["id"] in ("target", *names)]
        return dates

    yield hold
    dates.items[:] = everything


def ranking(api: StacApi, mask: str | None) -> Ranking:
    sources = sources_by(f"{api.folder},{api.base}/")
    analysis = Analysis(sources, cache_bytes=1 << 24, threads=2)
    return Chooser(sources, analysis, api=None, retry=30, threads=8).ranking(Request(api.address("target"), mask=mask))


@pytest.mark.parametrize("mask", ["scl", None])
@pytest.mark.parametrize(
    ("names", "chosen", "missing"),
    [
        (("rgb", "four", "seldom", "full"), "full", set()),
        (("rgb", "four", "seldom"), "seldom", {"nir08"}),
        (("rgb", "four"), "four", {"nir08", "swir16", "swir22"}),
    ],
)
def test_dates_with_the_most_bands_go_before_nearer_ones(
    among: Callable[..., StacApi], names: tuple[str, ...], chosen: str, missing: set[str], mask: str | None
) -> None:
    found = ranking(among(*names), mask)
    assert (found.ids, set(found.lacking)) == ((chosen,), missing)
    assert [", ".join(found.lacking) in text for text in found.warnings] == [True] * bool(missing)
    said = {offer.acquisition.id: offer.reasons[-1] for offer in found.offers}
    assert {name for name in names if said[name].startswith("lacks ")} == set(names) - {"full"}


def test_a_date_of_few_bands_is_better_than_none(among: Callable[..., StacApi]) -> None:
    found = ranking(among("rgb"), "scl")
    assert (found.ids, set(found.lacking)) == (("rgb",), {"nir", "nir08", "swir16", "swir22"})


@pytest.mark.parametrize("complete", [True, False])
def test_what_a_picture_may_show(among: Callable[..., StacApi], complete: bool) -> None:
    """All bands of the target, whichever the choice was made for; else those that the warning does not name."""
    api = among("rgb", "seldom", *["full"] * complete)
    asked: dict[str, Any] = {"url": api.address("target"), "replacement": "auto", "mask": "scl", "max_size": 16}
    with application(f"{api.folder},{api.base}/") as client:
        for shown in ({"expression": "(nir-red)/(nir+red)"}, {"assets": "swir22,nir,red"}):
            answer = good(client.get("/stac/preview.npy", params=asked | shown))
            assert ("lack nir08" in answer.headers.get("X-Clearsky-Warning", "")) != complete
        answer = client.get("/stac/preview.npy", params=asked | {"assets": "nir08"})
        assert (answer.status_code == 200, "lacks nir08" in answer.text) == (complete, not complete)


def test_an_export_leaves_out_what_nobody_named(
    among: Callable[..., StacApi], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api = among("seldom")
    monkeypatch.setenv("CLEARSKY_STAC_API", api.base)
    place = api.folder / "target.json"
    options = ["--replacement", "auto", "--mask", "scl", "--buffer", "0"]
    result = CliRunner().invoke(export, [str(place), str(tmp_path / "all.tif"), *options])
    assert result.exit_code == 0, result.output
    assert "without nir08" in caplog.text
    with rasterio.open(tmp_path / "all.tif") as src:
        assert set(src.descriptions) == set(json.loads(place.read_text())["assets"]) - {"scl", "nir08"}
    result = CliRunner().invoke(export, [str(place), str(tmp_path / "b.tif"), *options, "--assets", "nir08"])
    assert isinstance(result.exception, BandError)
