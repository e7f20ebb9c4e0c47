"""Buckets read as the file of settings says, and scenes whose files are in more than one place."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.errors import SourceError, SourceForbiddenError, SourceMissingError, SourceUnreadableError
from server.raster.sources import Sources
from server.scenes.item import item_scene
from tests.helpers.archives import write_band
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.scenes import read_raster
from tests.helpers.service import application, sources_by

KEYS = {"MY_KEY": "AKIAEXAMPLE", "MY_SECRET": "the-secret-key", "OTHER_KEY": "AKIAOTHER"}


class Store:
    """An object store on the loopback, and the headers it was sent."""

    def __init__(self, served: RangeServer) -> None:
        self.served = served
        self.heard: list[tuple[str, dict[str, str]]] = []
        served.doorman = self.note

    def note(self, path: str, headers: Any) -> Any:
        self.heard.append((path, {name.lower(): value for name, value in headers.items()}))
        return None

    def last(self) -> dict[str, str]:
        return self.heard[-1][1]


@pytest.fixture
def store(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for bucket in ("one", "two"):
        shutil.copytree(
            folder, tmp_path / "buckets" / bucket, ignore=lambda at, names: [n for n in names if "." not in n]
        )
    with range_server(tmp_path / "buckets") as served:
        yield Store(served)


def with_rules(folder: Path, listed: str, rules: dict[str, Any]) -> Sources:
    return sources_by(listed, sources_file=rules_file(folder, rules), source_timeout="3")


def rules_file(folder: Path, rules: dict[str, Any]) -> str:
    path = folder / "sources.yaml"
    path.write_text(json.dumps(rules))  # YAML as well
    return str(path)


def signed(store: Store) -> dict[str, Any]:
    """Settings of a bucket with keys."""
    keys = {"access_key_id": "MY_KEY", "secret_access_key": "MY_SECRET"}
    return {"endpoint": store.served.base, **keys}


def test_each_bucket_by_its_own_settings(store: Store, folder: Path, tmp_path: Path) -> None:
    with range_server(tmp_path / "buckets") as elsewhere:
        other = Store(elsewhere)
        made = with_rules(
            tmp_path,
            "s3://one/,s3://two/",
            {
                "s3://one/": signed(store) | {"region": "eu-central-1", "requester_pays": True},
                "s3://two/": {"endpoint": elsewhere.base, "anonymous": True},
                "s3://one/mask.tif/": {"endpoint": elsewhere.base, "anonymous": True},
            },
        )
        for url in ("s3://one/target.tif", "s3://two/target.tif"):
            with made.open(made.check(url)) as src:
                np.testing.assert_array_equal(src.read(), read_raster(folder / "target.tif"))
        assert {path for path, _ in store.heard} == {"/one/target.tif"}
        assert {path for path, _ in other.heard} == {"/two/target.tif"}
        for _, headers in store.heard:
            assert headers["x-amz-request-payer"] == "requester"
            assert "Credential=AKIAEXAMPLE/" in headers["authorization"]
            assert "/eu-central-1/s3/" in headers["authorization"]
        for _, headers in other.heard:
            assert "authorization" not in headers
            assert "x-amz-request-payer" not in headers


def test_the_longest_prefix_has_the_keys(store: Store, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "buckets" / "one", tmp_path / "buckets" / "one" / "deep")
    (tmp_path / "credentials").write_text("[deep]\naws_access_key_id = FROMFILE\naws_secret_access_key = b\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        deep = {"endpoint": store.served.base, "profile": "deep"}
        made = with_rules(tmp_path, "s3://one/", {"s3://one/": signed(store), "s3://one/deep/": deep})
        made.version("s3://one/target.tif")
        assert "Credential=AKIAEXAMPLE/" in store.last()["authorization"]
        made.version("s3://one/deep/target.tif")
        assert "Credential=FROMFILE/" in store.last()["authorization"]


def test_a_rule_comes_before_the_environment(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    monkeypatch.setenv("AWS_S3_ENDPOINT", "http://127.0.0.1:9")
    made = with_rules(tmp_path, "s3://one/", {"s3://one/": signed(store) | {"region": "us-west-2"}})
    made.version("s3://one/target.tif")
    assert "/us-west-2/s3/" in store.last()["authorization"]


def test_google_storage(store: Store, folder: Path, tmp_path: Path) -> None:
    rules = {"gs://one/": {"endpoint": store.served.base, "anonymous": True}}
    made = with_rules(tmp_path, "gs://one/", rules)
    with made.open(made.check("gs://one/target.tif")) as src:
        np.testing.assert_array_equal(src.read(), read_raster(folder / "target.tif"))
    assert "authorization" not in store.last()


def test_a_rule_admits_nothing(store: Store, tmp_path: Path) -> None:
    made = with_rules(tmp_path, "s3://two/", {"s3://one/": signed(store)})
    with pytest.raises(SourceForbiddenError, match=r"s3://one/target\.tif"):
        made.check("s3://one/target.tif")
    assert store.heard == []


def answering(status: int, body: bytes) -> Any:
    return lambda path, headers: (status, {}, body)


def test_keys_are_in_no_answer_and_no_log(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = f"<Error><AWSAccessKeyId>{KEYS['MY_KEY']}</AWSAccessKeyId>{KEYS['MY_SECRET']}</Error>".encode()
    rules = rules_file(tmp_path, {"s3://one/": signed(store)})
    with application("s3://one/", sources_file=rules, source_timeout="3") as client:
        for refusal, status, name in ((403, 403, "target.tif"), (400, 502, "mask.tif")):
            # A store that repeats what it was sent.
            store.served.doorman = answering(refusal, said)
            answer = client.get("/cog/info", params={"url": f"s3://one/{name}"})
            assert answer.status_code == status, answer.text
            for secret in KEYS.values():
                assert secret not in answer.text + str(answer.headers) + caplog.text


def item(folder: Path, assets: dict[str, Any]) -> str:
    bands = ("red", "green", "blue")
    found = {
        name: {"type": "image/tiff", "eo:bands": [{"name": name, "common_name": name}], **assets[name]}
        for name in bands
    }
    path = folder / "item.json"
    path.write_text(json.dumps({"type": "Feature", "id": "a", "properties": {}, "assets": found}))
    return str(path)


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    """Three bands, in a folder that servers have."""
    (tmp_path / "bands" / "data").mkdir(parents=True)
    for k, name in enumerate(("red", "green", "blue"), start=1):
        write_band(tmp_path / "bands" / "data" / f"{name}.tif", np.full((64, 64), 100 * k, np.uint16), 10)
    return tmp_path / "bands"


def assets(first: str, second: str) -> dict[str, Any]:
    return {
        name: {"href": f"{first}{name}.tif", "alternate": {"other": {"href": f"{second}{name}.tif"}}}
        for name in ("red", "green", "blue")
    }


@pytest.mark.parametrize("why", ["refused", "login", "not listed", "unknown scheme"])
def test_an_alternate_takes_the_place_of_what_is_refused(store: Store, bands: Path, tmp_path: Path, why: str) -> None:
    with range_server(bands) as served, range_server(bands) as bucket:
        main = {"not listed": "https://example.invalid/data/", "unknown scheme": "ftp://h.org/data/"}.get(
            why, f"{served.base}data/"
        )
        if why == "refused":
            served.doorman = lambda path, headers: 403
        elif why == "login":
            page = (200, {"Content-Type": "text/html"}, b"<html>Log in</html>")
            served.doorman = lambda path, headers: page if "/login" in path else (302, {"Location": "/login"})
        document = item(tmp_path, assets(main, "s3://data/"))
        rules = rules_file(tmp_path, {"s3://data/": {"endpoint": bucket.base, "anonymous": True}})
        made = sources_by(f"{tmp_path},{served.base},s3://data/", sources_file=rules)
        assert files_of(made, document) == [f"s3://data/{name}.tif" for name in ("red", "green", "blue")]
        scene = made.scene(document)
        assert scene is not None
        with made.open_described(made.composed(scene)) as src:
            assert src.read()[:, 0, 0].tolist() == [100, 200, 300]


def files_of(sources: Sources, document: str) -> list[str]:
    """Where the bands of a scene are read from."""
    scene = sources.scene(sources.check(document))
    assert scene is not None
    return [part.url for part in sources.composed(scene).parts]


def test_a_scene_is_read_from_one_place(bands: Path, tmp_path: Path) -> None:
    """Whichever band is asked for first, and also those whose own address would do."""
    with range_server(bands) as first, range_server(bands) as second:
        first.doorman = lambda path, headers: 403 if "red" in path else None
        document = item(tmp_path, assets(f"{first.base}data/", f"{second.base}data/"))
        with application(f"{tmp_path},{first.base},{second.base}") as client:
            for _ in range(2):
                bands_of = client.get("/stac/scene", params={"url": document}).json()["bands"]
                assert {band["file"].rsplit("/", 2)[0] + "/" for band in bands_of} == {second.base}
            tags = {client.get("/stac/info", params={"url": document}).headers["etag"] for _ in range(2)}
            assert len(tags) == 1


def test_an_alternate_that_is_not_admitted_is_not_read(bands: Path, tmp_path: Path) -> None:
    with range_server(bands) as first, range_server(bands) as second:
        first.doorman = lambda path, headers: 403
        document = item(tmp_path, assets(f"{first.base}data/", f"{second.base}data/"))
        with pytest.raises(SourceForbiddenError, match=f"{first.base}data/red.tif"):
            files_of(sources_by(f"{tmp_path},{first.base}"), document)
        assert second.counts.requests == 0


def test_what_is_there_is_not_looked_for_elsewhere(bands: Path, tmp_path: Path) -> None:
    with range_server(bands) as first, range_server(bands) as second:
        document = item(tmp_path, assets(f"{first.base}data/", f"{second.base}data/"))
        made = sources_by(f"{tmp_path},{first.base},{second.base}")
        assert files_of(made, document) == [f"{first.base}data/{name}.tif" for name in ("red", "green", "blue")]
        (bands / "data" / "green.tif").unlink()
        with pytest.raises(SourceMissingError):
            files_of(sources_by(f"{tmp_path},{first.base},{second.base}"), document)
        assert second.counts.requests == 0


def test_an_asset_without_any_address() -> None:
    red = {"href": "ftp://h.org/red.tif", "type": "image/tiff", "eo:bands": [{"common_name": "red"}]}
    data = {"type": "Feature", "id": "a", "properties": {}, "assets": {"red": red}}
    with pytest.raises(SourceUnreadableError, match=r"ftp://h\.org/red\.tif"):
        item_scene(json.dumps(data).encode(), "/data/item.json")


@pytest.mark.parametrize("name", ["$value", "band", "band.tif", "band.jp2", "band.data"])
@pytest.mark.parametrize("kind", [".tif", ".jp2"])
def test_files_are_opened_by_what_they_hold(tmp_path: Path, name: str, kind: str) -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 1
    nodes = tmp_path / "Products(a-b)" / "Nodes(IMG_DATA)"
    nodes.mkdir(parents=True)
    write_band(tmp_path / f"made{kind}", values, 10).rename(nodes / name)
    with range_server(tmp_path) as served:
        made = sources_by(f"{served.base},{tmp_path}")
        for url in (f"{served.base}Products(a-b)/Nodes(IMG_DATA)/{name}", str(nodes / name)):
            with made.open(made.check(url)) as src:
                assert src.driver == {".tif": "GTiff", ".jp2": "JP2OpenJPEG"}[kind]
                np.testing.assert_array_equal(src.read(1), values)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "$value"])
@pytest.mark.parametrize("start", [b"<VRTDataset/>", b"\x89PNG\r\n\x1a\n", b"", b"II*\0", b"\xff\x4f\xff\x51"])
def test_no_other_format_gets_in_by_its_content(tmp_path: Path, name: str, start: bytes) -> None:
    (tmp_path / name).write_bytes(start)
    made = sources_by(tmp_path)
    with pytest.raises(SourceError), made.open(made.check(str(tmp_path / name))):
        pass
