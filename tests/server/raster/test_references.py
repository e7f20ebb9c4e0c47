"""Rasters that lead to other files: GDAL and PROJ open what a request names, and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.vrt import WarpedVRT
from starlette.testclient import TestClient

import algorithms
from server.raster.drivers import NEEDED
from tests.helpers.canary import VALUE, Canary, canary
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, needs, raster, serve_command
from tests.helpers.tiff import METADATA, NORTH_UP, epsg, gdal_metadata, make_tiff, projection

SIDE = 256
OWN = 120
"""Value of the hostile rasters' own pixels."""

LOSSLESS = {"quality": 100, "reversible": True, "blockxsize": 64, "blockysize": 64}
PIXELS = np.full((SIDE, SIDE), OWN, np.uint8)
GEOGRAPHIC = (
    'GEOGCS["g",DATUM["D",SPHEROID["b",6377397.155,299.15]{}],PRIMEM["Greenwich",0],UNIT["Degree",0.01745329252]]'
)
UTM = (
    'PROJCS["x",{},PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",15],'
    'PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],PARAMETER["false_northing",0],UNIT["metre",1]{}]'
)
WGS84 = 'DATUM["World Geodetic System 1984",ELLIPSOID["WGS 84",6378137,298.257223563]]'
DEGREES = 'CS[ellipsoidal,2],AXIS["lat",north],AXIS["lon",east],ANGLEUNIT["degree",0.0174532925199433]'


def overviews(name: str) -> bytes:
    """A TIFF whose metadata says where its overviews are."""
    metadata = gdal_metadata({"OVERVIEWS": {"OVERVIEW_FILE": name.replace("&", "&amp;").replace("<", "&lt;")}})
    return make_tiff(PIXELS, epsg(32633) | NORTH_UP | {METADATA: metadata})


def geolocation(name: str) -> bytes:
    """A TIFF without georeferencing whose metadata says where the arrays of its coordinates are."""
    items = {
        "X_DATASET": name, "X_BAND": "1", "Y_DATASET": name, "Y_BAND": "1", "PIXEL_OFFSET": "0", "LINE_OFFSET": "0",
        "PIXEL_STEP": "1", "LINE_STEP": "1", "SRS": "EPSG:4326",
    }  # fmt: skip
    return make_tiff(PIXELS, epsg(32633) | {METADATA: gdal_metadata({"GEOLOCATION": items})})


def system(wkt: str) -> bytes:
    """A TIFF with a coordinate reference system of its own."""
    return make_tiff(PIXELS, projection(wkt) | NORTH_UP)


def grid(name: str) -> str:
    return UTM.format(GEOGRAPHIC.format(f',EXTENSION["PROJ4_GRIDS","{name}"]'), "")


def proj_string(text: str) -> str:
    return UTM.format(GEOGRAPHIC.format(""), f',EXTENSION["PROJ4","{text}"]')


def bound(name: str) -> str:
    return (
        f'BOUNDCRS[SOURCECRS[GEOGCRS["x",DATUM["d",ELLIPSOID["b",6377397.155,299.15]],{DEGREES}]],TARGETCRS[GEOGCRS['
        f'"WGS 84",{WGS84},{DEGREES},ID["EPSG",4326]]],ABRIDGEDTRANSFORMATION["t",METHOD["NTv2",ID["EPSG",9615]],'
        f'PARAMETERFILE["Latitude and longitude difference file","{name}"]]]'
    )


def derived(operation: str) -> str:
    return (
        f'GEOGCRS["d",BASEGEOGCRS["WGS 84",{WGS84}],DERIVINGCONVERSION["c",METHOD["PROJ-based operation method: '
        f'{operation}"]],{DEGREES}]'
    )


def method(text: str) -> str:
    return (
        f'PROJCRS["p",BASEGEOGCRS["WGS 84",{WGS84}],CONVERSION["c",METHOD["{text}"]],'
        'CS[Cartesian,2],AXIS["E",east],AXIS["N",north],LENGTHUNIT["metre",1]]'
    )


GEO_JP2 = bytes.fromhex("B14BF8BD083D4B43A5AE8CD7D5A6CE03")
"""UUID of the box that carries georeferencing as a TIFF of one pixel."""


def jp2(kind: bytes, content: bytes) -> bytes:
    """A JPEG 2000 file with one more box before its pixels."""
    with rasterio.MemoryFile(ext=".jp2") as memory:
        with memory.open(driver="JP2OpenJPEG", width=SIDE, height=SIDE, count=1, dtype="uint8", **LOSSLESS) as file:
            file.write(PIXELS[None])
        whole = memory.read()
    before = whole.index(b"jp2c") - 4
    return whole[:before] + struct.pack(">I", 8 + len(content)) + kind + content + whole[before:]


def jp2_metadata(domain: str, item: str, name: str) -> bytes:
    items = f'<Metadata domain="{domain}"><MDI key="{item}">{name}</MDI></Metadata>'
    return jp2(b"xml ", f"<GDALMultiDomainMetadata>{items}</GDALMultiDomainMetadata>".encode())


def references(made: Canary) -> dict[str, bytes]:
    """Hostile rasters by name."""
    tif, pipe, url, grid_file = made.tif, f"{made.folder}/pipe", made.url, f"{made.folder}/canary.bin"
    vrt = (
        f'<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{tif}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    wms = f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}</ServerUrl></Service></GDAL_WMS>'
    targets = {
        "path": tif, "pipe": pipe, "climbing": f"../../{tif}", "base": f":::BASE:::{tif}", "curl": f"/vsicurl/{url}",
        "streaming": f"/vsicurl_streaming/{url}", "zip": f"/vsizip/{tif}/a", "subfile": f"/vsisubfile/0,{tif}",
        "sparse": f"/vsisparse/{tif}", "gzip": f"/vsigzip/{tif}", "tar": f"/vsitar/{tif}", "stdin": "/vsistdin/",
        "cached": f"/vsicached?file={tif}", "crypt": f"/vsicrypt/key=a,file={tif}", "s3": "/vsis3/bucket/a.tif",
        "webhdfs": f"/vsiwebhdfs/{url}", "http": url, "gti": f"GTI:{url}", "gti-file": f"GTI:{tif}", "wms": wms,
        "zarr": f'ZARR:"/vsicurl/{url}"', "zarr-file": f'ZARR:"{tif}"', "wmts": f"WMTS:{url}", "wcs": f"WCS:{url}",
        "vrt": vrt, "vrt-name": f"vrt://{tif}", "vrt-name-remote": f"vrt:///vsicurl/{url}", "eeda": f"EEDAI:{url}",
        "stacit": f'STACIT:"{url}"', "stacta": f'STACTA:"{url}"', "derived": f"DERIVED_SUBDATASET:LOGAMPLITUDE:{tif}",
        "netcdf": f'NETCDF:"{tif}":a', "netcdf-remote": f"NETCDF:{url}:a", "hdf5": f'HDF5:"{tif}"://a',
        "sentinel2": f"SENTINEL2_L1C:{tif}:10m:EPSG_32633", "gtiff": f"GTIFF_DIR:1:{tif}", "raw": f"GTIFF_RAW:{tif}",
        "jpeg": f"JPEG_SUBFILE:{tif}", "pdf": f"PDF:1:{tif}", "mem": "MEM:::DATAPOINTER=4096,PIXELS=64,LINES=64",
        "rasterlite": f"RASTERLITE:{tif}", "nitf": f"NITF_IM:0:{tif}", "ogr": f"OGR_VRT:{tif}", "daas": f"DAAS:{url}",
        "plmosaic": f"PLMOSAIC:{url}",
    }  # fmt: skip
    operations = {
        "grids": f"+proj=pipeline +step +proj=hgridshift +grids={grid_file}",
        "vertical": f"+proj=vgridshift +grids={grid_file}",
        "file": f"+proj=tinshift +file={grid_file}",
        "model": f"+proj=defmodel +model={grid_file}",
        "pipe": f"+proj=hgridshift +grids={pipe}",
    }
    return {
        **{f"overviews-{name}": overviews(target) for name, target in targets.items()},
        **{f"geolocation-{name}": geolocation(targets[name]) for name in ("path", "pipe", "curl", "vrt-name")},
        "jp2-overviews.jp2": jp2_metadata("OVERVIEWS", "OVERVIEW_FILE", tif),
        "jp2-geolocation.jp2": jp2_metadata("GEOLOCATION", "X_DATASET", tif),
        "jp2-crs-grid.jp2": jp2(b"uuid", GEO_JP2 + system(grid(grid_file))),
        "jp2-crs-pipe.jp2": jp2(b"uuid", GEO_JP2 + system(bound(pipe))),
        "jp2-crs-string.jp2": jp2(b"uuid", GEO_JP2 + system(derived(operations["grids"]))),
        "crs-grid": system(grid(grid_file)),
        "crs-grid-pipe": system(grid(pipe)),
        "crs-grid-optional": system(grid(f"@{grid_file}")),
        "crs-grid-second": system(grid(f"null,{grid_file}")),
        "crs-grid-climbing": system(grid(f"../../../../..{grid_file}")),
        "crs-bound": system(bound(grid_file)),
        "crs-string": system(proj_string(f"+proj=utm +zone=33 +ellps=bessel +nadgrids={grid_file} +no_defs")),
        "crs-geoid": system(proj_string(f"+proj=utm +zone=33 +ellps=WGS84 +geoidgrids={grid_file} +no_defs")),
        "crs-init": system(proj_string(f"+init={grid_file}:33 +no_defs")),
        "crs-string-upper": system(proj_string(f"+proj=utm +zone=33 +NADGRIDS={grid_file} +no_defs")),
        "crs-method": system(method(f"PROJ hgridshift grids={grid_file}")),
        "crs-method-string": system(method(f"PROJ-based operation method: {operations['grids']}")),
        "crs-remark": system(method("PROJ eqc")[:-1] + f',REMARK["PROJ CRS string: +proj=eqc +nadgrids={grid_file}"]]'),
        "crs-spaced": system(grid(grid_file).replace('EXTENSION["', 'extension [ "')),
        "crs-round": system(grid(grid_file).replace("[", "(").replace("]", ")")),
        "crs-custom": system(proj_string(operations["grids"]).replace("Transverse_Mercator", "custom_proj4")),
        **{f"crs-derived-{name}": system(derived(text)) for name, text in operations.items()},
    }  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    with canary(tmp_path_factory.mktemp("outside") / "canary") as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, made: Canary) -> Path:
    """Hostile rasters, and good ones."""
    folder = tmp_path_factory.mktemp("inside")
    for name, content in references(made).items():
        (folder / (name if "." in name else f"{name}.tif")).write_bytes(content)
    write_raster(folder / "good.tif", np.full((1, SIDE, SIDE), OWN, np.uint8), nodata=None)
    pair = make_pair(size=(SIDE, SIDE))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "replacement.tif", pair.replacement)
    made.touched()
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[RangeServer]:
    with range_server(folder) as served:
        yield served


@pytest.fixture(scope="module")
def client(folder: Path, served: RangeServer) -> Iterator[TestClient]:
    with application(f"{folder},{served.base}") as client:
        yield client


def ask_everything(get: Callable[[str, dict[str, Any]], Any], base: str, name: str) -> list[int]:
    """Statuses of requests that open a raster in every way; its answers show its own pixels."""
    named: dict[str, Any] = {"url": base + name}
    pair = {"url": f"{base}target.tif", "algorithm_params": '{"residual": false}'}
    requests = [
        ("/cog/info", named),
        ("/cog/preview.tif", named | {"max_size": 48}),
        ("/cog/preview.tif", named | {"max_size": SIDE}),
        ("/cog/preview.tif", named | {"max_size": 48, "dst_crs": "EPSG:3857"}),
        ("/cog/statistics", named | {"max_size": 48}),
        ("/cog/point/15.01,41.54", named),
        ("/cog/tiles/WebMercatorQuad/10/554/381.tif", named),
        ("/cog/WebMercatorQuad/tilejson.json", named),
        ("/cog/preview.tif", pair | {"replacement": base + name, "max_size": 48}),
        ("/cog/preview.tif", pair | {"replacement": f"{base}replacement.tif", "mask": base + name, "max_size": 48}),
    ]
    statuses = []
    for path, params in requests:
        answer = get(path, params)
        statuses.append(answer.status_code)
        if (
            answer.status_code == 200
            and path.endswith("preview.tif")
            and params is not pair
            and "replacement" not in params
        ):
            assert not (raster(answer.content) == VALUE).any()
    return statuses


@pytest.mark.parametrize("where", ["local", "remote"])
def test_no_raster_leads_to_another_file(
    client: TestClient, folder: Path, served: RangeServer, made: Canary, where: str
) -> None:
    base = served.base if where == "remote" else f"{folder}/"
    names = sorted(path.name for path in folder.glob("*-*.*"))
    assert len(names) > 60
    failed = []
    for name in names:
        statuses = ask_everything(lambda path, params: client.get(path, params=params), base, name)
        used = made.touched()
        if used or not set(statuses) <= {200, 400, 403, 404}:
            failed.append((name, statuses, used))
    assert not failed
    assert 200 in ask_everything(lambda path, params: client.get(path, params=params), base, "good.tif")


def test_the_canary_notices(folder: Path, made: Canary) -> None:
    """Opened by a GDAL that nobody guards, the same rasters lead where they should not."""
    led = 0
    for name in ("overviews-path", "crs-grid", "crs-string", "crs-derived-grids"):
        with (
            contextlib.suppress(rasterio.errors.RasterioError, CPLE_BaseError),
            rasterio.open(folder / f"{name}.tif") as src,
            WarpedVRT(src, crs="EPSG:4326") as warped,
        ):
            src.read(out_shape=(1, 16, 16))
            warped.read(out_shape=(1, 16, 16))
        led += bool(made.touched())
    assert led == 4


def test_only_needed_drivers_are_left() -> None:
    with rasterio.Env() as env:
        assert set(env.drivers()) <= NEEDED


# --- side-cars


def with_sidecar(folder: Path, name: str, suffix: str, content: bytes | Path) -> str:
    """A copy of the good raster with a side-car."""
    path = folder / f"{name}.tif"
    shutil.copy(folder / "plain.tif", path)
    beside = path.with_name(path.name + suffix)
    if isinstance(content, Path):
        beside.symlink_to(content)
    else:
        beside.write_bytes(content)
    return str(path)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    """A raster without overviews."""
    (folder / "plain.tif").write_bytes(make_tiff(PIXELS, epsg(32633) | NORTH_UP))
    return folder / "plain.tif"


def pixels(client: TestClient, url: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """First band and mask of a preview."""
    answer = client.get("/cog/preview.tif", params={"url": url, "max_size": size})
    assert answer.status_code == 200, answer.text
    bands = raster(answer.content)
    return bands[0], bands[-1]


@pytest.mark.usefixtures("plain")
def test_masks_and_overviews_beside_a_local_file_are_used(client: TestClient, folder: Path) -> None:
    half = make_tiff(np.full((SIDE // 2, SIDE // 2), 90, np.uint8))
    url = with_sidecar(folder, "with-overviews", ".ovr", half)
    assert (pixels(client, url, SIDE)[0] == OWN).all()
    assert (pixels(client, url, SIDE // 2)[0] == 90).all()
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    mask[:100] = 0
    url = with_sidecar(
        folder, "with-mask", ".msk", make_tiff(mask, {METADATA: gdal_metadata({"": {"INTERNAL_MASK_FLAGS_1": "2"}})})
    )
    values, alpha = pixels(client, url, SIDE)
    assert (alpha[:100] == 0).all()
    assert (alpha[100:] == 255).all()
    assert (values[100:] == OWN).all()


@pytest.mark.usefixtures("plain")
def test_a_sidecar_that_changes_is_another_state(client: TestClient, folder: Path) -> None:
    url = with_sidecar(folder, "changing", ".ovr", make_tiff(np.full((SIDE // 2, SIDE // 2), 90, np.uint8)))
    params: dict[str, Any] = {"url": url, "max_size": SIDE // 2}
    first = client.get("/cog/preview.tif", params=params)
    Path(url + ".ovr").write_bytes(make_tiff(np.full((SIDE // 2, SIDE // 2), 91, np.uint8)) + b"0")
    second = client.get("/cog/preview.tif", params=params, headers={"If-None-Match": first.headers["etag"]})
    assert second.status_code == 200
    assert (raster(second.content)[0] == 91).all()
    Path(url + ".ovr").unlink()
    third = client.get("/cog/preview.tif", params=params, headers={"If-None-Match": second.headers["etag"]})
    assert (raster(third.content)[0] == OWN).all()


@pytest.mark.usefixtures("plain")
def test_no_sidecar_leads_to_another_file(client: TestClient, folder: Path, made: Canary) -> None:
    vrt = (
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{made.tif}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    ).encode()
    pam = f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{made.tif}</MDI></Metadata></PAMDataset>'
    contents: list[bytes | Path] = [
        vrt,
        overviews(made.tif),
        overviews(f"{made.folder}/pipe"),
        Path(made.tif),
        made.folder / "pipe",
        system(grid(made.tif)),
    ]
    images = (".ovr", ".msk", ".OVR", ".MSK", ".msk.ovr", ".ovr.msk")
    texts = (".tfw", ".wld", ".tifw", ".IMD", ".RPB", "_rpc.txt", ".xml", ".tab", ".prj", ".rrd", ".vat.dbf", ".hdr")
    cases: list[tuple[str, bytes | Path]] = [
        *((suffix, content) for suffix in images for content in contents),
        (".aux.xml", pam.encode()),
        (".aux.xml", Path(made.tif)),
        (".aux", Path(made.tif)),
        *((suffix, made.folder / "canary.bin") for suffix in texts),
    ]
    for number, (suffix, content) in enumerate(cases):
        url = with_sidecar(folder, f"sidecar{number}", suffix, content)
        for size in (48, SIDE):
            answer = client.get("/cog/preview.tif", params={"url": url, "max_size": size})
            assert answer.status_code in ((400,) if suffix == ".msk" else (200,)), (suffix, answer.text)
            if answer.status_code == 200:
                assert (raster(answer.content)[0] == OWN).all()
            else:
                assert ".msk" in answer.json()["detail"]
        assert client.get("/cog/info", params={"url": url}).status_code in (200, 400)
        assert not made.touched(), (suffix, content)


@pytest.mark.usefixtures("plain")
def test_sidecars_of_remote_files_are_not_asked_for(client: TestClient, folder: Path, served: RangeServer) -> None:
    with_sidecar(folder, "beside", ".ovr", make_tiff(np.full((SIDE // 2, SIDE // 2), 90, np.uint8)))
    paths: list[str] = []
    served.trouble = lambda path, start: paths.append(path)
    try:
        values, _ = pixels(client, f"{served.base}beside.tif", SIDE // 2)
    finally:
        served.trouble = None
    assert (values == OWN).all()
    assert set(paths) == {"/beside.tif"}


def test_a_sidecar_made_a_pipe_while_the_server_runs_does_not_hang(
    client: TestClient, folder: Path, plain: Path
) -> None:
    url = with_sidecar(folder, "later-pipe", ".ovr", make_tiff(np.full((SIDE // 2, SIDE // 2), 90, np.uint8)))
    assert (pixels(client, url, SIDE // 2)[0] == 90).all()
    Path(url + ".ovr").unlink()
    os.mkfifo(url + ".ovr")
    done = threading.Event()

    def ask() -> None:
        client.get("/cog/preview.tif", params={"url": url, "max_size": 48})
        done.set()

    threading.Thread(target=ask, daemon=True).start()
    assert done.wait(10)


# --- the real server, its system calls counted


def traced(log: Path) -> tuple[str, ...]:
    """The beginning of a command line that notes what is opened and where connections go."""
    strace = needs("strace")
    if subprocess.run([strace, "-o", "/dev/null", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets no process trace another")
    return (
        strace,
        "-f",
        "-qq",
        "-I2",
        "-e",
        "trace=open,openat,openat2,connect,stat,lstat,newfstatat,statx,access",
        "-o",
        str(log),
    )


def test_the_system_sees_no_other_file_opened(folder: Path, served: RangeServer, made: Canary, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    names = sorted(path.name for path in folder.glob("*-*.*"))
    with serve_command(f"{folder},{served.base}", under=traced(log)) as (_, base), httpx2.Client(timeout=60) as client:
        marker = len(log.read_text().splitlines())
        for where in (f"{folder}/", served.base):
            for name in names:
                for path in ("/cog/info", "/cog/preview.tif"):
                    client.get(base + path, params={"url": where + name, "max_size": 48})
        assert (
            client.get(f"{base}/cog/preview.png", params={"url": f"{folder}/good.tif", "max_size": 48}).status_code
            == 200
        )
    calls = log.read_text().splitlines()[marker:]
    opened = [m[1] for call in calls if (m := re.search(r'open(?:at2?)?\((?:AT_FDCWD, )?"([^"]*)"', call))]
    assert any(path.startswith(str(folder)) for path in opened), "the trace saw nothing"
    assert not [call for call in calls if str(made.folder) in call]
    assert not [call for call in calls if f"sin_port=htons({made.port})" in call]
    own = (sys.base_prefix, str(Path(algorithms.__file__).parent / "__pycache__"))  # while compiled loops are loaded
    strange = [
        path
        for path in opened
        if str(folder) not in path
        and not path.startswith(own)
        and path != "."
        and not path.startswith(("/proc/", "/sys/", "/usr/", "/lib", "/etc/", "/dev/"))
        and "site-packages" not in path
        and not path.endswith((".py", ".pyc", ".so"))
    ]
    assert not strange
    assert not made.touched()
