"""Rasters in an S3 bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from server.errors import SourceFaultError
from tests.helpers.remote import (
    CHECK,
    NAMES,
    PATH,
    at,
    good,
    rewrite,
    settled,
)
from tests.helpers.service import application, sources_by


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
        pytest.raises(SourceFaultError, match=r"s3://scenes/a/target\.tif"),
    ):
        sources_by("s3://scenes", source_timeout="1").version("s3://scenes/a/target.tif")
