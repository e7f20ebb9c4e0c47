"""Which requests are noted for the next start, and what is left of the notes of several processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.analysis.sharing import shared_cache
from server.http.recent import MOST_VIEW_CHARACTERS, MOST_VIEWS, RecentViews, is_view
from server.work.codec import Codec
from server.work.shared import NamedKey, SharedCache

TILE = "/cog/tiles/WebMercatorQuad/14/8730/6040"


@pytest.fixture
def shared(tmp_path: Path) -> SharedCache:
    found = shared_cache(tmp_path.as_uri())
    assert found is not None
    return found


@pytest.mark.parametrize(
    "view",
    [
        f"{TILE}?url=/data/a.tif",
        f"{TILE}.png?url=/data/a.tif&replacement=/data/b.tif&bidx=3&bidx=2",
        f"{TILE}@2x.webp?url=%2Fdata%2Fa%20b.tif",
        "/recipes/summer/tiles/WebMercatorQuad/14/8730/6040.webp?",
        f"/prefix{TILE}?url=/data/a.tif",
    ],
)
def test_tiles_of_local_rasters_are_noted(view: str) -> None:
    assert is_view(view)


@pytest.mark.parametrize(
    "view",
    [
        f"{TILE}?url=https://example.org/a.tif",
        f"{TILE}?url=/data/a.tif&replacement=s3%3A%2F%2Fbucket%2Fb.tif",
        f"{TILE}?url=/data/a.tif&replacement=auto",
        f"{TILE}?url=/data/a.tif&sig=secret&se=2026",
        f"{TILE}?url=/data/a.tif&access_token=secret",
        f"{TILE}?url=/data/a.tif%3Fsig%3Dsecret",
        f"{TILE}?url=/data/a.tif&X-Amz-Signature=secret",
        f"{TILE}?url=/data/a.tif&bidx={'1' * MOST_VIEW_CHARACTERS}",
        f"{TILE}?url=/data/\u00e9.tif",
        f"{TILE}\n?url=/data/a.tif",
        "/cog/preview.png?url=/data/a.tif",
        "/metrics",
        "http://example.org" + TILE,
        "",
        7,
        None,
    ],
)
def test_nothing_else_is(view: object, shared: SharedCache) -> None:
    assert not is_view(view)
    if isinstance(view, str):
        recent = RecentViews(shared, ())
        path, _, query = view.partition("?")
        recent.note(path, query.encode())
        recent.save(at_once=True)
        assert recent.saved() == ()


def tile(x: int, y: int, query: str = "url=/data/a.tif") -> tuple[str, bytes]:
    return f"/cog/tiles/WebMercatorQuad/14/{x}/{y}.png", query.encode()


def view(x: int, y: int, query: str = "url=/data/a.tif") -> str:
    return f"{tile(x, y)[0]}?{query}"


def test_of_neighbours_the_last_one_is_noted(shared: SharedCache) -> None:
    recent = RecentViews(shared, ())
    for x, y in ((0, 0), (4, 4), (1, 0), (0, 2), (1, 1)):
        recent.note(*tile(x, y))
    recent.note(*tile(1, 1, "url=/data/b.tif"))
    recent.save(at_once=True)
    assert recent.saved() == (view(1, 1, "url=/data/b.tif"), view(1, 1), view(0, 2), view(4, 4))


def test_processes_add_to_each_others_notes_up_to_a_bound(shared: SharedCache) -> None:
    first, second = RecentViews(shared, ("/data",)), RecentViews(shared, ("/data",))
    for x in range(0, 2 * MOST_VIEWS, 2):
        first.note(*tile(x, 0))
    first.save()
    second.note(*tile(0, 0))
    second.note(*tile(7, 7))
    second.save()
    newest_first = [view(x, 0) for x in range(2 * MOST_VIEWS - 2, 2, -2)]
    assert first.saved() == (view(7, 7), view(0, 0), *newest_first[: MOST_VIEWS - 2])
    assert RecentViews(shared, ("/other",)).saved() == ()


def test_it_is_saved_now_and_then_and_at_the_end(shared: SharedCache) -> None:
    recent = RecentViews(shared, ())
    recent.note(*tile(0, 0))
    recent.save()
    assert recent.saved() == (view(0, 0),)
    recent.note(*tile(2, 0))
    recent.save()
    assert recent.saved() == (view(0, 0),)
    recent.save(at_once=True)
    assert recent.saved() == (view(2, 0), view(0, 0))


def test_notes_that_another_process_overwrites_at_the_same_time_are_put_back(
    shared: SharedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = RecentViews(shared, ())
    recent.note(*tile(0, 0))
    put = shared.put

    def overtaken(key: NamedKey, views: tuple[str, ...]) -> None:
        monkeypatch.undo()
        put(key, views)
        put(key, (view(4, 0),))  # by one that looked before

    monkeypatch.setattr(shared, "put", overtaken)
    recent.save(at_once=True)
    assert recent.saved() == (view(0, 0), view(4, 0))


def test_what_a_failing_cache_did_not_take_is_saved_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.work.shared.REST_SECONDS", (0.0, 0.0))
    folder = tmp_path / "tier"
    shared = shared_cache(folder.as_uri())
    recent = RecentViews(shared, ())
    recent.note(*tile(0, 0))
    folder.rmdir()
    folder.touch()
    recent.save(at_once=True)
    assert recent.saved() is None
    folder.unlink()
    recent.save(at_once=True)
    assert recent.saved() == (view(0, 0),)


@pytest.mark.parametrize(
    "garbage",
    [(view(0, 0), "/metrics"), (view(0, 0),) * (MOST_VIEWS + 1), (view(0, 0, "url=http://a/b.tif"),), "text", (1,), {}],
)
def test_a_list_with_anything_else_in_it_is_dropped(garbage: object, tmp_path: Path, shared: SharedCache) -> None:
    open_to_all = shared_cache(tmp_path.as_uri())
    assert open_to_all is not None
    open_to_all.put(NamedKey("Views", ("/data",)), garbage)
    assert RecentViews(shared, ("/data",)).saved() == ()
    assert shared.counts["damaged"] == 1


def test_bytes_that_are_no_value_are_dropped(tmp_path: Path, shared: SharedCache) -> None:
    recent = RecentViews(shared, ())
    recent.note(*tile(0, 0))
    recent.save()
    (kept,) = (path for path in tmp_path.rglob("*Views*") if path.is_file())
    for damage in (b"", kept.read_bytes()[:-1], Codec(()).encode(1)):
        kept.write_bytes(damage)
        assert recent.saved() == ()


def test_without_a_shared_cache_nothing_is_noted() -> None:
    recent = RecentViews(None, ())
    recent.note(*tile(0, 0))
    recent.save(at_once=True)
    assert recent.saved() == ()
