"""Addresses in one form: nothing climbs out of an admitted prefix, whatever a server makes of its name."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SourceForbiddenError
from server.remote.names import parse_address

GOOD = [
    ("https://example.com/a.tif", "https://example.com/a.tif"),
    ("HTTPS://EXAMPLE.com:443/a.tif", "https://example.com/a.tif"),
    ("https://example.com./a.tif", "https://example.com/a.tif"),
    ("https://example.com:/a.tif", "https://example.com/a.tif"),
    ("http://example.com:0080/a.tif", "http://example.com/a.tif"),
    ("https://example.com:8443/A%2db/%7Ec.tif", "https://example.com:8443/A-b/~c.tif"),
    ("https://example.com/%c3%a4/ä.tif", "https://example.com/%C3%A4/%C3%A4.tif"),
    ("https://example.com", "https://example.com/"),
    ("https://[2001:0DB8::0001]/a.tif", "https://[2001:db8::1]/a.tif"),
    ("https://example.com/o/folder%2Ffile.tif?alt=media&x=%2f..%2f", "https://example.com/o/folder%2Ffile.tif?alt=media&x=%2F..%2F"),
    ("https://example.com/a..b/..c/d.../50%25.tif", "https://example.com/a..b/..c/d.../50%25.tif"),
    ("https://xn--mnchen-3ya.de/a.tif", "https://xn--mnchen-3ya.de/a.tif"),
    ("https://a_b.example.com/a;v=1/b,c.tif", "https://a_b.example.com/a;v=1/b,c.tif"),
    ("s3://my-bucket/key/a%20b.tif", "s3://my-bucket/key/a%20b.tif"),
    ("S3://My.Bucket/key", "s3://My.Bucket/key"),
]  # fmt: skip

CLIMBING = [
    "..", "%2e%2e", "%2E.", ".%2e", "..;", "..;x=1", "%2e%2e;", "%2e%2e%3b", "%252e%252e", "%25252e%25252e", ".%252e",
    "..%2f", "..%5c", "..%255c", "%2e%2e%2f", "a%2f..%2fb", "a%5c..%5cb", "..%20", "%20..", ".", "%2e", "...", "..%09",
    "..%00", "..%c0%af", "..%ef%bc%8f", "\uff0e\uff0e", "%ef%bc%8e%ef%bc%8e", "\u2025", "..%0d%0a", "%u002e%u002e", "%",
    "%2", "%zz", "..\\", "a\\..\\b", "..\t", "..\n", "\x7f..", "..%2500", "%2525252525252e",
]  # fmt: skip
"""Parts of paths that climb, or would in the eyes of some server."""

MALFORMED = [
    "https://", "https:///a.tif", "https://[::1", "https://[zz]/", "https://::1/a.tif", "https://[::1%25eth0]/a.tif",
    "https://user@example.com/", "https://user:secret@example.com/", "https://@example.com/", "https://a@b@example.com/",
    "https://example.com\\@evil.com/", "https://evil.com\\.example.com/", "https://example.com%2eevil.com/",
    "https://example.com:99999/", "https://example.com:0/", "https://example.com:-1/", "https://example.com:8a/",
    "https://example..com/", "https://.example.com/", "https://-a.com/", "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 127 + "com/", "https://ex\u00e4mple.com/", "https://\uff11\uff12\uff17.0.0.1/",
    "https://\u24d4xample.com/", "https://127.1/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://2130706433/",
    "https://1.2.3.4.5/", "https://256.1.1.1/", "https://example.com/a#b", "https://example.com/#/../x",
    "https://example.com//evil.com/x", "https://exa mple.com/", "https://example.com/a b", "https://example.com/\0",
    " https://example.com/", "https://example.com/\u2028", "https://example.com/a\ud800", "https://example.com/%ff.tif",
    "https://example.com/?q=%zz", "https://example.com/" + "a" * 9000, "ftp://example.com/a", "gopher://x/", "://x",
    "ht\ntps://example.com/", "https:/\texample.com/", "s3://bucket/a?versionId=1", "s3://bucket/a//b", "s3:///a",
    "s3://user@bucket/a", "s3://bucket:80/a", "s3://buc%6bet/a", "s3://b..c/a", "gs://-a/b", "az://[::1]/a",
]  # fmt: skip


@pytest.mark.parametrize(("given", "form"), GOOD)
def test_every_address_has_one_form(given: str, form: str) -> None:
    assert str(parse_address(given)) == form
    assert str(parse_address(form)) == form


@pytest.mark.parametrize("part", CLIMBING, ids=ascii)
@pytest.mark.parametrize("base", ["https://example.com/scenes/", "s3://bucket/scenes/"])
def test_what_climbs_is_refused(base: str, part: str) -> None:
    for path in (f"{part}/secret.tif", part, f"a/{part}/{part}/secret.tif"):
        with pytest.raises(SourceForbiddenError, match="not allowed"):
            parse_address(base + path)


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: ascii(text[:60]))
def test_what_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(SourceForbiddenError, match="not allowed"):
        parse_address(text)


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        (
            "https://example.com/scenes",
            ["scenes", "scenes/a.tif", "scenes/b/c.tif?sig=1", "%73cenes/a.tif"],
            ["scenes2/a.tif", "scenes?a", "Scenes/a.tif", "scenes%2fa.tif", "", "other/scenes/a.tif", "scenes;/a.tif"],
        ),
        ("https://example.com/scenes/", ["scenes/a.tif", "scenes/"], ["scenes", "scenesa.tif", "scenes2/"]),
        ("https://example.com/get?file=a.tif", ["get?file=a.tif"], ["get?file=a.tif&b", "get", "get?file=a.tif/../b"]),
        ("https://example.com", ["", "a.tif"], []),
    ],
)  # fmt: skip
def test_a_prefix_names_itself_and_what_is_below(prefix: str, inside: list[str], outside: list[str]) -> None:
    entry = parse_address(prefix)
    for path in inside:
        assert parse_address(f"https://example.com/{path}").below(entry)
    for path in outside:
        assert not parse_address(f"https://example.com/{path}").below(entry)
    for other in ("http://example.com/", "https://example.com:444/", "https://example.org/", "https://a.example.com/"):
        assert not parse_address(other + inside[0]).below(entry)


pieces = st.sampled_from(
    ["a", "b", ".", "..", "/", "//", "%", "2e", "%2e", "%2E", "%25", "25", "2f", "%2f", "%5c", ";", "?", "#", "@", ":",
     "%00", "%c0%af", "\\", " ", "\u2025", "\uff0e", "\uff0f", "é", "~", "scenes", "secret"]
)  # fmt: skip


@given(st.lists(pieces, max_size=12).map("".join))
def test_whatever_is_accepted_stays_below_its_prefix_however_often_it_is_decoded(path: str) -> None:
    prefix = parse_address("https://example.com/scenes/")
    try:
        address = parse_address("https://example.com/scenes/" + path)
    except SourceForbiddenError:
        return
    assert address.below(prefix)
    assert str(parse_address(str(address))) == str(address)
    seen = urlsplit(str(address)).path
    for _ in range(6):
        for server in (seen, seen.replace("\\", "/"), re.sub(r";[^/]*", "", seen)):
            assert posixpath.normpath(server).startswith("/scenes"), (path, seen)
        seen = unquote(seen)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for start in ("", "https://", "https://example.com/", "https://example.com/?", "s3://bucket/", "http://["):
        try:
            address = parse_address(start + text)
        except SourceForbiddenError:
            continue
        assert str(parse_address(str(address))) == str(address)
        assert str(address).isascii()
        assert str(address).isprintable()
