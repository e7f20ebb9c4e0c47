"""Archives that want a login: tokens and passwords reach the hosts that they are for, and no others."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.errors import SourceForbiddenError
from server.raster.sources import Sources
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.remote import PLAIN
from tests.helpers.scenes import read_raster
from tests.helpers.service import application, sources_by

PASSWORD = "correct-horse"
COOKIE = "session-cookie-value"
CODE = "one-time-code"


class Hosts:
    """Earthdata on the loopback: data, the login server (by another name of this machine), and the store."""

    def __init__(self, data: RangeServer, login: RangeServer, store: RangeServer) -> None:
        self.data, self.login, self.store = data, login, store
        self.heard: list[tuple[str, str, dict[str, str]]] = []
        data.doorman, login.doorman, store.doorman = self.at_data, self.at_login, self.at_store
        self.login_url = f"http://localhost:{login.port}/"

    def note(self, who: str, path: str, headers: Any) -> None:
        self.heard.append((who, path, {name.lower(): value for name, value in headers.items()}))

    def at_data(self, path: str, headers: Any) -> Any:
        self.note("data", path, headers)
        if path.startswith("/login?code="):
            back = {"Location": path.split("state=")[1], "Set-Cookie": f"session={COOKIE}; Path=/; Secure; HttpOnly"}
            return 302, back
        if COOKIE in headers.get("Cookie", ""):
            return 303, {"Location": f"{self.store.base}{path[1:]}?X-Amz-Signature=abc"}
        return 302, {"Location": f"{self.login_url}oauth/authorize?state={path}"}

    def at_login(self, path: str, headers: Any) -> Any:
        self.note("login", path, headers)
        given = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if headers.get("Authorization") != f"Basic {given}":
            return 401, {"WWW-Authenticate": "Basic"}
        return 302, {"Location": f"{self.data.base}login?code={CODE}&state={path.split('state=')[1]}"}

    def at_store(self, path: str, headers: Any) -> Any:
        self.note("store", path, headers)
        return None if "X-Amz-Signature=abc" in path else 403

    def secrets_at(self, who: str) -> set[str]:
        """What a host was sent that proves anything."""
        return {
            f"{name}: {headers[name]}"
            for host, _, headers in self.heard
            for name in ("authorization", "cookie")
            if host == who and name in headers
        }


@pytest.fixture
def hosts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text(
        f"machine localhost login me password {PASSWORD}\ndefault login me password for-anybody\n"
    )
    with range_server(folder) as data, range_server(folder) as login, range_server(folder) as store:
        yield Hosts(data, login, store)


def rules(folder: Path, prefix: str, setting: str) -> str:
    path = folder / "sources.yaml"
    path.write_text(f"{prefix}: {{{setting}}}\n")
    return str(path)


def sources(hosts: Hosts, folder: Path, setting: str = "netrc: true", **settings: str) -> Sources:
    listed = f"{hosts.data.base},{hosts.login_url},{hosts.store.base}"
    return sources_by(listed, sources_file=rules(folder, hosts.data.base, setting), **settings)


def test_a_login_on_the_way_and_back(hosts: Hosts, folder: Path, tmp_path: Path) -> None:
    made = sources(hosts, tmp_path, source_check="0")
    name = made.check(f"{hosts.data.base}target.tif")
    with made.open(name) as src:
        np.testing.assert_array_equal(src.read(), read_raster(folder / "target.tif"))
    assert [who for who, _, _ in hosts.heard[:5]] == ["data", "login", "data", "data", "store"]
    assert {who for who, _, _ in hosts.heard[5:]} <= {"data", "store"}  # logged in once
    assert len(hosts.secrets_at("login")) == 1
    assert hosts.secrets_at("data") == {f"cookie: session={COOKIE}"}
    assert hosts.secrets_at("store") == set()


def test_without_a_rule_nobody_logs_in(hosts: Hosts, tmp_path: Path) -> None:
    made = sources_by(f"{hosts.data.base},{hosts.login_url},{hosts.store.base}")
    with pytest.raises(SourceForbiddenError, match=r"target\.tif' is refused by its server \(401\)"):
        made.check(f"{hosts.data.base}target.tif")
    assert [who for who, _, _ in hosts.heard] == ["data", "login"]
    assert not any(hosts.secrets_at(who) for who in ("data", "login", "store"))


def test_somebody_elses_redirect_brings_no_password(hosts: Hosts, tmp_path: Path) -> None:
    """A chain that begins outside of the rule's prefix gets no login, though the host on its way has one."""
    hosts.store.doorman = lambda path, headers: (302, {"Location": f"{hosts.login_url}oauth/authorize?state=/x"})
    with pytest.raises(SourceForbiddenError):
        sources(hosts, tmp_path).check(f"{hosts.store.base}target.tif")
    assert hosts.secrets_at("login") == set()


def test_a_login_server_that_the_list_does_not_admit(hosts: Hosts, tmp_path: Path) -> None:
    made = sources_by(hosts.data.base, sources_file=rules(tmp_path, hosts.data.base, "netrc: true"))
    with pytest.raises(SourceForbiddenError, match=r"redirects: 'http://localhost:\d+/oauth/authorize' is not allowed"):
        made.check(f"{hosts.data.base}target.tif")
    assert [who for who, _, _ in hosts.heard] == ["data"]


def test_a_bearer_token_goes_to_its_prefix_only(
    hosts: Hosts, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "bearer-secret")

    def at_data(path: str, headers: Any) -> Any:
        hosts.note("data", path, headers)
        if headers.get("Authorization") != "Bearer bearer-secret":
            return 401
        return 302, {"Location": f"{hosts.store.base}{path[1:]}?X-Amz-Signature=abc"}

    hosts.data.doorman = at_data
    made = sources(hosts, tmp_path, "bearer: MY_TOKEN")
    with made.open(made.check(f"{hosts.data.base}target.tif")) as src:
        np.testing.assert_array_equal(src.read(), read_raster(folder / "target.tif"))
    assert hosts.secrets_at("data") == {"authorization: Bearer bearer-secret"}
    assert hosts.secrets_at("store") == set()
    outside = sources_by(
        f"{hosts.data.base},{hosts.store.base}",
        sources_file=rules(tmp_path, f"{hosts.data.base}a/", "bearer: MY_TOKEN"),
    )
    with pytest.raises(SourceForbiddenError):
        outside.check(f"{hosts.data.base}target.tif")


def test_a_page_to_log_in_on_is_no_raster(hosts: Hosts, tmp_path: Path) -> None:
    page = {"Content-Type": "text/html; charset=utf-8"}
    hosts.login.doorman = lambda path, headers: (200, page, b"<!doctype html><title>Login</title>")
    made = sources_by(f"{hosts.data.base},{hosts.login_url}")
    with pytest.raises(SourceForbiddenError, match=r"log-in page of 'localhost'.*CLEARSKY_SOURCES_FILE"):
        made.check(f"{hosts.data.base}target.tif")


@pytest.mark.parametrize("broken", ["login", "store", "code"])
def test_no_secret_in_answers_and_logs(
    hosts: Hosts, tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "httpx2")  # the client's own
    listed = [hosts.data.base, hosts.login_url, hosts.store.base]
    if broken == "login":
        hosts.login.doorman = lambda path, headers: 500
    elif broken == "store":
        hosts.store.doorman = lambda path, headers: (200, {"Content-Encoding": "gzip"}, b"no")
    else:
        hosts.login.doorman = lambda path, headers: (302, {"Location": f"http://127.0.0.1:9/?code={CODE}&state=x"})
    with application(",".join(listed), sources_file=rules(tmp_path, hosts.data.base, "netrc: true")) as client:
        answer = client.get(
            "/cog/bbox/500000,4597440,502560,4600000.png", params=PLAIN | {"url": hosts.data.base + "target.tif"}
        )
    assert answer.status_code in (403, 502), answer.text
    for secret in (PASSWORD, COOKIE, CODE, base64.b64encode(f"me:{PASSWORD}".encode()).decode(), "abc"):
        assert secret not in answer.text + str(answer.headers) + caplog.text, secret
