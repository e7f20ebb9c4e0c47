"""`/openapi.json` declares what is answered: no 422, and every error with its status and its model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from server.http.openapi import BAD_BODY, BAD_VALUE, DATASET_ERRORS
from server.http.statuses import STATUS
from tests.helpers.archives import write_plain_item
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application

PLACES = {
    "tileMatrixSetId": "WebMercatorQuad", "z": 12, "x": 2218, "y": 1527, "format": "png", "width": 8, "height": 8,
    "lon": 15, "lat": 41.5, "minx": 15, "miny": 41.5, "maxx": 15.01, "maxy": 41.51, "name": "good",
    "algorithmId": "cloud_mask", "colorMapId": "viridis",
}  # fmt: skip
"""A good value for every parameter of a path."""
FEATURE = {
    "type": "Feature",
    "properties": {},
    "geometry": {"type": "Polygon", "coordinates": [[[15, 41.5], [15.01, 41.5], [15.01, 41.51], [15, 41.5]]]},
}
JUNK = "no\u00b7such"
"""A value that no parameter takes which is not free text."""


TARGETS = {"/cog/": Path("target.tif"), "/stac/": Path("item/item.json")}
"""What `url` names, by the beginning of the path."""


def target(path: str, folder: Path) -> str | None:
    """The `url` of a good request; None where there is no such parameter."""
    return next((str(folder / file) for start, file in TARGETS.items() if path.startswith(start)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("openapi"), make_pair(size=(64, 64))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "replacement.tif", pair.replacement)
    write_plain_item(folder / "item", pair.target)
    for name in ("text.tif", "text.json"):
        (folder / name).write_text("this is neither a raster nor an Item")
    for name, target in (("good", "target.tif"), ("gone", "gone.tif"), ("text", "text.tif"), ("far", "/etc/passwd")):
        (folder / f"{name}.yaml").write_text(f"name: {name}\ntarget: {target}\n")
    (folder / "broken.yaml").write_text("name: broken\n")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder, recipes=str(folder)) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    told: dict[str, Any] = client.get("/openapi.json").json()
    return told


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, found in document["paths"].items():
        for method, operation in found.items():
            yield path, method, operation


def ask(client: TestClient, path: str, method: str, query: dict[str, Any], **places: object) -> Any:
    body: dict[str, Any] = {"json": FEATURE} if method == "post" else {}
    return client.request(method, path.format(**(PLACES | places)), params=query, **body)


def check_declared(answer: Any, operation: dict[str, Any], what: object) -> None:
    """An error is declared, and looks as declared."""
    assert str(answer.status_code) in operation["responses"], f"{what}: {answer.status_code} {answer.text}"
    assert set(answer.json()) == {"detail"}
    assert isinstance(answer.json()["detail"], str)


def test_nothing_promises_422(document: dict[str, Any]) -> None:
    assert '"422"' not in json.dumps(document)
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    named = {part.split('"')[0] for part in json.dumps(document).split('"#/components/schemas/')[1:]}
    assert "Problem" in named
    assert named <= set(document["components"]["schemas"])


def test_the_document_knows_every_status_of_the_table() -> None:
    unseen = {499, 500}  # the client has gone; a fault of the server's own
    assert {int(code) for code in BAD_VALUE | BAD_BODY | DATASET_ERRORS} == set(STATUS.values()) - unseen


def test_errors_have_one_model(document: dict[str, Any]) -> None:
    assert list(document["components"]["schemas"]["Problem"]["properties"]) == ["detail"]
    for path, method, operation in operations(document):
        errors = {code: told for code, told in operation["responses"].items() if code >= "400"}
        for told in errors.values():
            assert told["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        if path.startswith(("/cog/", "/stac/", "/recipes/")):
            expected = BAD_VALUE | DATASET_ERRORS | (BAD_BODY if method == "post" else {})
            assert set(errors) == set(expected)


def test_bad_values_answer_as_declared(client: TestClient, document: dict[str, Any], folder: Path) -> None:
    """Every parameter of every operation that is not free text, one after the other."""
    tried = 0
    for path, method, operation in operations(document):
        good = {"url": url} if (url := target(path, folder)) else {}
        for parameter in operation.get("parameters", []):
            name = parameter["name"]
            answer = (
                ask(client, path, method, good | {name: JUNK})
                if parameter["in"] == "query"
                else ask(client, path, method, good, **{name: JUNK})
            )
            if answer.status_code >= 400 and answer.json() != {"detail": "Not Found"}:  # no route at all
                check_declared(answer, operation, (method, path, name))
                tried += 1
    assert tried > 300


@pytest.mark.parametrize(
    ("name", "status"), [("gone", 404), ("text", 400), ("far", 403), ("broken", 400), ("none", 404)]
)
def test_bad_datasets_answer_as_declared(
    client: TestClient, document: dict[str, Any], folder: Path, name: str, status: int
) -> None:
    for path, method, operation in operations(document):
        if path.startswith("/recipes/"):
            answer = ask(client, path, method, {}, name=name)
        elif path.startswith(tuple(TARGETS)) and name != "broken":
            url = folder / f"{name}{TARGETS[path[: path.index('/', 1) + 1]].suffix}"
            answer = ask(client, path, method, {"url": "/etc/passwd" if name == "far" else str(url)})
        else:
            continue
        if name == "text" and path.endswith("map.html"):  # a page that names the raster without opening it
            continue
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        check_declared(answer, operation, (method, path))


@pytest.mark.parametrize("body", ["{", "[]", '{"type": "Feature"}'])
def test_bad_bodies_answer_as_declared(client: TestClient, document: dict[str, Any], folder: Path, body: str) -> None:
    for path, method, operation in operations(document):
        if method == "post":
            query = {"url": url} if (url := target(path, folder)) else {}
            answer = client.post(path.format(**PLACES), params=query, content=body)
            assert answer.status_code == 400, f"{path}: {answer.text}"
            check_declared(answer, operation, path)
