"""Products as they are downloaded: folders, zip and tar archives give the same scene."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SourceUnreadableError
from server.scenes.archive import product_files
from server.scenes.products import is_product, product_scene
from server.scenes.scene import SceneBand

IMAGES = "GRANULE/L2A_T33XWJ_A026649/IMG_DATA"


def _safe(folder: Path, *, level: str = "2A", offsets: bool = True) -> Path:
    product = folder / f"S2B_MSIL{level}_20220413T150759_N0400_R025_T33XWJ_20220414T082126.SAFE"
    quantity, kind = ("BOA_QUANTIFICATION_VALUE", "BOA") if level == "2A" else ("QUANTIFICATION_VALUE", "RADIO")
    added = "".join(f'<{kind}_ADD_OFFSET band_id="{k}">-1000</{kind}_ADD_OFFSET>' for k in range(13))
    names = (
        ["B02", "B8A"] if level == "1C" else ["R10m/T_B02_10m", "R20m/T_B02_20m", "R20m/T_B8A_20m", "R20m/T_SCL_20m"]
    )
    names += [] if level == "1C" else ["R20m/T_AOT_20m", "R10m/T_TCI_10m"]
    for name in names:
        path = product / IMAGES / (f"T33XWJ_20220413T150759_{name}.jp2" if level == "1C" else f"{name}.jp2")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (product / f"MTD_MSIL{level}.xml").write_text(
        f"<a><PRODUCT_URI>{product.name}</PRODUCT_URI><PROCESSING_BASELINE>04.00</PROCESSING_BASELINE>"
        f'<{quantity} unit="none">10000</{quantity}>{added if offsets else ""}</a>'
    )
    return product


def _landsat(folder: Path) -> Path:
    name = "LC08_L2SP_017036_20130419_20200913_02_T2"
    files = {f"FILE_NAME_BAND_{k}": f"{name}_SR_B{k}.TIF" for k in range(1, 8)}
    files |= {"FILE_NAME_BAND_ST_B10": f"{name}_ST_B10.TIF", "FILE_NAME_QUALITY_L1_PIXEL": f"{name}_QA_PIXEL.TIF"}
    numbers = {f"REFLECTANCE_MULT_BAND_{k}": "2.75e-05" for k in range(1, 8)}
    numbers |= {f"REFLECTANCE_ADD_BAND_{k}": "-0.2" for k in range(1, 8)}
    contents = {"LANDSAT_PRODUCT_ID": name, "PROCESSING_LEVEL": "L2SP"} | files
    image = {"SPACECRAFT_ID": "LANDSAT_8", "WRS_PATH": "17", "WRS_ROW": "36", "DATE_ACQUIRED": "2013-04-19"}
    parts = {"PRODUCT_CONTENTS": contents, "IMAGE_ATTRIBUTES": image, "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": numbers}
    product = folder / name
    product.mkdir()
    (product / f"{name}_MTL.json").write_text(json.dumps({"LANDSAT_METADATA_FILE": parts}))
    for file in files.values():
        (product / file).write_bytes(file.encode())
    return product


def _content(band: SceneBand) -> bytes:
    data = Path(band.url).read_bytes()
    return data if band.member is None else data[band.member.offset :][: band.member.size]


def _zipped(product: Path, compression: int) -> Path:
    path = product.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(product.rglob("*")):
            archive.write(
                file, file.relative_to(product.parent), zipfile.ZIP_DEFLATED if file.suffix == ".xml" else None
            )
    return path


def test_a_safe_folder_and_its_zip_are_the_same_scene(tmp_path: Path) -> None:
    product = _safe(tmp_path)
    for path in (product, _zipped(product, zipfile.ZIP_STORED)):
        assert is_product(str(path))
        scene = product_scene(str(path))
        assert [(b.name, b.asset, b.resolution, b.scale, b.offset) for b in scene.bands] == [
            ("blue", "B02", 10.0, 1e-4, -0.1),
            ("nir", "B8A", 20.0, 1e-4, -0.1),
        ]
        assert [_content(band) for band in scene.bands] == [b"R10m/T_B02_10m", b"R20m/T_B8A_20m"]
        assert [mask.kind for mask in scene.masks] == ["scl"]
        assert scene.level == "l2a"
        assert scene.acquisition is not None
        assert (scene.acquisition.relative_orbit, scene.acquisition.baseline) == (25, "04.00")


def test_level_1c_has_its_bands_own_sizes(tmp_path: Path) -> None:
    scene = product_scene(str(_safe(tmp_path, level="1C")))
    assert [(b.asset, b.resolution, b.offset) for b in scene.bands] == [("B02", 10.0, -0.1), ("B8A", 20.0, -0.1)]
    assert scene.level == "l1c"


def test_metadata_of_countless_elements_are_refused_at_once(tmp_path: Path) -> None:
    product = _safe(tmp_path)
    metadata = product / "MTD_MSIL2A.xml"
    attributes = " ".join(f"a{k}=''" for k in range(400_000))
    for filler in ("<b/>" * 1_000_000, f"<b {attributes}/>"):
        good = metadata.read_text()
        metadata.write_text(good.replace("</a>", f"{filler}</a>"))
        with pytest.raises(SourceUnreadableError, match="tags"):
            product_scene(str(product))
        metadata.write_text(good)


@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_names_in_a_product_are_bounded(tmp_path: Path, kind: str) -> None:
    """However many levels they have: a folder's add up to more than any of its names."""
    product = _safe(tmp_path)
    for length, refused in ((900, False), (1100, True)):
        name = "/".join([str(length), *["x" * 99] * (length // 100)])
        path = product if kind == "folder" else tmp_path / f"{length}{product.name}.{kind}"
        if kind == "folder":
            (product / name).parent.mkdir(parents=True)
            (product / name).write_bytes(b"")
        elif kind == "zip":
            shutil.copy(_zipped(product, zipfile.ZIP_STORED), path)
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr(f"{product.name}/{name}", b"")
        else:
            with tarfile.open(path, "w") as tar:
                tar.add(product, product.name)
                tar.addfile(tarfile.TarInfo(name))
        if refused:
            with pytest.raises(SourceUnreadableError, match="name of more than"):
                product_files(str(path))
        else:
            assert any(found.endswith(name) for found in product_files(str(path)).members)


def test_compressed_pictures_are_to_be_unpacked(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadableError, match="unpack it"):
        product_scene(str(_zipped(_safe(tmp_path), zipfile.ZIP_DEFLATED)))


def test_a_landsat_bundle_and_its_tar_are_the_same_scene(tmp_path: Path) -> None:
    product = _landsat(tmp_path)
    with tarfile.open(tmp_path / "bundle.tar", "w") as archive:
        for file in sorted(product.iterdir()):
            archive.add(file, file.name)
    for path in (product, tmp_path / "bundle.tar"):
        assert is_product(str(path))
        scene = product_scene(str(path))
        names = ["coastal", "blue", "green", "red", "nir", "swir16", "swir22"]
        assert [band.name for band in scene.bands] == names
        assert {(band.scale, band.offset) for band in scene.bands} == {(2.75e-5, -0.2)}
        assert all(_content(band).endswith(f"{band.asset}.TIF".encode()) for band in scene.bands)
        assert [mask.kind for mask in scene.masks] == ["qa_pixel"]
        assert scene.acquisition is not None
        assert scene.acquisition.tile == "017036"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("archives")
    product = _landsat(folder)
    with tarfile.open(folder / "bundle.tar", "w") as archive:
        archive.add(product, product.name)
    return [folder / "bundle.tar", _zipped(_safe(folder), zipfile.ZIP_STORED)]


@given(st.data())
def test_spoilt_archives_are_read_or_refused(archives: list[Path], data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(archives))
    content = bytearray(whole.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=5)):
        content[place] = data.draw(st.integers(0, 255))
    # The directory of a zip is at its end, the metadata of both are text.
    path = whole.with_name(f"spoilt{whole.suffix}")
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        scene = product_scene(str(path))
    except SourceUnreadableError:
        return
    for band in scene.bands:
        assert band.member is not None
        assert 0 <= band.member.offset <= band.member.offset + band.member.size <= path.stat().st_size


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_what_is_no_product_is_refused_in_words(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for data in (b"", b"PK\x03\x04" + bytes(100), b"\x1f\x8b" + bytes(600)):
        path.write_bytes(data)
        with pytest.raises(SourceUnreadableError, match="cannot be read as a product"):
            product_scene(str(path))
    with pytest.raises(SourceUnreadableError, match="cannot be read as a product"):
        product_scene(str(tmp_path / "missing.zip"))
    with pytest.raises(SourceUnreadableError, match="MTL"):
        product_scene(str(tmp_path))
    assert not is_product(str(tmp_path))


def _real(source: Path, folder: Path) -> Path:
    """A product of real metadata, every picture that they name an empty file."""
    product = folder / source.name
    shutil.copytree(source, product, copy_function=shutil.copyfile)
    text = "".join(p.read_text() for p in product.rglob("*") if p.name == "manifest.safe" or "MTL" in p.name)
    for word in text.replace('"', " ").split():
        if word.lower().endswith((".tif", ".jp2")):
            path = product / word.removeprefix("href=")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    return product


def _packed(product: Path) -> Path:
    """A product as it is downloaded: the pictures stored in a zip, or a tar."""
    if product.suffix == ".SAFE":
        return _zipped(product, zipfile.ZIP_STORED)
    with tarfile.open(product.with_suffix(".tar"), "w") as archive:
        for file in sorted(product.iterdir()):
            archive.add(file, file.name)
    return product.with_suffix(".tar")


def test_the_metadata_of_a_real_safe(tmp_path: Path, real_data: Path) -> None:
    product = _real(next((real_data / "safe").iterdir()), tmp_path)
    for path in (product, _packed(product)):
        scene = product_scene(str(path))
        assert (len(scene.bands), scene.level, scene.warnings) == (12, "l2a", ())
        assert {(b.scale, b.offset, b.source) for b in scene.bands} == {(1e-4, -0.1, "MTD_MSIL2A.xml")}
        found = scene.acquisition
        assert found is not None
        assert found.when == datetime(2022, 4, 13, 15, 7, 59, 24000, tzinfo=UTC)
        assert (found.tile, found.relative_orbit, found.baseline) == ("33XWJ", 25, "04.00")
        assert (found.collection, found.level) == ("sentinel-2-l2a", "l2a")
        assert found.id == product.stem
        assert found.sun_elevation == pytest.approx(90 - 76.5286190227361)
        assert found.box == pytest.approx((14.998951, 80.109863, 17.733171, 80.165337), abs=1e-6)


def test_the_metadata_of_a_real_landsat_bundle(tmp_path: Path, real_data: Path) -> None:
    product = _real(real_data / "landsat", tmp_path)
    item = json.loads(next(product.glob("*_SR_stac.json")).read_text())
    for path in (product, _packed(product)):
        scene = product_scene(str(path))
        assert (len(scene.bands), scene.level, scene.warnings) == (7, "l2a", ())
        assert {(b.scale, b.offset, b.source) for b in scene.bands} == {(2.75e-5, -0.2, "MTL metadata")}
        found = scene.acquisition
        assert found is not None
        assert found.when == datetime(2013, 4, 19, 16, 1, 51, tzinfo=UTC)
        assert (found.tile, found.cloud_cover, found.level) == ("017036", 100, "l2a")
        assert found.sun_elevation == pytest.approx(item["properties"]["eo:sun_elevation"], abs=1e-4)
        assert found.box == pytest.approx(item["bbox"], abs=0.1)  # the Item's leaves out the margin


@pytest.mark.parametrize("kind", ["safe", "landsat"])
def test_missing_pictures_are_named(tmp_path: Path, real_data: Path, kind: str) -> None:
    source = next((real_data / kind).iterdir()) if kind == "safe" else real_data / kind
    product = _real(source, tmp_path)
    for picture in [*product.rglob("*_B11_*"), *product.rglob("*_B02_10m*"), *product.rglob("*_SR_B6.TIF")]:
        picture.unlink()
    for path in (product, _packed(product)):
        scene = product_scene(str(path))
        warnings = " ".join(scene.warnings)
        expected = ("lacks B11,", "B02 at 20 m only") if kind == "safe" else ("lacks SR_B6,",)
        assert len(scene.warnings) == len(expected)
        assert all(text in warnings for text in expected), warnings


@pytest.mark.parametrize(
    ("baseline", "stated", "expected"),
    [
        ("04.00", {}, {"B02": -0.1, "B8A": -0.1}),
        ("05.11", {}, {"B02": -0.1, "B8A": -0.1}),
        ("03.01", {}, {"B02": 0.0, "B8A": 0.0}),
        ("05.11", {1: -500, 8: 0}, {"B02": -0.05, "B8A": 0.0}),
        ("05.11", {8: -500}, {"B02": -0.1, "B8A": -0.05}),
        ("03.01", {1: -1000}, {"B02": -0.1, "B8A": 0.0}),
    ],
)
def test_an_offset_that_is_not_stated_follows_the_baseline(
    tmp_path: Path, baseline: str, stated: dict[int, int], expected: dict[str, float]
) -> None:
    for level, kind in (("1C", "RADIO"), ("2A", "BOA")):
        product = _safe(tmp_path / level, level=level, offsets=False)
        metadata = product / f"MTD_MSIL{level}.xml"
        added = "".join(f'<{kind}_ADD_OFFSET band_id="{k}">{v}</{kind}_ADD_OFFSET>' for k, v in stated.items())
        text = metadata.read_text().replace(">04.00<", f">{baseline}<").replace("</a>", f"{added}</a>")
        metadata.write_text(text)
        scene = product_scene(str(product))
        assert {b.asset: b.offset for b in scene.bands} == pytest.approx(expected)
        assert {b.scale for b in scene.bands} == {1e-4}


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY x "04.00">]><a><PROCESSING_BASELINE>&x;</PROCESSING_BASELINE></a>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        "<a>",
        "",
        "\x00",
        "<?xml version='1.0' encoding='nonsense'?><a/>",
    ],
)
@pytest.mark.parametrize("name", ["MTD_MSIL2A.xml", "MTD_TL.xml"])
def test_metadata_that_are_not_plain_xml_are_refused(tmp_path: Path, text: str, name: str) -> None:
    product = _safe(tmp_path)
    path = product if name == "MTD_MSIL2A.xml" else (product / IMAGES).parent
    (path / name).write_text(text)
    with pytest.raises(SourceUnreadableError, match=name):
        product_scene(str(product))


def test_level_1_of_landsat_is_divided_by_the_height_of_the_sun(tmp_path: Path) -> None:
    product = _landsat(tmp_path)
    path = next(product.glob("*_MTL.json"))
    document = json.loads(path.read_text())
    parts = document["LANDSAT_METADATA_FILE"]
    parts["PRODUCT_CONTENTS"]["PROCESSING_LEVEL"] = "L1TP"
    parts["IMAGE_ATTRIBUTES"]["SUN_ELEVATION"] = "30.0"
    parts["LEVEL1_RADIOMETRIC_RESCALING"] = {
        f"REFLECTANCE_{what}_BAND_{k}": value
        for k in range(1, 8)
        for what, value in (("MULT", "2e-05"), ("ADD", "-0.1"))
    }
    path.write_text(json.dumps(document))
    scene = product_scene(str(product))
    assert scene.level == "l1c"
    for band in scene.bands:
        assert band.scale == pytest.approx(4e-5)
        assert band.offset == pytest.approx(-0.2)
