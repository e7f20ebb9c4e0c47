"""Hostile requests against a running server: an answer by the table for each, and nothing outside touched.

Next to the server lie what must never be reached: a raster outside of the admitted folder, all of 77, and an HTTP
server that counts who comes.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.scenes import CLEAR_REPLACEMENTS, make_pair, write_raster
from tests.helpers.service import server_process

FINE = {200, 204, 206, 304, 400, 403, 404, 405, 413, 414, 502, 503, 504}
"""Statuses by the table: of 5xx only those that say what a source or the limits did."""


@dataclass(frozen=True)
class Field:
    """A server with what it may read, and what it may not."""

    base: str
    inside: Path
    secret: Path
    canary: RangeServer

    def ask(self, path: str, query: list[tuple[str, str]], body: bytes | None = None) -> tuple[int, bytes]:
        address = f"{self.base}{path}?{urllib.parse.urlencode(query, errors='surrogatepass')}"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        request = urllib.request.Request(address, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except urllib.error.URLError as error:
            if body is None or not isinstance(error.reason, (BrokenPipeError, ConnectionResetError)):
                raise
            return 413, b""  # refused, and closed, while it was being sent


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("attack")
    inside, outside = folder / "inside", folder / "outside"
    inside.mkdir()
    outside.mkdir()
    pair = make_pair(size=(120, 140))
    write_raster(inside / "target.tif", pair.target)
    write_raster(inside / "other.tif", pair.replacement)
    write_raster(inside / "mask.tif", pair.mask[None].astype(np.uint8), nodata=None)
    secret = outside / "secret.tif"
    write_raster(secret, np.full((6, 120, 140), 77, np.uint16))
    (outside / "recipe.yaml").write_text(f"name: stolen\ntarget: {secret}\n")
    (inside / "link.tif").symlink_to(secret)
    os.mkfifo(inside / "pipe.tif")
    with range_server(outside) as canary, server_process(inside, request_timeout="20") as base:
        yield Field(base, inside, secret, canary)


def pair_of(field: Field) -> list[tuple[str, str]]:
    names = (("url", "target"), ("replacement", "other"), ("mask", "mask"))
    return [(name, str(field.inside / f"{file}.tif")) for name, file in names] + [*CLEAR_REPLACEMENTS.items()]


SOURCES = [
    "{secret}",
    "file://{secret}",
    "{inside}/link.tif",
    "{inside}/pipe.tif",
    "{inside}/../outside/secret.tif",
    "{inside}/%2e%2e/outside/secret.tif",
    "{inside}/..;/outside/secret.tif",
    "{inside}//../outside/secret.tif",
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "/proc/self/mem",
    "/dev/random",
    "{inside}",
    "/vsicurl/{canary}secret.tif",
    "/vsicurl_streaming/{canary}secret.tif",
    "/vsizip/{secret}",
    "/VSIMEM/x",
    "/vsisubfile/0_100,{secret}",
    "/vsigzip/{secret}",
    "/vsitar/{secret}",
    "/vsistdin/",
    "vsicurl/{canary}x.tif",
    "{canary}secret.tif",
    "{canary}%2e%2e/secret.tif",
    "http://localhost:{port}/secret.tif",
    "http://[::1]:{port}/secret.tif",
    "http://127.1:{port}/secret.tif",
    "http://2130706433:{port}/secret.tif",
    "http://0x7f000001:{port}/secret.tif",
    "http://0177.0.0.1:{port}/secret.tif",
    "http://0:{port}/secret.tif",
    "https://127.0.0.1:{port}/secret.tif",
    "https://localhost:{port}/secret.tif",
    "https://[::ffff:127.0.0.1]:{port}/x",
    "https://[::127.0.0.1]:{port}/x.tif",
    "https://[64:ff9b::7f00:1]:{port}/x.tif",
    "https://169.254.169.254/latest",
    "https://168.63.129.16/x.tif",
    "https://[fec0::1]/x.tif",
    "https://192.0.0.1/x.tif",
    "https://10.0.0.1/x.tif",
    "https://user:password@127.0.0.1:{port}/x.tif",
    "https://example.com@127.0.0.1:{port}/x.tif",
    "https://[::1",
    "https://[zz]/",
    "https:///x.tif",
    "https://",
    "http:",
    "://",
    "ftp://127.0.0.1:{port}/x.tif",
    "gopher://127.0.0.1/",
    "dict://127.0.0.1:{port}/",
    "s3://",
    "gs:///x",
    "az://a",
    "data:image/tiff;base64,AAAA",
    "javascript:1",
    "file:///",
    "GTIFF_DIR:1:{secret}",
    "GTI:{canary}x",
    'ZARR:"/vsicurl/{canary}x"',
    "NETCDF:{secret}:x",
    "HDF5:{secret}://x",
    "VRT:{secret}",
    "vrt://{secret}?bands=1",
    "MEM:::DATAPOINTER=1,PIXELS=1",
    "WMS:{canary}",
    "STACIT:{canary}x.json",
    "DERIVED_SUBDATASET:AMPLITUDE:{secret}",
    "<VRTDataset rasterXSize='1' rasterYSize='1'/>",
    "{{}}",
    "[]",
    "~root/x",
    "~nosuchuser/x.tif",
    "x" * 300 + ".tif",
    "/" + "a/" * 2000,
    "\0",
    "{inside}/target.tif\0.png",
    "\udcff.tif",
    " ",
    "",
    "{inside}/target.tif?x=1",
    "{inside}/target.tif#x",
    "{inside}/TARGET.TIF/",
    "C:\\x.tif",
    "\\\\127.0.0.1\\x\\y.tif",
]

VALUES: dict[str, list[str]] = {
    "dst_crs": [
        "{canary}x",
        "{secret}",
        "+proj=utm +zone=33 +nadgrids={secret}",
        "+init=epsg:4326",
        "@{secret}",
        "x" * 9999,
        "EPSG:999999",
        'LOCAL_CS["x"]',
        "+proj=pipeline +step +proj=hgridshift +grids={secret}",
        "[]",
        "\0",
    ],
    "coord_crs": [
        "{canary}x",
        "{secret}",
        "EPSG:-1",
        "urn:ogc:def:crs:EPSG::nothing",
        "http://www.opengis.net/def/crs/../x",
    ],
    "bidx": ["0", "-1", "99", "x", "1e9", "nan"],
    "expression": [
        "b1/0",
        "b1" + "+b1" * 3000,
        "__import__('os').system('x')",
        "b1;" * 300,
        "((((" * 500,
        "b99",
        "b1>5",
        "b1**b1**b1",
        "sum(b1",
        ";",
        "\0",
    ],
    "rescale": ["5,1", "nan,nan", "1e400,1", "1", "1,2,3,4", "inf,-inf", "x,y"],
    "nodata": ["nan", "inf", "-1", "70000", "1e400", "x"],
    "color_formula": ["gamma RGB 1e300", "saturation 1e300", "sigmoidal RGB nan 0", "gamma", "x" * 5000, "gamma RGB 0"],
    "colormap": [
        "{{",
        "[]",
        "{{}}",
        "[" * 2000,
        '{{"1": "9"}}',
        '{{"x": [1,2,3]}}',
        '{{"1": [' + "9" * 5000 + "]}}",
        "null",
    ],
    "algorithm_params": [
        "{{",
        "[]",
        '{{"window": 1e400}}',
        '{{"buffer": NaN}}',
        '{{"x": 1}}',
        "[" * 100000,
        '{{"buffer": "4"}}',
        '{{"window": ' + "9" * 5000 + "}}",
        '{{"a":' * 500 + "1" + "}}" * 500,
    ],
    "mask_remap": ["1", "x y", "1 1;" * 9000, "1 nan", "5 1 1", ";;;;", "1 300", "\0"],
    "bands": ["x", "red", "red," * 500, ",,,,,,", "blue,green,red,nir,swir16,swir16"],
    "reflectance_scale": ["nan", "inf", "0", "-1", "1e308", "x"],
    "model": ["x", "../x", "ukis-6b-l1c\0"],
    "algorithm": ["x", "hillshade", "contours", "normalizedIndex", "terrarium", "cast"],
    "max_size": ["-1", "0", "99999999", "nan"],
    "width": ["99999999", "-5", "0"],
    "resampling": ["x", "gauss"],
    "return_mask": ["x"],
}

PATHS = [
    "/cog/tiles/WebMercatorQuad/99/1/1",
    "/cog/tiles/WebMercatorQuad/5/-1/1",
    "/cog/tiles/WebMercatorQuad/24/99999999/1",
    "/cog/tiles/Nothing/1/1/1",
    "/cog/tiles/WebMercatorQuad/0/0/0.exe",
    "/cog/bbox/-180,-90,180,90.tif",
    "/cog/bbox/nan,nan,nan,nan.png",
    "/cog/bbox/1,1,1,1.png",
    "/cog/bbox/inf,0,1,1.png",
    "/cog/bbox/5,5,1,1/99999x99999.png",
    "/cog/bbox/0,0,1,1/0x0.png",
    "/cog/point/nan,nan",
    "/cog/point/1e308,1e308",
    "/cog/point/0,500",
    "/cog/preview.exe",
    "/cog/preview/99999x99999.png",
    "/recipes/../etc/passwd/info",
    "/recipes/%2e%2e%2f/info",
    "/recipes/" + "x" * 5000 + "/info",
    "/viewer/static/../../app.py",
    "/viewer/static/%2e%2e%2f%2e%2e%2fapp.py",
    "/assets/pages/..%2f__init__.py",
    "/%00",
    "/algorithms/../x",
    "/colorMaps/%00",
    "/tileMatrixSets/x",
    "/cog//info",
    "/cog/WMTSCapabilities.xml",
]

BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"[" * 100_000,
    b'{"type": "Feature"}',
    b"9" * 100_000,
    b"\xff\xfe",
    *(
        json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}).encode()
        for geometry in (
            None,
            {},
            {"type": "Point", "coordinates": [0, 0]},
            {"type": "Polygon", "coordinates": []},
            {"type": "Polygon", "coordinates": [[[0, 0], [0, 0], [0, 0], [0, 0]]]},
            {"type": "Polygon", "coordinates": [[[1e308, 1e308], [-1e308, 1e308], [0, -1e308], [1e308, 1e308]]]},
            {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]},
            {"type": "Polygon", "coordinates": [[["a", "b"]]]},
            {"type": "GeometryCollection", "geometries": []},
            {"type": "MultiPolygon", "coordinates": [[[[i / 1e4, 0] for i in range(200_000)]]]},
        )
    ),
]


def filled(field: Field, text: str) -> str:
    known = {"secret": field.secret, "inside": field.inside, "canary": field.canary.base, "port": field.canary.port}
    return text.format(**known)


def check(field: Field, status: int, body: bytes, what: object) -> None:
    assert status in FINE, (what, status, body[:500])
    assert b"Traceback" not in body, what
    assert field.canary.counts.requests == 0, (what, "the canary was asked")
    if status >= 400 and status != 405 and body.startswith(b"{"):
        assert json.loads(body)["detail"], what


@pytest.mark.parametrize("role", ["url", "replacement", "mask"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda text: ascii(text[:40]))
def test_a_source_that_is_not_admitted_is_not_read(field: Field, role: str, source: str) -> None:
    query = [item for item in pair_of(field) if item[0] != role] + [(role, filled(field, source))]
    status, body = field.ask("/cog/preview.tif", query)
    check(field, status, body, (role, source))
    if source and not source.startswith("{inside}/target.tif"):  # an empty one counts as not given
        assert status != 200, (role, source)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in VALUES.items() for value in values],
    ids=lambda text: ascii(text[:30]),
)
def test_a_value_that_makes_no_sense_has_an_answer(field: Field, name: str, value: str) -> None:
    query = [*pair_of(field), (name, filled(field, value))]
    for path in ("/cog/preview.png", "/cog/statistics", "/cog/point/15,41.5"):
        check(field, *field.ask(path, query), (path, name, value[:100]))


@pytest.mark.parametrize("path", PATHS, ids=lambda text: text[:40])
def test_a_path_that_makes_no_sense_has_an_answer(field: Field, path: str) -> None:
    check(field, *field.ask(path, pair_of(field)), path)


@pytest.mark.parametrize("number", range(len(BODIES)))
def test_a_body_that_makes_no_sense_has_an_answer(field: Field, number: int) -> None:
    for path in ("/cog/feature.png", "/cog/statistics"):
        check(field, *field.ask(path, pair_of(field), BODIES[number]), (path, BODIES[number][:100]))


def test_the_server_is_well_afterwards(field: Field) -> None:
    status, body = field.ask("/cog/preview.png", [*pair_of(field), ("rescale", "0,5000"), ("bidx", "1")])
    assert status == 200
    assert body.startswith(b"\x89PNG")
    assert field.canary.counts.requests == 0
