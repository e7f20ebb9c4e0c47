"""The file of settings by prefix: what it may say, and the longest prefix that decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from algorithms.errors import ParameterError
from server.app import create_app
from server.remote.names import parse_address
from server.remote.rules import Rules, S3Rule, WebRule
from server.settings import Settings

SECRET = "eyJhbGciOiJIUzI1NiJ9.not-to-be-shown"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text(f"machine example.com login me password {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    (tmp_path / "credentials").write_text(f"[mine]\naws_access_key_id = a\naws_secret_access_key = {SECRET}\n")


def read(folder: Path, text: str) -> Rules:
    path = folder / "sources.yaml"
    path.write_text(text)
    return Rules.read(path)


def test_the_longest_prefix_wins(tmp_path: Path) -> None:
    rules = read(
        tmp_path,
        """
        s3://bucket/: {region: eu-west-1}
        s3://bucket/deep/er/: {anonymous: true}
        s3://bucket/deep/: {requester_pays: true, region: us-west-2, profile: mine}
        https://example.com/a/: {netrc: true}
        https://example.com/: {bearer: TOKEN}
        """,
    )

    def rule(url: str) -> object:
        return rules.of(parse_address(url))

    assert rule("s3://bucket/a.tif") == S3Rule(region="eu-west-1")
    assert rule("s3://bucket/deep/a.tif") == S3Rule(requester_pays=True, region="us-west-2", profile="mine")
    assert rule("s3://bucket/deep/er/a.tif") == S3Rule(anonymous=True)
    assert rule("s3://bucket/deeper/a.tif") == S3Rule(region="eu-west-1")
    assert rule("s3://other/a.tif") is None
    assert rule("https://EXAMPLE.com:443/a/b.tif?x=1") == WebRule(netrc=True)
    assert rule("https://example.com/b.tif") == WebRule(bearer="TOKEN")
    assert rule("https://example.com.evil.org/b.tif") is None
    assert rule("http://example.com/b.tif") is None
    assert SECRET not in " ".join(entry.describe() for _, entry in rules.entries)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3://bucket/: {regoin: eu}", r"s3://bucket/': regoin: is no setting of s3 addresses, which have anonymous, "),
        ("s3://bucket/: {bearer: TOKEN}", "bearer: is no setting of s3"),
        ("https://h.org/: {region: eu}", "region: is no setting of https"),
        ("s3://bucket/: {anonymous: 'yes'}", "anonymous: .*boolean"),
        ("s3://bucket/: {endpoint: minio:9000}", "endpoint: "),
        ("s3://bucket/: {region: 7}", "region: .*string"),
        ("s3://bucket/: {anonymous: true, requester_pays: true}", "anonymous contradicts"),
        ("s3://bucket/: {access_key_id: TOKEN}", "access_key_id and secret_access_key together"),
        ("s3://bucket/: {profile: yours}", "no section 'yours'"),
        ("s3://bucket/: {access_key_id: MISSING, secret_access_key: TOKEN}", "variable MISSING is not set"),
        (f"https://h.org/: {{bearer: {SECRET}}}", "name of an environment variable"),
        ("https://h.org/: {bearer: TOKEN, netrc: true}", "one of bearer, netrc and sign"),
        ("https://h.org/: {sign: somebody}", "planetary-computer"),
        ("s3://bucket/:", "needs settings below it"),
        ("s3://bucket: {anonymous: true}", "ends with a slash"),
        ("bucket/: {anonymous: true}", "scheme '' is not one of"),
        ("ftp://h.org/: {netrc: true}", "scheme 'ftp' is not one of"),
        ("FILE://h.org/: {netrc: true}", "scheme 'FILE' is not one of"),
        ("https://h.org/?a=1/: {netrc: true}", "ends with a slash"),
        ("s3://b/: {anonymous: true}\ns3://b/: {anonymous: false}", "line 1: 's3://b/' occurs twice"),
        ("https://h.org/: {netrc: true}\nhttps://H.org/: {netrc: true}", "same prefix as another entry"),
        ("a: &x {}\nb: *x", "line 2: aliases"),
        ("- s3://b/", "write prefixes as keys"),
        ("a: [", "line 1|line 2"),
    ],
)
def test_what_is_wrong_is_said_at_start(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said) as caught:
        read(tmp_path, text)
    assert "sources.yaml" in str(caught.value)
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    with pytest.raises(ParameterError, match=said):
        create_app(Settings(sources_file=tmp_path / "sources.yaml"))


@pytest.mark.parametrize("text", [None, f"machine a login b passwort {SECRET}"])
def test_a_netrc_that_cannot_be_read(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "netrc").unlink()
    if text:
        (tmp_path / "netrc").write_text(text)
    with pytest.raises(ParameterError, match="netrc") as caught:
        read(tmp_path, "https://h.org/: {netrc: true}")
    assert SECRET not in str(caught.value)


def test_the_example_in_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CDSE_KEY", "CDSE_SECRET", "CDSE_TOKEN"):
        monkeypatch.setenv(name, SECRET)
    page = (Path(__file__).parents[3] / "docs" / "scenes.md").read_text(encoding="utf-8")
    rules = read(tmp_path, page.split("```yaml\n")[1].split("```")[0])
    landsat = rules.of(parse_address("s3://usgs-landsat/collection02/a.TIF"))
    assert landsat == S3Rule(requester_pays=True, region="us-west-2")
    assert len(rules.entries) == 5


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="correct the path"):
        Rules.read(tmp_path / "none.yaml")
    assert read(tmp_path, "# nothing yet\n") == Rules()
