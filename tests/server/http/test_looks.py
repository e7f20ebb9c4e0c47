"""What pictures look like: natural colour where nothing else is asked, named styles, and values left as they are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from algorithms.palettes import colour_table
from algorithms.styles import STYLES
from algorithms.tone import natural_tones
from tests.helpers.scenes import BANDS, CLEAR_REPLACEMENTS, Pair, make_pair, write_mask, write_pair, write_raster
from tests.helpers.service import application, raster

BOX = "bbox/500000,4598800,501200,4600000/120x120"
PLACE = {"coord_crs": "EPSG:32633", "dst_crs": "EPSG:32633"}
THIRTEEN = (*BANDS, "coastal", "rededge1", "rededge2", "rededge3", "nir08", "watervapor", "cirrus")
PLAIN = [{"bidx": [3, 2, 1]}, {"assets": "red,green,blue"}, {"expression": "b3;b2;b1"}, {"rescale": "0,3000"},
         {"color_formula": "gamma RGB 1.2"}, {"unscale": "true"}, {"colormap_name": "viridis"}]  # fmt: skip


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(120, 120), seed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    folder = tmp_path_factory.mktemp("looks")
    write_pair(folder, pair)
    every = np.concatenate([pair.target, pair.target, pair.target[:1]])
    write_raster(folder / "thirteen.tif", every, descriptions=THIRTEEN)
    write_raster(folder / "surface.tif", pair.target, tags={"LEVEL": "L2A"})
    write_raster(folder / "shares.tif", pair.target.astype(np.float32) / 10_000, nodata=None)
    raised = np.where(pair.target > 0, pair.target + 1000, 0).astype(np.uint16)
    write_raster(folder / "raised.tif", raised)
    eight = np.clip(pair.target // 40, 1, 255).astype(np.uint8)
    write_raster(folder / "rgb.tif", eight[[2, 1, 0]], descriptions=("red", "green", "blue"))
    write_raster(folder / "bytes.tif", eight[:5])
    holes = pair.target.copy()
    holes[:, 90:, :20] = 0
    write_raster(folder / "holes.tif", holes)
    write_mask(folder / "all.tif", np.ones_like(pair.mask))
    write_raster(folder / "one.tif", pair.target[:1])
    for number, name in enumerate(BANDS):
        write_raster(folder / f"{name}.tif", pair.target[number : number + 1], descriptions=(name,))
    write_raster(folder / "unnamed.tif", pair.target[:3], descriptions=("first", "second", "third"))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def answer(client: TestClient, folder: Path, name: str, form: str = "png", **params: Any) -> Any:
    return client.get(f"/cog/{BOX}.{form}", params={"url": str(folder / name), **PLACE, **params})


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("name", ["thirteen.tif", "target.tif", "shares.tif"])
def test_reflectance_has_natural_colour_by_default(client: TestClient, folder: Path, pair: Pair, name: str) -> None:
    """PNG of 13 bands is a picture, by the tone curve, of red, green and blue."""
    shown = picture(answer(client, folder, name).content)
    expected = natural_tones(pair.target[[2, 1, 0]] * 1e-4, level="l1c")
    np.testing.assert_array_equal(shown[..., :3].transpose(2, 0, 1), expected)
    for form in ("webp", "jpg"):
        assert answer(client, folder, name, form).status_code == 200


def test_level_and_offset_count(client: TestClient, folder: Path, pair: Pair) -> None:
    surface = picture(answer(client, folder, "surface.tif").content)[..., :3].transpose(2, 0, 1)
    np.testing.assert_array_equal(surface, natural_tones(pair.target[[2, 1, 0]] * 1e-4, level="l2a"))
    plain = answer(client, folder, "target.tif").content
    assert answer(client, folder, "raised.tif", reflectance_scale=1e-4, reflectance_offset=-0.1).content == plain
    assert answer(client, folder, "raised.tif").content != plain


def test_every_way_to_a_picture_has_it(client: TestClient, folder: Path) -> None:
    """Tiles, previews, OGC maps, features, with the format in the address or left open."""
    query = {"url": str(folder / "thirteen.tif")}
    ring = [[15.0, 41.54], [15.01, 41.54], [15.01, 41.55], [15.0, 41.54]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    tile = "tiles/WebMercatorQuad/14/8874/6109"
    for path in (tile, "preview", "preview/50x50.webp", f"{tile}.jpg", "map?f=png", "map"):
        found = client.get(f"/cog/{path}", params=query)
        assert found.status_code == 200, (path, found.text)
        assert len(np.unique(picture(found.content))) > 20, path
    assert client.post("/cog/feature.png", params=query, json=feature).status_code == 200


@pytest.mark.parametrize("asked", PLAIN, ids=str)
def test_what_says_how_values_look_wins(client: TestClient, folder: Path, asked: dict[str, Any]) -> None:
    """The same bytes as with all styles off: what TiTiler makes of these parameters."""
    name = "one.tif" if "colormap_name" in asked else "target.tif"
    ours = answer(client, folder, name, **asked)
    theirs = answer(client, folder, name, **asked, **({} if "unscale" in asked else {"style": "raw"}))
    assert ours.status_code == theirs.status_code
    assert ours.content == theirs.content


@pytest.mark.parametrize("name", ["rgb.tif", "one.tif", "unnamed.tif"])
def test_other_rasters_stay_as_titiler_has_them(client: TestClient, folder: Path, name: str) -> None:
    """Pictures already made, single bands, and bands that nobody can name."""
    shown = picture(answer(client, folder, name).content)
    values = raster(answer(client, folder, name, "tif").content)[:-1]
    shown = shown[..., : len(values)].transpose(2, 0, 1) if shown.ndim == 3 else shown[None]
    if name == "rgb.tif":
        np.testing.assert_array_equal(shown, values)
    assert answer(client, folder, name).content == answer(client, folder, name, style="raw").content


def test_bytes_of_many_bands_are_shown_as_they_are(client: TestClient, folder: Path) -> None:
    shown = picture(answer(client, folder, "bytes.tif").content)[..., :3].transpose(2, 0, 1)
    np.testing.assert_array_equal(shown, raster(answer(client, folder, "bytes.tif", "tif").content)[[2, 1, 0]])


@pytest.mark.parametrize("form", ["tif", "npy"])
def test_numbers_stay_numbers(client: TestClient, folder: Path, form: str) -> None:
    """Formats of values have all bands, whatever pictures look like, and refuse a style."""
    found = answer(client, folder, "thirteen.tif", form)
    values = np.load(io.BytesIO(found.content)) if form == "npy" else raster(found.content)
    assert values.shape[0] == 14  # bands and mask
    assert answer(client, folder, "thirteen.tif", form, style="raw").content == found.content
    refused = answer(client, folder, "thirteen.tif", form, style="natural")
    assert (refused.status_code, "for pictures" in refused.json()["detail"]) == (400, True)


@pytest.mark.parametrize("style", [name for name, style in STYLES.items() if style.scaling == "tone"])
def test_tones_are_those_of_the_styles_bands(client: TestClient, folder: Path, pair: Pair, style: str) -> None:
    shown = picture(answer(client, folder, "target.tif", style=style).content)[..., :3].transpose(2, 0, 1)
    bands = STYLES[style].choose(BANDS)
    values = pair.target[[BANDS.index(name) for name in bands]] * 1e-4
    expected = natural_tones(values, bands, level="l1c", exposure=STYLES[style].exposure)
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("style", [name for name, style in STYLES.items() if style.scaling == "index"])
def test_an_index_has_the_colours_of_its_map(client: TestClient, folder: Path, style: str) -> None:
    """As the expression with the same range and colour map, to a level of rounding."""
    declared = STYLES[style]
    a, b = declared.choose(BANDS)
    expression = {"expression": f"({a}-{b})/({a}+{b})", "rescale": ",".join(map(str, declared.limits))}
    other = answer(client, folder, "target.tif", **expression, colormap_name=declared.colormap)
    ours, theirs = (
        picture(found.content).astype(int) for found in (answer(client, folder, "target.tif", style=style), other)
    )
    assert np.abs(ours - theirs).max() <= 8
    assert len(np.unique(ours)) > 20


@pytest.mark.parametrize("style", ["auto", "per-band"])
def test_a_stretch_is_that_of_the_whole_filled_picture(
    client: TestClient, folder: Path, pair: Pair, style: str
) -> None:
    """Cloud, most of which is brighter than any ground, does not count, and a part has the tones of the whole."""
    fill = {"replacement": str(folder / "replacement.tif"), "mask": str(folder / "mask.tif"), **CLEAR_REPLACEMENTS}
    whole = picture(answer(client, folder, "target.tif", style=style, **fill).content)[..., :3]
    part = client.get(
        "/cog/bbox/500000,4599500,500400,4600000/40x50.png",
        params={"url": str(folder / "target.tif"), **PLACE, "style": style, **fill},
    )
    np.testing.assert_array_equal(picture(part.content)[..., :3], whole[:50, :40])
    shares = [(whole[..., k] == 255).mean() for k in range(3)]
    assert all(0.005 < share < 0.12 for share in (shares if style == "per-band" else [np.mean(shares)])), shares
    cloudy = picture(answer(client, folder, "target.tif", style=style).content)[..., :3]
    assert (cloudy[pair.mask] > 240).all() or cloudy[~pair.mask].mean() < whole[~pair.mask].mean() - 20


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"style": "ndvi", "expression": "b1"}, "leave one out"),
        ({"style": "natural", "rescale": "0,3000"}, "leave one out"),
        ({"style": "ndvi", "bidx": 1}, "leave one out"),
        ({"style": "natural", "algorithm": "cloud_mask"}, "leave one out"),
        ({"style": "pretty"}, "natural"),
    ],
    ids=str,
)
def test_contradictions_are_named(client: TestClient, folder: Path, asked: dict[str, Any], says: str) -> None:
    refused = answer(client, folder, "target.tif", **asked)
    assert refused.status_code == 400, refused.text
    assert says in refused.json()["detail"]


def test_bands_that_a_style_needs_are_named(client: TestClient, folder: Path) -> None:
    refused = answer(client, folder, "rgb.tif", style="swir")
    assert refused.status_code == 400, refused.text
    for word in ("swir22/swir16", "[red, green, blue]", "bands="):
        assert word in refused.json()["detail"]


def test_chosen_bands_go_through_the_curve_of_a_style(client: TestClient, folder: Path, pair: Pair) -> None:
    for chosen in ({"bidx": [4, 3, 2]}, {"assets": "nir,red,green"}):
        shown = picture(answer(client, folder, "target.tif", style="natural", **chosen).content)[..., :3]
        expected = natural_tones(pair.target[[3, 2, 1]] * 1e-4, ("nir", "red", "green"))
        np.testing.assert_array_equal(shown.transpose(2, 0, 1), expected)


@pytest.mark.parametrize("style", [None, *STYLES])
def test_a_scene_of_several_files_looks_as_one_file(client: TestClient, folder: Path, style: str | None) -> None:
    """Only the bands that a style shows are opened, and it finds them by name."""
    asked = {} if style is None else {"style": style}
    if style == "raw":
        asked |= {"assets": "red,green,blue"}
    url = f"{folder}/{{{','.join(BANDS)}}}.tif"
    ours = client.get(f"/stac/{BOX}.png", params={"url": url, "bands": ",".join(BANDS), **PLACE, **asked})
    assert ours.status_code == 200, ours.text
    assert ours.content == answer(client, folder, "target.tif", **asked).content


def test_each_style_has_its_own_tag(client: TestClient, folder: Path) -> None:
    tags = {answer(client, folder, "target.tif", style=name).headers["etag"] for name in ("natural", "swir", "ndvi")}
    assert len(tags | {answer(client, folder, "target.tif").headers["etag"]}) == 4


MASKED = ["cloud_mask", "cloud_probability", "fill_source", "fill_confidence"]


def coloured(client: TestClient, folder: Path, name: str, form: str = "png", **params: Any) -> Any:
    fill = {"replacement": str(folder / "replacement.tif"), "algorithm_params": '{"unfilled": "nodata"}'}
    if name != "cloud_probability":
        fill |= {"mask": str(folder / "mask.tif"), **CLEAR_REPLACEMENTS}
    return answer(client, folder, "holes.tif", form, algorithm=name, **fill, **params)


@pytest.mark.parametrize("name", MASKED)
def test_masks_have_the_colours_of_their_legend_and_keep_their_values(
    client: TestClient, folder: Path, name: str
) -> None:
    """A paletted PNG: colours for people, and the values for programs; transparent outside the data."""
    values, there = raster(coloured(client, folder, name, "tif").content)[[0, -1]]
    png = coloured(client, folder, name).content
    index = raster(png)[0]
    np.testing.assert_array_equal(index[there > 0], values[there > 0])
    assert (index[there == 0] >= 254).all()
    shown = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    table = colour_table(name)
    np.testing.assert_array_equal(shown[there > 0], table[values[there > 0]])
    assert (shown[there == 0, 3] == 0).all()
    assert len(np.unique(values[there > 0])) > 1
    webp = np.asarray(Image.open(io.BytesIO(coloured(client, folder, name, "webp").content)).convert("RGBA"))
    np.testing.assert_array_equal(webp[..., 3], shown[..., 3])


def test_unfilled_cloud_is_told_from_no_data(client: TestClient, folder: Path) -> None:
    fill = {"replacement": str(folder / "replacement.tif"), "mask": str(folder / "mask.tif")}
    fill |= {"replacement_mask": str(folder / "all.tif"), "algorithm": "fill_source"}
    index = raster(answer(client, folder, "holes.tif", **fill).content)[0]
    there = raster(answer(client, folder, "holes.tif", "tif", **fill).content)[-1] > 0
    assert (index[there] == 255).any()
    assert set(np.unique(index[~there])) == {254}


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("asked", [{"style": "raw"}, {"colormap_name": "viridis"}, {"rescale": "0,2"}], ids=str)
def test_other_colours_of_a_mask(client: TestClient, folder: Path, name: str, asked: dict[str, str]) -> None:
    plain, other = coloured(client, folder, name).content, coloured(client, folder, name, **asked).content
    assert plain != other
    values, there = raster(coloured(client, folder, name, "tif").content)[[0, -1]]
    if "style" in asked:
        grey, opacity = np.asarray(Image.open(io.BytesIO(other))).transpose(2, 0, 1)
        np.testing.assert_array_equal(opacity, there)
        np.testing.assert_array_equal(grey[there > 0], values[there > 0])
