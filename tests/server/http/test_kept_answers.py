"""Answers kept and shared: what is computed once, who is admitted to it, and who is never kept waiting by others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.http.answers import ENTRY_BYTES, LARGEST_SHARE, Answers
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, good

PAIR = make_pair(size=(64, 64))
PREVIEW = "/cog/preview.png"
BODY = b"tile" * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_raster(tmp_path / "target.tif", PAIR.target)
    return tmp_path


def params(folder: Path, **more: Any) -> dict[str, Any]:
    return {"url": str(folder / "target.tif"), "bidx": 1, "rescale": "0,3000", **more}


def was_kept(answer: httpx2.Response) -> bool:
    return good(answer).headers.get("server-timing", "").startswith("kept;dur=")


def unlike(answer: httpx2.Response) -> dict[str, str]:
    """Headers that answers to one address share."""
    own = {"server-timing", "x-request-id", "date"}
    return {name: value for name, value in answer.headers.items() if name not in own}


@pytest.mark.parametrize("path", [PREVIEW, "/cog/info", "/cog/WebMercatorQuad/tilejson.json", "/cog/statistics"])
def test_a_repeated_answer_is_the_same_and_computed_once(folder: Path, path: str) -> None:
    with application(folder) as client:
        first, second = (client.get(path, params=params(folder)) for _ in range(2))
        assert not was_kept(first)
        assert was_kept(second)
        assert (second.content, unlike(second)) == (first.content, unlike(first))
        head = client.head(path, params=params(folder))
        assert was_kept(head)
        assert (head.content, unlike(head)) == (b"", unlike(first))


@pytest.mark.parametrize("answers", ["0", "1000000"])
def test_known_answers_are_not_sent(folder: Path, answers: str) -> None:
    """`*` stands for any answer, so it needs one; conditions do not hold for what is an error without them."""
    square = {"type": "Polygon", "coordinates": [[[15, 41.5], [15.01, 41.5], [15.01, 41.51], [15, 41.5]]]}
    feature = {"type": "Feature", "properties": {}, "geometry": square}
    with application(folder, answer_cache_bytes=answers) as client:
        first = good(client.get(PREVIEW, params=params(folder)))
        tag, own = first.headers["etag"], ("etag", "cache-control")
        for known in (tag, f"W/{tag}", f'"a", {tag}', "*", " * "):
            headers = {"If-None-Match": known}
            for ask in (client.get, client.head):
                again = ask(PREVIEW, params=params(folder), headers=headers)
                assert (again.status_code, again.content) == (304, b""), known
                assert [again.headers[name] for name in own] == [first.headers[name] for name in own]
            for wrong, status in (({"bidx": 99}, 400), ({"url": str(folder / "none.tif")}, 404)):
                assert client.get(PREVIEW, params=params(folder, **wrong), headers=headers).status_code == status
        posted = client.post("/cog/statistics", params=params(folder), json=feature, headers={"If-None-Match": "*"})
        assert posted.status_code == 200


def test_several_lines_of_known_tags_count_as_one(folder: Path) -> None:
    with application(folder) as client:
        tag = good(client.get(PREVIEW, params=params(folder))).headers["etag"]
        lines = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
        assert client.get(PREVIEW, params=params(folder), headers=lines).status_code == 304


def test_warnings_and_fractions_are_repeated(folder: Path) -> None:
    write_raster(folder / "clear.tif", PAIR.replacement)
    write_raster(folder / "mask.tif", 0 * PAIR.target[:1].astype("uint8"))
    query = params(folder, replacement=str(folder / "clear.tif"), mask=str(folder / "mask.tif"))
    with application(folder) as client:
        first, second = (client.get(PREVIEW, params=query) for _ in range(2))
        assert was_kept(second)
        names = ("x-clearsky-warning", "x-clearsky-cloud-fraction", "x-clearsky-filled-fraction")
        assert [second.headers[name] for name in names] == [first.headers[name] for name in names]


def test_what_an_answer_depends_on_is_in_its_key(folder: Path) -> None:
    with application(folder) as client:
        good(client.get(PREVIEW, params=params(folder)))
        assert not was_kept(client.get(PREVIEW, params=params(folder, bidx=2)))
        write_raster(folder / "target.tif", PAIR.replacement)
        assert not was_kept(client.get(PREVIEW, params=params(folder)))
        tilejson = "/cog/WebMercatorQuad/tilejson.json"
        for host in ("http://a", "http://b", "https://a"):
            address = good(client.get(host + tilejson, params=params(folder))).json()["tiles"][0]
            assert address.startswith(host + "/cog/")


def test_a_body_that_is_not_in_the_key_is_never_shared(folder: Path) -> None:
    square = [[12.0, 42.0], [12.1, 42.0], [12.1, 42.1], [12.0, 42.0]]
    with application(folder) as client:
        info = good(client.get("/cog/info.geojson", params=params(folder))).json()
        for geometry in (info["geometry"], {"type": "Polygon", "coordinates": [square]}):
            feature = {"type": "Feature", "properties": {}, "geometry": geometry}
            answer = client.post("/cog/feature.png", params=params(folder), json=feature)
            assert "kept" not in answer.headers.get("server-timing", "")


def test_who_is_no_longer_admitted_gets_nothing_that_is_kept(folder: Path) -> None:
    inside, outside = folder / "inside", folder / "outside"
    for place in (inside, outside):
        place.mkdir()
        write_raster(place / "target.tif", PAIR.target)
    with application(inside) as client:
        good(client.get(PREVIEW, params=params(inside)))
        (inside / "target.tif").unlink()
        (inside / "target.tif").symlink_to(outside / "target.tif")
        assert client.get(PREVIEW, params=params(inside)).status_code == 403
        (inside / "target.tif").unlink()
        assert client.get(PREVIEW, params=params(inside)).status_code == 404


def test_errors_are_not_kept(folder: Path) -> None:
    with application(folder) as client:
        for _ in range(2):
            assert client.get(PREVIEW, params=params(folder, bidx=99)).status_code == 400
        assert not was_kept(client.get(PREVIEW, params=params(folder)))


def test_none_are_kept_without_memory_for_them(folder: Path) -> None:
    with application(folder, answer_cache_bytes="0") as client:
        assert not any(was_kept(client.get(PREVIEW, params=params(folder))) for _ in range(3))


class Route:
    """An ASGI application's answers, counted and held back."""

    def __init__(self, status: int = 200, headers: dict[str, str] | None = None, body: bytes = BODY) -> None:
        self.calls = 0
        self.open = asyncio.Event()
        self.status, self.body = status, body
        self.headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]

    async def __call__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self.calls += 1
        await self.open.wait()
        if self.status == 0:
            raise RuntimeError("a fault")
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        half = len(self.body) // 2
        await send({"type": "http.response.body", "body": self.body[:half], "more_body": True})
        await send({"type": "http.response.body", "body": self.body[half:]})


async def asked(answers: Answers, key: str, route: Route) -> tuple[int, bytes]:
    """Status and body of one answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await answers.respond(key, route, send)
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:])


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def crowd(answers: Answers, route: Route, count: int = 64) -> list[asyncio.Task[tuple[int, bytes]]]:
    """So many identical requests, all waiting."""
    tasks = [asyncio.create_task(asked(answers, "tile", route)) for _ in range(count)]
    await settled()
    return tasks


def test_identical_requests_are_computed_once() -> None:
    async def run() -> None:
        answers, route, other = Answers(1 << 20), Route(), Route()
        tasks = await crowd(answers, route)
        other.open.set()
        assert await asked(answers, "another tile", other) == (200, BODY)
        route.open.set()
        assert set(await asyncio.gather(*tasks)) == {(200, BODY)}
        assert route.calls == 1

    asyncio.run(run())


def test_when_the_first_hangs_up_one_of_the_others_takes_over() -> None:
    async def run() -> None:
        answers, route = Answers(1 << 20), Route()
        tasks = await crowd(answers, route)
        for gone in (0, 1):  # and the one after it
            tasks[gone].cancel()
            await settled()
            assert route.calls == gone + 2
        tasks[40].cancel()  # one that waits: nobody else notices
        route.open.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [k for k, result in enumerate(results) if isinstance(result, asyncio.CancelledError)] == [0, 1, 40]
        assert {result for result in results if isinstance(result, tuple)} == {(200, BODY)}
        assert route.calls == 3

    asyncio.run(run())


@pytest.mark.parametrize("status", [0, 404, 500, 503])
def test_a_failure_is_nobody_elses(status: int) -> None:
    """The others get an answer that is their own: here after the fault has passed."""

    async def run() -> None:
        answers, route = Answers(1 << 20), Route(status)
        tasks = await crowd(answers, route, 8)
        route.open.set()

        def passed(_: object) -> None:
            route.status = 200

        tasks[0].add_done_callback(passed)
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, RuntimeError) if status == 0 else first[0] == status  # type: ignore[index]
        assert not any(isinstance(other, BaseException) for other in others)
        if status == 503:
            assert others[-1] == (200, BODY)
        assert await asked(answers, "tile", route) == (200, BODY)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "headers", "size"),
    [(200, {"cache-control": "no-store"}, 10), (200, {}, 1 << 17), (404, {}, 10), (204, {}, 0)],
)
def test_what_is_not_kept(status: int, headers: dict[str, str], size: int) -> None:
    async def run() -> None:
        answers, route = Answers(1 << 20), Route(status, headers, bytes(size))
        tasks = await crowd(answers, route, 4)
        route.open.set()
        assert set(await asyncio.gather(*tasks)) == {(status, bytes(size))}
        assert route.calls == 4
        assert answers.nbytes == 0

    asyncio.run(run())


def test_bytes_are_bounded_and_the_oldest_go_first() -> None:
    async def run() -> None:
        most, each = 100_000, 5_000
        answers, route = Answers(most), Route(body=bytes(each))
        route.open.set()
        assert each + ENTRY_BYTES < most // LARGEST_SHARE
        for number in range(50):
            await asked(answers, str(number), route)
            assert answers.nbytes <= most
        assert answers.nbytes > most // 2
        await asked(answers, "49", route)
        assert route.calls == 50
        await asked(answers, "0", route)
        assert route.calls == 51

    asyncio.run(run())


def test_a_slow_client_holds_up_nobody() -> None:
    async def run() -> None:
        answers, route = Answers(1 << 20), Route()
        never = asyncio.Event()

        async def stalled(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await never.wait()

        slow = asyncio.create_task(answers.respond("tile", route, stalled))
        await settled()
        tasks = await crowd(answers, route, 4)
        route.open.set()
        assert set(await asyncio.gather(*tasks)) == {(200, BODY)}
        assert not slow.done()
        slow.cancel()

    asyncio.run(run())


def test_images_are_shared_with_other_processes_and_documents_are_not(folder: Path, tmp_path: Path) -> None:
    """Documents may repeat the signatures of addresses."""
    shared = {"cache_url": (tmp_path / "shared").as_uri()}
    with application(folder, **shared) as client:
        image = client.get(PREVIEW, params=params(folder))
        assert not was_kept(image)
        good(client.get("/cog/info", params=params(folder)))
    with application(folder, **shared) as client:
        again = client.get(PREVIEW, params=params(folder))
        assert (again.content, unlike(again)) == (image.content, unlike(image))
        assert again.headers["server-timing"] == "kept"
        assert "kept" not in client.get("/cog/info", params=params(folder)).headers.get("server-timing", "")
        write_raster(folder / "target.tif", PAIR.replacement)
        assert client.get(PREVIEW, params=params(folder)).content != image.content
