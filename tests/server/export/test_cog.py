"""Cloud Optimized GeoTIFFs put together from pieces: what GDAL would have written of the same pixels."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from server.errors import UnwritableError
from server.export import tiff
from server.export.cog import SCRATCH, Cog, write_cogs
from server.export.description import put_mask, target_description
from server.export.mosaic import PieceFile
from server.export.overviews import Halving
from server.export.plan import Piece
from server.export.pyramid import MadeTile, Pyramid
from server.export.tiff import read_tags, spans_of
from server.export.tiles import stored_mask, stored_tiles
from server.raster.grid import Box
from server.raster.sources import Sources
from server.settings import Settings
from tests.helpers.scenes import ORIGIN, UTM

Files = dict[str, tuple[PieceFile, ...]]
CASES = list(product(("uint8", "uint16", "int16", "int32", "float32"), ("all", "nodata", "mask"), (True, False)))


def noise(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Numbers of a type, below 0 where it has such."""
    low = 0 if np.dtype(dtype).kind == "u" else -100
    values = np.random.default_rng(seed).random(shape) * 200 + low
    return np.asarray(values.astype(dtype))


def write_source(
    path: Path, values: np.ndarray, *, nodata: float | None = None, seen: np.ndarray | None = None
) -> Path:
    """A raster that is described in all that a GeoTIFF can say."""
    count, height, width = values.shape
    profile = {"count": count, "height": height, "width": width, "dtype": values.dtype, "nodata": nodata}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", crs=UTM, transform=ORIGIN, **profile) as dst,
    ):
        dst.write(values)
        if seen is not None:
            dst.write_mask(seen)
        dst.scales, dst.offsets, dst.units = [0.5] * count, [3.0] * count, ["m"] * count
        dst.update_tags(AREA_OR_POINT="Point", TIFFTAG_DATETIME="2018:07:05 10:00:00", note="a < b & c")
        dst.update_tags(1, WAVELENGTH="490")
    return path


def by_gdal(source: Path, out: Path, *, averaged: bool) -> Path:
    """The same raster as GDAL's own driver writes it."""
    how = "average" if averaged else "nearest"
    options = {"compress": "deflate", "predictor": "yes", "blocksize": 512, "overview_resampling": how}
    rasterio.shutil.copy(source, out, driver="COG", overviews="ignore_existing", **options)
    return out


def cut(folder: Path, values: np.ndarray, seen: np.ndarray | None, side: int, name: str = "") -> Files:
    """Pieces of a raster and of its mask: twice as wide as high."""
    pieces: list[PieceFile] = []
    masks: list[PieceFile] = []
    for number in Box(0, values.shape[1], 0, values.shape[2]).blocks(side):
        if number[1] % 2:
            continue
        row, col = number
        box = Box(row, row + 1, col, col + 2).times(side).clip(values.shape[1:])
        at, piece = (slice(box.top, box.bottom), slice(box.left, box.right)), Piece(row, col // 2, box)
        for files, content in (
            (pieces, stored_tiles(values[(slice(None), *at)], "deflate")),
            (masks, None if seen is None else stored_mask(seen[at])),
        ):
            if content is not None:
                path = folder / f"{name}{piece.name}_{len(files)}_{files is masks}.tif"
                path.write_bytes(content)
                files.append((piece, path))
    return {"pieces": tuple(pieces), "masks": tuple(masks)}


def described(source: Path, *, masked: bool = False) -> ET.Element:
    sources = Sources.of(Settings(), own=[str(source)])
    root = target_description(sources, sources.dataset(str(source)))
    if masked:
        put_mask(root)
    return root


def ours(source: Path, out: Path, files: Files, *, averaged: bool = True, first: int = 1) -> Path:
    """The raster put together from its pieces."""
    with rasterio.open(source) as src:
        dtype = src.dtypes[0]
    root = described(source, masked=bool(files["masks"]))
    write_cogs(
        [Cog(root, finished=out, out=out, dtype=dtype, compression="deflate", averaged=averaged, first=first, **files)],
        workers=2,
    )
    return out


@pytest.mark.parametrize(("dtype", "missing", "averaged"), CASES)
def test_overviews_are_those_of_gdal(tmp_path: Path, dtype: str, missing: str, averaged: bool) -> None:
    """Whichever pixels have data."""
    values, seen = noise(dtype, (2, 600, 520)), np.random.default_rng(1).random((600, 520)) > 0.4
    nodata = None if missing != "nodata" else np.nan if dtype == "float32" else 7
    if nodata is not None:
        values[:, ~seen] = nodata
    mask = seen if missing == "mask" else None
    source = write_source(tmp_path / "source.tif", values, nodata=nodata, seen=mask)
    with rasterio.open(by_gdal(source, tmp_path / "cog.tif", averaged=averaged), overview_level=0) as overview:
        expected, there = overview.read(), overview.dataset_mask() > 0
    got, has = Halving(averaged, nodata).halved(values, mask)
    if mask is None:
        assert has is None
    else:
        np.testing.assert_array_equal(has, there)
    if nodata == 7:  # GDAL takes a mean that rounds to it for no data
        expected[(expected == 7) & (got == 8)] = 8
    np.testing.assert_allclose(got, expected, atol=1e-4)  # floats are summed in another order


@pytest.mark.parametrize("missing", ["all", "nodata", "mask"])
@pytest.mark.parametrize(
    ("shape", "side"), [((300, 340), 512), ((1024, 1024), 512), ((1029, 2050), 512), ((1100, 700), 200)]
)
def test_a_raster_of_any_size_is_what_gdal_writes(
    tmp_path: Path, shape: tuple[int, int], side: int, missing: str
) -> None:
    """However it is cut: of one tile, of whole ones, with odd rows and columns, and by pieces that are no tiles."""
    values, seen = noise("uint16", (2, *shape)), noise("uint8", shape, 1) > 60
    if missing == "nodata":
        values[:, ~seen] = 0
    mask = seen if missing == "mask" else None
    source = write_source(tmp_path / "source.tif", values, nodata=0 if missing == "nodata" else None, seen=mask)
    out = ours(source, tmp_path / "out.tif", cut(tmp_path, values, mask, side))
    assert cog_validate(out, strict=True, quiet=True) == (True, [], [])
    theirs = by_gdal(source, tmp_path / "theirs.tif", averaged=True)
    with rasterio.open(out) as a, rasterio.open(theirs) as b:
        np.testing.assert_array_equal(a.read(), values)
        np.testing.assert_array_equal(a.dataset_mask(), b.dataset_mask())
        assert [a.overviews(n) for n in a.indexes] == [b.overviews(n) for n in b.indexes]
        for namespace in (None, "IMAGE_STRUCTURE"):
            assert a.tags(ns=namespace) == b.tags(ns=namespace)
        for what in ("profile", "scales", "offsets", "units", "descriptions", "colorinterp", "mask_flag_enums"):
            assert getattr(a, what) == getattr(b, what), what
        levels = len(a.overviews(1))
    for level in range(levels):
        with rasterio.open(out, overview_level=level) as a, rasterio.open(theirs, overview_level=level) as b:
            assert (a.shape, a.nodata, a.mask_flag_enums) == (b.shape, b.nodata, b.mask_flag_enums)
            if shape == (1024, 1024):  # GDAL spreads an odd row over all others
                np.testing.assert_allclose(a.read().astype(int), b.read(), atol=level)
                np.testing.assert_array_equal(a.dataset_mask(), b.dataset_mask())
    assert not list(tmp_path.glob("cog"))


def test_tiles_of_pieces_are_copied_as_they_are(tmp_path: Path) -> None:
    """Nothing is compressed twice."""
    values, seen = noise("uint16", (3, 1100, 1500)), noise("uint8", (1100, 1500), 1) > 60
    files = cut(tmp_path, values, seen, 512)
    source = write_source(tmp_path / "source.tif", values, seen=seen)
    content = ours(source, tmp_path / "out.tif", files).read_bytes()
    for (image, *_), kind in ((read_tags(content), "pieces"), (read_tags(content)[1:], "masks")):
        for number, (start, size) in enumerate(spans_of(image)):
            row, col = divmod(number, 3)
            piece = files[kind][2 * row + col // 2][1].read_bytes()
            at, length = spans_of(read_tags(piece)[0])[col % 2]
            assert content[start : start + size] == piece[at : at + length], (kind, number)


def test_bands_of_pieces_become_files_of_their_own(tmp_path: Path) -> None:
    values = noise("uint8", (2, 700, 900))
    files = cut(tmp_path, values, None, 512)
    for first, band in enumerate(values, start=1):
        source = write_source(tmp_path / "source.tif", band[None])
        out = ours(source, tmp_path / f"{first}.tif", files, averaged=False, first=first)
        with rasterio.open(out) as src:
            np.testing.assert_array_equal(src.read(1), band)
            np.testing.assert_array_equal(src.read(1, out_shape=(350, 450)), band[::2, ::2])


def test_files_beyond_four_gigabytes_have_wide_offsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, seen = noise("int16", (2, 1100, 700)), noise("uint8", (1100, 700), 1) > 60
    source = write_source(tmp_path / "source.tif", values, seen=seen)
    files = cut(tmp_path, values, seen, 512)
    monkeypatch.setattr(tiff, "CLASSIC_BYTES", 1_200_000)  # more than a piece has, less than the whole
    out = ours(source, tmp_path / "out.tif", files)
    assert out.read_bytes()[:4] == b"II+\0"
    assert cog_validate(out, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(out) as src:
        np.testing.assert_array_equal(src.read(), values)
        np.testing.assert_array_equal(src.dataset_mask() > 0, seen)


@pytest.mark.parametrize("masked", [False, True])
def test_a_file_that_is_edited_no_longer_claims_its_layout(tmp_path: Path, masked: bool) -> None:
    """GDAL finds in the head what it has to change."""
    values, seen = noise("uint16", (2, 1100, 700)), noise("uint8", (1100, 700), 1) > 60
    mask = seen if masked else None
    source = write_source(tmp_path / "source.tif", values, seen=mask)
    out = ours(source, tmp_path / "out.tif", cut(tmp_path, values, mask, 512))
    theirs = by_gdal(source, tmp_path / "theirs.tif", averaged=True)
    assert out.read_bytes()[8 : 8 + 43 + 174].split(b"\0")[0] == theirs.read_bytes()[8 : 8 + 43 + 174].split(b"\0")[0]
    with rasterio.open(out, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.write(values[:, ::-1])
    assert b"KNOWN_INCOMPATIBLE_EDITION=YES" in out.read_bytes()[:300]
    assert not cog_validate(out, quiet=True)[0]


def test_an_alpha_band_and_colours_stay(tmp_path: Path) -> None:
    values = noise("uint8", (4, 600, 530))
    source = write_source(tmp_path / "source.tif", values)
    with rasterio.open(source, "r+") as dst:
        dst.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    out = ours(source, tmp_path / "out.tif", cut(tmp_path, values, None, 512))
    theirs = by_gdal(source, tmp_path / "theirs.tif", averaged=True)
    for level in ({}, {"overview_level": 0}):
        with rasterio.open(out, **level) as a, rasterio.open(theirs, **level) as b:
            assert a.colorinterp == b.colorinterp
            np.testing.assert_array_equal(a.read(), b.read())


def test_the_smallest_overview_comes_first(tmp_path: Path) -> None:
    values = noise("uint8", (1, 2100, 1300))
    out = ours(write_source(tmp_path / "source.tif", values), tmp_path / "out.tif", cut(tmp_path, values, None, 512))
    images = [spans_of(image) for image in read_tags(out.read_bytes())]
    assert len(images) == 4
    places = [span for image in reversed(images) for span in image]
    assert all(start + size <= following for (start, size), (following, _) in pairwise(places))


@contextmanager
def no_space(left: int) -> Iterator[None]:
    """No file can have more bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("left", [0, 2500, 100_000])
def test_a_full_disk_is_an_error_of_ours(tmp_path: Path, left: int) -> None:
    """Whatever is written first: GDAL has errors of its own, which say other things."""
    values, seen = noise("uint16", (1, 600, 700)), noise("uint8", (600, 700), 1) > 60
    source = write_source(tmp_path / "source.tif", values, seen=seen)
    files = cut(tmp_path, values, seen, 512)
    with pytest.raises(UnwritableError, match="free disk space"), no_space(left):
        ours(source, tmp_path / "out.tif", files)
    assert not (tmp_path / "out.tif").exists()
    assert not (tmp_path / SCRATCH).exists()


def test_another_export_of_the_same_name_does_not_write_into_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends this one and stays: two that go on in the same files would leave tiles of neither."""
    values, out, scratch = noise("uint16", (1, 1100, 1500)), tmp_path / "out.tif", tmp_path / SCRATCH
    source, files = write_source(tmp_path / "source.tif", values), cut(tmp_path, values, None, 512)
    plain = Pyramid.tiles

    def interrupted(self: Pyramid, threads: int) -> Iterator[MadeTile]:
        yield from plain(self, threads)
        monkeypatch.undo()
        ours(source, out, files)  # all of another one, ...
        scratch.mkdir()
        (scratch / "tiles").write_bytes(bytes(10_000_000))  # and one that begins

    monkeypatch.setattr(Pyramid, "tiles", interrupted)
    with pytest.raises(UnwritableError):
        ours(source, out, files)
    assert (scratch / "tiles").exists()
    with rasterio.open(out) as src:
        np.testing.assert_array_equal(src.read(), values)
