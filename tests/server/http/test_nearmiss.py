"""Parameters given in vain: those that look like one of ClearSky's are named, a client's own are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from algorithms.options import OPTIONS
from server.analysis.parameters import PARAMETERS
from server.http.nearmiss import near_miss
from tests.helpers.scenes import write_raster
from tests.helpers.service import application


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nearmiss")
    write_raster(folder / "a.tif", np.full((1, 64, 64), 9, np.uint16))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_belongs_in_the_parameters_of_the_algorithm(option: str) -> None:
    for written in (option, option.upper(), f" {option}"):
        hint = near_miss(written)
        assert hint is not None
        assert hint.startswith(f"{option} ")
        assert "algorithm_params" in hint


@pytest.mark.parametrize("name", [*PARAMETERS, "url", "algorithm", "algorithm_params"])
def test_a_misspelt_parameter_is_told_from_the_right_one(name: str) -> None:
    assert near_miss(name) is None
    for written in (f"{name}_", name.replace("_", "-"), name.title()):
        if written != name and len(written) >= 4:
            hint = near_miss(written)
            assert hint is not None
            assert f"write {name} " in hint


OWN = "_ v t cb access_token token key api_key f format _dc x timestamp utm_source SERVICE request"
OTHERS = "rescale bidx expression colormap_name tilesize return_mask"


@pytest.mark.parametrize("name", [*OWN.split(), *OTHERS.split(), "", "\N{SATELLITE}" * 500])
def test_what_is_a_clients_own_is_left_alone(name: str) -> None:
    assert near_miss(name) is None


@pytest.mark.parametrize(
    ("route", "query", "named"),
    [
        ("preview.png", "window=40&_=123&access_token=x", ["window", "algorithm_params"]),
        ("preview.png", "buffer=4", ["buffer"]),
        ("preview.png", "replacements=b.tif", ["replacements", "replacement"]),
        ("preview.png", "Mask-Remap=1%201", ["Mask-Remap", "mask_remap"]),
        ("tiles/WebMercatorQuad/10/559/381.png", "buffer=4&v=3", []),  # TiTiler's own there
        ("info", "buffer=4&rescale=0,9", []),  # one query for all routes
        ("info", "replacments=b.tif", ["replacement"]),
        ("WMTSCapabilities.xml", "buffer=4&nodata=0", []),
    ],
)
def test_an_answer_names_them_and_is_the_same(
    client: TestClient, folder: Path, route: str, query: str, named: list[str]
) -> None:
    plain = client.get(f"/cog/{route}", params={"url": str(folder / "a.tif")})
    answer = client.get(f"/cog/{route}?url={folder}/a.tif&{query}")
    assert answer.status_code == plain.status_code
    if route != "WMTSCapabilities.xml" and "buffer=4&v" not in query:
        assert answer.content == plain.content
    warning = answer.headers.get("x-clearsky-warning", "")
    assert all(name in warning for name in named)
    assert bool(warning) == bool(named)
    assert "access_token" not in warning


def test_a_refusal_says_so_too(client: TestClient, folder: Path) -> None:
    answer = client.get(f"/cog/preview.png?urls={folder}/a.tif")
    assert answer.status_code == 400
    assert "url" in answer.headers["x-clearsky-warning"]
