"""Clouds of each raster are looked for in its own bands; the fill is made of those that both have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
import yaml
from click.testing import CliRunner
from numpy.testing import assert_allclose, assert_array_equal
from starlette.testclient import TestClient

from algorithms.bands import ROLES
from algorithms.errors import BandError
from server.analysis.clearness import Clearness
from server.analysis.request import Request
from server.export.command import export
from tests.helpers.archives import write_band
from tests.helpers.scenes import CLEAR_REPLACEMENTS, Demo, read_raster, write_raster
from tests.helpers.service import analysis_of, application, good, pixels, raster, sources_of

SIDE: Final = 160
RGB: Final = ("blue", "green", "red")
FOUR: Final = ROLES[:4]
SENTINEL: Final = (
    "coastal", *RGB, "rededge1", "rededge2", "rededge3", "nir", "nir08", "watervapor", "cirrus", "swir16", "swir22",
)  # fmt: skip
"""The thirteen of a stacked product."""
SETS: Final = {"rgb": RGB, "four": FOUR, "six": ROLES, "all": SENTINEL}
WARNING: Final = "x-clearsky-warning"
UNSOUGHT: Final = "clouds of the replacements are not looked for in"
UNREFINED: Final = "the target's mask is not refined by"
NO_BUFFER: Final = {"algorithm_params": json.dumps({"buffer": 0})}
SHOWN: Final = {"assets": "red,green,blue"}
CLEAR: Final = "none: clear wherever it has data"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, demo_scene: Demo) -> Path:
    """Three dates with each set of bands, in each form; and a mask of everything."""
    folder, scene = tmp_path_factory.mktemp("bands"), demo_scene(320)
    for date, path in (("cloudy", scene.cloudy), ("clear", scene.clear), ("truth", scene.truth)):
        whole = dict(zip(ROLES, read_raster(path)[:, -SIDE:, -SIDE:], strict=True))
        for kind, names in SETS.items():
            values = [whole.get(name, whole["red"]) for name in names]
            write_raster(folder / f"{date}-{kind}.tif", np.stack(values), descriptions=names)
            place = folder / f"{date}-{kind}"
            place.mkdir()
            for name, band in zip(names, values, strict=True):
                write_band(place / f"{name}.tif", band, 10)
            assets = {
                name: {"href": f"{name}.tif", "type": "image/tiff", "eo:bands": [{"name": name, "common_name": name}]}
                for name in names
            }
            item = {"type": "Feature", "id": place.name, "properties": {}, "assets": assets}
            (place / "item.json").write_text(json.dumps(item))
    write_raster(folder / "everything.tif", np.ones((1, SIDE, SIDE), np.uint8), nodata=None)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def named(folder: Path, scene: str, form: str = "tif") -> str:
    """A date with a set of bands, `cloudy-six`, in some form."""
    place, names = folder / scene, SETS[scene.partition("-")[2]]
    return {"tif": f"{place}.tif", "list": f"{place}/{{{','.join(names)}}}.tif", "item": f"{place}/item.json"}[form]


def asked(folder: Path, target: str, *replacements: str, form: str = "tif", other: str = "tif") -> dict[str, Any]:
    urls = [named(folder, each, other) for each in replacements]
    return {"url": named(folder, target, form), "replacement": urls} | NO_BUFFER


def source(client: TestClient, params: dict[str, Any]) -> np.ndarray:
    return np.asarray(
        raster(good(client.get("/cog/preview.tif", params={"algorithm": "fill_source"} | params)).content)[0]
    )


def clouds(client: TestClient, url: str, **more: Any) -> np.ndarray:
    params = {"url": url, "algorithm": "cloud_mask"} | more
    return np.asarray(raster(good(client.get("/cog/preview.tif", params=params)).content)[0])


@pytest.mark.parametrize(("kind", "form"), [("four", "list"), ("six", "item"), ("all", "tif")])
def test_a_target_is_masked_by_its_own_bands(client: TestClient, folder: Path, kind: str, form: str) -> None:
    """By its own network, whatever the replacement lacks; what it masks is filled, in the bands that both have."""
    params = asked(folder, f"cloudy-{kind}", "clear-rgb", form=form, other=form)
    alone = clouds(client, params["url"])
    assert_array_equal(clouds(client, **params), alone)
    masked = np.isin(alone, (1, 2))
    assert 0.05 < masked.mean() < 0.95
    assert_array_equal(source(client, params) == 1, masked)
    answer = good(client.get("/cog/preview.tif", params=params | SHOWN))
    assert UNSOUGHT in answer.headers[WARNING]
    # The same as from three bands alone, with the mask that was found.
    mask = write_raster(folder / f"mask-{kind}-{form}.tif", masked[None].astype(np.uint8), nodata=None)
    few = asked(folder, "cloudy-rgb", "clear-rgb") | {"mask": mask} | CLEAR_REPLACEMENTS
    assert_array_equal(raster(answer.content), raster(good(client.get("/cog/preview.tif", params=few | SHOWN)).content))


@pytest.mark.parametrize(
    ("target", "other", "form"),
    [("rgb", "six", "item"), ("rgb", "four", "tif"), ("four", "six", "list"), ("six", "four", "item")],
)
def test_a_replacement_is_masked_by_its_own_bands(
    client: TestClient, folder: Path, target: str, other: str, form: str
) -> None:
    """By the network that fits these, more than the target's or fewer; the next date fills what is cloudy."""
    params = asked(folder, f"truth-{target}", f"cloudy-{other}", "clear-rgb", form=form, other=form)
    cloud = np.isin(clouds(client, params["replacement"][0]), (1, 2))
    assert 0.05 < cloud.mean() < 0.95
    found = source(client, params | {"mask": str(folder / "everything.tif")})
    assert_array_equal(found, np.where(cloud, 2, 1))


def test_networks_of_four_and_six_bands_differ_here(client: TestClient, folder: Path) -> None:
    """Else these tests could not tell which of them looked."""
    four, six = (clouds(client, named(folder, f"cloudy-{kind}")) for kind in ("four", "six"))
    assert (four != six).mean() > 0.001


@pytest.mark.parametrize(
    ("target", "others", "models", "unsought"),
    [
        ("six", ("six",), ("model ukis-6b-l1c",), ()),
        ("all", ("four", "rgb"), ("model ukis-4b-l1c", CLEAR), (1,)),
        ("four", ("rgb", "six"), (CLEAR, "model ukis-6b-l1c"), (0,)),
        ("four", ("rgb", "rgb"), (CLEAR, CLEAR), (0, 1)),
    ],
)
def test_descriptions_say_which_network_looks_at_which_raster(
    client: TestClient,
    folder: Path,
    target: str,
    others: tuple[str, ...],
    models: tuple[str, ...],
    unsought: tuple[int, ...],
) -> None:
    dates = [f"{date}-{kind}" for date, kind in zip(("clear", "truth"), others, strict=False)]
    params = asked(folder, f"cloudy-{target}", *dates)
    info = good(client.get("/cog/info", params=params)).json()["clearsky"]
    scene = good(client.get("/cog/scene", params=params)).json()
    assert info["model"] == scene["model"] == f"ukis-{4 if target == 'four' else 6}b-l1c"
    assert info["replacement_clouds"] == [each["clouds"] for each in scene["replacements"]] == list(models)
    texts = [text for text in info.get("warnings", []) if UNSOUGHT in text]
    assert [text for text in scene["warnings"] if UNSOUGHT in text] == texts
    assert len(texts) == bool(unsought)  # one reason, one text
    for position, url in enumerate(params["replacement"]):
        assert any(url in text for text in texts) == (position in unsought)
    answer = good(client.get("/cog/preview.tif", params=params | SHOWN))
    unrefined = [text for text in info.get("warnings", []) if UNREFINED in text]
    assert bool(unrefined) == (0 < len(unsought) < len(others))
    assert answer.headers.get(WARNING, "") == "; ".join([*texts, *unrefined])


def test_order_of_the_replacements_holds(client: TestClient, folder: Path) -> None:
    """One without near infrared counts as clear where it has data, and the one after it fills nothing then."""
    params = asked(folder, "cloudy-six", "clear-rgb", "truth-six")
    masked = np.isin(clouds(client, params["url"]), (1, 2))
    assert_array_equal(source(client, params), np.where(masked, 1, 0))
    params["replacement"].reverse()
    assert_array_equal(source(client, params) == 0, ~masked)


def test_a_date_whose_clouds_nobody_finds_is_not_chosen(client: TestClient, folder: Path) -> None:
    """By `replacement=auto`, which would take it for clear everywhere."""
    sources = sources_of(client)
    clearness = Clearness(sources, analysis_of(client).masks, Request(named(folder, "cloudy-six", "item")))
    ground = clearness.ground(sampled=True)
    few, enough = (sources.scene(named(folder, name, "item")) for name in ("clear-rgb", "truth-four"))
    assert few is not None
    assert enough is not None
    clearness.check(enough)
    assert clearness.clear(ground, enough).any()
    for look in (clearness.check, partial(clearness.clear, ground)):
        with pytest.raises(BandError, match="band nir not found"):
            look(few)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"assets": "nir"}, "lacks nir: show other bands"),
        ({"model": "ukis-4b-l1c", **SHOWN}, "clear-rgb.tif': band nir not found"),
    ],
)
def test_what_cannot_be_had_is_named(client: TestClient, folder: Path, more: dict[str, str], says: str) -> None:
    answer = client.get("/cog/preview.tif", params=asked(folder, "cloudy-six", "clear-rgb") | more)
    assert (answer.status_code, says in answer.json()["detail"]) == (400, True), answer.text


def test_a_recipe_and_an_export_fill_alike(tmp_path: Path, folder: Path) -> None:
    params = asked(folder, "cloudy-six", "clear-rgb", form="item")
    (tmp_path / "r.yaml").write_text(
        yaml.safe_dump(
            {"name": "r", "target": params["url"], "replacements": params["replacement"], "buffer": 0}
            | {"render": {"bands": ["red", "green", "blue"]}}
        )
    )
    with application(folder, recipes=str(tmp_path)) as client:
        filled = pixels(client.get("/cog/preview.npy", params=params | SHOWN))
        recipe = good(client.get("/recipes/r/preview.npy"))
        assert UNSOUGHT in recipe.headers[WARNING]
        assert_array_equal(pixels(recipe), filled)
        assert "use /stac" in client.get("/recipes/r/preview.npy", params=SHOWN).json()["detail"]
    options = ["--replacement", params["replacement"][0], "--assets", "red,green,blue", "--buffer", "0"]
    out = tmp_path / "out.tif"
    result = CliRunner().invoke(export, [params["url"], str(out), *options])
    assert result.exit_code == 0, result.output
    with rasterio.open(out) as src:
        assert_allclose(src.read(), filled[:3], atol=1)  # its pieces are rounded otherwise


def test_pictures_of_the_same_bands_used_agree(tmp_path: Path, client: TestClient, folder: Path) -> None:
    """Whichever of the six are shown; with the same further bands; and what an export of these writes."""
    params = asked(folder, "cloudy-all", "clear-all", form="item", other="item")

    def filled(*names: str) -> dict[str, np.ndarray]:
        found = pixels(client.get("/cog/preview.npy", params=params | {"assets": ",".join(names)}))
        return dict(zip(names, found, strict=False))

    for further in ((), ("coastal",), SENTINEL[4:7]):
        one, other = filled("red", "nir", *further), filled("swir22", *further, "green", "red")
        for name in ("red", *further):
            assert_array_equal(one[name], other[name])
    url, [replacement] = params["url"], params["replacement"]
    for names in (("red", "coastal"), SENTINEL):
        out = tmp_path / f"{len(names)}.tif"
        chosen = ["--assets", ",".join(names)] if names != SENTINEL else []
        result = CliRunner().invoke(export, [url, str(out), "--replacement", replacement, "--buffer", "0", *chosen])
        assert result.exit_code == 0, result.output
        with rasterio.open(out) as src:
            assert_allclose(src.read(), np.stack(list(filled(*names).values())), atol=1)
