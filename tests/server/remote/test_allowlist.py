"""The allow-list: what a request may name, what goes upstream, and what the server says it reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import server.remote.allowlist
from algorithms.errors import ClearSkyError, ParameterError
from server.app import create_app
from server.cli import cli
from server.errors import SourceForbiddenError, SourceMissingError
from server.remote.allowlist import AllowList
from server.remote.names import parse_address
from server.settings import Settings
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.remote import write_cog
from tests.helpers.scenes import make_pair
from tests.helpers.service import application
from tests.server.remote.test_names import CLIMBING, MALFORMED

PLACES = {"public.example.com": ("93.184.216.34",), "inside.example.com": ("93.184.216.34", "10.0.0.1")}


@contextmanager
def allow_list(allowed: str) -> Iterator[AllowList]:
    """The allow-list of a setting; meanwhile names stand for the addresses above."""
    settings = Settings(allowed_sources=allowed)  # type: ignore[arg-type]  # text, which pydantic reads
    with mock.patch.object(server.remote.allowlist, "resolve", lambda host: PLACES.get(host, ())):
        yield AllowList.of(settings)


ADMITTED = [
    # the list, what it admits, what it does not
    (
        "",
        ["https://public.example.com/a.tif"],
        [
            "https://inside.example.com/a.tif",
            "http://public.example.com/a.tif",
            "s3://bucket/a.tif",
            "https://unknown.example.com/a.tif",
        ],
    ),
    ("{folder}", ["{folder}/a.tif"], ["https://public.example.com/a.tif", "s3://bucket/a.tif", "/etc/passwd"]),
    (
        "{folder},https:*",
        ["{folder}/a.tif", "https://public.example.com/a.tif"],
        ["https://inside.example.com/a.tif", "http://public.example.com/a.tif", "s3://bucket/a.tif"],
    ),
    (
        "other.example.com",
        ["https://other.example.com/a.tif", "https://OTHER.example.com.:443/a.tif"],
        [
            "https://public.example.com/a.tif",
            "http://other.example.com/a.tif",
            "https://another.example.com/a.tif",
            "https://other.example.com.evil.com/a.tif",
        ],
    ),
    (
        "*.example.com",
        ["https://a.b.example.com/a.tif"],
        ["https://example.com/a.tif", "https://aexample.com/a.tif", "https://example.com.evil.com/"],
    ),
    (
        "https://inside.example.com/scenes",
        ["https://inside.example.com/scenes/a.tif", "https://inside.example.com/%73cenes/a.tif"],
        ["https://inside.example.com/scenes2/a.tif", "https://inside.example.com/"],
    ),
    (
        "https://Inside.Example.com:443/scenes/,https:*",
        ["https://inside.example.com/scenes/a.tif", "https://public.example.com/a.tif"],
        ["https://inside.example.com/a.tif"],
    ),
    (
        "http://127.0.0.1:8080/",
        ["http://127.0.0.1:8080/a.tif"],
        ["http://127.0.0.1/a.tif", "http://127.0.0.1:8081/a.tif", "http://localhost:8080/a.tif"],
    ),
    (
        "s3://bucket/scenes",
        ["s3://bucket/scenes/a.tif"],
        ["s3://bucket/a.tif", "s3://bucket2/scenes/a.tif", "gs://bucket/scenes/a.tif", "https://bucket/scenes/a.tif"],
    ),
]


@pytest.mark.parametrize(("allowed", "good", "bad"), ADMITTED, ids=[case[0] or "nothing" for case in ADMITTED])
def test_what_a_list_admits(tmp_path: Path, allowed: str, good: list[str], bad: list[str]) -> None:
    (tmp_path / "a.tif").touch()
    with allow_list(allowed.format(folder=tmp_path)) as listed:
        for url in good:
            named = url.format(folder=tmp_path)
            assert listed.check(named) == (str(parse_address(named)) if "://" in named else named)
        for url in bad:
            with pytest.raises(SourceForbiddenError, match="CLEARSKY_ALLOWED_SOURCES"):
                listed.check(url)


LOCAL = [
    "~nosuchuser/a.tif", "~/a.tif", "a" * 300, "/" + "a" * 300, "/" + "a/" * 3000, "/\ud800", "\udcff", "/a\nb", "",
    ".", "..", "/", "file://", "file:///", "file://localhost/a", "//a", "a?b#c", "{folder}/" + "a" * 300,
    "{folder}/none.tif", "{folder}/loop", "{folder}/pipe", "{folder}/sub", "{folder}/out/passwd", "{folder}/\ud800.tif",
    "{folder}/../../etc/passwd", "{folder}/~nosuchuser", "{folder}/a.tif/b", "/dev/zero", "/proc/self/environ",
    "/vsicurl/http://127.0.0.1/", "/VSIZIP/a", "\0", "{folder}/a.tif\0", "GTIFF_DIR:1:{folder}/a.tif", "MEM:::", "c:a",
]  # fmt: skip


@pytest.mark.parametrize("name", LOCAL, ids=lambda name: ascii(name[:40]))
def test_what_is_no_admitted_file_is_refused_or_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tif").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with allow_list(str(tmp_path)) as listed, pytest.raises((SourceForbiddenError, SourceMissingError)) as told:
        listed.check(name.format(folder=tmp_path))
    str(told.value).encode()


@given(st.text(max_size=300))
def test_any_text_is_admitted_missing_or_refused(text: str) -> None:
    with allow_list("/nowhere,https:*") as listed:
        for start in ("", "/", "~", "/nowhere/", "https://", "file://", "s3://"):
            try:
                listed.check(start + text)
            except (SourceForbiddenError, SourceMissingError) as error:
                str(error).encode()


def test_a_folder_may_be_named_from_home(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "a.tif").touch()
    with mock.patch.dict(os.environ, {"HOME": str(tmp_path)}), allow_list("~/scenes") as listed:
        assert listed.check("~/scenes/a.tif") == str(tmp_path / "scenes" / "a.tif")
        with pytest.raises(SourceForbiddenError):
            listed.check("~/a.tif")


def test_a_list_that_cannot_be_understood_is_told_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", "https://example.com/../,/data")
    with pytest.raises(ParameterError, match=r"CLEARSKY_ALLOWED_SOURCES.*leads upwards"):
        create_app()
    answer = CliRunner().invoke(cli, ["serve", "--port", "1"])
    assert isinstance(answer.exception, ClearSkyError)
    assert "leads upwards" in str(answer.exception)


def test_what_the_user_names_is_fetched_and_nothing_below_it(tmp_path: Path) -> None:
    settings = Settings(allowed_sources=(str(tmp_path),))
    listed = AllowList.of(settings, own=["http://127.0.0.1/a", "https://127.0.0.1/b?x=1"])
    for url in ("http://127.0.0.1/a", "https://127.0.0.1/b?x=1"):
        assert listed.check(url) == url
        assert listed.vouched_for(url)
    for url in ("http://127.0.0.1/a/c", "http://127.0.0.1/b?x=1", "https://127.0.0.1/b"):
        with pytest.raises(SourceForbiddenError):
            listed.check(url)
    with pytest.raises(SourceForbiddenError):
        AllowList.of(settings).check("http://127.0.0.1/a")


@pytest.mark.parametrize(
    ("allowed", "words"),
    [
        ("", ["demo-scene", "every public https host"]),
        ("/data", ["/data", "no other https host", "https:*"]),
        (
            "/data,https:*,s3://bucket/a,*.example.com",
            ["/data", "s3://bucket/a", "*.example.com", "every public https"],
        ),
    ],
)
def test_the_server_says_what_may_be_read(monkeypatch: pytest.MonkeyPatch, allowed: str, words: list[str]) -> None:
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", allowed)
    with mock.patch("uvicorn.run"), mock.patch("server.demo.write_demo"):
        answer = CliRunner().invoke(cli, ["serve"])
    assert answer.exit_code == 0, answer.output
    for word in words:
        assert word in answer.output


def test_the_server_says_which_folders_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = (tmp_path / "missing", tmp_path / "missing" / "further")
    monkeypatch.setenv("CLEARSKY_ALLOWED_SOURCES", ",".join(map(str, (tmp_path, *missing))))
    with mock.patch("uvicorn.run"):
        lines = CliRunner().invoke(cli, ["serve"]).output.splitlines()
    assert f"May be read: files below {tmp_path}" in lines
    for folder in missing:
        assert f"May be read: files below {folder} (does not exist)" in lines


# --- what goes upstream


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RangeServer]:
    folder = tmp_path_factory.mktemp("upstream")
    (folder / "scenes").mkdir()
    write_cog(folder / "scenes" / "a.tif", make_pair(size=(128, 128)).target)
    (folder / "secret.tif").write_bytes((folder / "scenes" / "a.tif").read_bytes())
    with range_server(folder) as served:
        yield served


@pytest.fixture(scope="module")
def client(served: RangeServer) -> Iterator[TestClient]:
    with application(f"{served.base}scenes/", source_check="0") as client:
        yield client


@pytest.fixture
def asked(served: RangeServer) -> Iterator[list[str]]:
    """Raw paths that the upstream server was asked for."""
    paths: list[str] = []
    served.trouble = lambda path, start: paths.append(path)
    yield paths
    served.trouble = None


def info(client: TestClient, url: str) -> Any:
    return client.get("/cog/info", params={"url": url})


@pytest.mark.parametrize("part", CLIMBING, ids=ascii)
def test_nothing_outside_of_a_prefix_is_asked_for(
    client: TestClient, served: RangeServer, asked: list[str], part: str
) -> None:
    for path in (f"scenes/{part}/secret.tif", f"scenes/{part}secret.tif", f"{part}/secret.tif", f"scenes/a/{part}"):
        answer = info(client, served.base + path)
        assert answer.status_code in (400, 403, 404), answer.text
    for path in asked:
        assert path.startswith("/scenes/")
        assert parse_address(served.base + path[1:]).target == path


@pytest.mark.parametrize("url", MALFORMED, ids=lambda url: ascii(url[:60]))
def test_malformed_addresses_have_an_answer(client: TestClient, asked: list[str], url: str) -> None:
    try:
        answer = info(client, url)
    except UnicodeEncodeError:  # the client's own
        return
    assert answer.status_code in (400, 403, 404), answer.text
    assert not asked


@pytest.mark.parametrize("part", CLIMBING, ids=ascii)
def test_no_redirect_climbs(client: TestClient, served: RangeServer, asked: list[str], part: str) -> None:
    def trouble(path: str, start: int) -> Any:
        asked.append(path)
        return (302, {"Location": target}) if path == "/scenes/start.tif" else None

    served.trouble = trouble
    for target in (f"/scenes/{part}/secret.tif", f"{served.base}scenes/{part}/secret.tif", f"{part}/secret.tif"):
        try:
            target.encode("latin-1")
        except UnicodeEncodeError:
            continue
        if "\n" in target:
            continue
        answer = info(client, served.base + "scenes/start.tif")
        assert answer.status_code in (400, 403, 404, 502), answer.text
    for path in asked:  # `.` is resolved before it is compared
        assert parse_address(served.base + path[1:]).below(parse_address(served.base + "scenes/"))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("scenes/a.tif", "/scenes/a.tif"),
        ("%73cenes/%61.tif", "/scenes/a.tif"),
        ("scenes/a.tif?x=%2f&y=[1]", "/scenes/a.tif?x=%2F&y=%5B1%5D"),
    ],
)
def test_what_was_compared_is_what_is_sent(
    client: TestClient, served: RangeServer, asked: list[str], url: str, target: str
) -> None:
    answer = info(client, served.base + url)
    assert answer.status_code == 200, answer.text
    assert set(asked) == {target}


@pytest.mark.parametrize(
    "location",
    ["http://[::1", "http://[zz]/", "//", "http://", "\x01", "a b", "http://a@b/", "http://127.0.0.1:99999/", "%",
     "\xff" * 9, "x" * 60000, "http://127.0.0.1:1/\x80", "?" * 100, "#", "http://\u00e9/", "data:,x", "/scenes/\xa0"],
    ids=lambda text: ascii(text[:30]),
)  # fmt: skip
def test_hostile_redirects_have_an_answer(client: TestClient, served: RangeServer, location: str) -> None:
    served.trouble = lambda path, start: (302, {"Location": location}) if path == "/scenes/start.tif" else None
    answer = info(client, served.base + "scenes/start.tif")
    served.trouble = None
    assert answer.status_code in (403, 404, 502), answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 0-32767/" + "9" * 5000},
        {"Content-Range": "bytes 0-32767/\u00b2\u00b3"},
        {"Content-Range": "bytes */*"},
        {"Content-Range": "bytes 0-32767/999999999999999999"},
        {"Content-Encoding": "gzip"},
        {"ETag": "x" * 9000, "Content-Range": "bytes 0-3/4"},
        {"ETag": '"\xe9\x80"', "Content-Range": "bytes 0-3/4"},
        {"ETag": '"a\r\n b"', "Content-Range": "bytes 0-3/4"},
        {"Transfer-Encoding": "chunked"},
        {},
    ],
    ids=lambda headers: ascii(str(headers)[:50]),
)
def test_hostile_headers_have_an_answer(client: TestClient, served: RangeServer, headers: dict[str, str]) -> None:
    served.trouble = lambda path, start: (206, headers) if path == "/scenes/odd.tif" else None
    for _ in range(2):  # the second time with what is remembered of the first
        answer = info(client, served.base + "scenes/odd.tif")
        assert answer.status_code in (400, 502, 504), answer.text
    served.trouble = None
