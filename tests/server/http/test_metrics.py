"""`/metrics`: the names of the contract, numbers that agree with the answers, labels that clients cannot invent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from server.http.observation import Templates
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, good

CONTRACT = {
    "clearsky_requests_total": {"method", "route", "status"},
    "clearsky_request_seconds_count": {"route"},
    "clearsky_stage_seconds_count": {"stage"},
    "clearsky_inferences_total": {"model"},
    "clearsky_inference_seconds_count": set(),
    "clearsky_inference_queue": set(),
    "clearsky_cache_bytes": {"cache"},
    "clearsky_cache_hits_total": {"cache", "tier"},
    "clearsky_cache_misses_total": {"cache", "tier"},
    "clearsky_cloud_fraction_count": set(),
    "clearsky_filled_fraction_count": set(),
    "clearsky_provider_info": {"provider"},
    "clearsky_build_info": {"version"},
    "clearsky_workers": set(),
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
}
"""Names and labels that dashboards and alerts are written for."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Every sample of an answer, by name and labels."""
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(client: TestClient, name: str, **labels: str) -> float:
    return samples(good(client.get("/metrics")).text).get((name, frozenset(labels.items())), 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("metrics"), make_pair(size=(64, 64))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "replacement.tif", pair.replacement)
    (folder / "named.yaml").write_text("name: named\ntarget: target.tif\n")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder, recipes=str(folder)) as client:
        yield client


def filled(folder: Path) -> dict[str, Any]:
    return {"url": str(folder / "target.tif"), "replacement": str(folder / "replacement.tif"), "bidx": 1}


def test_every_name_of_the_contract_is_there_after_one_filled_image(client: TestClient, folder: Path) -> None:
    before = samples(client.get("/metrics").text)
    image = good(client.get("/cog/preview.png", params=filled(folder)))
    after = samples(client.get("/metrics").text)
    labels = {name: {label for label, _ in given} for name, given in after}
    assert {name: labels.get(name) for name in CONTRACT} == CONTRACT

    def grown(name: str, **labels: str) -> float:
        key = name, frozenset(labels.items())
        return after[key] - before.get(key, 0)

    route = "/cog/preview.{format}"
    assert grown("clearsky_requests_total", method="GET", route=route, status="2xx") == 1
    assert grown("clearsky_request_seconds_count", route=route) == 1
    stages = {part.partition(";")[0]: part for part in image.headers["server-timing"].split(", ")}
    for stage in stages:
        assert grown("clearsky_stage_seconds_count", stage=stage) == 1
    assert "adjust" in stages
    models = [dict(given)["model"] for name, given in after if name == "clearsky_inferences_total"]
    inferences = sum(grown("clearsky_inferences_total", model=model) for model in models)
    assert inferences == grown("clearsky_inference_seconds_count") > 0
    for kind in ("cloud", "filled"):
        told = float(image.headers[f"x-clearsky-{kind}-fraction"])
        assert grown(f"clearsky_{kind}_fraction_sum") == pytest.approx(told, abs=1e-4)
    for cache in ("computed", "rasters"):
        assert grown("clearsky_cache_misses_total", cache=cache, tier="memory") > 0
        assert grown("clearsky_cache_bytes", cache=cache) > 0


def test_a_second_look_hits_the_cache_and_infers_nothing(client: TestClient, folder: Path) -> None:
    good(client.get("/cog/preview.png", params=filled(folder)))
    before = samples(client.get("/metrics").text)
    good(client.get("/cog/preview.png", params={**filled(folder), "max_size": "50"}))
    after = samples(client.get("/metrics").text)
    computed = frozenset({("cache", "computed"), ("tier", "memory")})
    assert after["clearsky_cache_hits_total", computed] > before["clearsky_cache_hits_total", computed]
    assert after["clearsky_cache_misses_total", computed] == before["clearsky_cache_misses_total", computed]
    name = "clearsky_inference_seconds_count", frozenset[tuple[str, str]]()
    assert after[name] == before[name]


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/healthz", "/healthz", "2xx"),
        ("/cog/tiles/WebMercatorQuad/1/0/0.png?url=/etc/passwd",
         "/cog/tiles/{tileMatrixSetId}/{z}/{x}/{y}.{format}", "4xx"),
        ("/recipes/named/info", "/recipes/{name}/info", "2xx"),
        ("/recipes/info/info", "/recipes/{name}/info", "4xx"),
        ("/recipes/gone/tiles/WebMercatorQuad/1/0/0", "/recipes/{name}/tiles/{tileMatrixSetId}/{z}/{x}/{y}", "4xx"),
        ("/tileMatrixSets/no%2Fsuch", "other", "4xx"),
        ("/no/such/path", "other", "4xx"),
    ],
)  # fmt: skip
def test_requests_are_counted_by_template(client: TestClient, path: str, route: str, status: str) -> None:
    labels = {"method": "GET", "route": route, "status": status}
    before = value(client, "clearsky_requests_total", **labels)
    client.get(path)
    assert value(client, "clearsky_requests_total", **labels) == before + 1


def test_clients_cannot_add_labels(client: TestClient, folder: Path) -> None:
    def known() -> set[Any]:
        return {key for key in samples(client.get("/metrics").text) if key[0].startswith("clearsky_request")}

    def ask(word: str) -> None:
        client.request(word, "/cog/info")
        for path in (
            f"/{word}",
            f"/cog/{word}",
            f"/recipes/{word}/info",
            f"/cog/tiles/{word}/1/0/0",
            f"/static/{word}",
        ):
            client.get(path, params={"url": word})
            client.head(path)

    ask("ONE")
    client.get("/metrics")
    before = known()
    for word in ("TWO", "{name}", "%7Bname%7D", "THREE"):
        ask(word)
    assert known() == before


@pytest.mark.parametrize("root", ["", "/sky"])
def test_whoever_answers_the_route_is_known(folder: Path, root: str) -> None:
    """Kept answers, 304, preflights and refusals of middleware never reach the router."""
    route = "/cog/preview.{format}"
    path, params = f"{root}/cog/preview.png", {"url": str(folder / "target.tif"), "bidx": "1"}
    with application(folder, root_path=root) as client:
        first, second = (good(client.get(path, params=params)) for _ in range(2))
        assert second.headers["server-timing"].startswith("kept")
        good(client.head(path, params=params))
        known = {"If-None-Match": first.headers["etag"]}
        preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
        assert client.get(path, params=params, headers=known).status_code == 304
        assert client.get(f"{path}?{'x=1&' * 5000}").status_code == 400
        assert client.options(path, headers=preflight).status_code == 200
        counted = samples(client.get("/metrics").text)
    found = {
        (labels["method"], labels["status"]): count
        for name, given in counted
        if name == "clearsky_requests_total" and (labels := dict(given))["route"] == route
        for count in [counted[name, given]]
    }
    assert found == {
        ("GET", "2xx"): 2, ("HEAD", "2xx"): 1, ("GET", "3xx"): 1, ("GET", "4xx"): 1, ("OPTIONS", "2xx"): 1
    }  # fmt: skip
    assert not [given for name, given in counted if name == "clearsky_requests_total" and ("route", "other") in given]


def test_a_route_that_takes_the_method_goes_first() -> None:
    app = FastAPI()
    inner = APIRouter()
    app.post("/a/new")(lambda: None)
    app.get("/a/{name}")(lambda name: None)
    inner.get("/{z}/{x}.{format}")(lambda: None)
    app.include_router(inner, prefix="/b/{name}")
    templates = Templates(app.routes)
    assert [templates.find("/a/new", method) for method in ("GET", "HEAD", "POST", "PUT")] == [
        "/a/{name}", "/a/{name}", "/a/new", "/a/new"
    ]  # fmt: skip
    assert templates.find("/b/b/1/2.png", "GET") == "/b/{name}/{z}/{x}.{format}"
    assert [templates.find(path, "GET") for path in ("/b/1/2.png", "/a", "/", "", "a/new")] == [""] * 5


def test_openmetrics_where_it_is_asked_for(client: TestClient) -> None:
    plain = good(client.get("/metrics"))
    assert plain.headers["content-type"].startswith("text/plain")
    assert plain.headers["cache-control"] == "no-store"
    answer = good(client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}))
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.rstrip().endswith("# EOF")
