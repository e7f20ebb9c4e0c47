"""Products as they are downloaded: folders, zip and tar archives give the same scene."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SourceUnreadableError
from server.scenes.products import is_product, product_scene
from server.scenes.scene import SceneBand

IMAGES = "GRANULE/L2A_T33XWJ_A026649/IMG_DATA"
SHARED = Path(__file__).parents[4] / "shared" / "data"


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


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is missing")
def test_real_metadata_with_small_files(tmp_path: Path) -> None:
    for source in (next((SHARED / "safe").iterdir()), SHARED / "landsat"):
        product = tmp_path / source.name
        shutil.copytree(source, product, copy_function=shutil.copyfile)
        text = "".join(p.read_text() for p in product.rglob("*") if p.name == "manifest.safe" or "MTL" in p.name)
        for word in text.replace('"', " ").split():
            if word.lower().endswith((".tif", ".jp2")):
                path = product / word.removeprefix("href=")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")
        scene = product_scene(str(product))
        safe = source.suffix == ".SAFE"
        assert len(scene.bands) == (12 if safe else 7)
        assert {(b.scale, b.offset) for b in scene.bands} == {(1e-4, -0.1) if safe else (2.75e-5, -0.2)}
        assert scene.acquisition is not None
        assert scene.acquisition.tile == ("33XWJ" if safe else "017036")


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
