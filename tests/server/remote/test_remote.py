"""Remote rasters: identity, economy, servers that misbehave, redirects, S3."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.shutil import copy as copy_raster
from starlette.testclient import TestClient

import server.remote.sources
from server.errors import SourceFaultError
from server.raster.opening import file_version, open_raster
from server.remote.files import get_remotes
from server.settings import get_settings
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application

CHECK = 0.15
"""Seconds for which a file counts as unchanged in these tests."""
TIMEOUT = 0.9
"""Seconds for a server that stalls, in these tests."""
SIZE = (256, 256)
PATH = "/cog/bbox/500000,4597440,502560,4600000.png"
NAMES = {"url": "target.tif", "replacement": "replacement.tif", "mask": "mask.tif"}
COMMON = {
    "coord_crs": "EPSG:32633",
    "dst_crs": "EPSG:32633",
    "bidx": [3, 2, 1],
    "rescale": "0,9000",
    "algorithm_params": '{"residual": false, "buffer": 0}',
    "algorithm": "cloud_removal",
}


PLAIN = {name: value for name, value in COMMON.items() if not name.startswith("algorithm")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    pair = make_pair(size=SIZE, seed=5)
    write_cog(folder / "target.tif", pair.target)
    write_cog(folder / "replacement.tif", pair.replacement)
    write_cog(folder / "mask.tif", pair.mask[None].astype(np.uint8), nodata=None)
    return folder


def write_cog(path: Path, data: np.ndarray, **options: Any) -> None:
    """Write a cloud-optimized GeoTIFF: its header first, so that reading pixels is another request."""
    whole = path.with_suffix(".whole")
    write_raster(whole, data, **options)
    copy_raster(whole, path, driver="COG", compress="deflate", blocksize=128)
    whole.unlink()


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[RangeServer]:
    with range_server(folder) as served:
        yield served


@pytest.fixture(scope="module")
def client(folder: Path, served: RangeServer) -> Iterator[TestClient]:
    with application(f"{folder},{served.base}", source_check=str(CHECK)) as client:
        yield client


@pytest.fixture(scope="module")
def local_image(client: TestClient, folder: Path) -> bytes:
    """The image from local files."""
    return good(client, at(f"{folder}/"))


@pytest.fixture
def impatient(client: TestClient) -> Iterator[None]:
    """The same application with little time for servers."""
    with mock.patch.dict(os.environ, {"CLEARSKY_SOURCE_TIMEOUT": str(TIMEOUT)}):
        get_settings.cache_clear()
        get_remotes.cache_clear()
        yield
    get_settings.cache_clear()
    get_remotes.cache_clear()


@pytest.fixture
def fresh(folder: Path, served: RangeServer, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A copy of the rasters under names that no cache knows, and a server that behaves again afterwards."""
    path = folder / f"{abs(hash(request.node.name)):x}"
    shutil.copytree(folder, path, ignore=lambda at, names: [n for n in names if not n.endswith(".tif")])
    served.reset()
    yield path
    served.trouble, served.validators = None, ("etag", "last-modified")
    served.released.set()
    served.released = threading.Event()


def at(base: str, **others: str) -> dict[str, Any]:
    """Parameters for the rasters under an address."""
    return COMMON | {name: base + file for name, file in NAMES.items()} | others


def address(served: RangeServer, folder: Path) -> str:
    return f"{served.base}{folder.name}/"


def good(client: TestClient, params: dict[str, Any], **options: Any) -> bytes:
    answer = client.get(PATH, params=params, **options)
    assert answer.status_code == 200, answer.text
    return answer.content


def settled() -> None:
    """Wait until what is known of remote files is looked up again."""
    time.sleep(1.3 * CHECK)


def rewrite(folder: Path, seed: int) -> None:
    """Another target under the same name."""
    write_cog(folder / "new.tif", make_pair(size=SIZE, seed=seed).target)
    (folder / "new.tif").replace(folder / "target.tif")


# --- identity


@pytest.mark.parametrize("validators", [("etag", "last-modified"), ("weak", "last-modified"), ()])
def test_a_remote_tile_is_the_local_one_and_follows_its_file(
    client: TestClient, served: RangeServer, fresh: Path, local_image: bytes, validators: tuple[str, ...]
) -> None:
    served.validators = validators
    params = at(address(served, fresh))
    first = client.get(PATH, params=params)
    assert first.content == local_image
    tag = first.headers["etag"]
    settled()
    served.reset()
    assert client.get(PATH, params=params, headers={"If-None-Match": tag}).status_code == 304
    checks = served.reset()
    assert checks.requests == 3
    if validators:
        assert checks.sent == 0
    rewrite(fresh, seed=6)
    settled()
    second = client.get(PATH, params=params, headers={"If-None-Match": tag})
    assert second.status_code == 200
    assert second.headers["etag"] != tag
    assert second.content == good(client, at(f"{fresh}/")) != first.content


def test_the_state_of_a_file_is_asked_once_however_many_want_it(served: RangeServer, client: TestClient) -> None:
    url = f"{served.base}target.tif"
    settled()
    served.reset()
    threads = [threading.Thread(target=file_version, args=(url,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served.reset().requests == 1


def test_opening_again_asks_nothing(served: RangeServer, folder: Path) -> None:
    with application(f"{folder},{served.base}", source_check="600"):
        url = f"{served.base}target.tif"
        with open_raster(url) as src:
            expected = src.read(window=((0, 256), (0, 256)))
        served.reset()
        for _ in range(5):
            with open_raster(url) as src:
                np.testing.assert_array_equal(src.read(window=((0, 256), (0, 256))), expected)
        assert served.reset().requests == 0


# --- servers that misbehave

FAILURES = [
    ("cut", "opening", 502, "cannot be fetched"),
    ("cut", "reading", 502, "cannot be fetched"),
    (500, "reading", 502, "answers 500"),
    (503, "opening", 502, "answers 503"),
    (403, "reading", 403, "refused by its server"),
    (404, "opening", 404, "does not exist"),
    (404, "reading", 404, "does not exist"),
    ("whole", "opening", 502, "ignores `Range`"),
]


@pytest.mark.parametrize(("trouble", "when", "status", "told"), FAILURES)
def test_a_failing_server_fails_clearly_and_only_itself(
    client: TestClient,
    served: RangeServer,
    fresh: Path,
    local_image: bytes,
    trouble: Any,
    when: str,
    status: int,
    told: str,
) -> None:
    fails_and_recovers(client, served, fresh, local_image, trouble, status, told, when == "reading")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("trouble", "late"), [("stall", False), ("stall", True), ("pause", True), ("drip", True)])
def test_a_server_that_does_not_go_on(
    client: TestClient, served: RangeServer, fresh: Path, local_image: bytes, trouble: str, late: bool
) -> None:
    begun = time.monotonic()
    fails_and_recovers(client, served, fresh, local_image, trouble, 504, "not sent within", late)
    assert time.monotonic() - begun < 10 * TIMEOUT


def fails_and_recovers(
    client: TestClient,
    served: RangeServer,
    fresh: Path,
    local_image: bytes,
    trouble: Any,
    status: int,
    told: str,
    late: bool,
) -> None:
    base = address(served, fresh)
    bad = f"/{fresh.name}/replacement.tif"
    served.trouble = lambda path, start: trouble if path == bad and (start > 0) == late else None
    answer = client.get(PATH, params=at(base))
    assert answer.status_code == status, answer.text
    assert "replacement.tif" in answer.json()["detail"]
    assert told in answer.json()["detail"]
    assert "etag" not in answer.headers
    # Others are served meanwhile, also from the same server.
    assert good(client, PLAIN | {"url": f"{base}target.tif"}) == good(client, PLAIN | {"url": f"{fresh}/target.tif"})
    served.trouble = None
    settled()
    assert good(client, at(base)) == local_image


@pytest.mark.parametrize("late", [False, True], ids=["opening", "reading"])
def test_garbage_is_told_and_forgotten(
    client: TestClient, served: RangeServer, fresh: Path, local_image: bytes, late: bool
) -> None:
    served.trouble = lambda path, start: "garbage" if (start > 0) == late else None
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert answer.status_code == (502 if late else 400), answer.text
    assert "target.tif" in answer.json()["detail"]
    served.trouble = None
    settled()
    assert good(client, at(address(served, fresh))) == local_image


@pytest.mark.parametrize("trouble", [503, "cut"])
def test_what_fails_now_and_then_is_asked_again(
    client: TestClient, served: RangeServer, fresh: Path, local_image: bytes, trouble: Any
) -> None:
    seen: set[tuple[str, int]] = set()

    def first_time(path: str, start: int) -> Any:
        if (path, start) in seen:
            return None
        seen.add((path, start))
        return trouble

    served.trouble = first_time
    assert good(client, at(address(served, fresh))) == good(client, at(f"{fresh}/"))


@pytest.mark.usefixtures("impatient")
def test_waiting_requests_do_not_fail_one_after_the_other(
    client: TestClient, served: RangeServer, fresh: Path, local_image: bytes
) -> None:
    served.trouble = lambda path, start: "stall" if fresh.name in path else None
    params = at(address(served, fresh))
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.get(PATH, params=params).status_code)) for _ in range(8)
    ]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    assert good(client, at(f"{fresh}/")) == local_image
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 5 * TIMEOUT
    assert answers == [504] * 8


def test_a_file_that_changes_half_way(client: TestClient, served: RangeServer, fresh: Path) -> None:
    changed = threading.Event()

    def change(path: str, start: int) -> None:
        if path.endswith("target.tif") and start > 0 and not changed.is_set():
            changed.set()
            rewrite(fresh, seed=7)

    served.trouble = change
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert changed.is_set()
    assert answer.status_code == 503, answer.text
    assert "target.tif' changed while it was read" in answer.json()["detail"]
    assert good(client, at(address(served, fresh))) == good(client, at(f"{fresh}/"))


def test_an_answer_whose_file_changed_meanwhile_is_kept_by_nobody(
    client: TestClient, served: RangeServer, fresh: Path
) -> None:
    """All bytes are there before the change, so the answer is whole; its tag would be the one of another file."""
    params = at(address(served, fresh))
    before = good(client, params)
    real = server.http.reader.PairReader.__exit__

    def slow(self: Any, *error: Any) -> None:
        real(self, *error)
        rewrite(fresh, seed=8)
        settled()

    with mock.patch.object(server.http.reader.PairReader, "__exit__", slow):
        answer = client.get(PATH, params=params)
    assert answer.content == before
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def test_a_local_file_cut_short(client: TestClient, fresh: Path, local_image: bytes) -> None:
    content = (fresh / "replacement.tif").read_bytes()
    for name, sources in (("url", {"replacement": f"{fresh}/target.tif"}), ("replacement", {})):
        cut = fresh / f"cut-{name}.tif"
        cut.write_bytes(content[: len(content) // 3])
        answer = client.get(PATH, params=at(f"{fresh}/", **sources, **{name: str(cut)}))
        assert answer.status_code == 502, answer.text
        assert cut.name in answer.json()["detail"]
        assert "cut short or damaged" in answer.json()["detail"]
    assert good(client, at(f"{fresh}/")) == local_image


def test_gdal_itself_fetches_nothing(served: RangeServer, client: TestClient) -> None:
    served.reset()
    with pytest.raises(RasterioIOError):
        rasterio.open(f"/vsicurl/{served.base}target.tif")
    assert served.reset().requests == 0


def test_an_error_of_the_reader_is_no_word_about_the_file(client: TestClient, served: RangeServer) -> None:
    with pytest.raises(ZeroDivisionError), open_raster(f"{served.base}target.tif"):
        _ = 1 / 0
    with pytest.raises(SourceFaultError), open_raster(f"{served.base}target.tif"):
        raise RasterioIOError("Read failed")


# --- redirects and private addresses


@pytest.fixture
def other(folder: Path) -> Iterator[RangeServer]:
    """A second server, which no list admits."""
    with range_server(folder) as other:
        yield other


@pytest.mark.parametrize("late", [False, True], ids=["opening", "reading"])
def test_a_redirect_leads_nowhere_a_request_may_not_go(
    client: TestClient, served: RangeServer, other: RangeServer, fresh: Path, late: bool
) -> None:
    served.trouble = lambda path, start: f"{other.base}target.tif" if (start > 0) == late else None
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert answer.status_code == 403, answer.text
    assert "redirects" in answer.json()["detail"]
    assert other.base in answer.json()["detail"]
    assert other.counts.requests == 0


def test_a_redirect_to_an_admitted_address_is_followed(
    folder: Path, served: RangeServer, other: RangeServer, fresh: Path
) -> None:
    served.trouble = lambda path, start: f"{other.base}{path.rsplit('/', 1)[-1]}?signed=1"
    with application(f"{folder},{served.base},{other.base}", source_check="600") as client:
        assert good(client, at(address(served, fresh))) == good(client, at(f"{folder}/"))
    # Only the look at each file's state goes through the first server.
    assert served.counts.requests == 3
    assert other.counts.requests > 3


def test_a_signed_address_that_expired_is_asked_for_again(
    folder: Path, served: RangeServer, other: RangeServer, fresh: Path
) -> None:
    valid = ["1"]
    served.trouble = lambda path, start: f"{other.base}{path.rsplit('/', 1)[-1]}?signed={valid[0]}"
    other.trouble = lambda path, start: None if path.endswith(f"signed={valid[0]}") else 403
    with application(f"{folder},{served.base},{other.base}", source_check="600"):
        with open_raster(f"{served.base}target.tif") as src:
            valid[0] = "2"
            remote = src.read()
        with open_raster(f"{folder}/target.tif") as src:
            np.testing.assert_array_equal(remote, src.read())


def test_redirects_without_end(client: TestClient, served: RangeServer, fresh: Path) -> None:
    served.trouble = lambda path, start: path
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert answer.status_code == 502
    assert "redirects more than 5 times" in answer.json()["detail"]


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x.tif", "s3://bucket/x.tif"])
def test_a_redirect_to_what_is_no_web_address(
    client: TestClient, served: RangeServer, fresh: Path, target: str
) -> None:
    served.trouble = lambda path, start: (302, {"Location": target})
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert answer.status_code == 403
    assert target in answer.json()["detail"]


@pytest.mark.parametrize("allowed", ["", "localhost", "https:*"])
def test_a_name_that_resolves_to_a_private_address_in_the_end(served: RangeServer, allowed: str) -> None:
    """DNS rebinding: the name was public when it was checked, the connection ends at the loopback."""
    url = f"https://localhost:{served.port}/target.tif"
    served.reset()
    with (
        application(allowed) as client,
        mock.patch.object(server.remote.sources, "resolve", return_value=("93.184.216.34",)),
    ):
        answer = client.get(PATH, params=PLAIN | {"url": url})
    assert answer.status_code == 403, answer.text
    assert "private address" in answer.json()["detail"]
    assert "CLEARSKY_ALLOWED_SOURCES" in answer.json()["detail"]
    assert served.reset().requests == 0


# --- economy


def test_a_cold_tile_costs_little_more_than_plain_reading(tmp_path: Path) -> None:
    from benchmarks.remote import measure, middle_tile  # noqa: PLC0415  (imports the demo)
    from server.demo import write_demo  # noqa: PLC0415

    scene = write_demo(tmp_path, size=1024)
    with range_server(tmp_path) as served:
        case = measure(served, middle_tile(str(scene.cloudy)))
    assert case.cloud > 0.02
    assert case.cold.requests <= 2 * case.plain.requests
    assert case.cold.sent <= 1.2 * case.plain.sent
    assert case.warm.requests == 0
    assert case.beside.requests <= case.cold.requests


# --- S3


@pytest.fixture
def bucket(folder: Path) -> Iterator[Callable[[Path], None]]:
    """An S3 service with the rasters in a bucket; gives a function that uploads one."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  (seconds to import)

    service = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    service.start()
    host, port = service.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    endpoint = {"AWS_S3_ENDPOINT": f"{host}:{port}", "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    try:
        with mock.patch.dict(os.environ, keys | endpoint):
            import boto3  # noqa: PLC0415

            s3 = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
            s3.create_bucket(Bucket="scenes")

            def upload(path: Path) -> None:
                s3.upload_file(str(path), "scenes", f"a/{path.name}")

            for name in NAMES.values():
                upload(folder / name)
            yield upload
    finally:
        service.stop()


def test_s3(folder: Path, fresh: Path, bucket: Callable[[Path], None]) -> None:
    with application(f"{folder},s3://scenes/a/", source_check=str(CHECK)) as client:
        params = at("s3://scenes/a/")
        first = client.get(PATH, params=params)
        assert first.status_code == 200, first.text
        assert first.content == good(client, at(f"{folder}/"))
        settled()
        again = {"If-None-Match": first.headers["etag"]}
        assert client.get(PATH, params=params, headers=again).status_code == 304
        missing = client.get(PATH, params=at("s3://scenes/a/", url="s3://scenes/a/none.tif"))
        assert missing.status_code == 404, missing.text
        assert "s3://scenes/a/none.tif" in missing.json()["detail"]
        assert client.get(PATH, params=at("s3://scenes/b/")).status_code == 403
        rewrite(fresh, seed=9)
        bucket(fresh / "target.tif")
        settled()
        second = client.get(PATH, params=params, headers=again)
        assert second.status_code == 200
        assert second.content == good(client, at(f"{fresh}/")) != first.content


def test_s3_credentials_that_do_not_fit(bucket: Callable[[Path], None]) -> None:
    with (
        mock.patch.dict(os.environ, {"AWS_S3_ENDPOINT": "127.0.0.1:9"}),
        application("s3://scenes", source_timeout="1"),
    ):
        get_remotes.cache_clear()
        with pytest.raises(SourceFaultError, match=r"s3://scenes/a/target\.tif"):
            file_version("s3://scenes/a/target.tif")
