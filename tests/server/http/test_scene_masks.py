"""Masks that come with scenes, and masks of bits: the same clouds as from a raster of classes with a remap."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from numpy.testing import assert_array_equal
from starlette.testclient import TestClient

from server.export.command import export
from tests.helpers.archives import write_band, write_plain_item
from tests.helpers.scenes import BANDS, CLEAR_REPLACEMENTS, make_pair, write_raster
from tests.helpers.service import application, good

SIDE: Final = 160
PAIR = make_pair(size=(SIDE, SIDE), cloud=0.2)
SHADOW = np.roll(PAIR.mask, 12, axis=1) & ~PAIR.mask
BLOCKED = np.zeros_like(PAIR.mask)
BLOCKED[:, : SIDE // 2] = True
"""Where the replacement is cloudy."""
SCL = np.where(PAIR.mask, 9, np.where(SHADOW, 3, 4)).astype(np.uint8)
QA = np.where(PAIR.mask, 1 << 3, np.where(SHADOW, 1 << 4, 1 << 6)).astype(np.uint16)
KINDS: Final[dict[str, tuple[np.ndarray, int, int]]] = {"scl": (SCL, 4, 8), "qa_pixel": (QA, 1 << 6, 1 << 3)}
"""Target's mask, and the values of the replacement's where it is clear and where it is cloudy."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    masks = {kind: mask for kind, (mask, _, _) in KINDS.items()}
    write_plain_item(folder / "cloudy", PAIR.target, masks)
    clear = {kind: np.full_like(mask, good) for kind, (mask, good, _) in KINDS.items()}
    write_plain_item(folder / "clear", PAIR.replacement, clear)
    partly = {kind: np.where(BLOCKED, bad, good).astype(mask.dtype) for kind, (mask, good, bad) in KINDS.items()}
    write_plain_item(folder / "partly", PAIR.replacement, partly)
    write_plain_item(folder / "bare", PAIR.replacement)
    write_plain_item(folder / "classed", PAIR.target, {"oa_fmask": SCL})
    write_raster(folder / "alone.tif", PAIR.target, descriptions=BANDS)
    write_band(folder / "clouded.tif", BLOCKED.astype(np.uint8), 10, nodata=None)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def preview(client: TestClient, folder: Path, replacement: str, **asked: Any) -> np.ndarray:
    places = {"url": str(folder / "cloudy" / "item.json"), "replacement": str(folder / replacement / "item.json")}
    return np.asarray(np.load(io.BytesIO(good(client.get("/stac/preview.npy", params=places | asked)).content)))


def by_raster(folder: Path, kind: str) -> dict[str, str]:
    """The same clouds by a remap."""
    remap = "3 1;8 1;9 1;10 1" if kind == "scl" else "8 1;16 1"
    return {"mask": str(folder / "cloudy" / f"{kind}.tif"), "mask_remap": remap, **CLEAR_REPLACEMENTS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["cloud_removal", "fill_source"])
def test_a_scenes_own_mask_is_a_raster_with_the_right_remap(
    client: TestClient, folder: Path, kind: str, algorithm: str
) -> None:
    own = preview(client, folder, "clear", mask=kind, algorithm=algorithm)
    assert_array_equal(own, preview(client, folder, "clear", **by_raster(folder, kind), algorithm=algorithm))


@pytest.mark.parametrize("kind", KINDS)
def test_it_hides_the_replacements_clouds_too(client: TestClient, folder: Path, kind: str) -> None:
    """As masks of replacements do; a replacement that is cloudy fills nothing."""
    source = preview(client, folder, "partly", mask=kind, algorithm="fill_source")[0]
    cloudy, middle = PAIR.mask | SHADOW, SIDE // 2
    assert (source[:, : middle - 8][cloudy[:, : middle - 8]] == 255).all()
    assert (source[:, middle + 8 :][cloudy[:, middle + 8 :]] == 1).all()
    remap = by_raster(folder, kind) | {"mask_remap": by_raster(folder, kind)["mask_remap"] + ";1 1"}
    remap["replacement_mask"] = str(folder / "clouded.tif")
    told = preview(client, folder, "clear", **remap, algorithm="fill_source")[0]
    assert_array_equal(source, told)
    remap = by_raster(folder, kind) | {"replacement_mask": kind}
    assert_array_equal(source, preview(client, folder, "partly", **remap, algorithm="fill_source")[0])


def test_names_of_masks_are_read_in_any_case(client: TestClient, folder: Path) -> None:
    assert_array_equal(preview(client, folder, "clear", mask="SCL"), preview(client, folder, "clear", mask="scl"))


def test_auto_takes_the_first_mask_there_is(client: TestClient, folder: Path) -> None:
    asked = {"algorithm": "fill_source"}
    assert_array_equal(
        preview(client, folder, "clear", mask="auto", **asked), preview(client, folder, "clear", mask="scl", **asked)
    )


def test_auto_without_any_leaves_it_to_the_model(client: TestClient, folder: Path) -> None:
    bare = {"url": str(folder / "bare" / "item.json"), "algorithm": "cloud_mask"}
    answers = [
        good(client.get("/stac/preview.npy", params=bare | more)).content
        for more in ({"mask": "auto"}, dict[str, str]())
    ]
    assert answers[0] == answers[1]


def test_bits_are_classes(client: TestClient, folder: Path) -> None:
    raster = str(folder / "cloudy" / "qa_pixel.tif")
    told = preview(client, folder, "clear", mask=raster, mask_bits="3,4", **CLEAR_REPLACEMENTS)
    assert_array_equal(told, preview(client, folder, "clear", **by_raster(folder, "qa_pixel")))


def test_info_says_what_is_understood(client: TestClient, folder: Path) -> None:
    asked = {"url": str(folder / "cloudy" / "item.json"), "mask": "scl"}
    asked["replacement"] = str(folder / "partly" / "item.json")
    mask = good(client.get("/stac/scene", params=asked)).json()["mask"]
    assert mask["source"].endswith("cloudy/scl.tif")
    assert [name.endswith("partly/scl.tif") for name in mask["replacements"]] == [True]
    assert mask["rule"].startswith("scl: classes 8, 9, 10 are cloud")
    assert mask["fraction"] == pytest.approx((PAIR.mask | SHADOW).mean(), abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [False, True])
def test_values_are_those_of_the_archive(client: TestClient, folder: Path, kind: str, bits: bool) -> None:
    asked = {"url": str(folder / "cloudy" / "item.json"), "mask": kind} | ({"mask_bits": "3,4"} if bits else {})
    for path in ("/stac/scene", "/stac/info"):
        described = good(client.get(path, params=asked)).json()
        mask = described.get("clearsky", described)["mask"]
        assert mask["values"] == sorted(np.unique(KINDS[kind][0]).tolist())


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"mask": "udm2"}, "cloudy/item.json' comes with scl, qa_pixel"),
        (
            {"url": "classed/item.json", "mask": "fmask"},
            "as `mask`, with mask_remap=0 NODATA;2 1;3 1",
        ),
        ({"url": "classed/item.json", "mask": "scl"}, "comes with no mask"),
        ({"url": "alone.tif", "mask": "scl"}, "comes with no mask"),
        ({"replacement": "bare/item.json", "mask": "scl"}, "comes with no mask"),
        ({"mask": "cloudy/qa_pixel.tif", "mask_bits": "x"}, "mask_bits='x'"),
        ({"mask": "cloudy/qa_pixel.tif", "mask_bits": "40"}, "bits 0 to 15"),
        ({"mask": "cloudy/scl.tif", "replacement_mask": ["clouded.tif", "clouded.tif"]}, "one for each"),
        ({"mask": "elsewhere.tif"}, "does not overlap"),
        ({"mask": "elsewhere.tif", "replacement_mask": "none"}, "does not overlap"),
        ({"mask_bits": "3"}, "name it with `mask`"),
        ({"mask": "none"}, "leave `mask` out"),
        ({"mask": "NONE", "replacement_mask": "none"}, "leave `mask` out"),
        ({"replacement_mask": "udm2"}, "clear/item.json' comes with scl, qa_pixel"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(client: TestClient, folder: Path, asked: dict[str, Any], says: str) -> None:
    far = folder / "elsewhere.tif"
    if not far.exists():
        write_raster(far, PAIR.mask[None].astype(np.uint8), crs="EPSG:32735")
    places = {"url": "cloudy/item.json", "replacement": "clear/item.json"} | asked
    words = ("mask_bits",)
    full: dict[str, Any] = {
        name: value
        if name in words or (name in ("mask", "replacement_mask") and "." not in str(value))
        else [str(folder / v) for v in value]
        if isinstance(value, list)
        else str(folder / value)
        for name, value in places.items()
    }
    response = client.get("/stac/preview.npy", params=full)
    assert (response.status_code, says in response.json()["detail"]) == (400, True), response.text


RECIPES: Final = {
    "named": ("mask: scl\nassets: [nir, red]\n", {"mask": "scl", "assets": "nir,red"}),
    "rendered": ("mask: auto\nassets: [nir]\nrender: {bands: [red]}\n", {"mask": "auto", "assets": "red"}),
    "bits": (
        "mask: {source: cloudy/qa_pixel.tif, bits: [3, 4]}\nreplacement_masks: [clouded.tif]\n",
        {"mask": "cloudy/qa_pixel.tif", "mask_bits": "3,4", "replacement_mask": "clouded.tif"},
    ),
}
"""What a recipe says, and what a request says."""


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_the_same(client: TestClient, folder: Path, name: str) -> None:
    written, asked = RECIPES[name]
    rasters = "target: cloudy/item.json\nreplacements: [partly/item.json]\n"
    (folder / "recipes.yaml").write_text(f"name: {name}\n{rasters}{written}")
    with application(folder, recipes=str(folder)) as recipes:
        own = np.load(io.BytesIO(good(recipes.get(f"/recipes/{name}/preview.npy")).content))
    placed = {key: str(folder / value) if value.endswith(".tif") else value for key, value in asked.items()}
    assert_array_equal(own, preview(client, folder, "partly", **placed))


def test_a_mask_on_the_command_line(folder: Path, tmp_path: Path, client: TestClient) -> None:
    out = tmp_path / "out.tif"
    names = [str(folder / name / "item.json") for name in ("cloudy", "clear")]
    result = CliRunner().invoke(export, [names[0], str(out), "--replacement", names[1], "--mask", "scl"])
    assert result.exit_code == 0, result.output
    with rasterio.open(out) as src:
        assert src.descriptions == BANDS
        filled = src.read([3, 2, 1])
    assert_array_equal(filled, preview(client, folder, "clear", mask="scl")[:3])
