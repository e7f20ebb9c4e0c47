"""Requests that schemathesis makes of `/openapi.json`, over real rasters: declared answers, and no fault of the server.

Of every operation, `CLEARSKY_FUZZ_EXAMPLES` requests of each kind: with values that lead to an answer, with any values
of the declared types, and with values of other types. `CLEARSKY_FUZZ_SEED` draws others than the suite's.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
from hypothesis import Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application

EXAMPLES = int(os.environ.get("CLEARSKY_FUZZ_EXAMPLES", "3"))
SEED = int(os.environ.get("CLEARSKY_FUZZ_SEED", "0"))
OF_SOURCES = {502, 503, 504}
"""Statuses of 5xx by the table."""
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
KNOWN: dict[str, list[Any]] = {
    "tileMatrixSetId": ["WebMercatorQuad"], "z": [12], "x": [2218], "y": [1527], "name": ["good"],
    "lon": [15.0, 15.004], "lat": [41.549, 41.546], "minx": [15.0], "miny": [41.54], "maxx": [15.005], "maxy": [41.55],
    "width": [8, 64], "height": [8, 64], "max_size": [16, 100], "tilesize": [64, 256], "buffer": [1, 2.5],
    "padding": [1], "bbox": ["15,41.54,15.005,41.55"], "bbox-crs": ["EPSG:4326"], "crs": ["EPSG:3857", "EPSG:4326"],
    "coord_crs": ["EPSG:4326"], "dst_crs": ["EPSG:3857", "EPSG:32633"], "minzoom": [8], "maxzoom": [15],
    "algorithm": ["cloud_removal", "cloud_mask", "fill_source"], "algorithm_params": ['{"buffer": 2}'],
    "model": ["ukis-6b-l1c"], "mask_remap": ["1 1", "0 0;1 1"], "expression": ["b1/b2", "b1;b2+b3"],
    "bands": ["blue,green,red,nir,swir16,swir22"], "reflectance_scale": [1e-4], "reflectance_offset": [0, -0.1],
    "bidx": [[1], [3, 2, 1]], "rescale": [["0,3000"]], "colormap": ['{"1": [255, 0, 0, 255]}'], "nodata": [0],
    "color_formula": ["gamma R 1.2"], "c": [[1, 2]], "p": [[2, 98]], "histogram_bins": ["10"],
    "histogram_range": ["0,9"], "zooms": [["WebMercatorQuad::8,12"]],
}  # fmt: skip
"""Values that lead to a picture or a table."""
FEATURE = {
    "type": "Feature",
    "properties": {},
    "geometry": {"type": "Polygon", "coordinates": [[[15, 41.54], [15.005, 41.54], [15.005, 41.55], [15, 41.54]]]},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("fuzz"), make_pair(size=(64, 72))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "other.tif", pair.replacement)
    write_raster(folder / "mask.tif", pair.mask[None].astype(np.uint8), nodata=None)
    (folder / "cut.tif").write_bytes((folder / "other.tif").read_bytes()[:5000])
    files = "target: target.tif\nreplacements: [other.tif]\nmask: {source: mask.tif}\n"
    (folder / "good.yaml").write_text(f"name: good\n{files}")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder, recipes=str(folder), request_timeout="20") as client:
        yield client


def with_known_values(document: dict[str, Any], folder: Path, *, others: bool) -> dict[str, Any]:
    """The document, in which parameters take what leads somewhere.

    Args:
        document: what the server says.
        folder: the rasters.
        others: whether any other value may be drawn in its place.
    """
    files = [str(folder / name) for name in ("target.tif", "other.tif", "mask.tif", "cut.tif", "none.tif")]
    target, other, mask, cut, _ = files
    # No other names: those are refused before anything is read.
    good: dict[str, list[Any]] = {"url": [target], "replacement": [[other], [other, target]], "mask": [mask]}
    bad: dict[str, list[Any]] = {"url": files, "replacement": [[other, cut], [mask]], "mask": files}

    def either(known: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [known, schema]} if others else known

    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                parameter.pop("examples", None)
                name = parameter["name"]
                if name in good:
                    parameter["schema"] = either({"enum": good[name]}, {"enum": bad[name]})
                elif name in KNOWN:
                    parameter["schema"] = either({"enum": KNOWN[name]}, parameter["schema"])
            for content in operation.get("requestBody", {"content": {}})["content"].values():
                content["schema"] = either({"enum": [FEATURE]}, content["schema"])
    without_tuples(document)
    return document


def without_tuples(schema: Any) -> None:
    """Arrays with a kind for every place become arrays of any of these kinds: schemathesis rejects the former."""
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        without_tuples(part)
    if isinstance(schema, dict) and isinstance(schema.get("prefixItems"), list):
        schema["items"] = {"anyOf": schema.pop("prefixItems")}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of libraries about odd values; a server raises none of them
@pytest.mark.parametrize(
    ("mode", "others", "least"),
    [
        (GenerationMode.POSITIVE, False, {200: 0.4}),
        (GenerationMode.POSITIVE, True, {200: 0.1, 400: 0.2, 404: 0.05}),
        (GenerationMode.NEGATIVE, False, {400: 0.5}),
    ],
    ids=["known", "any", "wrong"],
)
def test_every_answer_is_declared(
    client: TestClient,
    folder: Path,
    mode: GenerationMode,
    others: bool,
    least: dict[int, float],
    record_property: Callable[[str, object], None],
) -> None:
    document = with_known_values(client.get("/openapi.json").json(), folder, others=others)
    schema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig(seed=SEED))
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not operation.definition.raw.get("parameters"):
            continue  # nothing that could be wrong

        @seed(SEED)
        @settings(max_examples=EXAMPLES, derandomize=SEED == 0, phases=[Phase.generate])
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: schemathesis.Case[Any]) -> None:
            request = case.as_transport_kwargs(base_url="http://testserver")
            request.pop("cookies")
            if "data" in request:  # raw bytes, by the name that httpx2 has for them
                request["content"] = request.pop("data")
            answer = client.request(**request)
            statuses[answer.status_code] += 1
            checks = [*CHECKS, *([] if answer.status_code in OF_SOURCES else [not_a_server_error])]
            case.validate_response(answer, checks=checks)

        ask()
    asked = sum(statuses.values())
    record_property("statuses", dict(sorted(statuses.items())))
    assert asked > 50
    assert all(statuses[status] > share * asked for status, share in least.items()), statuses
