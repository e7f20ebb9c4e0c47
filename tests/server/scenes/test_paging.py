"""What brings the next page of a search: links of the STAC API specification, by GET or POST."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import pytest

from server.errors import SourceUnreadableError
from server.scenes.paging import LONGEST_BODY_BYTES, PageRequest, next_request

WHERE: Final = "https://example.org/v1/search?collections=a,b&bbox=1,2,3,4.5&limit=50&datetime=../2025&intersects=no"
GET: Final = {"href": "?token=2"}
POST: Final = {"href": "search", "method": "POST"}
ASKED: Final = PageRequest(WHERE)
AS_BODY: Final = {
    "collections": ["a", "b"],
    "bbox": [1, 2, 3, 4.5],
    "limit": 50,
    "datetime": "../2025",
    "intersects": "no",
}
LINKS: list[tuple[list[dict[str, Any]], PageRequest, dict[str, Any] | None]] = [
    ([GET], ASKED, None),
    ([POST, GET], ASKED, None),
    ([POST], ASKED, {}),
    ([POST | {"body": {"token": "2"}}], ASKED, {"token": "2"}),
    ([POST | {"body": {"token": "2"}, "merge": False}], ASKED, {"token": "2"}),
    ([POST | {"body": {"token": "2", "limit": 7}, "merge": True}], ASKED, AS_BODY | {"token": "2", "limit": 7}),
    ([POST | {"body": {"b": 2}, "merge": True}], PageRequest(WHERE, '{"a": 1, "b": 1}'), {"a": 1, "b": 2}),
    ([POST | {"merge": True}], PageRequest(WHERE, '{"a": 1}'), {"a": 1}),
    ([POST | {"body": "no object", "merge": True}], PageRequest(WHERE, '{"a": 1}'), {"a": 1}),
]


def nested(depth: int) -> list[Any]:
    """Lists within each other."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(("links", "asked", "body"), LINKS)
def test_what_a_link_asks_for(links: list[dict[str, Any]], asked: PageRequest, body: dict[str, Any] | None) -> None:
    request = next_request(links, WHERE, asked)
    assert request is not None
    assert (None if request.body is None else json.loads(request.body)) == body
    assert request.address == f"https://example.org/v1/search{'?token=2' if body is None else ''}"


def test_a_parameter_nested_too_deep_stays_text() -> None:
    text = "[" * 3000
    request = next_request([POST | {"merge": True}], WHERE, PageRequest(f"https://example.org/v1/search?query={text}"))
    assert request is not None
    assert json.loads(request.body or "") == {"query": text}


@pytest.mark.parametrize("links", [[], [{"method": "POST"}], [GET | {"method": "PUT"}], [{"href": 7}]])
def test_a_link_that_nothing_follows(links: list[dict[str, Any]]) -> None:
    assert next_request(links, WHERE, ASKED) is None


@pytest.mark.parametrize(
    "link",
    [
        {"href": "https://elsewhere.example/search"},
        {"href": "http://example.org/v1/search"},
        {"href": "https://example.org:8443/v1/search"},
        {"href": "file:///etc/passwd"},
        {"body": {"token": "x" * LONGEST_BODY_BYTES}},
        {"body": {"token": math.nan}},
        {"body": {"token": nested(5000)}},
    ],
)
def test_nothing_is_posted_elsewhere_or_without_bound(link: dict[str, Any]) -> None:
    with pytest.raises(SourceUnreadableError):
        next_request([POST | link], WHERE, ASKED)
