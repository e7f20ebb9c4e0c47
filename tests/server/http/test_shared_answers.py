"""Answers that other processes have left: images are taken as they were, and only what this service sends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from server.analysis.admissible import fits
from server.http.answers import Answers
from server.http.asgi import Message, Send
from server.work.codec import Codec
from server.work.folderstore import FolderStore
from server.work.shared import SharedCache
from tests.helpers.scenes import make_pair, write_pair
from tests.helpers.service import analysis_of, application

IMAGE = ((b"content-type", b"image/png"), (b"content-length", b"4"), (b"etag", b'"tag"'))
TYPED = IMAGE[:1]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "shared")


def asked(store: FolderStore, left: Any, *, max_bytes: int = 1 << 20) -> tuple[bytes, int]:
    """The body of an answer where a value was left in its place, and how many values were garbage."""
    store.put("n", Codec([]).encode(left))
    shared = SharedCache(store, Codec([]), lambda _: "n", fits)
    body = b""

    async def make(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(IMAGE)})
        await send({"type": "http.response.body", "body": b"made"})

    async def send(message: Message) -> None:
        nonlocal body
        body += message.get("body", b"")

    asyncio.run(Answers(max_bytes, shared=shared).respond("key", make, send))
    return body, shared.counts["damaged"]


def test_an_image_is_taken_as_it_was_left(store: FolderStore) -> None:
    assert asked(store, (IMAGE, b"left")) == (b"left", 0)
    large = (TYPED, bytes(5000))
    assert asked(store, large, max_bytes=8 * 1024) == (bytes(5000), 0)  # of a process that keeps larger ones


@pytest.mark.parametrize(
    "left",
    [
        5,
        (IMAGE, "text"),
        (IMAGE, b"of another length"),
        ((), b"left"),
        (IMAGE[1:], b"left"),
        ((*TYPED, *TYPED), b"left"),
        ((*IMAGE, (b"set-cookie", b"a=b")), b"left"),
        ((*IMAGE, (b"location", b"https://example.com")), b"left"),
        ((*IMAGE, (b"Content-Length", b"4")), b"left"),
        ((*IMAGE, (b"x-clearsky-warning", b"a\r\nset-cookie: a=b")), b"left"),
        ((*IMAGE, (b"x-clearsky-warning", b"a\x00")), b"left"),
        ((*IMAGE, (b"x\r\n", b"")), b"left"),
        ((*IMAGE, (b"cache-control",)), b"left"),
        (((b"content-type", b"text/html"),), b"left"),
        (((b"content-type", b"image/svg+xml"),), b"left"),
    ],
)
def test_what_the_service_does_not_send_is_dropped(store: FolderStore, left: Any) -> None:
    assert asked(store, left) == (b"made", 1)


def test_images_of_all_formats_and_their_headers_are_shared(tmp_path: Path) -> None:
    """Nothing that the server sends with an image keeps it from being shared."""
    folder = tmp_path / "rasters"
    folder.mkdir()
    pair = write_pair(folder, make_pair(size=(64, 64)))
    cloudless = {"url": pair["url"], "bidx": "1", "rescale": "0,9000"}
    paths = [f"/cog/preview.{kind}" for kind in ("png", "pngraw", "jpg", "jpeg", "webp", "tif", "jp2")]
    shared = {"cache_url": (tmp_path / "shared").as_uri()}
    with application(folder, **shared) as client:
        made = [client.get(path, params=cloudless) for path in paths]
    with application(folder, **shared) as client:
        for path, first in zip(paths, made, strict=True):
            second = client.get(path, params=cloudless)
            assert second.status_code == first.status_code == 200
            assert second.headers["server-timing"].startswith("kept"), path
            assert second.content == first.content
            own = {"server-timing", "x-request-id", "date"}
            assert {k: v for k, v in second.headers.items() if k not in own} == {
                k: v for k, v in first.headers.items() if k not in own
            }
        state = analysis_of(client).shared
        assert state is not None
        assert state.counts["damaged"] == 0
